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
from collections.abc import Callable
from functools import cached_property, partial
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
from asd_training.checking.training_data import with_splits
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
from asd_training.models.ema import MovingAverage
from asd_training.resident.draws import DrawnSamples
from asd_training.resident.samples import ResidentSamples, made_resident
from asd_training.resident.step import (
    STEPS_PER_READING,
    RecordedStep,
    as_on_any_device,
    gradient_not_finite,
    loss_not_finite,
)


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
        images, `pretrained`, `frozen_stages` and `recompute_images` have no effect."""
        super().__init__()
        self.config = config = with_splits(config, index.root, index.version)
        self.network = network
        self.network_config = network_config
        self.average = MovingAverage(network, config.ema_decay)
        if contents.images:
            network.image_encoder.freeze_stages(config.frozen_stages)
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
        self._timed_from = 0  # the step that ended then, where many are timed together
        self._seconds = 0.0  # per batch, averaged
        self.samples: ResidentSamples | None = None  # in place of the loader's
        self.recorded_step: RecordedStep | None = None

    @property
    def why_not_recorded(self) -> str | None:
        """Why a step on resident samples cannot be one CUDA graph; None: it can."""
        if self.contents.sweeps:
            return "the number of LiDAR points in the grid differs from step to step"
        if self.config.recompute_images:
            return "recompute_images keeps the state of random numbers on the host"
        if self.config.accumulate > 1:
            return "accumulate is above 1"
        if self.config.precision == "16-mixed":
            return "16-mixed finds its gradient scale by trial"
        if self.trainer.world_size > 1:
            return "several processes share a step"
        return None

    @property
    def bytes_beside_samples(self) -> int:
        """Bytes of what else is prepared and on the device, and shares the room of the samples."""
        return 0

    @property
    def step_number(self) -> int | Tensor:
        """The number of the present optimiser step; on the device where that is recorded."""
        return self.recorded_step.number if self.recorded_step else self.global_step

    @property
    def recorded(self) -> bool:
        """Whether training_step is the whole step."""
        return self.samples is not None and self.why_not_recorded is None

    @abstractmethod
    def losses(self, batch: TrainingSample) -> dict[str, Tensor]:
        """The weighted terms of the loss of a batch."""

    @property
    def statistics(self) -> dict[str, Tensor]:
        """What else tells of the last batch, to be logged: scalars."""
        return {}

    @abstractmethod
    def heads(self, network: nn.Module, batch: TrainingSample) -> HeadOutput:
        """The head's output of `network` for a batch."""

    @cached_property
    def _tables(self) -> NuScenes:
        """The dataset's tables, which the official evaluator reads; slow to open where large."""
        tables = open_dataset(self.index.root, self.index.version)
        gc.freeze()  # or each loader process, forked from this one, would come to copy them
        return tables

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.samples is not None and isinstance(batch, Tensor) and not self.recorded:
            return self.samples(batch)
        return batch

    def training_step(self, batch: TrainingSample | Tensor, _: int) -> Tensor | None:
        if isinstance(batch, Tensor):
            self._recorded_training_step(batch)
            return None
        terms = self.losses(batch)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            values = {name: float(term.detach()) for name, term in terms.items()}
            raise loss_not_finite(self.global_step, values)
        self.log("loss", loss, prog_bar=True)
        for name, value in terms.items():  # all of them would fill the terminal
            self.log(f"loss/{name}", value, prog_bar=name in ("heatmap", "boxes"))
        self.log_dict({f"gate/{name}": value for name, value in self.statistics.items()})
        return loss

    def _recorded_training_step(self, draws: Tensor) -> None:
        """A whole step, optimiser included. Its results are read once in a while: that waits."""
        if self.recorded_step is None:
            assert self.samples is not None
            self.recorded_step = RecordedStep(
                self.samples,
                self.losses,
                self.optimizers(use_pl_optimizer=False),
                partial(self.average.update, self.network),
                gradient_clip=self.config.gradient_clip,
                bfloat16=self.config.precision == "bf16-mixed",
                statistics=lambda: self.statistics,
                first=self.global_step,
            )
        step, done = self.recorded_step, self.global_step + 1
        if self._step_end is None:
            self._step_end, self._timed_from = time.perf_counter(), self.global_step
        step(draws, self.average.share(self.global_step))
        if done % self.trainer.log_every_n_steps and done != self.config.steps:
            return
        values = step.read()[-1]
        now = time.perf_counter()
        samples = (done - self._timed_from) * len(draws)
        values["samples_per_s"] = samples / (now - self._step_end)
        values["learning_rate"] = float(step.optimizer.param_groups[0]["lr"])
        self._step_end, self._timed_from = now, done
        for name, value in values.items():  # on the CPU: a GPU's would be waited for at each step
            on_bar = name in ("loss", "loss/heatmap", "loss/boxes")
            self.log(name, torch.tensor(value), prog_bar=on_bar)

    def _check_recorded(self) -> None:
        """Before weights are validated or saved, raise UserError if a step was not finite."""
        if self.recorded_step is not None:
            self.recorded_step.read()

    def on_train_start(self) -> None:
        self.recorded_step = None  # one of an earlier training has another optimiser

    def on_train_batch_start(self, batch: TrainingSample, batch_idx: int) -> None:
        # For networks that draw random numbers (Swin's stochastic depth). 0 and 1 after the seed
        # are TrainingStream's.
        sequence = np.random.SeedSequence([self.config.seed, 2, batch_idx, self.global_rank])
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))

    def on_train_batch_end(
        self, outputs: Any, batch: TrainingSample | Tensor, batch_idx: int
    ) -> None:
        if isinstance(batch, Tensor):
            return
        now = time.perf_counter()
        if self._step_end is not None:
            seconds = now - self._step_end
            self._seconds = 0.9 * self._seconds + 0.1 * seconds if self._seconds else seconds
            samples = len(batch.keyframe) * self.trainer.world_size
            self.log("samples_per_s", samples / self._seconds)
        self._step_end = now

    def on_validation_start(self) -> None:
        self._check_recorded()

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
            raise gradient_not_finite(self.global_step, float(norm))
        self.log("gradient_norm", norm)
        self.log("learning_rate", optimizer.param_groups[0]["lr"])

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: torch.optim.Optimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        if self.recorded:  # then training_step does it all
            assert optimizer_closure is not None
            optimizer_closure()
            return
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.average.update(self.network, self.average.share(self.global_step))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._check_recorded()
        if self.recorded_step is not None:
            as_on_any_device(checkpoint)

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

    def train_dataloader(self) -> DataLoader[Any]:
        """The samples from the run's current step on, or the draws of resident ones."""
        config, contents = self.config, self.contents
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
                contents,
                config.augmentation,
            )
            self._keep_resident(store)
        batches = StepBatches(
            config.batch_size,
            batches=config.steps * config.accumulate,
            first=self.global_step * config.accumulate,
            rank=self.global_rank,
            processes=self.trainer.world_size,
        )
        if self.samples is not None:
            drawn = DrawnSamples(
                self.index, contents.images, config.augmentation, self.network_config.image_size
            )
            draws = TrainingStream(drawn, keyframes, config.seed, weights)
            return self._loader(draws, torch.stack, batch_sampler=batches)
        dataset = KeyframeDataset(
            self.index, self.network_config, contents, config.augmentation, store
        )
        stream = TrainingStream(dataset, keyframes, config.seed, weights)
        return self._loader(stream, batch_sampler=batches)

    def _keep_resident(self, store: SampleStore) -> None:
        """Copy the store to the device, if that is wanted and there is room, and say so.

        Raises UserError where it was asked for in vain.
        """
        wanted = self.config.resident
        if self.samples is not None or wanted is False:
            return
        if wanted == "auto" and self.device.type != "cuda":
            return
        made = made_resident(
            store,
            self.index,
            self.network_config,
            self.contents,
            self.config.augmentation,
            self.device,
            beside=self.bytes_beside_samples,
        )
        if isinstance(made, str):
            if wanted is True:
                raise UserError(f"resident is true, but samples cannot stay on the device: {made}")
            if self.trainer.is_global_zero:
                print(f"samples come from the loader: {made}")
            return
        self.samples = made
        if self.recorded:
            self.trainer.log_every_n_steps = STEPS_PER_READING
        how = "one CUDA graph" if self.device.type == "cuda" else "one call"
        if reason := self.why_not_recorded:
            how = f"not recorded ({reason})"
        if self.trainer.is_global_zero:
            print(f"samples: {made.nbytes / 1e6:.0f} MB on {self.device}; a step is {how}")

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

    def _loader(
        self, dataset: Any, collate_fn: Callable[[list[Any]], Any] = collate, **how: Any
    ) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            num_workers=self.config.loader_workers,
            collate_fn=collate_fn,
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
        self._check_recorded()
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
