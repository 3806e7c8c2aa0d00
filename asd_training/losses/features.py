# SPDX-License-Identifier: Apache-2.0
"""What every feature distillation needs: an adapter, a common scale, and where objects are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asd_training.data.targets import DetectionTargets
from asd_training.losses.detection import at_least_float32

MIN_VARIANCE = 1e-5
"""A channel that varies less than this over the grid is inactive."""


class Adapter(nn.Conv2d):
    """The student's channels to the teacher's, (B, C_S, H, W) to (B, C_T, H, W), cell by cell.

    Starts as the identity where both have as many channels. It needs no bias, which standardising
    would remove.
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__(student_channels, teacher_channels, 1, bias=False)
        if student_channels == teacher_channels:
            nn.init.dirac_(self.weight)


class ChannelScale(nn.Module):
    """Mean and variance of each channel of the teacher's features, over all that training has seen.

    From the second step on they are the same for every sample, and soon they hardly change.
    """

    batches: Tensor
    moments: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("batches", torch.zeros(()))
        self.register_buffer("moments", torch.zeros(2, channels))  # mean of x, and of x^2

    @torch.no_grad()
    def forward(self, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (C); in training, the teacher's maps (B, C, H, W) are included."""
        if self.training:
            maps = at_least_float32(teacher)
            seen = torch.stack([maps.mean(dim=(0, 2, 3)), maps.square().mean(dim=(0, 2, 3))])
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.all_reduce(seen)
                seen /= torch.distributed.get_world_size()
            self.batches += 1
            self.moments += (seen - self.moments) / self.batches
        mean, square = self.moments.unbind()
        return mean, (square - mean.square()).clamp(min=0)


def standardised_difference(teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    """Student minus teacher, each standardised per sample and channel over the grid.

    This removes scale and offset, in which LiDAR and cameras differ. teacher (which gets no
    gradient) and student: (B, C, H, W). Channels that are constant in the teacher are inactive:
    there the difference is 0.
    Returns the difference (B, C, H, W) in float32 or wider, and the number of active channels (B).
    """
    teacher, student, channels = standardised_pair(teacher, student)
    return student - teacher, channels


def standardised_pair(teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The two operands of `standardised_difference`, and the number of active channels (B)."""
    if teacher.shape != student.shape:
        raise ValueError(
            f"teacher {tuple(teacher.shape)} and student {tuple(student.shape)} differ"
        )
    teacher, student = (at_least_float32(x).contiguous() for x in (teacher.detach(), student))
    active = teacher.var(dim=(2, 3), correction=0) > MIN_VARIANCE  # (B, C)
    return _standardised(teacher, active), _standardised(student, active), active.sum(dim=1)


def object_mask(targets: DetectionTargets, floor: float) -> Tensor:
    """Where features matter (B, 1, H, W): 1 at objects' centres, falling to `floor` elsewhere."""
    return targets.heatmap.amax(dim=1, keepdim=True).clamp(min=floor)


def channel_mean(maps: Tensor, channels: Tensor) -> Tensor:
    """Mean (B, H, W) of maps (B, C, H, W) over the `channels` (B) active ones; the others are 0."""
    return maps.sum(dim=1) / channels.clamp(min=1)[:, None, None]


def _standardised(maps: Tensor, active: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the grid where the channel is active, else 0.

    As a batch normalisation of one sample with B * C channels: one kernel forward, one backward.
    """
    one_sample = maps.reshape(1, -1, *maps.shape[2:])
    scale = active.flatten().to(maps.dtype)
    result = F.batch_norm(
        one_sample, None, None, weight=scale, training=True, eps=MIN_VARIANCE / 100
    )
    return result.view_as(maps)
