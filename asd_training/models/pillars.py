# SPDX-License-Identifier: Apache-2.0
"""LiDAR points to BEV features by dynamic pillars, in plain PyTorch.

Pillars after PointPillars (Lang et al., CVPR 2019); dynamic, without a limit on points per
pillar, after Zhou et al. (CoRL 2019). Of a point's coordinates only the height is absolute, so an
object gives the same features wherever it stands.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asd_perception.bev_grid import BevGrid
from asd_perception.network.layers import ResidualBlock
from asd_perception.network.view_transform import cells_of, grid_position
from asd_perception.ops.bev_pool import drop_cell

POINT_FEATURES = 9
"""Number of features per point that `point_features` gives."""

MAX_INTENSITY = 255.0
"""Intensity of the strongest return in nuScenes' scale."""


class PillarEncoder(nn.Module):
    """Points to pillars, `pillar_cells` x `pillar_cells` per BEV cell, and these to BEV features.

    A pillar's feature is the maximum over its points; an empty pillar's is exactly zero.
    """

    def __init__(
        self, grid: BevGrid, pillar_cells: int, pillar_channels: int, channels: int
    ) -> None:
        super().__init__()
        self.pillar_grid = dataclasses.replace(grid, cell=grid.cell / pillar_cells)
        self.layers = nn.ModuleList(
            PointLayer(inputs, pillar_channels) for inputs in (POINT_FEATURES, pillar_channels)
        )
        self.to_bev = nn.Sequential(
            ResidualBlock(pillar_channels, channels, stride=pillar_cells),
            ResidualBlock(channels, channels),
        )

    def forward(self, points: Tensor, sample_index: Tensor, batch_size: int) -> Tensor:
        """The BEV features (batch_size, channels, Y, X) of a ragged batch of clouds.

        points (P, 5): x, y, z in base_link in m, intensity in 0-255, age in s. sample_index (P)
        int64: the sample that each belongs to. Points that are not finite or outside the grid
        have no effect.
        """
        return self.to_bev(self.pillars(points, sample_index, batch_size))

    def pillars(self, points: Tensor, sample_index: Tensor, batch_size: int) -> Tensor:
        """The pillars' features (batch_size, pillar_channels, Y * pillar_cells, X * pillar_cells).

        Computed in float32 even under automatic mixed precision: far out, bfloat16 resolves only
        0.25 m. The result has the precision that the next layer computes in.
        """
        size = self.pillar_grid.size
        device = points.device.type
        mixed = torch.is_autocast_enabled(device)
        precision = torch.get_autocast_dtype(device) if mixed else torch.float32
        with torch.autocast(device, enabled=False):
            points = points.float()
            finite = points.isfinite().all(dim=1)
            cells = cells_of(points.nan_to_num(), self.pillar_grid)
            kept = (finite & (cells < drop_cell((size, size)))).nonzero()[:, 0]
            points = points[kept]
            pillar = sample_index[kept] * size * size + cells[kept]  # counted through the batch

            features = point_features(points, pillar, batch_size, self.pillar_grid)
            for layer in self.layers:
                features = layer(features)
            pillars = maximum_by_pillar(features, pillar, batch_size * size * size, precision)
        return pillars.unflatten(0, (batch_size, size, size)).permute(0, 3, 1, 2)  # channels last


def point_features(points: Tensor, pillar: Tensor, batch_size: int, grid: BevGrid) -> Tensor:
    """The features of each point, each of about unit size. (P, POINT_FEATURES).

    points (P, 5) as in PillarEncoder, all inside `grid`, whose cells are the pillars; pillar (P)
    int64: index of each point's pillar, counted through the batch. The features are height,
    intensity, age, the offset from the mean of the pillar's points (3) and from the pillar's middle
    (2), and the logarithm of the number of its points.
    """
    count = points.new_zeros(batch_size * grid.size**2)
    count = count.index_add(0, pillar, torch.ones_like(points[:, 0]))
    places = points.new_zeros(len(count), 3)
    position = torch.cat([grid_position(points, grid) % 1 - 0.5, points[:, 2:3]], dim=1)
    mean = places.index_add(0, pillar, position)[pillar] / count[pillar, None]
    return torch.cat(
        [
            position[:, 2:],
            points[:, 3:4] / MAX_INTENSITY,
            points[:, 4:5],
            position - mean,
            position[:, :2],
            count[pillar, None].log(),
        ],
        dim=1,
    )


def maximum_by_pillar(
    features: Tensor, pillar: Tensor, pillars: int, precision: torch.dtype
) -> Tensor:
    """The largest value of each feature over each pillar's points; zero where there is no point.

    features (P, C); pillar (P) int64: index of each point's pillar; returns (pillars, C) of this
    precision. The maxima are taken over the occupied pillars alone, few of all: backward, a
    maximum reads and writes its whole result several times.
    """
    occupied, place = pillar.unique(return_inverse=True)
    maxima = features.new_zeros(len(occupied), features.shape[1]).scatter_reduce(
        0, place[:, None].expand_as(features), features, "amax", include_self=False
    )
    dense = features.new_zeros(pillars, features.shape[1], dtype=precision)
    return dense.index_copy(0, occupied, maxima.to(precision))


class PointLayer(nn.Module):
    """Linear map, batch normalisation over the points, ReLU. (P, inputs) to (P, outputs).

    The normalisation runs even without points: synchronised over processes, it waits for all of
    them.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        features = self.linear(features)
        points = len(features)
        if points < 2:  # they have no statistics: two rows that have the running ones stand by
            spread = (self.norm.running_var / 2).sqrt()  # of two, the unbiased variance is running
            typical = [self.norm.running_mean - spread, self.norm.running_mean + spread]
            features = torch.cat([features, torch.stack(typical)])
        return F.relu(self.norm(features)[:points])
