# SPDX-License-Identifier: Apache-2.0
"""The distillation objective: both feature distillations and the responses, weighted and summed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from asd_perception.bev_grid import BevGrid
from asd_perception.errors import UserError
from asd_perception.network.center_head import HeadOutput
from asd_perception.network.config import StudentConfig
from asd_perception.network.layers import ConvNormReLU
from asd_perception.network.student import StudentOutput
from asd_perception.network.view_transform import FrameGeometry
from asd_training.config.distillation import DistillConfig
from asd_training.data.targets import DetectionTargets
from asd_training.losses.adaptive_ray import AdaptiveRay, adaptive_ray_loss
from asd_training.losses.adaptive_smooth import AdaptiveSmooth, adaptive_smooth_loss
from asd_training.losses.detection import SoftTargets, at_cells
from asd_training.losses.feature_l2 import feature_l2_loss, feature_raw_loss
from asd_training.losses.features import Adapter, ChannelScale, object_mask
from asd_training.losses.ray_uncertainty import ray_uncertainty
from asd_training.losses.response import response_losses, soft_targets
from asd_training.models.teacher import TeacherAnswer

NEAR = 20.0
"""Distance in m up to which an object counts as near, in the statistics of the gates."""


class DistillationObjective(nn.Module):
    """The terms of the distillation loss. The adapters are trained with the student, then dropped.

    The abstract: distillation goes from LiDAR to the cameras (cross-modal), and from the fusion of
    LiDAR and cameras to that of simulated points and cameras (multi-modal).

    `statistics`, of the last call, tells of each adaptive loss how coarsely near and far objects
    are compared, on average: the granularity in levels, and where it depends on more, the smoothing
    in cells. Without such objects in the batch it is NaN.
    """

    def __init__(
        self,
        config: DistillConfig,
        student: StudentConfig,
        teacher: StudentConfig,
        answer_to: Callable[[Tensor], HeadOutput],
    ) -> None:
        """teacher: what its network has in common with the student's. answer_to: what the frozen
        teacher's BEV encoder and head make of fused features."""
        super().__init__()
        self.config, self.student, self.answer_to = config, student, answer_to
        self.adapters = nn.ModuleDict()
        self.scales = nn.ModuleDict()
        self.statistics: dict[str, Tensor] = {}
        for name in ("cross_modal", "multi_modal"):
            method = getattr(config, name)
            if method == "none":
                continue
            channels = student.bev_channels, teacher.bev_channels
            if name == "multi_modal" and method == "adaptive_ray":
                channels = student.encoder_channels[0], teacher.encoder_channels[0]
            self.adapters[name] = _adapter(name, config, *channels)
            if method == "adaptive_ray":
                self.scales[name] = ChannelScale(channels[1])

    def forward(
        self,
        teacher: TeacherAnswer,
        student: StudentOutput,
        geometry: FrameGeometry,
        targets: DetectionTargets,
        step: int | Tensor,
    ) -> dict[str, Tensor]:
        """All terms at an optimiser step, weighted; the loss is their sum.

        geometry: of the student's images. step: a number, or a scalar tensor on the device. The
        teacher's maps get no gradient. Both networks saw the same batch, whose objects are
        `targets`.
        """
        config = self.config
        ramp = step / config.ramp_steps if config.ramp_steps else 1.0
        ramp = ramp.clamp(max=1.0) if isinstance(ramp, Tensor) else min(1.0, ramp)
        self.statistics = {}
        terms = {}
        for name in self.adapters:
            loss = self._feature_loss(name, teacher, student, geometry, targets)
            terms[name] = getattr(config, f"{name}_weight") * loss
        if config.response in ("soft", "unweighted"):
            losses = response_losses(
                *(teacher, student.head, targets, self.student.bev, config.alpha),
                soft=config.response == "soft",
            )
            terms |= {name: config.response_weight * loss for name, loss in losses.items()}
        return {name: ramp * term for name, term in terms.items()}

    def soft_targets(self, teacher: TeacherAnswer, targets: DetectionTargets) -> SoftTargets | None:
        """What replaces the targets of heatmap and boxes, from the first step on."""
        if self.config.response != "replaces":
            return None
        config = self.config
        return soft_targets(teacher, targets, self.student.bev, config.alpha, config.response_share)

    def _feature_loss(
        self,
        name: str,
        teacher: TeacherAnswer,
        student: StudentOutput,
        geometry: FrameGeometry,
        targets: DetectionTargets,
    ) -> Tensor:
        method, adapter = getattr(self.config, name), self.adapters[name]
        cross_modal = name == "cross_modal"
        theirs, ours = teacher.fused_bev, student.fused_bev
        if cross_modal:
            assert student.point_bev is not None  # a camera-only student has no cross-modal loss
            theirs, ours = teacher.lidar_bev, student.point_bev
        mask = object_mask(targets, self.config.background_floor)
        match method:
            case "raw":
                if cross_modal:
                    discs = targets.heatmap.sum(dim=1, keepdim=True)
                    return feature_raw_loss(theirs, adapter(ours), discs)
                loss = feature_raw_loss(theirs, adapter(ours))
                if teacher.camera_bev is not None:
                    loss = loss + feature_raw_loss(teacher.camera_bev, student.camera_bev)
                return loss
            case "l2":
                return feature_l2_loss(theirs, adapter(ours), mask)
            case "functional":
                answer = self.answer_to(adapter(ours))
                grid, alpha = self.student.bev, self.config.alpha
                losses = response_losses(teacher, answer, targets, grid, alpha)
                return torch.stack(list(losses.values())).sum()
            case "adaptive_ray":
                ray = self.adaptive_ray(name, teacher, student, geometry, mask)
                self._note(name, targets, granularity=ray.granularity, smoothing=ray.smoothing)
                return ray.loss
        smooth = self.adaptive_smooth(theirs, adapter(ours), mask)
        self._note(name, targets, granularity=smooth.granularity)
        return smooth.loss

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

    def adaptive_ray(
        self,
        name: str,
        teacher: TeacherAnswer,
        student: StudentOutput,
        geometry: FrameGeometry,
        mask: Tensor,
    ) -> AdaptiveRay:
        """Adaptive target smoothing: of LiDAR's features by what the simulated points' depth leaves
        open (cross_modal), of encoded features by what lift-splat's does (multi_modal)."""
        theirs, ours, depth = teacher.encoded_bev, student.encoded_bev, student.camera_depth
        if name == "cross_modal":
            assert student.point_bev is not None and student.point_depth is not None
            theirs, ours, depth = teacher.lidar_bev, student.point_bev, student.point_depth
        ray = ray_uncertainty(depth, geometry, self.student.depth, self.student.bev)
        scale = self.scales[name](theirs)
        return adaptive_ray_loss(theirs, self.adapters[name](ours), mask, ray, *scale)

    @torch.no_grad()
    def _note(self, name: str, targets: DetectionTargets, **maps: Tensor) -> None:
        """Remember the means of maps (B, Y, X) at near and far objects."""
        near = _distance(targets.cells, self.student.bev) < NEAR
        for place, objects in (("near", near), ("far", ~near)):
            objects = objects & targets.valid
            for quantity, values in maps.items():
                total = (at_cells(values[:, None], targets.cells)[..., 0] * objects).sum()
                self.statistics[f"{name}_{quantity}_{place}"] = total / objects.sum()


def _adapter(name: str, config: DistillConfig, student: int, teacher: int) -> nn.Module:
    """What makes the student's features comparable with the teacher's, of so many channels."""
    method = getattr(config, name)
    if method == "raw" and name == "cross_modal":
        return ConvNormReLU(student, teacher)
    if config.adapters and method != "raw":
        return Adapter(student, teacher)
    if student != teacher:
        raise UserError(
            f"the teacher's BEV features have {teacher} channels and the student's {student}; "
            f"{'with raw' if method == 'raw' else 'without adapters'} they must have as many"
        )
    return nn.Identity()


def _distance(cells: Tensor, grid: BevGrid) -> Tensor:
    """Distance in m of flat cells from base_link."""
    column, row = cells % grid.size, cells // grid.size
    return grid.cell * torch.hypot(column + 0.5 - grid.size / 2, row + 0.5 - grid.size / 2)
