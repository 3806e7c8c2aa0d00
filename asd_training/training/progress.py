# SPDX-License-Identifier: Apache-2.0
"""The progress bar of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import RichProgressBar

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


class TrainingProgress(RichProgressBar):
    """Lightning's bar without epochs and version: a run is one epoch of all its steps."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"{'Training':{len(self.validation_description)}}"  # as wide, so that nothing moves

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics
