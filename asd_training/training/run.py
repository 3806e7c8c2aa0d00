# SPDX-License-Identifier: Apache-2.0
"""A whole training run: prepared, trained, validated, and its model written."""

from __future__ import annotations

import ctypes
import dataclasses
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn

from asd_perception.errors import UserError, memory_checked
from asd_perception.network import model_directory
from asd_perception.provenance import without_folders
from asd_training.checking.training_data import check_data
from asd_training.config.run import Run, TrainingConfig
from asd_training.data.cameras import tell_lacking_cameras
from asd_training.data.index import KeyframeIndex
from asd_training.evaluation.scoring import format_metrics
from asd_training.models.precision import resolve
from asd_training.models.pretrained import load_pretrained_backbone
from asd_training.training.checkpoints import AtomicCheckpointIO, RunCheckpoints
from asd_training.training.curve import CostMeter, CurveRecorder
from asd_training.training.failures import RESUME_HINT, in_one_line
from asd_training.training.module import DetectorTraining
from asd_training.training.progress import TrainingProgress
from asd_training.training.run_folder import LAST, begin, finish, is_first_process

FEWEST = 16  # input channels of a strided 1x1 convolution


def run_training(
    folder: Path,
    resume: bool,
    config: Run,
    index: KeyframeIndex,
    build: Callable[[Run, KeyframeIndex], DetectorTraining],
    method: str,
) -> None:
    """A whole run: train what `build` makes, validate it, and write its model and its metrics.

    folder: of the run. resume: continue from its last checkpoint, if it has one. method: for the
    provenance. Raises UserError.
    """
    module, reason = prepare(config, index, build, _device())
    if is_first_process():
        print(f"precision: {module.config.precision} ({reason})")
        tell_lacking_cameras(index.cameras, index.has_camera)
    fresh = not (resume and (folder / LAST).is_file())
    if config.fine_tune and fresh:
        _start_from(module, Path(config.fine_tune))
    elif config.pretrained and module.contents.images and fresh:
        load_pretrained_backbone(module.network.image_encoder, config.pretrained)
    module.average.module.load_state_dict(module.network.state_dict())
    origin = begin(folder, module.config, index)
    results = train(module, folder, resume)
    if is_first_process():
        provenance = without_folders({"method": method, **origin, **results})
        finish(folder, provenance)
        network, architecture = module.average.module, getattr(config, module.kind)
        model = folder / "model"
        model_directory.save_network(
            model, module.kind, network, architecture, provenance, index.cameras
        )
        print(f"model directory: {model}")


def _start_from(module: DetectorTraining, model: Path) -> None:
    """Give the network the weights of a model directory of its kind. Raises UserError."""
    if module.kind not in model_directory.read_document(model):
        raise UserError(f"fine_tune: {model} holds no {module.kind}")
    weights = model_directory.read_weights(model)
    file = model / model_directory.WEIGHTS
    model_directory.load_weights(module.network, weights, file, "the configured architecture")


def train(module: DetectorTraining, run: Path, resume: bool) -> dict[str, Any]:
    """Train `module` to its last step in the folder `run`, then validate on the whole split.

    resume: continue from the folder's last checkpoint, if it has one. Returns the time, the machine
    and the metrics for the provenance; also on a process that is not the first of many.
    """
    config = module.config
    local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # set by torchrun
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    timer = Timer()  # counts through resumed runs
    checkpoints = RunCheckpoints(run, config)
    meter = CostMeter()
    curve = CurveRecorder(run, config, processes, meter)
    validated = module.index.split(config.val_split)
    scored = bool(module.index.class_counts()[validated].any()) and curve.has_points_on_the_way
    # A resumed run writes the next version_N.
    csv = CSVLogger(run, name="log", flush_logs_every_n_steps=1)
    trainer = Trainer(
        default_root_dir=run,
        accelerator="auto",
        devices=local_processes,
        num_nodes=processes // local_processes,
        strategy="ddp" if processes > 1 else "auto",
        plugins=[AtomicCheckpointIO()],
        sync_batchnorm=processes > 1 and torch.cuda.is_available(),
        use_distributed_sampler=False,
        precision=config.precision,
        max_steps=config.steps,
        accumulate_grad_batches=config.accumulate,
        check_val_every_n_epoch=None,
        val_check_interval=(config.validate_every or config.steps + 1) * config.accumulate,
        # An error in validation stops the run before its first step, not hours later.
        num_sanity_val_steps=1 if config.validate_every or scored else 0,
        logger=[csv, TensorBoardLogger(run, name="log", version=csv.version)],
        callbacks=[timer, *([curve] if scored else []), checkpoints, meter, TrainingProgress()],
        enable_checkpointing=False,  # `checkpoints` does it
        enable_model_summary=False,
        log_every_n_steps=10,
    )
    begun = run / LAST if resume and (run / LAST).is_file() else None
    with in_one_line(trainer, checkpoints):
        trainer.fit(module, ckpt_path=begun, weights_only=True)

    results = {
        "minutes": round(timer.time_elapsed("train") / 60, 1),
        "device": str(trainer.strategy.root_device),
        "core_seconds_per_sample": {
            part: round(cost, 4) for part, cost in curve.core_seconds_per_sample().items()
        },
    }
    if trainer.is_global_zero:
        print(_cost_in_words(curve.core_seconds_per_sample()))
    if len(validated):
        module.validate_all = True
        try:
            with in_one_line(trainer, checkpoints):
                trainer.validate(module, verbose=False)
        except UserError as error:
            if processes > 1 and module.refusal is None:
                raise  # the other processes wait for this one
            results["validation"] = _no_metrics(trainer, config, str(error))
        except Exception as error:  # a defect, but of the validation: the model is there
            if processes > 1:
                raise
            traceback.print_exc()
            results["validation"] = _no_metrics(trainer, config, f"{type(error).__name__}: {error}")
        else:
            assert module.validation is not None
            metrics, heatmap_loss, box_loss = module.validation
            results["validation"] = {
                "split": config.val_split,
                **dataclasses.asdict(metrics),
                "heatmap_loss": heatmap_loss,
                "box_loss": box_loss,
            }
            if trainer.is_global_zero:
                curve.add(config.steps, module.validation)
                print(format_metrics(metrics))
    else:
        reason = "the dataset has no keyframe of this split"
        results["validation"] = _no_metrics(trainer, config, reason)
    return results


