# SPDX-License-Identifier: Apache-2.0
"""The progress of a run: a bar in a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import RichProgressBar

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

LINE_PERIOD = 60.0  # s between two lines, where there is no terminal for a bar


class TrainingProgress(RichProgressBar):
    """Lightning's bar without epochs and version: a run is one epoch of all its steps."""

    def __init__(self) -> None:
        super().__init__()
        self._begun = self._told = 0.0  # on time.monotonic()
        self._first_step = 0

    def _get_train_description(self, current_epoch: int) -> str:
        return f"{'Training':{len(self.validation_description)}}"  # as wide, so that nothing moves

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._begun = self._told = time.monotonic()
        self._first_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        now, done = time.monotonic(), trainer.global_step - self._first_step
        if sys.stdout.isatty() or not trainer.is_global_zero:
            return
        if not done or now - self._told < LINE_PERIOD:
            return
        self._told = now
        left = (trainer.max_steps - trainer.global_step) * (now - self._begun) / done
        metrics = self.get_metrics(trainer, pl_module).items()
        values = "".join(f", {name} {value}" for name, value in metrics)
        line = f"step {trainer.global_step} of {trainer.max_steps}, {left / 60:.0f} min left"
        print(line + values, flush=True)
