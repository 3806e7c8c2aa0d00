# SPDX-License-Identifier: Apache-2.0
"""The distillation objective: both feature distillations and the responses, weighted and summed."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from asd_perception.bev_grid import BevGrid
from asd_perception.errors import UserError
from asd_perception.network.student import StudentOutput
from asd_training.distillation.adaptive_smooth import AdaptiveSmooth, adaptive_smooth_loss
from asd_training.distillation.feature_l2 import feature_l2_loss
from asd_training.distillation.features import Adapter, object_mask
from asd_training.distillation.response import response_losses
from asd_training.targets import DetectionTargets
from asd_training.teacher.network import TeacherOutput

TERMS = ("cross_modal", "multi_modal", "response")
METHODS = ("none", "l2", "adaptive")
RESPONSES = ("none", "unweighted", "soft")
DISCREPANCIES = ("local", "grid")

PRESETS: dict[str, dict[str, str | float | bool]] = {
    "none": {
        "cross_modal": "none",
        "multi_modal": "none",
        "response": "none",
        "initialise": False,
    },
    "l2": {
        "cross_modal": "l2",
        "multi_modal": "l2",
        "response": "none",
        "initialise": True,
        "cross_modal_weight": 0.1,
        "multi_modal_weight": 0.5,
    },
    "adaptive": {
        "cross_modal": "adaptive",
        "multi_modal": "adaptive",
        "response": "soft",
        "initialise": True,
        "cross_modal_weight": 3.0,
        "multi_modal_weight": 10.0,
        "response_weight": 2.0,
    },
}
"""What `asd-train student --distill` sets: nothing, plain L2 features, or the full method.

