# SPDX-License-Identifier: Apache-2.0
"""The distillation objective: both feature distillations and the responses, weighted and summed."""

from __future__ import annotations

from torch import Tensor, nn

from asd_perception.bev_grid import BevGrid
from asd_perception.errors import UserError
from asd_perception.network.student import StudentOutput
from asd_training.config.distillation import DistillConfig
from asd_training.data.targets import DetectionTargets
from asd_training.losses.adaptive_smooth import AdaptiveSmooth, adaptive_smooth_loss
from asd_training.losses.feature_l2 import feature_l2_loss
from asd_training.losses.features import Adapter, object_mask
from asd_training.losses.response import response_losses
from asd_training.models.teacher import TeacherAnswer


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
        self,
        teacher: TeacherAnswer,
        student: StudentOutput,
        targets: DetectionTargets,
        step: int | Tensor,
    ) -> dict[str, Tensor]:
        """All terms at an optimiser step, weighted; the loss is their sum.

        step: a number, or a scalar tensor on the device. The teacher's maps get no gradient. Both
        networks saw the same batch, whose objects are `targets`.
        """
        config = self.config
        ramp = step / config.ramp_steps if config.ramp_steps else 1.0
        ramp = ramp.clamp(max=1.0) if isinstance(ramp, Tensor) else min(1.0, ramp)
        pairs = {
            "cross_modal": (teacher.lidar_bev, student.point_bev),
            "multi_modal": (teacher.fused_bev, student.fused_bev),
        }
        mask = object_mask(targets, config.background_floor)
        terms = {}
        for name, adapter in self.adapters.items():
            theirs, ours = pairs[name]
            assert ours is not None  # a camera-only student has no cross-modal distillation
            loss = self._feature_loss(getattr(config, name), theirs, adapter(ours), mask)
            terms[name] = getattr(config, f"{name}_weight") * loss
        if config.response != "none":
            losses = response_losses(
                *(teacher, student.head, targets, self.grid, config.alpha),
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
