# SPDX-License-Identifier: Apache-2.0
"""From images to the bird's-eye view: depth distribution, frustum geometry, lift-splat.

Lift-splat after Philion and Fidler (ECCV 2020); the depth head's conditioning on the camera
after BEVDepth (Li et al., AAAI 2023).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from asd_perception.bev_grid import BevGrid
from asd_perception.network.config import DepthConfig, StudentConfig
from asd_perception.network.layers import ConvNormReLU
from asd_perception.ops.bev_pool import SplatPlan, bev_pool, drop_cell, plan_bev_pool

NOWHERE = 1e4
"""Metres below the camera, per metre of depth, of what no lens sees."""


class Rays(NamedTuple):
    """The viewing rays of the feature pixels, in base_link.

    origins (B, N, 1, 1, 3); directions (B, N, h, w, 3), of unit depth: the point at depth d (in m
    along the optical axis) is origin + d * direction.
    """

    origins: Tensor
    directions: Tensor


class FrameGeometry(NamedTuple):
    """All that the network takes from the cameras' calibration: it can be kept as long as that.

    rays: of the feature pixels. conditions (B, N, 8): as `camera_conditions`. plan: where
    lift-splat puts each feature pixel's depth bins.
    """

    rays: Rays
    conditions: Tensor
    plan: SplatPlan


def frame_geometry(
    intrinsics: Tensor,
    ego_from_camera: Tensor,
    image_size: tuple[int, int],
    config: StudentConfig,
    seen: Tensor | None = None,
) -> FrameGeometry:
    """The geometry of frames whose images are `image_size` (height, width) pixels.

    intrinsics (B, N, 3, 3) of these images, ego_from_camera (B, N, 4, 4). seen (B, N, h, w) bool:
    feature pixels that a lens sees; None: all. The others look where no grid is, as an absent
    camera does, and have no effect.
    """
    height, width = image_size
    stride, grid = config.backbone.stride, config.bev
    rays = camera_rays(intrinsics, ego_from_camera, (height // stride, width // stride), stride)
    if seen is not None:
        # Made there: a tensor sent from the CPU could not be recorded as a CUDA graph.
        nowhere = -NOWHERE * (torch.arange(3, device=rays.directions.device) == 2)
        rays = rays._replace(directions=torch.where(seen[..., None], rays.directions, nowhere))
    cells = cells_of(frustum_points(rays, config.depth), grid)
    return FrameGeometry(
        rays,
        camera_conditions(intrinsics, ego_from_camera, height, width),
        plan_bev_pool(cells, (grid.size, grid.size)),
    )


def camera_rays(
    intrinsics: Tensor, ego_from_camera: Tensor, feature_size: tuple[int, int], stride: int
) -> Rays:
    """Rays through the centres of the feature pixels.

    intrinsics (B, N, 3, 3) of the network's input, ego_from_camera (B, N, 4, 4), feature_size
    (h, w). Feature pixel (row, column) is centred at u = stride * (column + 1/2) - 1/2 in input
    pixels, v likewise. Products and sums are written out, since a matrix product would lose
    digits under automatic mixed precision.
    """
    height, width = feature_size
    device = intrinsics.device
    u = stride * (torch.arange(width, device=device) + 0.5) - 0.5  # (w)
    v = (stride * (torch.arange(height, device=device) + 0.5) - 0.5)[:, None]  # (h, 1)
    k = intrinsics.float()[..., None, None]  # (B, N, 3, 3, 1, 1)
    y = (v - k[:, :, 1, 2]) / k[:, :, 1, 1]  # (B, N, h, 1)
    x = (u - k[:, :, 0, 2] - k[:, :, 0, 1] * y) / k[:, :, 0, 0]  # (B, N, h, w)
    in_camera = torch.stack([x, y.expand_as(x), torch.ones_like(x)], dim=-1)

    pose = ego_from_camera.float()[:, :, None, None]  # (B, N, 1, 1, 4, 4)
    directions = (pose[..., :3, :3] * in_camera[..., None, :]).sum(-1)
    return Rays(pose[..., :3, 3], directions)


def depth_bin_centres(depth: DepthConfig, device: torch.device | None = None) -> Tensor:
    """The depth in m at the middle of each bin. Shape (D,)."""
    return depth.near + depth.bin_width * (torch.arange(depth.bins, device=device) + 0.5)


def depth_bin_index(depths: Tensor, depth: DepthConfig) -> tuple[Tensor, Tensor]:
    """The bin (int64) of each depth in m, and whether it is in [near, far). Shapes as `depths`."""
    index = ((depths - depth.near) / depth.bin_width).floor().long()
    inside = (depths >= depth.near) & (depths < depth.far)
    return index.clamp(0, depth.bins - 1), inside


def frustum_points(rays: Rays, depth: DepthConfig) -> Tensor:
    """Base_link points (B, N, D, h, w, 3) of every feature pixel at every depth bin's centre."""
    centres = depth_bin_centres(depth, rays.directions.device)[:, None, None, None]
    return rays.origins[:, :, None] + centres * rays.directions[:, :, None]