def _no_metrics(trainer: Trainer, config: TrainingConfig, reason: str) -> dict[str, Any]:
    """What is kept of a validation that failed, after it was told."""
    reason = reason.removesuffix(RESUME_HINT)
    if trainer.is_global_zero:
        print(f"no metrics on {config.val_split}: {reason}", file=sys.stderr)
    return {"split": config.val_split, "failed": reason}


def _cost_in_words(costs: dict[str, float]) -> str:
    parts = ", ".join(f"{part} {cost:.3f}" for part, cost in costs.items())
    return f"cost: {sum(costs.values()):.3f} core-seconds per sample ({parts})"


def _device() -> torch.device:
    """What Lightning's accelerator "auto" trains on."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def prepare(
    config: Run,
    index: KeyframeIndex,
    build: Callable[[Run, KeyframeIndex], DetectorTraining],
    device: torch.device,
) -> tuple[DetectorTraining, str]:
    """The module that `build` makes from the run's seed, after a check of the splits.

    device: that it will be trained on. The module's `config` has the precision that this gives; the
    text says why it is that one.

    Silences Lightning's hints and internal warnings, but not its progress bar. Raises UserError if
    the network cannot be built, or if several processes were started that would train separately.
    """
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "RANK" not in os.environ:
        raise UserError(
            "SLURM has started several tasks that would each train alone; start each node's with "
            "torchrun (docs/training.md)"
        )
    _keep_freed_memory()
    seed_everything(config.seed, workers=True, verbose=False)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*LeafSpec.*",
        ".*does not have many workers.*",
        ".*exists and is not empty.*",
        ".*dataloader is not resumable.*",  # StepBatches is
        ".*smaller than the logging interval.*",
        ".*`training_step` returned `None`.*",  # a recorded step's
        ".*sync_dist=True.*",  # all of them are gathered before they are logged
        ".*Grad strides do not match bucket view strides.*",  # 1x1 kernels, channels last
    ):
        warnings.filterwarnings("ignore", message)
    try:
        with memory_checked("cpu"):
            module = build(config, index)
    except (ValueError, RuntimeError, TypeError) as error:  # torch's and transformers' own
        reason = " ".join(str(error).split())
        raise UserError(f"no network can be built of this configuration: {reason}") from error
    _refuse_narrow_shortcuts(module.network, device)
    check_data(module.config, index, module.contents, module.network_config.bev)
    precision, reason = resolve(config.precision, device)
    module.config = dataclasses.replace(module.config, precision=precision)
    return module, reason


def _refuse_narrow_shortcuts(network: nn.Module, device: torch.device) -> None:
    """Raise UserError where training on a CPU would write beside its memory.

    oneDNN 3.12 (torch 2.13) does so with AVX-512 in the backward pass of a 1x1 convolution of
    stride 2 with few inputs: (3, 8, 16, 16) through Conv2d(8, 8, 1, stride=2), channels last, on
    two threads.
    """
    for name, layer in network.named_modules():
        if (
            device.type == "cpu"
            and isinstance(layer, nn.Conv2d)
            and layer.kernel_size == (1, 1)
            and layer.stride != (1, 1)
            and layer.in_channels < FEWEST
        ):
            raise UserError(
                f"{name} has {layer.in_channels} input channels; stages that halve the resolution "
                f"need at least {FEWEST} to be trained on a CPU, where oneDNN corrupts memory with "
                f"fewer: widen the stage before (encoder_channels, or the backbone's options)"
            )


def _keep_freed_memory() -> None:
    """Let this process keep the memory that it frees: the next step needs as much again.

    Large arrays would go back to the system and come again page by page, each of them cleared: 5 to
    10 % of a step on a CPU. Without effect where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # mallopt(3)
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 2**26)
