# SPDX-License-Identifier: Apache-2.0
"""The loss of adaptive_ray.py, written as its formula stands there: level by level, one sample of
the teacher after another, and differentiated through the sum over the levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from asd_training.losses.adaptive_ray import (
    ETA,
    MAX_SIGMA,
    MIN_DISCREPANCY,
    SHARES,
    STEPS,
    TAU,
    sample_at,
)
from asd_training.losses.adaptive_smooth import ENERGY_FLOOR
from asd_training.losses.ray_uncertainty import RayUncertainty


def adaptive_ray_reference(
    teacher: Tensor,
    student: Tensor,
    mask: Tensor,
    ray: RayUncertainty,
    mean: Tensor,
    variance: Tensor,
    *,
    shares: Sequence[float] = SHARES,
    tau: float = TAU,
    eta: float = ETA,
) -> Tensor:
    """The loss, as `adaptive_ray_loss` for a batch of one process, all channels active."""
    sigma = ray.sigma.clamp(max=MAX_SIGMA)
    mu, v = mean[:, None, None], variance[:, None, None]

    def around(maps: Tensor) -> Tensor:
        """The mean of (B, H, W) over the 3x3 cells that exist."""
        wide = torch.nn.functional.pad(maps, (1, 1, 1, 1))
        exists = torch.nn.functional.pad(torch.ones_like(maps), (1, 1, 1, 1))
        rows, columns = maps.shape[-2:]
        nine = [(slice(i, i + rows), slice(j, j + columns)) for i in range(3) for j in range(3)]
        return sum(wide[:, i, j] for i, j in nine) / sum(exists[:, i, j] for i, j in nine)

    def e(maps: Tensor) -> Tensor:
        return around(((maps - mu).square() / v).mean(dim=1))

    costs, logits = [], []
    for k, share in enumerate(shares):
        smoothed, total = torch.zeros_like(teacher), 0.0
        for j in range(-2 * STEPS, 2 * STEPS + 1):
            place = torch.tensor(j / STEPS)
            if place.abs() > 2 * share:
                continue
            weight = torch.exp(-(place**2) / (2 * share**2)) if share else torch.tensor(1.0)
            smoothed = smoothed + weight * sample_at(teacher, place * sigma, ray.direction)
            total += weight
        smoothed = (smoothed / total).detach()  # T_k
        difference = ((student - smoothed).square() / v).mean(dim=1)
        d = around(difference) / ((e(student) + e(smoothed)) / 2).clamp(min=ENERGY_FLOOR)
        costs.append(difference)
        logits.append(-d.detach().clamp(min=MIN_DISCREPANCY).log() / tau - eta * k)
    weights = torch.stack(logits).softmax(dim=0)
    return (mask[:, 0] * (weights * torch.stack(costs)).sum(dim=0)).sum() / mask.sum()
