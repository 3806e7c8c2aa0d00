# SPDX-License-Identifier: Apache-2.0
"""Adaptive target smoothing: the teacher is shown as sharply as the student can follow.

The abstract: adaptive-smooth distillation optimises the granularity of the alignment by the feature
discrepancy. This is a second reading of it (Zhao et al., AAAI 2026; only the abstract was
available). In adaptive_smooth.py the *difference* is smoothed, over a disc, before the BEV encoder.
Here the *teacher* alone is, along the ray, by as much as the student's depth is uncertain: averaged
over what the images leave open, the teacher is a target that the student can reach. And each level
is judged by what it brings: the finest one is taken at which the two agree.

With T the teacher's and S the adapted student's features, sigma_r(x) and u(x) the deviation and
direction of the student's ray (ray_uncertainty.py), and levels k = 0 ... K of lambda_k = 0, 1/4,
1/2, 1:

    T_k(x) = sum_j a_kj T(x + j/4 sigma_r(x) u(x))           a Gaussian of lambda_k sigma_r(x)
    a_kj   ~ exp(-(j/4)^2 / (2 lambda_k^2)),  |j/4| <= 2 lambda_k,  sum_j a_kj = 1
    e(X)   = mean_c (X - mu_c)^2 / v_c, averaged over 3x3 cells
    d_k(x) = mean_c (S - T_k)^2 / v_c, over 3x3 cells, / ((e(S) + e(T_k)) / 2)
    w_k(x) = softmax_k(-log(d_k(x)) / tau - eta k)           no gradient
    L      = sum_x m(x) sum_k w_k(x) mean_c (S - T_k)^2 / v_c / sum_x m(x)

d_k is 0 where both are equal and 2 where they have nothing in common. Its logarithm compares levels
by their ratio: a coarser level must lower the discrepancy by the factor exp(-eta tau) to count as
much, and at equality all weight is on the finest. mu_c and v_c are each channel's mean and variance
in the teacher, fixed (features.ChannelScale): a standardisation by the sample at hand would change
with how much there is in it. sigma_r is at most MAX_SIGMA, where samples of T lie a cell apart.
adaptive_ray_reference.py computes the same literally.

The gradient of L is that of m mean_c (S - sum_k w_k T_k)^2 / v_c, so one pass over S is enough: the
rest, the levels' spread around their mean, is a constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from asd_training.losses.adaptive_smooth import ENERGY_FLOOR, energy
from asd_training.losses.detection import at_least_float32, shared_count
from asd_training.losses.features import MIN_VARIANCE, channel_mean
from asd_training.losses.ray_uncertainty import RayUncertainty

SHARES = (0.0, 0.25, 0.5, 1.0)
"""lambda_k, finest first."""

TAU = 0.1
ETA = 0.3

MAX_SIGMA = 4.0
"""Largest sigma_r in cells."""

STEPS = 4
"""Samples of the teacher per sigma_r."""

MIN_DISCREPANCY = 1e-3
"""A discrepancy below this is rounding; bfloat16, in which a teacher's answers are kept, has it."""


class AdaptiveRay(NamedTuple):
    """The loss, a scalar; and for inspection, without gradient, each (B, H, W): the discrepancy d_0
    of the unsmoothed teacher, the granularity sum_k w_k k, and the smoothing
    sum_k w_k lambda_k sigma_r in cells."""

    loss: Tensor
    discrepancy: Tensor
    granularity: Tensor
    smoothing: Tensor


