# SPDX-License-Identifier: Apache-2.0
"""Plain feature distillation, for comparison: squared distances per cell, in two forms.

    l2    L = sum_x m(x) mean_c (S'(x) - T'(x))^2 / sum_x m(x)
    raw   L = mean_x,c (S(x) - T(x))^2                           fused features, camera features
          L = mean_x,c (M(x) (A(S)(x) - T(x)))^2                 simulated points' features

S' and T' are standardised as in adaptive_smooth.py, and m is the mask of objects: the form of PKD
(Cao et al., NeurIPS 2022) and VCD (Huang et al., NeurIPS 2023). `raw` is that of SimDistill's
released code (Zhao et al., AAAI 2024, arXiv 2303.16818): features as they are, and means over all
cells alike. Only those of the simulated points are compared at objects, M being the sum of the
ground truth's Gaussians, and through an adapter A: a 3x3 convolution, normalisation and ReLU.
"""

from __future__ import annotations

import torch
from torch import Tensor

from asd_training.losses.detection import at_least_float32, shared_count
from asd_training.losses.features import channel_mean, standardised_difference


def feature_l2_loss(teacher: Tensor, student: Tensor, mask: Tensor) -> Tensor:
    """`l2` of teacher T (which gets no gradient) and adapted student S (B, C, H, W).

    mask: m (B, 1, H, W). Computed in float32, or wider if the inputs are.
    """
    with torch.autocast(student.device.type, enabled=False):
        difference, channels = standardised_difference(teacher, student)
        cost = channel_mean(difference.square(), channels)
        return (mask[:, 0] * cost).sum() / shared_count(mask.sum(), 1e-6)


def feature_raw_loss(teacher: Tensor, student: Tensor, mask: Tensor | None = None) -> Tensor:
    """`raw` of teacher T (which gets no gradient) and student S (B, C, H, W).

    mask: M (B, 1, H, W), for the simulated points. Computed in float32, or wider.
    """
    with torch.autocast(student.device.type, enabled=False):
        difference = at_least_float32(student) - at_least_float32(teacher.detach())
        if mask is not None:
            difference = mask * difference
        return difference.square().mean()
