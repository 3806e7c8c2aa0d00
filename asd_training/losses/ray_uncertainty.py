# SPDX-License-Identifier: Apache-2.0
"""How far along its ray a student's feature may be off, per BEV cell.

A camera tells direction well and distance badly. How badly, a student says itself: by the standard
deviation s of each feature pixel's depth distribution. Lift-splat's own plan carries it into BEV,
weighted by the probability p that the pixel's content is in the cell. With n(x) the pixels and
depth bins whose point lies in the 5x5 cells around x, and l the horizontal length of a pixel's ray
per metre of depth,

    sigma_r(x) = sum_n p s l / sum_n p,      u(x) = sum_n p ray_xy / |sum_n p ray_xy|

The window closes the gaps between rays, which are wider than a cell where the cells are far away.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from asd_perception.bev_grid import BevGrid
from asd_perception.network.config import DepthConfig
from asd_perception.network.view_transform import FrameGeometry, depth_bin_centres
from asd_perception.ops.bev_pool import bev_pool
from asd_training.losses.detection import at_least_float32

WINDOW = 5  # cells

SMALLEST = 1e-12
"""Probability below which no pixel looks at a cell; there sigma_r is 0."""


class RayUncertainty(NamedTuple):
    """sigma (B, Y, X): standard deviation along the ray in cells. direction (B, 2, Y, X): of the
    ray, a unit vector along x (columns) and y (rows)."""

    sigma: Tensor
    direction: Tensor


@torch.no_grad()
def ray_uncertainty(
    depth_logits: Tensor, geometry: FrameGeometry, depth: DepthConfig, grid: BevGrid
) -> RayUncertainty:
    """The uncertainty of depth distributions (B, N, D, h, w), as logits. No gradient."""
    with torch.autocast(depth_logits.device.type, enabled=False):
        probability = at_least_float32(depth_logits).softmax(dim=2)
        depths = depth_bin_centres(depth, depth_logits.device)[:, None, None]
        mean = (probability * depths).sum(dim=2, keepdim=True)
        deviation = (probability * (depths - mean).square()).sum(dim=2).sqrt()  # (B, N, h, w)

        along = geometry.rays.directions[..., :2]  # m in x and y per m of depth
        length = along.norm(dim=-1)
        x, y = (along / length.clamp(min=1e-6)[..., None]).unbind(-1)
        sigma = deviation * length / grid.cell
        pooled = bev_pool(
            probability,
            torch.stack([sigma, x, y, torch.ones_like(sigma)], dim=2),
            geometry.plan,
        )  # (B, 4, Y, X)
        pooled = F.avg_pool2d(pooled, WINDOW, stride=1, padding=WINDOW // 2)
        sigma = pooled[:, 0] / pooled[:, 3].clamp(min=SMALLEST)
        return RayUncertainty(sigma, F.normalize(pooled[:, 1:3], dim=1, eps=SMALLEST))
