# SPDX-License-Identifier: Apache-2.0
"""Simulated points: what a LiDAR would have seen, guessed from the cameras.

A second depth distribution, supervised by LiDAR offline, gives each feature pixel one 3D point:
the expected depth around the distribution's mode, with the probability mass there as its
confidence. Points are splatted to the BEV grid, where a geometry compensation moves features to
where they belong (the idea of SimDistill, Zhao et al., AAAI 2024; this form is the project's own).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asd_perception.bev_grid import BevGrid
from asd_perception.network.config import DepthConfig, StudentConfig
from asd_perception.network.layers import ConstantInitConv2d, ConvNormReLU, conv_of_parts
from asd_perception.network.view_transform import (
    DepthContext,
    FrameGeometry,
    cell_index,
    depth_bin_centres,
    grid_position,
)
from asd_perception.ops.bev_pool import plan_splat, splat

MODE_REACH = 2
"""Bins on each side of the mode that count as around it."""


class SimulatedPoints(NamedTuple):
    """points (B, N * h * w, 4): x, y, z in base_link and confidence in [0, 1].

    depth (B, N, D, h, w): logits. bev (B, C, Y, X): features P. evidence (B, 1, Y, X): how much
    confidence lies in a cell, in [0, 1). Where evidence is 0, P is 0.
    """

    points: Tensor
    depth: Tensor
    bev: Tensor
    evidence: Tensor


class PointSimulator(nn.Module):
    """Image features to simulated points and their BEV features."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.bins, self.grid = config.depth, config.bev
        self.head = DepthContext(config.backbone.channels, config.bev_channels, config.depth.bins)
        self.height = nn.Linear(1, config.bev_channels)
        self.compensation = GeometryCompensation(config.bev_channels)

    def forward(
        self, features: Tensor, geometry: FrameGeometry, camera_bev: Tensor
    ) -> SimulatedPoints:
        """features (B, N, F, h, w), camera_bev (B, C, Y, X)."""
        logits, context = self.head(features, geometry.conditions)
        depth, confidence = self.place(logits)
        rays = geometry.rays
        points = (rays.origins + depth[..., None] * rays.directions).flatten(1, 3)  # (B, S, 3)
        confidence = confidence.flatten(1)  # (B, S)
        context = context.movedim(2, -1).flatten(1, 3) + self.height(points[..., 2:])
        bev = splat_points(points, confidence, context, self.grid)
        bev = self.compensation(bev, camera_bev)
        return SimulatedPoints(
            points=torch.cat([points, confidence[..., None]], dim=-1),
            depth=logits,
            bev=bev[:, :-1],
            evidence=bev[:, -1:],
        )

    def place(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Where on its ray each pixel's point lies, and how sure that is: `depth_around_mode`."""
        return depth_around_mode(logits, self.bins)


def depth_around_mode(logits: Tensor, bins: DepthConfig) -> tuple[Tensor, Tensor]:
    """Expected depth in m within MODE_REACH bins of the mode, and the probability mass there.

    logits (B, N, D, h, w); both results are (B, N, h, w), differentiable but for the mode's choice.
    """
    probability = logits.float().softmax(dim=2)
    index = torch.arange(bins.bins, device=logits.device)[:, None, None]
    near_mode = (index - logits.argmax(dim=2, keepdim=True)).abs() <= MODE_REACH
    probability = probability * near_mode
    mass = probability.sum(dim=2)  # at least 1 / D
    centres = depth_bin_centres(bins, logits.device)[:, None, None]
    return (probability * centres).sum(dim=2) / mass, mass


def splat_points(points: Tensor, confidence: Tensor, features: Tensor, grid: BevGrid) -> Tensor:
    """Points' features on the BEV grid, weighted by confidence, and behind them their evidence.

    points (B, S, 3) in base_link, confidence (B, S), features (B, S, C); returns (B, C + 1, Y, X).
    Each point is shared bilinearly among the four cells around it, so that detection's gradient
    reaches its depth. With w the summed weights of a cell, the first C channels are
    sum(w * feature) / (1 + sum(w)), an average that fades where evidence, the last one,
    sum(w) / (1 + sum(w)), is thin.
    """
    corner = grid_position(points, grid) - 0.5  # cell centres at integers
    low = corner.floor()
    high_share = corner - low
    columns, rows = low.long().unbind(-1)
    share_x, share_y = high_share.unbind(-1)
    cells, weights = [], []
    for dx, weight_x in ((0, 1 - share_x), (1, share_x)):
        for dy, weight_y in ((0, 1 - share_y), (1, share_y)):
            cells.append(cell_index(columns + dx, rows + dy, points[..., 2], grid))
            weights.append(weight_x * weight_y * confidence)
    summed = splat(
        torch.stack(weights, dim=-1),
        torch.cat([features, torch.ones_like(features[..., :1])], dim=-1),
        plan_splat(torch.stack(cells, dim=-1), (grid.size, grid.size)),
    )
    # The quotient of one channel, not of each: division and its gradient are slow.
    return summed * (1 / (1 + summed[:, -1:]))


class GeometryCompensation(nn.Module):
    """Deformable sampling of the points' BEV features: each cell looks where its content went.

    Offsets start at zero, so the block starts as the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = ConvNormReLU(2 * channels + 1, 16, stride=2)
        self.offset = ConstantInitConv2d(16, 2, kernel=3, value=0.0)

    def forward(self, bev: Tensor, camera_bev: Tensor) -> Tensor:
        """bev (B, C + 1, Y, X) with evidence as its last channel, camera_bev (B, C, Y, X); the
        result is as bev."""
        conv, norm, relu = self.hidden
        offset = self.offset(relu(norm(conv_of_parts(conv, bev, camera_bev)))).float()
        offset = F.interpolate(offset, scale_factor=2.0, mode="bilinear")
        size = bev.shape[-1]
        centres = torch.arange(size, device=bev.device) + 0.5
        column = centres + offset[:, 0]
        row = centres[:, None] + offset[:, 1]
        where = torch.stack([column, row], dim=-1) * (2 / size) - 1  # (B, Y, X, 2) in [-1, 1]
        return F.grid_sample(bev, where, align_corners=False)
