# SPDX-License-Identifier: Apache-2.0
"""What a training's loader and its step can do, alone and together."""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import cv2
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from asd_training.config.run import Run
from asd_training.data.index import KeyframeIndex
from asd_training.data.samples import TrainingSample
from asd_training.training.module import DetectorTraining
from asd_training.training.run import prepare

WARM_UP = 5
"""Batches for each of the loader's processes that do not count: first allocations, and what was
made before the clock started and lies ready."""

SAMPLES = 40  # of which the core time of one is taken


def benchmark(
    config: Run,
    index: KeyframeIndex,
    build: Callable[[Run, KeyframeIndex], DetectorTraining],
    steps: int,
    device: torch.device,
) -> dict[str, Any]:
    """The figures of `measure` for a training that `build` makes; nothing is trained that stays."""
    load = os.getloadavg()[0]
    config = dataclasses.replace(config, accumulate=1, steps=10**6)  # the loader must not end first
    module, _ = prepare(config, index, build, device)
    return {
        "kind": module.kind,
        "seed": config.seed,
        "batch_size": config.batch_size,
        "loader_workers": config.loader_workers,
        "precision": module.config.precision,
        # Others' programs slow these figures down: about as many cores were busy with them.
        "load_average_before": round(load, 2),
        **measure(module, steps, device),
    }


def measure(module: DetectorTraining, steps: int, device: torch.device) -> dict[str, Any]:
    """Time `steps` batches of the loader alone, of the step alone, and of both together.

    `steps` is rounded up to a whole number of batches for each of the loader's processes.
    sample_core_ms: CPU time of one sample on one core, the median of several; other programs do
    not count. Everything else is by the clock. A step is Lightning's, with optimiser and averaged
    weights; alone, it takes the same batch again and again, which lies on the device. Together,
    `data_share` is the share of the time between the end of a step and the start of the next one:
    the wait for the loader, the copy to the device, and Lightning's own bookkeeping.
    """
    workers = max(1, module.config.loader_workers)
    steps = -(-steps // workers) * workers  # batches come in bursts of so many
    warm_up = WARM_UP * workers
    trainer, _ = _trainer(module, warm_up + steps, device)
    module.trainer = trainer
    module.to(device)  # the loader pins its memory for it, as in a run
    loader = module.train_dataloader()
    cores_ms = _core_ms_of_samples(loader.dataset)
    size = module.config.batch_size

    batches = iter(loader)
    first = next(batches)
    for _ in range(warm_up - 1):
        next(batches)
    start = time.perf_counter()
    for _ in tqdm(islice(batches, steps), desc="loader alone", total=steps, unit="batch"):
        pass
    loader_s = (time.perf_counter() - start) / steps
    del batches  # its processes, too

    on_device = move_data_to_device(first, device)
    with trainer.precision_plugin.train_step_context():
        costs = cost(module, on_device)
    same = DataLoader([on_device] * (warm_up + steps), batch_size=None)
    alone, together = (_fit(module, data, warm_up + steps, device) for data in (same, None))
    return {
        "sample": costs,
        "timed_batches": steps,
        "loader": {
            "samples_per_s": round(size / loader_s, 2),
            "sample_core_ms": round(cores_ms, 1),
        },
        "step": {
            "samples_per_s": round(size / alone.seconds(steps), 2),
            "batch_ms": round(1e3 * alone.seconds(steps), 1),
        },
        "together": {
            "samples_per_s": round(size / together.seconds(steps), 2),
            "batch_ms": round(1e3 * together.seconds(steps), 1),
            "data_share": round(together.share_between_steps(steps), 4),
        },
    }


def cost(module: DetectorTraining, batch: TrainingSample) -> dict[str, float]:
    """What a sample of a batch costs, and the size of the network.

    forward_gflop: multiplications and additions of the forward pass; backward takes about twice as
    many. kept_for_backward_gb: memory that lies between the two.
    """
    kept: dict[int, int] = {}  # bytes by storage

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with FlopCounterMode(display=False) as operations, saved_tensors_hooks(note, lambda x: x):
        terms = module.losses(batch)  # its graph keeps the storages, so that none comes twice
    for parameter in module.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    del terms
    size = len(batch.keyframe)
    return {
        "parameters_millions": round(sum(p.numel() for p in module.network.parameters()) / 1e6, 2),
        "forward_gflop": round(operations.get_total_flops() / size / 1e9, 1),
        "kept_for_backward_gb": round(sum(kept.values()) / size / 1e9, 3),
    }


class _Clock(Callback):
    """When each step began and ended; the device has then done all that was asked of it."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.ends: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self.starts.append(_now(trainer.strategy.root_device))

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.ends.append(_now(trainer.strategy.root_device))

    def seconds(self, steps: int) -> float:
        """From the end of a step to the end of the next, on average over the last `steps`."""
        return (self.ends[-1] - self.ends[-steps - 1]) / steps

    def share_between_steps(self, steps: int) -> float:
        """The share of that time in which no step is under way."""
        pairs = zip(self.ends[-steps - 1 : -1], self.starts[-steps:], strict=True)
        between = sum(start - end for end, start in pairs)
        return between / steps / self.seconds(steps)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _fit(
    module: LightningModule,
    loader: DataLoader[TrainingSample] | None,
    steps: int,
    device: torch.device,
) -> _Clock:
    """Train on a loader's batches; None: the module's own loader's."""
    trainer, clock = _trainer(module, steps, device)
    trainer.fit(module, loader)
    return clock


def _trainer(module: LightningModule, steps: int, device: torch.device) -> tuple[Trainer, _Clock]:
    """A trainer of one process like that of a run, without its files."""
    clock = _Clock()
    trainer = Trainer(
        accelerator=device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision=module.config.precision,
        max_steps=steps,
        limit_val_batches=0,
        logger=False,
        callbacks=[clock],
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    return trainer, clock


def _core_ms_of_samples(stream: Any) -> float:
    """Median CPU time of the stream's first samples, made as one of the loader's processes does."""
    threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    seconds = []
    for place in tqdm(range(SAMPLES), desc="samples", unit="sample"):
        start = time.thread_time()
        stream[place]
        seconds.append(time.thread_time() - start)
    torch.set_num_threads(threads)
    cv2.setNumThreads(cv2_threads)
    return 1e3 * statistics.median(seconds)
