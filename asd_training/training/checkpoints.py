# SPDX-License-Identifier: Apache-2.0
"""The checkpoints of a run: the last, from which it resumes, and the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import RunningStage

from asd_perception.errors import UserError
from asd_perception.files import atomic_file
from asd_training.config.run import TrainingConfig
from asd_training.models.pretrained import load_pickle
from asd_training.training.run_folder import BEST, LAST


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the one it replaces; Lightning's own way is by $TMPDIR, from
    where a file moves to another file system byte by byte."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Raises UserError where the file cannot be written; the previous file stays intact."""
        try:
            with atomic_file(path) as temporary, temporary.open("wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # torch answers a full disk by an error of its own on top of the system's.
            reason = error if isinstance(error, OSError) else error.__context__
            if not isinstance(reason, OSError):
                raise
            raise UserError(
                f"{path} cannot be written ({reason.strerror or reason}), the one before it is "
                "whole; fix that, then continue with --resume"
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Always onto the CPU, and without running code. Raises UserError."""
        return load_pickle(Path(path))


class RunCheckpoints(Callback):
    """Keeps last.ckpt, and best.ckpt of the validation with the highest mAP.

    At a step with a validation, last.ckpt is written after it and holds its result: a run that
    resumes from it neither repeats that validation nor forgets the best one.
    """

    def __init__(self, run: Path, config: TrainingConfig) -> None:
        self.run = run
        self.config = config
        self.best_ap = -1.0
        self.saved_step = 0  # of last.ckpt; 0: there is none

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        config, step = self.config, trainer.global_step
        in_mid_step = (batch_idx + 1) % config.accumulate
        validated = config.validate_every and step % config.validate_every == 0
        due = step % config.checkpoint_every == 0 or step == config.steps
        if due and not in_mid_step and not validated:
            self._save_last(trainer)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        mean_ap = float(trainer.callback_metrics["val/mean_ap"])
        if mean_ap > self.best_ap:
            self.best_ap = mean_ap
            trainer.save_checkpoint(self.run / BEST)
        self._save_last(trainer)

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        """A validation that fails costs no step: what it was to judge is kept."""
        if (
            isinstance(exception, Exception)
            and trainer.state.fn == "fit"
            and trainer.state.stage == RunningStage.VALIDATING
            and trainer.global_step > self.saved_step
        ):
            self._save_last(trainer)

    def _save_last(self, trainer: Trainer) -> None:
        previous, self.saved_step = self.saved_step, trainer.global_step
        try:
            trainer.save_checkpoint(self.run / LAST)
        except BaseException:
            self.saved_step = previous
            raise

    def state_dict(self) -> dict[str, Any]:
        return {"best_ap": self.best_ap, "saved_step": self.saved_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_ap = state_dict["best_ap"]
        self.saved_step = state_dict["saved_step"]
