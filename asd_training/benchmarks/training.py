# SPDX-License-Identifier: Apache-2.0
"""What a sample of a training costs by part, of one configuration or of two in turns."""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from asd_training.config.run import Run
from asd_training.data.index import KeyframeIndex
from asd_training.training.curve import CostMeter
from asd_training.training.module import DetectorTraining
from asd_training.training.run import prepare

WARM_UP = 5
"""Steps for each of the loader's processes that do not count: first allocations, and what was made
before the clock started and lies ready."""

TURNS = 3
"""How often each configuration is measured; figures are medians over its turns."""


def benchmark(
    configs: Sequence[Run],
    index: KeyframeIndex,
    build: Callable[[Run, KeyframeIndex], DetectorTraining],
    steps: int,
    device: torch.device,
) -> dict[str, Any]:
    """What a sample costs in trainings that `build` makes; nothing is trained that stays.

    configs: one or two, measured in turns of `steps` steps, so that what else the machine does
    falls on both. core_seconds_per_sample: processor time, of `loader` and `step` as in CostMeter;
    other programs slow it down, but do not count. core_seconds_by_turn: of these the single turns.
    By the clock: samples_per_s, and data_share, the share of the time between the end of a step and
    the start of the next one: the wait for the loader, the copy to the device, and Lightning's own
    bookkeeping. Steps on a GPU that are recorded are timed without waiting for it in between, which
    would keep the host from preparing the next one; data_share is then of the host's time.
    times_cheaper: what a sample of the second costs, divided by what one of the first does.
    """
    load = os.getloadavg()[0]
    modules = []
    for config in configs:  # the loader must not end first
        endless = dataclasses.replace(config, accumulate=1, steps=10**6)
        modules.append(prepare(endless, index, build, device)[0])
    costs = [cost(module, device) for module in modules]
    turns: list[list[dict[str, float]]] = [[] for _ in modules]
    total = TURNS * sum(_warm_up(module) + steps for module in modules)
    with tqdm(desc=f"{TURNS} turns", total=total, unit="step") as progress:
        for _ in range(TURNS):
            for module, measured in zip(modules, turns, strict=True):
                measured.append(_turn(module, steps, device, progress))
    medians = [_medians(measured) for measured in turns]
    figures = {
        "kind": modules[0].kind,
        "seed": configs[0].seed,
        "turns": TURNS,
        "steps": steps,
        # Others' programs slow these figures down: about as many cores were busy with them.
        "load_average_before": round(load, 2),
        "configurations": [
            {
                "batch_size": module.config.batch_size,
                "loader_workers": module.config.loader_workers,
                "precision": module.config.precision,
                "cache": module.config.cache is not None,
                "resident": module.samples is not None,
                "recorded": module.recorded_step is not None and module.recorded_step.is_graph,
                "sample": counted,
                "core_seconds_per_sample": {
                    part: round(median[part], 5) for part in ("loader", "step", "total")
                },
                "core_seconds_by_turn": [
                    {part: round(turn[part], 5) for part in ("loader", "step", "total")}
                    for turn in measured
                ],
                "samples_per_s": round(1 / median["seconds"], 2),
                "data_share": round(median["data_share"], 4),
            }
            for module, counted, measured, median in zip(
                modules, costs, turns, medians, strict=True
            )
        ],
    }
    if len(modules) == 2:
        first, second = turns
        ratios = [
            {part: other[part] / one[part] for part in ("loader", "step", "total")}
            for one, other in zip(first, second, strict=True)
        ]
        figures["times_cheaper"] = {
            part: round(ratio, 2) for part, ratio in _medians(ratios).items()
        }
    return figures