The losses' scales differ: the gradient of plain L2 on a student's features is about 20 times that
of adaptive-smooth. The weights were chosen on validation scenes, and beginning with the teacher's
BEV encoder and head is what helps most (docs/results.md).
"""


@dataclass(frozen=True)
class DistillConfig:
    """What the student learns from the teacher, and how much it counts. By default nothing.

    teacher: model directory of the teacher.
    cross_modal: how LiDAR features teach those of the simulated points, multi_modal: how the
    teacher's fused features teach the student's: "adaptive" (adaptive_smooth.py), "l2"
    (feature_l2.py) or "none". response: how the teacher's heatmap and boxes teach (response.py):
    "soft" by their quality, "unweighted", or "none". `..._weight`: of each in the loss.
    initialise: begin with the teacher's BEV encoder and head.
    adapters: whether the student's features are compared through learned 1x1 maps, or as they are.
    alpha: in [0, 1), how far the teacher's probability, and not its box, tells its quality.
    discrepancy: what d is taken relative to: the features' energy around the cell ("local"), or
    over the whole grid ("grid").
    delta: discrepancy at which half of the granularity's range is used. levels: sigma_k in cells,
    finest first. tau: softness of the choice among them.
    background_floor: in [0, 1], weight of the features where there is no object.
    ramp_steps: optimiser steps over which the weights rise from 0.
    """

    teacher: str | None = None
    cross_modal: str = "none"
    multi_modal: str = "none"
    response: str = "none"
    cross_modal_weight: float = 1.0
    multi_modal_weight: float = 1.0
    response_weight: float = 1.0
    initialise: bool = False
    adapters: bool = True
    alpha: float = 0.5
    discrepancy: str = "local"
    delta: float = 1.0
    levels: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0)
    tau: float = 0.5
    background_floor: float = 0.01
    ramp_steps: int = 500

    @property
    def asks_teacher(self) -> bool:
        """Whether training asks the teacher anything, beyond where to begin."""
        return {self.cross_modal, self.multi_modal, self.response} != {"none"}

    @property
    def needs_teacher(self) -> bool:
        """Whether there must be a teacher at all."""
        return self.asks_teacher or self.initialise

    def __post_init__(self) -> None:
        for name, known in (
            ("cross_modal", METHODS),
            ("multi_modal", METHODS),
            ("response", RESPONSES),
            ("discrepancy", DISCREPANCIES),
        ):
            if getattr(self, name) not in known:
                raise UserError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}"
                )
        for name in (*(f"{term}_weight" for term in TERMS), "ramp_steps"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        for name in ("delta", "tau"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} is {getattr(self, name)}; it must be more than 0")
        if not 0 <= self.alpha < 1:  # at 1 a box that misses would be taught
            raise UserError(f"alpha is {self.alpha}; it must be at least 0 and less than 1")
        if not 0 <= self.background_floor <= 1:
            raise UserError(f"background_floor is {self.background_floor}; it must be in 0 ... 1")
        if not self.levels or self.levels[0] < 0 or sorted(set(self.levels)) != list(self.levels):
            raise UserError(f"levels are {self.levels}; they must rise from 0 or more")


class DistillationObjective(nn.Module):
    """The terms of the distillation loss. The adapters are trained with the student, then dropped.

    The abstract: distillation goes from LiDAR to the cameras (cross-modal), and from the fusion of
    LiDAR and cameras to that of simulated points and cameras (multi-modal).
    """

    def __init__(
        self, config: DistillConfig, grid: BevGrid, student_channels: int, teacher_channels: int
    ) -> None:
        """student_channels, teacher_channels: of the two networks' BEV features."""
        super().__init__()
        self.config, self.grid = config, grid
        self.adapters = nn.ModuleDict()
        for name in ("cross_modal", "multi_modal"):
            if getattr(config, name) == "none":
                continue
            if config.adapters:
                self.adapters[name] = Adapter(student_channels, teacher_channels)
            elif student_channels == teacher_channels:
                self.adapters[name] = nn.Identity()
            else:
                raise UserError(
                    f"the teacher's BEV features have {teacher_channels} channels and the "
                    f"student's {student_channels}; without adapters they must have as many"
                )

    def forward(
        self, teacher: TeacherOutput, student: StudentOutput, targets: DetectionTargets, step: int
    ) -> dict[str, Tensor]:
        """All terms at an optimiser step, weighted; the loss is their sum.

        Of the teacher are used head, lidar_bev and fused_bev; no gradient goes there. Both saw the
        same batch, whose objects are `targets`.
        """
        config = self.config
        ramp = min(1.0, step / config.ramp_steps) if config.ramp_steps else 1.0
        pairs = {
            "cross_modal": (teacher.lidar_bev, student.point_bev),
            "multi_modal": (teacher.fused_bev, student.fused_bev),
        }
        mask = object_mask(targets, config.background_floor)
        terms = {}
        for name, adapter in self.adapters.items():
            theirs, ours = pairs[name]
            assert ours is not None  # a camera-only student takes no cross-modal distillation
            loss = self._feature_loss(getattr(config, name), theirs, adapter(ours), mask)
            terms[name] = getattr(config, f"{name}_weight") * loss
        if config.response != "none":
            losses = response_losses(
                *(teacher.head, student.head, targets, self.grid, config.alpha),
                soft=config.response == "soft",
            )
            terms |= {name: config.response_weight * loss for name, loss in losses.items()}
        return {name: ramp * term for name, term in terms.items()}

    def _feature_loss(self, method: str, teacher: Tensor, student: Tensor, mask: Tensor) -> Tensor:
        if method == "l2":
            return feature_l2_loss(teacher, student, mask)
        return self.adaptive_smooth(teacher, student, mask).loss

    def adaptive_smooth(self, teacher: Tensor, student: Tensor, mask: Tensor) -> AdaptiveSmooth:
        """The adaptive-smooth loss of teacher and adapted student, as it is configured."""
        config = self.config
        return adaptive_smooth_loss(
            *(teacher, student, mask),
            delta=config.delta,
            levels=config.levels,
            tau=config.tau,
            discrepancy=config.discrepancy,
        )
