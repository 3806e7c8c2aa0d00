# SPDX-License-Identifier: Apache-2.0
"""Adaptive-smooth distillation: the granularity of the alignment follows the discrepancy.

The abstract: LiDAR and camera features differ, which makes aligning them hard; adaptive-smooth
distillation optimises the granularity of the alignment by the feature discrepancy. The formula is
this project's own reading of that (Zhao et al., AAAI 2026; only the abstract was available).

With T' and S' the teacher's and the adapted student's features, standardised per sample and
channel over the grid, and D = S' - T':

    e(X)(x) = mean_c X(x)^2, averaged over 3x3 cells             energy of maps X around a cell
    d(x) = e(D) / max((e(S') + e(T')) / 2, floor), no gradient   (0: equal, 2: uncorrelated)
    r(x) = d / (d + delta)                                       relative discrepancy in [0, 1)
    g(x) = r K                                                   granularity, in levels 0 ... K
    w_k(x) = softmax_k(-(k - g(x))^2 / tau)                      soft choice of a level
    L = sum_x m(x) sum_k w_k(x) mean_c smoothL1(G_k D)(x) / sum_x m(x)

G_k smooths by a Gaussian of sigma_k cells (by default 0, 1, 2, 4), and being linear it is applied
to the difference. Where the two agree they are aligned cell by cell; where they are far apart,
only the structure of a region is compared. As the student learns, the alignment becomes finer.

Most cells of a BEV grid are empty, so after standardising the energy is 0.04 in the median cell and
11 at objects. There e(D) alone is 13 for an undistilled student: every object would be compared at
the coarsest level, whether the features agree or not. Relative to the local energy, d means the
same everywhere. `discrepancy="grid"` is d = e(D), for comparison.

A map smoothed by a Gaussian of sigma_k varies little within sigma_k cells (less than 1 % of the
amplitude remains of what is finer), so level k is evaluated once per block of sigma_k x sigma_k
cells, at its centre, and weighted with the block's sum of m w_k: a quarter of the work at sigma 2,
a sixteenth at 4. The gradient has the direction of the one computed at every cell (cosine 0.999
even on white noise; blocks twice as wide would give 0.95).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from asd_training.losses.detection import shared_count
from asd_training.losses.features import channel_mean, standardised_pair

ENERGY_FLOOR = 0.1
"""Energy (its mean over the grid is 1) below which a cell counts as empty."""


class AdaptiveSmooth(NamedTuple):
    """The loss, a scalar; and for inspection, without gradient: discrepancy d in [0, inf) and
    granularity g in [0, K], both (B, H, W)."""

    loss: Tensor
    discrepancy: Tensor
    granularity: Tensor


def adaptive_smooth_loss(
    teacher: Tensor,
    student: Tensor,
    mask: Tensor,
    *,
    delta: float = 1.0,
    levels: Sequence[float] = (0.0, 1.0, 2.0, 4.0),
    tau: float = 0.5,
    discrepancy: str = "local",
) -> AdaptiveSmooth:
    """The loss of teacher T (which gets no gradient) and adapted student S (B, C, H, W).

    mask: m (B, 1, H, W). levels: sigma_k in cells, finest first. discrepancy: "local", or "grid"
    for d(x) = e(D). Computed in float32, or wider if the inputs are.
    """
    with torch.autocast(student.device.type, enabled=False):
        teacher, student, channels = standardised_pair(teacher, student)
        difference = student - teacher
        d = energy(difference, channels)
        if discrepancy == "local":
            both = energy(student, channels) + energy(teacher, channels)
            d = d / (both / 2).clamp(min=ENERGY_FLOOR)
        granularity = (len(levels) - 1) * d / (d + delta)
        choice = _soft_choice(granularity, len(levels), tau)  # (B, K + 1, H, W)

        cost = difference.new_zeros(())
        for level, sigma in enumerate(levels):
            smoothed = smooth(difference, sigma)  # (B, C, H / block, W / block)
            error = F.smooth_l1_loss(
                smoothed, smoothed.new_zeros(()).expand_as(smoothed), reduction="none"
            )
            weight = _block_sums(mask[:, 0] * choice[:, level], error.shape[-2:])
            cost = cost + (weight * channel_mean(error, channels)).sum()
        loss = cost / shared_count(mask.sum(), 1e-6)
    return AdaptiveSmooth(loss, d, granularity)


def smooth(maps: Tensor, sigma: float) -> Tensor:
    """Maps (B, C, H, W) under a Gaussian of `sigma` cells, at the centre of each block of cells.

    Blocks are at most `sigma` cells wide and high; a sigma of 1 or less leaves every cell a block.
    At the border the Gaussian is normalised over its part inside the grid: constants stay constant.
    """
    if sigma == 0:
        return maps
    rows, columns = (_gaussian(size, sigma, maps) for size in maps.shape[-2:])
    return F.linear(rows @ maps, columns)


def _gaussian(size: int, sigma: float, like: Tensor) -> Tensor:
    """The matrix (size / block, size) that smooths along one axis; each row sums to 1.

    A dense product: at 128 cells as fast on a CPU as a separable convolution, and exact.
    """
    block = next(n for n in range(max(1, int(sigma)), 0, -1) if size % n == 0)
    cells = torch.arange(size, dtype=like.dtype, device=like.device)
    centres = cells[: size // block] * block + (block - 1) / 2
    return (-((centres[:, None] - cells) ** 2) / (2 * sigma**2)).softmax(dim=1)


@torch.no_grad()
def energy(maps: Tensor, channels: Tensor) -> Tensor:
    """e (B, H, W): mean square over the channels, averaged over the 3x3 cells that exist."""
    e = channel_mean(maps.square(), channels)
    return F.avg_pool2d(e, 3, stride=1, padding=1, count_include_pad=False)


def _soft_choice(granularity: Tensor, levels: int, tau: float) -> Tensor:
    """w (B, K + 1, H, W): weight of each level at a granularity (B, H, W); sums to 1."""
    level = torch.arange(levels, device=granularity.device)[:, None, None]
    return (-((level - granularity[:, None]) ** 2) / tau).softmax(dim=1)


def _block_sums(weight: Tensor, size: torch.Size) -> Tensor:
    """Weights (B, H, W) summed over equal blocks of cells to (B, *size)."""
    blocks = weight.unflatten(2, (size[1], -1)).unflatten(1, (size[0], -1))
    return blocks.sum(dim=(2, 4))