def table(figures: dict[str, Any]) -> str:
    """The figures for a terminal."""
    lines = [
        f"{'core-ms per sample':32}{'loader':>10}{'step':>10}{'total':>10}{'samples/s':>12}"
        f"{'between steps':>16}"
    ]
    for name, row in zip(("measured", "against"), figures["configurations"], strict=False):
        milliseconds = [1e3 * value for value in row["core_seconds_per_sample"].values()]
        kept = ", resident" if row["resident"] else ", cache" * row["cache"]
        how = f"{name} ({row['precision']}{kept}{', recorded' * row['recorded']})"
        lines.append(
            f"{how:32}"
            + "".join(f"{value:10.2f}" for value in milliseconds)
            + f"{row['samples_per_s']:12.2f}{100 * row['data_share']:14.1f} %"
        )
    if "times_cheaper" in figures:
        ratios = "".join(f"{ratio:10.2f}" for ratio in figures["times_cheaper"].values())
        lines.append(f"{'times cheaper':32}{ratios}")
    for row in figures["configurations"]:
        sample = row["sample"]
        lines.append(
            f"{sample['parameters_millions']} M parameters; per sample {sample['forward_gflop']} "
            f"GFLOP forward and {sample['kept_for_backward_gb']} GB kept for backward"
        )
    return "\n".join(dict.fromkeys(lines))


def cost(module: DetectorTraining, device: torch.device) -> dict[str, float]:
    """What a sample of a training costs, and the size of the network.

    forward_gflop: multiplications and additions of the forward pass; backward takes about twice as
    many. kept_for_backward_gb: memory that lies between the two.
    """
    module.trainer = trainer = _trainer(module, [], 1, device)
    module.to(device)
    module.on_fit_start()  # what is prepared once, such as a teacher's answers, does not count
    loader, size = module.train_dataloader(), module.config.batch_size
    samples = [loader.dataset[place] for place in range(size)]
    batch = move_data_to_device(loader.collate_fn(samples), device)
    if module.samples is not None:
        batch = module.samples(batch)
    kept: dict[int, int] = {}  # bytes by storage

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        trainer.precision_plugin.train_step_context(),
        FlopCounterMode(display=False) as operations,
        saved_tensors_hooks(note, lambda x: x),
    ):
        terms = module.losses(batch)  # its graph keeps the storages, so that none comes twice
    for parameter in module.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    del terms
    return {
        "parameters_millions": round(sum(p.numel() for p in module.network.parameters()) / 1e6, 2),
        "forward_gflop": round(operations.get_total_flops() / size / 1e9, 1),
        "kept_for_backward_gb": round(sum(kept.values()) / size / 1e9, 3),
    }


class _Clock(CostMeter):
    """Also when each step began and ended; the device has then done all that was asked of it.

    waits: for which ends that is so; None: at each beginning and end.
    """

    def __init__(
        self, device: torch.device, progress: tqdm[Any], waits: tuple[int, ...] | None
    ) -> None:
        super().__init__()
        self.device, self.progress, self.waits = device, progress, waits
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.costs: list[dict[str, float]] = []  # core-seconds until each end

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.starts.append(self._now(self.waits is None))
        super().on_train_batch_start(trainer, module, batch, batch_idx)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.ends.append(self._now(self.waits is None or len(self.ends) in self.waits))
        super().on_train_batch_end(trainer, module, outputs, batch, batch_idx)
        self.costs.append(dict(self.core_seconds))
        self.progress.update()

    def _now(self, wait: bool) -> float:
        if wait and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def _turn(
    module: DetectorTraining, steps: int, device: torch.device, progress: tqdm[Any]
) -> dict[str, float]:
    """Costs per sample of the last `steps` steps, with Lightning's loop, as in a run."""
    first = _warm_up(module)
    waits = (first - 1, first + steps - 1) if module.recorded else None
    clock = _Clock(device, progress, waits)
    trainer = _trainer(module, [clock], first + steps, device)
    trainer.fit(module)
    samples = steps * module.config.batch_size
    parts = {
        part: (until - clock.costs[-steps - 1][part]) / samples
        for part, until in clock.costs[-1].items()
    }
    seconds = clock.ends[-1] - clock.ends[-steps - 1]
    between = sum(
        start - end
        for end, start in zip(clock.ends[-steps - 1 : -1], clock.starts[-steps:], strict=True)
    )
    return {
        **parts,
        "total": sum(parts.values()),
        "seconds": seconds / samples,
        "data_share": between / seconds,
    }


def _warm_up(module: DetectorTraining) -> int:
    return WARM_UP * max(1, module.config.loader_workers)


def _trainer(
    module: DetectorTraining, callbacks: list[Any], steps: int, device: torch.device
) -> Trainer:
    """A trainer of one process like that of a run, without its files."""
    return Trainer(
        accelerator=device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision=module.config.precision,
        max_steps=steps,
        limit_val_batches=0,
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}