def adaptive_ray_loss(
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
) -> AdaptiveRay:
    """The loss of teacher T (which gets no gradient) and adapted student S (B, C, H, W).

    mask: m (B, 1, H, W). ray: of the student. mean, variance: mu and v (C). shares: lambda_k,
    finest first. Computed in float32, or wider if the inputs are.
    """
    with torch.autocast(student.device.type, enabled=False):
        teacher, student, channels = scaled_pair(teacher, student, mean, variance)
        sigma = ray.sigma.clamp(max=MAX_SIGMA)
        with torch.no_grad():
            targets = smoothed_along_rays(teacher, sigma, ray.direction, shares)
            own = energy(student, channels)
            d = torch.stack([_discrepancy(student, t, own, channels) for t in targets], dim=1)
            weights = choice(d, tau, eta)  # (B, K + 1, H, W)
            target, spread = torch.zeros_like(teacher), torch.zeros_like(own)
            granularity, share = torch.zeros_like(own), torch.zeros_like(own)
            for k, level in enumerate(targets):
                target.addcmul_(weights[:, k, None], level)
                granularity.add_(weights[:, k], alpha=k)
                share.add_(weights[:, k], alpha=shares[k])
            for k, level in enumerate(targets):
                spread += weights[:, k] * channel_mean((level - target).square(), channels)
        cost = channel_mean((student - target).square(), channels) + spread
        loss = (mask[:, 0] * cost).sum() / shared_count(mask.sum(), 1e-6)
    return AdaptiveRay(loss, d[:, 0], granularity, share * sigma)


def scaled_pair(
    teacher: Tensor, student: Tensor, mean: Tensor, variance: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(T - mu) / sqrt(v) and (S - mu) / sqrt(v); 0 in channels that are constant in the teacher.

    Also the number of the other channels, for each sample (B).
    """
    if teacher.shape != student.shape:
        raise ValueError(
            f"teacher {tuple(teacher.shape)} and student {tuple(student.shape)} differ"
        )
    teacher, student = at_least_float32(teacher.detach()), at_least_float32(student)
    active = variance > MIN_VARIANCE
    scale = torch.where(active, variance.clamp(min=MIN_VARIANCE).rsqrt(), 0.0)[:, None, None]
    offset = mean[:, None, None]
    channels = active.sum().expand(len(teacher))
    return (teacher - offset) * scale, (student - offset) * scale, channels


def smoothed_along_rays(
    maps: Tensor, sigma: Tensor, direction: Tensor, shares: Sequence[float]
) -> list[Tensor]:
    """T_k of maps T (B, C, H, W) for each lambda_k; sigma (B, H, W), direction (B, 2, H, W).

    Beyond the grid the maps go on as at its border.
    """
    kernels = [kernel(share) for share in shares]
    levels = [weights[0] * maps for weights in kernels]
    for j in range(1, max(map(len, kernels))):
        along = (j / STEPS) * sigma
        both = sample_at(maps, along, direction) + sample_at(maps, -along, direction)
        for weights, level in zip(kernels, levels, strict=True):
            if j < len(weights):
                level.add_(both, alpha=weights[j])
    return levels


def kernel(share: float) -> list[float]:
    """a_kj for j = 0, 1, ... of a level's lambda_k; that of -j is the same."""
    if share == 0:
        return [1.0]
    places = [j / STEPS for j in range(math.floor(2 * share * STEPS) + 1)]
    weights = [math.exp(-(place**2) / (2 * share**2)) for place in places]
    total = weights[0] + 2 * sum(weights[1:])
    return [weight / total for weight in weights]


def sample_at(maps: Tensor, along: Tensor, direction: Tensor) -> Tensor:
    """Maps (B, C, H, W) `along` (B, H, W) cells from each cell in its direction (B, 2, H, W)."""
    rows, columns = maps.shape[-2:]
    column = torch.arange(columns, device=maps.device) + 0.5 + along * direction[:, 0]
    row = torch.arange(rows, device=maps.device)[:, None] + 0.5 + along * direction[:, 1]
    where = torch.stack([column * (2 / columns), row * (2 / rows)], dim=-1) - 1  # in [-1, 1]
    return F.grid_sample(maps, where.to(maps.dtype), padding_mode="border", align_corners=False)


def choice(discrepancy: Tensor, tau: float, eta: float) -> Tensor:
    """w (B, K + 1, H, W) of the levels' discrepancies; sums to 1."""
    level = torch.arange(discrepancy.shape[1], device=discrepancy.device)[:, None, None]
    agreement = -discrepancy.clamp(min=MIN_DISCREPANCY).log() / tau
    return (agreement - eta * level).softmax(dim=1)


def _discrepancy(student: Tensor, target: Tensor, own: Tensor, channels: Tensor) -> Tensor:
    """d_k (B, H, W); own: e(S)."""
    both = (own + energy(target, channels)) / 2
    return energy(student - target, channels) / both.clamp(min=ENERGY_FLOOR)