def grid_position(points: Tensor, grid: BevGrid) -> Tensor:
    """Metric x, y (..., 2+) as continuous (column, row) (..., 2); cell i covers [i, i + 1)."""
    return (points[..., :2] + grid.half_extent) / grid.cell


def cell_index(columns: Tensor, rows: Tensor, z: Tensor, grid: BevGrid) -> Tensor:
    """The flat cell index (int64) of integer columns and rows at height z in m.

    Cells outside the grid, and points outside its heights, get `drop_cell`.
    """
    inside = (columns >= 0) & (columns < grid.size) & (rows >= 0) & (rows < grid.size)
    inside = inside & (z >= grid.z_min) & (z < grid.z_max)
    return torch.where(inside, rows * grid.size + columns, drop_cell((grid.size, grid.size)))


def cells_of(points: Tensor, grid: BevGrid) -> Tensor:
    """The flat cell index (int64) of base_link points (..., 3). Shape (...)."""
    columns, rows = grid_position(points, grid).floor().long().unbind(-1)
    return cell_index(columns, rows, points[..., 2], grid)


def camera_conditions(
    intrinsics: Tensor, ego_from_camera: Tensor, height: int, width: int
) -> Tensor:
    """What changes the meaning of a camera's pixels for depth. Shape (B, N, 8).

    Focal lengths and principal point relative to the image (height, width in pixels), the
    direction of "up" in the camera, and its height above ground in m. Its heading is left out on
    purpose: the network treats all directions around the robot alike.
    """
    k, pose = intrinsics.float(), ego_from_camera.float()
    return torch.stack(
        [
            k[..., 0, 0] / width,
            k[..., 1, 1] / height,
            k[..., 0, 2] / width - 0.5,
            k[..., 1, 2] / height - 0.5,
            *pose[..., 2, :].unbind(-1),
        ],
        dim=-1,
    )


class DepthContext(nn.Module):
    """Depth logits and a context feature for every feature pixel, knowing the camera."""

    def __init__(self, inputs: int, context: int, bins: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, inputs), nn.Sigmoid())
        self.trunk = ConvNormReLU(inputs, inputs)
        self.depth = nn.Conv2d(inputs, bins, 1)
        self.context = nn.Conv2d(inputs, context, 1)

    def forward(self, features: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, N, F, h, w), conditions (B, N, 8).

        Returns depth logits (B, N, D, h, w) and context (B, N, C, h, w).
        """
        cameras = features.shape[:2]
        gate = self.gate(conditions).flatten(0, 1)[..., None, None]
        trunk = self.trunk(features.flatten(0, 1)) * gate
        depth, context = self.depth(trunk), self.context(trunk)
        return depth.unflatten(0, cameras), context.unflatten(0, cameras)


class LiftSplat(nn.Module):
    """Image features to the camera's BEV features through a depth distribution."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.head = DepthContext(config.backbone.channels, config.bev_channels, config.depth.bins)
        self.norm = nn.BatchNorm2d(config.bev_channels)

    def forward(self, features: Tensor, geometry: FrameGeometry) -> tuple[Tensor, Tensor]:
        """features (B, N, F, h, w).

        Returns the camera's BEV features (B, C, Y, X) and depth logits (B, N, D, h, w).
        """
        logits, context = self.head(features, geometry.conditions)
        # Over the last axis, so that the probabilities lie as pooling reads them.
        depth = logits.float().movedim(2, -1).softmax(dim=-1).movedim(-1, 2)
        return self.norm(bev_pool(depth, context, geometry.plan)), logits
