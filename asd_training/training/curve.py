# SPDX-License-Identifier: Apache-2.0
"""What a run learns from how many samples, and what it costs."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from asd_training.config.run import TrainingConfig
from asd_training.evaluation.learning_curve import CurvePoint, add_point
from asd_training.training.module import DetectorTraining, Validation


class CostMeter(Callback):
    """Processor time of the training by part, in core-seconds; it counts through resumed runs.

    prepare: before the first step, where prepared samples and a teacher's answers are opened, or
    made; the mean of all processes, of which one makes them. loader: of the processes that load
    samples, and of this one between two steps, where it waits for them. step: of this one from the
    beginning of a step to the next wait; on a GPU, what its host does. To be the last of a
    trainer's callbacks.
    """

    def __init__(self) -> None:
        self.core_seconds = {"prepare": 0.0, "loader": 0.0, "step": 0.0}
        self._own = self._children = 0.0

    def count(self, part: str) -> None:
        """Count the time since the last call as one of `part`."""
        own, children = self._own, self._children
        self.skip()
        self.core_seconds[part] += self._own - own
        of_children = "prepare" if part == "prepare" else "loader"
        self.core_seconds[of_children] += max(0.0, self._children - children)

    def skip(self) -> None:
        """Do not count the time since the last call."""
        self._own, self._children = time.process_time(), _seconds_of_children()

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.skip()

    def on_sanity_check_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.count("prepare")

    def on_sanity_check_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.skip()

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.count("prepare")
        cost = torch.tensor(self.core_seconds["prepare"], device=module.device)
        self.core_seconds["prepare"] = float(trainer.strategy.reduce(cost, reduce_op="mean"))

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.count("loader")

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.count("step")

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.skip()

    def state_dict(self) -> dict[str, Any]:
        return dict(self.core_seconds)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.core_seconds |= state_dict  # those of earlier versions lack `prepare`


class CurveRecorder(Callback):
    """Adds points to a run's learning curve: after `curve_from` samples, then at each doubling.

    To come before RunCheckpoints, so that no checkpoint of a step is written before its point.
    """

    def __init__(self, run: Path, config: TrainingConfig, processes: int, meter: CostMeter) -> None:
        """processes: that train together, and share the work evenly."""
        self.run = run
        self.config = config
        self.processes = processes
        self.meter = meter

    @property
    def has_points_on_the_way(self) -> bool:
        """Whether a point falls on a step before the last one."""
        return 0 < self.config.curve_from <= self._samples(self.config.steps - 1)

    def is_due(self, step: int) -> bool:
        """Whether a point falls on this step, which is not the last: that has one anyway."""
        start = self.config.curve_from
        if not 0 < step < self.config.steps or not start:
            return False
        doubled = self._samples(step) // start  # 1: between one time and two times `start`
        return doubled.bit_length() > (self._samples(step - 1) // start).bit_length()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        in_mid_step = (batch_idx + 1) % self.config.accumulate
        if in_mid_step or not self.is_due(trainer.global_step):
            return
        assert isinstance(module, DetectorTraining)
        self.meter.count("step")
        validation = module.validate_whole_split()
        self.meter.skip()
        if trainer.is_global_zero:
            self.add(trainer.global_step, validation)

    def add(self, step: int, validation: Validation) -> None:
        """Add the point of this step."""
        costs = self.meter.core_seconds.items()
        point = CurvePoint(
            samples=self._samples(step),
            steps=step,
            mean_ap=validation.metrics.mean_ap,
            nds=validation.metrics.nds,
            heatmap_loss=validation.heatmap_loss,
            box_loss=validation.box_loss,
            core_seconds={part: round(self.processes * cost, 1) for part, cost in costs},
        )
        add_point(self.run, self.config.val_split, point)

    def core_seconds_per_sample(self) -> dict[str, float]:
        """What a sample has cost so far, by part."""
        samples = self._samples(self.config.steps) / self.processes
        return {part: cost / samples for part, cost in self.meter.core_seconds.items()}

    def _samples(self, step: int) -> int:
        return step * self.config.batch_size * self.config.accumulate * self.processes


def _seconds_of_children() -> float:
    """Processor time of this process's children, of those that live and those that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = ended.ru_utime + ended.ru_stime
    # multiprocessing's own list would take note of one that was killed, before the loader does.
    for thread in Path("/proc/self/task").iterdir():
        for child in _lines_of(thread / "children").split():
            fields = _lines_of(Path("/proc", child, "stat")).rpartition(")")[2].split()
            if fields:
                seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def _lines_of(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # its process or thread has just ended
        return ""
