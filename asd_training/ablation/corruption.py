# SPDX-License-Identifier: Apache-2.0
"""Corrupted simulated points, to measure how much they cost with either fusion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from asd_perception.errors import UserError
from asd_perception.network.config import StudentConfig
from asd_perception.network.simulated_points import PointSimulator
from asd_perception.network.student import Student


@dataclass(frozen=True)
class Corruption:
    """axis: what a level measures. levels: those that are scored, beside 0."""

    axis: str
    levels: tuple[float, ...]


CORRUPTIONS = {
    "random": Corruption("share of points at a random depth", (0.25, 0.5, 0.75, 1.0)),
    "shifted": Corruption("all points farther away (m)", (0.5, 1.0, 2.0, 4.0)),
    "dropped": Corruption("share of points dropped", (0.25, 0.5, 0.75, 1.0)),
}
"""Random: a uniform depth in the bins' range, with the original confidence. Shifted: along the ray.
Dropped: of zero confidence, so that they leave no trace in BEV."""


class CorruptedSimulator(PointSimulator):
    """A point simulator with points corrupted to the same degree in every frame."""

    def __init__(self, config: StudentConfig, kind: str, level: float) -> None:
        super().__init__(config)
        self.kind, self.level = kind, level
        self.random = torch.Generator().manual_seed(0)

    def place(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Depths and confidences (B, N, h, w), corrupted."""
        depth, confidence = super().place(logits)
        if self.kind == "shifted":
            return depth + self.level, confidence
        draw, elsewhere = torch.rand(2, *depth.shape, generator=self.random).to(depth.device)
        chosen = draw < self.level
        if self.kind == "dropped":
            return depth, confidence.masked_fill(chosen, 0.0)
        elsewhere = self.bins.near + (self.bins.far - self.bins.near) * elsewhere
        return torch.where(chosen, elsewhere, depth), confidence


def corrupt(student: Student, kind: str, level: float) -> None:
    """Corrupt a student's simulated points from now on, in place. Raises UserError."""
    if student.config.fusion == "camera_only":
        raise UserError("a camera_only student has no simulated points to corrupt")
    corrupted = CorruptedSimulator(student.config, kind, level).to(
        next(student.parameters()).device
    )
    corrupted.load_state_dict(student.point_simulator.state_dict())
    student.point_simulator = corrupted.train(student.training)
