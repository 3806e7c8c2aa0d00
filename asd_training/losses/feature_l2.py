# SPDX-License-Identifier: Apache-2.0
"""Plain feature distillation, for comparison: a masked L2 distance per cell.

    L = sum_x m(x) mean_c (S'(x) - T'(x))^2 / sum_x m(x)

with S' and T' standardised as in adaptive_smooth.py. It is the form of SimDistill (Zhao et al.,
AAAI 2024, arXiv 2303.16818), the baseline of the adaptive-smooth loss.
"""

from __future__ import annotations

import torch
from torch import Tensor

from asd_training.losses.detection import shared_count
from asd_training.losses.features import channel_mean, standardised_difference


def feature_l2_loss(teacher: Tensor, student: Tensor, mask: Tensor) -> Tensor:
    """The loss of teacher T (which gets no gradient) and adapted student S (B, C, H, W).

    mask: m (B, 1, H, W). Computed in float32, or wider if the inputs are.
    """
    with torch.autocast(student.device.type, enabled=False):
        difference, channels = standardised_difference(teacher, student)
        cost = channel_mean(difference.square(), channels)
        return (mask[:, 0] * cost).sum() / shared_count(mask.sum(), 1e-6)
