# SPDX-License-Identifier: Apache-2.0
"""The training loop that teacher and student share, on one process or many.

What sample j of a run is depends on the seed and on j alone, and every random number of batch t on
the seed and on t: a run that was killed and resumed ends as if it had not been.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import math
import os
import warnings
from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from nuscenes import NuScenes
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from asd_perception import model_directory
from asd_perception.config import StudentConfig
from asd_perception.errors import UserError
from asd_perception.network.center_head import HeadOutput
from asd_training.config import LoopConfig, Run
from asd_training.datasets.index import KeyframeIndex
from asd_training.datasets.keyframes import KeyframeDataset, TrainingSample, collate, one_thread
from asd_training.datasets.nuscenes import open_dataset
from asd_training.datasets.sampling import class_balanced_weights
from asd_training.datasets.stream import StepBatches, TrainingStream
from asd_training.evaluation import Metrics, Submission, format_metrics, score, submission_of
from asd_training.pretrained import load_pretrained_backbone
from asd_training.run_folder import CHECKPOINT, begin, finish, is_first_process, origin


class DetectorTraining(LightningModule):
    """A network in training: its data, its optimiser, its averaged weights and its validation.

    `network` is trained, `average` (of its weights) is validated and exported. `kind` names both
    the network and the key of its architecture in the configuration.
    """

    kind: str

    def __init__(
        self,
        config: LoopConfig,
        network: nn.Module,
        network_config: StudentConfig,
        index: KeyframeIndex,
        sweeps: int,
        cameras: bool = True,
    ) -> None:
        """network_config: of the images, the BEV grid and the head. sweeps: LiDAR sweeps that a
        sample needs, 0 for none. cameras: whether it needs images."""
        super().__init__()
        self.config = config
        self.network = network
        self.network_config = network_config
        self.average = AveragedModel(
            network, multi_avg_fn=moving_average(config.ema_decay), use_buffers=True
        ).requires_grad_(False)
        if config.recompute_images:  # after the copy: it would call this network's stages
            network.image_encoder.recompute_stages()
        self.index = index
        self.sweeps = sweeps
        self.cameras = cameras
        self.validate_all = False
        self._submission: Submission = {}
        self.metrics: Metrics | None = None

    @abstractmethod
    def losses(self, batch: TrainingSample) -> dict[str, Tensor]:
        """The weighted terms of the loss of a batch."""

    @abstractmethod
    def heads(self, network: nn.Module, batch: TrainingSample) -> HeadOutput:
        """What `network` says of a batch."""

    @cached_property
    def _tables(self) -> NuScenes:
        """The dataset's tables, which the official evaluator reads; slow to open where large."""
        return open_dataset(self.index.root, self.index.version)

    def training_step(self, batch: TrainingSample, _: int) -> Tensor:
        terms = self.losses(batch)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            values = ", ".join(
                f"{name} {float(value.detach()):.3g}" for name, value in terms.items()
            )
            raise UserError(
                f"the loss is not finite at step {self.global_step} ({values}); "
                "lower learning_rate or gradient_clip"
            )
        self.log("loss", loss, prog_bar=True)
        self.log_dict({f"loss/{name}": value for name, value in terms.items()})
        return loss

    def on_train_batch_start(self, batch: TrainingSample, batch_idx: int) -> None:
        # For networks that draw random numbers (Swin's stochastic depth).
        torch.manual_seed(self.config.seed + (batch_idx << 16) + self.global_rank)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.network)

    def configure_optimizers(self) -> dict[str, Any]:
        config = self.config
        optimizer = torch.optim.AdamW(
            (parameter for parameter in self.parameters() if parameter.requires_grad),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )

        def factor(step: int) -> float:
            if step < config.warmup_steps:
                return (step + 1) / config.warmup_steps
            span = max(1, config.steps - config.warmup_steps)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - config.warmup_steps) / span)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def train_dataloader(self) -> DataLoader[TrainingSample]:
        """The samples from the run's present step on."""
        config = self.config
        keyframes = self.index.split(config.train_split)
        weights = None
        if config.balance_classes:
            weights = class_balanced_weights(self.index.class_counts()[keyframes])
        dataset = KeyframeDataset(
            self.index, self.network_config, config.augmentation, self.sweeps, self.cameras
        )
        stream = TrainingStream(dataset, keyframes, config.seed, weights)
        batches = StepBatches(
            config.batch_size,
            batches=config.steps * config.accumulate,
            first=self.global_step * config.accumulate,
            rank=self.global_rank,
            processes=self.trainer.world_size,
        )
        return self._loader(stream, batch_sampler=batches)

    def val_dataloader(self) -> DataLoader[TrainingSample]:
        """This process's share of the validation keyframes."""
        keyframes = self.index.split(self.config.val_split)
        count = len(keyframes) if self.validate_all else self.config.validate_keyframes
        spread = np.linspace(0, len(keyframes) - 1, min(count, len(keyframes))).round().astype(int)
        share = keyframes[np.unique(spread)][self.global_rank :: self.trainer.world_size]
        dataset = KeyframeDataset(
            self.index, self.network_config, None, self.sweeps, self.cameras, targets=False
        )
        return self._loader(
            torch.utils.data.Subset(dataset, share.tolist()), batch_size=self.config.batch_size
        )

    def _loader(self, dataset: Any, **how: Any) -> DataLoader[TrainingSample]:
        return DataLoader(
            dataset,
            num_workers=self.config.loader_workers,
            collate_fn=collate,
            worker_init_fn=one_thread,
            pin_memory=self.device.type == "cuda",
            **how,
        )

    def validation_step(self, batch: TrainingSample, _: int) -> None:
        output = self.heads(self.average.module, batch)
        keyframes = batch.keyframe.tolist()
        self._submission |= submission_of(output, keyframes, self.index, self.network_config)

    def on_validation_epoch_end(self) -> None:
        submission, self._submission = self._submission, {}
        if self.trainer.world_size > 1:
            shares: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(shares, submission)
            submission = {token: boxes for share in shares for token, boxes in share.items()}
        metrics = None
        if self.trainer.is_global_zero:
            metrics = score(self._tables, submission)
        self.metrics = self.trainer.strategy.broadcast(metrics)
        self.log("val/mean_ap", self.metrics.mean_ap, prog_bar=True)
        self.log("val/nds", self.metrics.nds)
        self.log_dict({f"val/ap/{name}": ap for name, ap in self.metrics.class_ap.items()})


def moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """An exponential moving average that forgets its start: over n steps at most about n / 10."""

    def update(averages: list[Tensor], values: list[Tensor], count: Tensor) -> None:
        share = 1 - min(decay, (1 + float(count)) / (10 + float(count)))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, share)
            else:
                average.copy_(value)  # BatchNorm counts its batches

    return update


def run_training(
    args: argparse.Namespace,
    config: Run,
    index: KeyframeIndex,
    build: Callable[[Run, KeyframeIndex], DetectorTraining],
    method: str,
) -> None:
    """A whole run: train what `build` makes, validate it, and write RUN/model and its metrics.

    args: of `add_arguments`. method: for the provenance. Raises UserError.
    """
    if not len(index.split(config.train_split)):
        raise UserError(f"{args.data}: the split {config.train_split} holds no keyframe")
    prepare(config)
    module = build(config, index)
    if config.pretrained and not args.resume:
        load_pretrained_backbone(module.network.image_encoder, config.pretrained)
    begin(args.run, config)
    provenance = {"method": method, **train(module, args.run, args.resume)}
    if is_first_process():
        network, architecture = module.average.module, getattr(config, module.kind)
        model = args.run / "model"
        model_directory.save_network(model, module.kind, network, architecture, provenance)
        finish(args.run, provenance)
        print(f"model directory: {model}")


def train(module: DetectorTraining, run: Path, resume: bool) -> dict[str, Any]:
    """Train `module` to its last step in the folder `run`, then validate on the whole split.

    Returns the provenance of the result; also on a process that is not the first of many.
    """
    config = module.config
    local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # set by torchrun
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    timer = Timer()  # counts through resumed runs
    best = ModelCheckpoint(
        run,
        filename="best",
        monitor="val/mean_ap",
        mode="max",
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
    last = ModelCheckpoint(
        run,
        filename=Path(CHECKPOINT).stem,
        every_n_train_steps=config.checkpoint_every,
        enable_version_counter=False,
    )
    csv = CSVLogger(run, name="log")  # a resumed run writes the next version_N
    trainer = Trainer(
        default_root_dir=run,
        accelerator="auto",
        devices=local_processes,
        num_nodes=processes // local_processes,
        strategy="ddp" if processes > 1 else "auto",
        sync_batchnorm=processes > 1 and torch.cuda.is_available(),
        use_distributed_sampler=False,
        precision=config.precision,
        max_steps=config.steps,
        accumulate_grad_batches=config.accumulate,
        gradient_clip_val=config.gradient_clip,
        check_val_every_n_epoch=None,
        val_check_interval=(config.validate_every or config.steps + 1) * config.accumulate,
        num_sanity_val_steps=0,
        logger=[csv, TensorBoardLogger(run, name="log", version=csv.version)],
        callbacks=[timer, last, *([best] if config.validate_every else [])],
        enable_model_summary=False,
        log_every_n_steps=10,
    )
    try:
        trainer.fit(module, ckpt_path=run / CHECKPOINT if resume else None, weights_only=True)
    except UserError as error:  # one from a loader's process carries that process's traceback
        raise UserError(str(error).strip().splitlines()[-1].rpartition("UserError: ")[2]) from error
    trainer.save_checkpoint(run / CHECKPOINT)

    provenance = {
        **origin(module.index, module.config, len(module.index.split(config.train_split))),
        "minutes": round(timer.time_elapsed("train") / 60, 1),
        "processes": processes,
        "device": str(trainer.strategy.root_device),
    }
    if len(module.index.split(config.val_split)):
        module.validate_all = True
        trainer.validate(module, verbose=False)
        assert module.metrics is not None
        provenance["validation"] = {
            "split": config.val_split,
            **dataclasses.asdict(module.metrics),
        }
        if trainer.is_global_zero:
            print(format_metrics(module.metrics))
    return provenance


def prepare(config: LoopConfig) -> None:
    """Before a network is built: the seed of its weights, and quiet libraries.

    Lightning's progress bar stays, without its advertisements and warnings about its own insides.
    """
    seed_everything(config.seed, workers=True, verbose=False)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*LeafSpec.*",
        ".*does not have many workers.*",
        ".*exists and is not empty.*",
        ".*dataloader is not resumable.*",  # StepBatches is
    ):
        warnings.filterwarnings("ignore", message)
