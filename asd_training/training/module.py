# SPDX-License-Identifier: Apache-2.0
"""The training loop that teacher and student share, on one process or many.

Sample j of a run depends on the seed and j alone, and the random numbers of batch t on the seed and
t: a run that was killed and resumed gives the same result as an uninterrupted one.
"""

from __future__ import annotations

import gc
import math
import time
from abc import abstractmethod
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningModule
from nuscenes import NuScenes
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from asd_perception.errors import UserError
from asd_perception.network.center_head import HeadOutput
from asd_perception.network.config import StudentConfig
from asd_training.config.run import TrainingConfig
from asd_training.data.index import KeyframeIndex
from asd_training.data.nuscenes import open_dataset
from asd_training.data.sampler import StepBatches, TrainingStream, class_balanced_weights
from asd_training.data.samples import (
    KeyframeDataset,
    SampleContents,
    TrainingSample,
    begin_loader_process,
    collate,
)
from asd_training.data.store import SampleStore
from asd_training.evaluation.detection import submission_of
from asd_training.evaluation.scoring import Metrics, Submission, score
from asd_training.losses.detection import BOX_WEIGHT, at_cells, heatmap_loss, l1_loss
from asd_training.training.ema import MovingAverage


class Validation(NamedTuple):
    """What the averaged weights score. The losses are those of training, per object."""

    metrics: Metrics
    heatmap_loss: float
    box_loss: float


class DetectorTraining(LightningModule):
    """A network in training: its data, its optimiser, its averaged weights and its validation.

    `network` is trained, `average` (of its weights) is validated and exported. `kind` names both
    the network and the key of its architecture in the configuration.
    """

    kind: str

    def __init__(
        self,
        config: TrainingConfig,
        network: nn.Module,
        network_config: StudentConfig,
        index: KeyframeIndex,
        contents: SampleContents,
    ) -> None:
        """network_config: of the images, the BEV grid and the head. contents: of a sample; without
        images, `pretrained` and `recompute_images` have no effect."""
        super().__init__()
        self.config = config
        self.network = network
        self.network_config = network_config
        self.average = MovingAverage(network, config.ema_decay)
        if config.recompute_images and contents.images:  # after the copy, which would call these
            network.image_encoder.recompute_stages()
        self.index = index
        self.contents = contents
        self.validate_all = False
        self._submission: Submission = {}
        self._losses = np.zeros(3)  # summed: of the heatmap, of the boxes; and the objects
        self.validation: Validation | None = None
        self.refusal: UserError | None = None
        self._step_end: float | None = None
        self._seconds = 0.0  # per batch, averaged

    @abstractmethod
    def losses(self, batch: TrainingSample) -> dict[str, Tensor]:
        """The weighted terms of the loss of a batch."""

    @abstractmethod
    def heads(self, network: nn.Module, batch: TrainingSample) -> HeadOutput:
        """The head's output of `network` for a batch."""

    @cached_property
    def _tables(self) -> NuScenes:
        """The dataset's tables, which the official evaluator reads; slow to open where large."""
        tables = open_dataset(self.index.root, self.index.version)
        gc.freeze()  # or each loader process, forked from this one, would come to copy them
        return tables

    def training_step(self, batch: TrainingSample, _: int) -> Tensor:
        terms = self.losses(batch)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            values = ", ".join(
                f"{name} {float(value.detach()):.3g}" for name, value in terms.items()
            )
            raise UserError(
                f"the loss is not finite at step {self.global_step} ({values}); "
                "lower learning_rate or gradient_clip in a new run"
            )
        self.log("loss", loss, prog_bar=True)
        for name, value in terms.items():  # all of them would fill the terminal
            self.log(f"loss/{name}", value, prog_bar=name in ("heatmap", "boxes"))
        return loss

    def on_train_batch_start(self, batch: TrainingSample, batch_idx: int) -> None:
        # For networks that draw random numbers (Swin's stochastic depth). 0 and 1 after the seed
        # are TrainingStream's.
        sequence = np.random.SeedSequence([self.config.seed, 2, batch_idx, self.global_rank])
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))

    def on_train_batch_end(self, outputs: Any, batch: TrainingSample, batch_idx: int) -> None:
        now = time.perf_counter()
        if self._step_end is not None:
            seconds = now - self._step_end
            self._seconds = 0.9 * self._seconds + 0.1 * seconds if self._seconds else seconds
            samples = len(batch.keyframe) * self.trainer.world_size
            self.log("samples_per_s", samples / self._seconds)
        self._step_end = now

    def on_validation_end(self) -> None:
        self._step_end = None  # its time is not the training's

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip and log the gradient; stop at one that is not finite."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
        # Mixed float16 finds its gradient scale by trial, and skips such a step.
        if self.config.precision != "16-mixed" and not torch.isfinite(norm):
            raise UserError(
                f"the gradient is not finite at step {self.global_step} (norm {float(norm)}), "
                "though the loss is; lower learning_rate in a new run"
            )
        self.log("gradient_norm", norm)
        self.log("learning_rate", optimizer.param_groups[0]["lr"])

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.average.update(self.network, self.global_step)

    def configure_optimizers(self) -> dict[str, Any]:
        config = self.config
        decayed: list[Tensor] = []
        free: list[Tensor] = []
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:  # biases (Swin's are tables) and norms' scales are free
                (free if parameter.ndim <= 1 or "bias" in name else decayed).append(parameter)
        groups = [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": free, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)

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
        """The samples from the run's current step on."""
        config = self.config
        keyframes = self.index.split(config.train_split)
        weights = None
        if config.balance_classes:
            weights = class_balanced_weights(self.index.class_counts()[keyframes])
        store = None
        if config.cache is not None:
            store = SampleStore.open(
                config.cache,
                self.index,
                keyframes,
                self.network_config,
                self.contents,
                config.augmentation,
            )
        dataset = KeyframeDataset(
            self.index, self.network_config, self.contents, config.augmentation, store
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
        return self._validation_loader(self.validate_all)

    def _validation_loader(self, whole_split: bool) -> DataLoader[TrainingSample]:
        keyframes = self.index.split(self.config.val_split)
        count = len(keyframes)
        if not whole_split:  # without an annotation among them there is nothing to score
            keyframes = keyframes[self.index.class_counts()[keyframes].any(axis=1)]
            count = self.config.validate_keyframes
        spread = np.linspace(0, len(keyframes) - 1, min(count, len(keyframes))).round().astype(int)
        chosen = keyframes[np.unique(spread)]
        share = chosen[self.global_rank :: self.trainer.world_size]
        if not len(share):  # Lightning wants a batch of every process; a keyframe counts once
            share = chosen[:1]
        dataset = KeyframeDataset(self.index, self.network_config, self.contents.for_validation())
        return self._loader(
            torch.utils.data.Subset(dataset, share.tolist()), batch_size=self.config.batch_size
        )

    def _loader(self, dataset: Any, **how: Any) -> DataLoader[TrainingSample]:
        return DataLoader(
            dataset,
            num_workers=self.config.loader_workers,
            collate_fn=collate,
            worker_init_fn=begin_loader_process,
            pin_memory=self.device.type == "cuda",
            **how,
        )

    def validation_step(self, batch: TrainingSample, _: int) -> None:
        # In float32, as the detector: rounded logits tie, and a peak is then found twice.
        with torch.autocast(self.device.type, enabled=False):
            output = self.heads(self.average.module, batch)
        keyframes = batch.keyframe.tolist()
        self._submission |= submission_of(output, keyframes, self.index, self.network_config)
        targets = batch.objects
        boxes = l1_loss(at_cells(output.boxes, targets.cells), targets.boxes, targets.valid)
        self._losses += (
            float(heatmap_loss(output.heatmap, targets.heatmap)),
            BOX_WEIGHT * float(boxes),
            int(targets.valid.sum()),
        )

    def on_validation_epoch_end(self) -> None:
        validation = self._scored()
        if self.trainer.sanity_checking:
            return
        self.validation, metrics = validation, validation.metrics
        self.log("val/mean_ap", metrics.mean_ap, prog_bar=True)
        self.log("val/nds", metrics.nds)
        self.log("val/heatmap", validation.heatmap_loss)
        self.log("val/boxes", validation.box_loss)
        self.log_dict({f"val/ap/{name}": ap for name, ap in metrics.class_ap.items()})

    @torch.no_grad()
    def validate_whole_split(self) -> Validation:
        """Validate on the whole split, in the midst of training."""
        was_training = self.average.training
        self.average.eval()
        loader, quiet = self._validation_loader(True), not self.trainer.is_global_zero
        for batch in tqdm(loader, desc="Validation", unit="batch", leave=False, disable=quiet):
            self.validation_step(self.trainer.strategy.batch_to_device(batch), 0)
        self.average.train(was_training)
        self._step_end = None  # its time is not the training's
        return self._scored()

    def _scored(self) -> Validation:
        """The score of what `validation_step` has collected on all processes. Raises UserError."""
        submission, self._submission = self._submission, {}
        losses, self._losses = self._losses, np.zeros(3)
        if self.trainer.world_size > 1:
            shares: list[Any] | None = None
            if self.trainer.is_global_zero:  # which alone scores
                shares = [None] * self.trainer.world_size
            torch.distributed.gather_object((submission, losses), shares)
            for others, their_losses in (shares or [])[1:]:
                submission |= others
                losses = losses + their_losses
        outcome: Validation | UserError | None = None
        if self.trainer.is_global_zero:
            try:
                metrics = score(self._tables, submission)
            except UserError as error:
                outcome = error  # told to the other processes, which wait
            else:
                heatmap, boxes = losses[:2] / max(1, losses[2])
                outcome = Validation(metrics, float(heatmap), float(boxes))
        outcome = self.trainer.strategy.broadcast(outcome)
        if isinstance(outcome, UserError):
            self.refusal = outcome
            raise outcome
        assert outcome is not None
        return outcome
