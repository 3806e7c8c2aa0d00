# SPDX-License-Identifier: Apache-2.0
"""asd_training.data.augmentation for a whole batch on its device; the same, but for rounding.

Nothing here depends on a value on the host, so that it can be recorded as a CUDA graph: where the
other one selects, this one masks. Matrices are in float64 as there; they are few.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from asd_training.resident.draws import Draws


class Cameras(NamedTuple):
    """Cameras of a batch: intrinsics (B, N, 3, 3), ego_from_camera (B, N, 4, 4), float64."""

    intrinsics: Tensor
    ego_from_camera: Tensor


class Objects(NamedTuple):
    """Objects of a batch in base_link, M places for each sample, those behind the last one empty.

    boxes (B, M, 7) and velocities (B, M, 2) in float64, labels and attributes (B, M) int64; there
    (B, M) bool: not empty, and not removed. observed (B, M) bool: as `Annotations.observed`.
    """

    boxes: Tensor
    velocities: Tensor
    labels: Tensor
    attributes: Tensor
    there: Tensor
    observed: Tensor


def image_flips(draws: Draws) -> Tensor:
    """Which images are mirrored, with or without the world. Shape (B, N)."""
    return draws.image_flips ^ draws.bev_flip[:, None]


def augment_cameras(draws: Draws, cameras: Cameras, columns: int) -> Cameras:
    """The cameras under warps, flips and the world's similarity; columns: of the input."""
    matrices = draws.image_warps @ cameras.intrinsics
    first, _, last = matrices.unbind(-2)
    mirrored = (columns - 1) * last - first
    first = torch.where(image_flips(draws)[..., None], mirrored, first)
    matrices = torch.cat([first[..., None, :], matrices[..., 1:, :]], dim=-2)
    intrinsics, turns = pinhole_and_turn(matrices)
    poses = orthogonal(draws)[:, None] @ cameras.ego_from_camera @ turns.mT
    places = poses[..., :3, 3:] * draws.bev_scale[:, None, None, None]
    poses = torch.cat([torch.cat([poses[..., :3, :3], places], -1), poses[..., 3:, :]], dim=-2)
    return Cameras(intrinsics, poses)


def orthogonal(draws: Draws) -> Tensor:
    """The world's flip and rotation (B, 4, 4)."""
    cos, sin = draws.bev_angle.cos(), draws.bev_angle.sin()
    side = torch.where(draws.bev_flip, -1.0, 1.0).to(cos.dtype)
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    rows = [
        torch.stack([cos, -sin * side, zero, zero], dim=-1),
        torch.stack([sin, cos * side, zero, zero], dim=-1),
        torch.stack([zero, zero, one, zero], dim=-1),
        torch.stack([zero, zero, zero, one], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def pinhole_and_turn(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """As asd_training.data.augmentation.pinhole_and_turn: (..., 3, 3) and (..., 4, 4)."""
    row_x, row_y = matrices[..., 0, :2], matrices[..., 1, :2]
    focal_y = row_y.norm(dim=-1)
    axis_y = row_y / focal_y[..., None]
    axis_x = torch.stack([axis_y[..., 1], -axis_y[..., 0]], dim=-1)
    against = (row_x * axis_x).sum(-1, keepdim=True) < 0
    axis_x = torch.where(against, -axis_x, axis_x)

    zero, one = torch.zeros_like(focal_y), torch.ones_like(focal_y)
    first = [(row_x * axis_x).sum(-1), (row_x * axis_y).sum(-1), matrices[..., 0, 2]]
    second = [zero, focal_y, matrices[..., 1, 2]]
    intrinsics = torch.stack(
        [torch.stack(first, -1), torch.stack(second, -1), matrices[..., 2, :]], dim=-2
    )
    x, y = (F.pad(axis, (0, 2)) for axis in (axis_x, axis_y))
    z = torch.stack([zero, zero, one, zero], dim=-1)
    w = torch.stack([zero, zero, zero, one], dim=-1)
    return intrinsics, torch.stack([x, y, z, w], dim=-2)


def augment_points(draws: Draws, points: Tensor) -> Tensor:
    """Points (B, P, 3) in base_link under the world's similarity, in float64."""
    turn = orthogonal(draws)[:, :3, :3] * draws.bev_scale[:, None, None]
    return points.double() @ turn.mT


def augment_objects(draws: Draws, objects: Objects) -> Objects:
    """Objects under the world's similarity."""
    boxes, scale = objects.boxes, draws.bev_scale[:, None, None]
    yaw = torch.where(draws.bev_flip[:, None], -boxes[..., 6], boxes[..., 6])
    yaw = yaw + draws.bev_angle[:, None]
    yaw = (yaw + torch.pi) % (2 * torch.pi) - torch.pi
    centres = augment_points(draws, boxes[..., :3])
    turn = orthogonal(draws)[:, :2, :2] * scale
    return objects._replace(
        boxes=torch.cat([centres, boxes[..., 3:6] * scale, yaw[..., None]], dim=-1),
        velocities=objects.velocities @ turn.mT,
    )


def in_view(objects: Objects, cameras: Cameras, input_size: tuple[int, int]) -> Tensor:
    """Which cameras have a box's centre or one of its corners in their image. Shape (B, N, M)."""
    spots = torch.cat([box_corners(objects.boxes), objects.boxes[..., None, :3]], dim=2)
    x, y, depth = image_rays(spots.flatten(1, 2), cameras)  # (B, N, 9 M)
    inside = (depth > 0) & (x >= -0.5 * depth) & (x < (input_size[1] - 0.5) * depth)
    inside = inside & (y >= -0.5 * depth) & (y < (input_size[0] - 0.5) * depth)
    return inside.unflatten(2, (-1, spots.shape[2])).any(dim=-1)


def box_corners(boxes: Tensor) -> Tensor:
    """The corners (B, M, 8, 3) of boxes (B, M, 7)."""
    sign = torch.arange(8, device=boxes.device)[:, None] >> torch.arange(3, device=boxes.device)
    x, y, z = ((sign % 2 - 0.5) * boxes[..., None, 3:6]).unbind(-1)  # (B, M, 8)
    cos, sin = boxes[..., 6:].cos(), boxes[..., 6:].sin()
    corners = torch.stack([cos * x - sin * y, sin * x + cos * y, z], dim=-1)
    return corners + boxes[..., None, :3]


def image_rays(points: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels times depths, and depths, (B, N, P) each, of points (B, P, 3) in base_link."""
    from_ego = cameras.ego_from_camera[..., :3, :3].mT
    offset = -(from_ego @ cameras.ego_from_camera[..., :3, 3:])  # (B, N, 3, 1)
    # The intrinsics' last row is 0, 0, 1.
    image_from_ego = cameras.intrinsics @ torch.cat([from_ego, offset], dim=-1)
    rays = image_from_ego[..., :3] @ points[:, None].mT + image_from_ego[..., 3:]
    x, y, depth = rays.unbind(-2)
    return x, y, depth


def seen_by_a_camera(
    draws: Draws, visible: Tensor, has_camera: Tensor, all_round: Tensor
) -> Tensor:
    """Which objects stay, of a network that sees no LiDAR. Shape (B, M).

    visible (B, N, M): `in_view`. has_camera (B, N), all_round (B,) bool: the cameras that the
    keyframe has, and whether these look all round. The rule is in data.augmentation.apply.
    """
    visible = visible & has_camera[..., None]
    kept = (visible & ~draws.dropped[..., None]).any(dim=1)
    all_round = all_round[:, None]
    unseen = ~visible.any(dim=1) & all_round
    untouched = all_round & ~draws.dropped.any(dim=1, keepdim=True)
    return kept | unseen | untouched


def augment_images(draws: Draws, images: Tensor, margin: int, warped: bool) -> Tensor:
    """Images (B, N, rows, columns, 3) uint8 of stored ones (B, N, margin + rows, columns, 3).

    warped: whether `image_warps` may be other than identities.
    """
    if warped:
        rows = images.shape[2] - margin
        places = source_pixels(draws, (rows, images.shape[3]))
        images = warp(images, places, margin)
    else:
        images = images[:, :, margin:]
    flips = image_flips(draws)[..., None, None, None]
    return jitter_colour(draws, torch.where(flips, images.flip(3), images))


def source_pixels(draws: Draws, size: tuple[int, int]) -> Tensor:
    """Where the warps take each pixel of the input from: (x, y) (B, N, rows, columns, 2), float64.

    In pixels of the unwarped input.
    """
    warps = draws.image_warps[..., None, None, :, :]
    (a, b, left), (c, d, top) = (row.unbind(-1) for row in warps[..., :2, :].unbind(-2))
    device, dtype = warps.device, warps.dtype
    x = torch.arange(size[1], device=device, dtype=dtype) - left
    y = torch.arange(size[0], device=device, dtype=dtype)[:, None] - top
    # Written out: a library's inverse waits for the device, to check it.
    return torch.stack([d * x - b * y, a * y - c * x], dim=-1) / (a * d - b * c)[..., None]


def warp(images: Tensor, places: Tensor, margin: int) -> Tensor:
    """Stored images at `source_pixels`, bilinear, black outside: (B, N, rows, columns, 3) uint8."""
    height, width = images.shape[2:4]
    rows = places.shape[2]
    x, y = places.unbind(-1)
    grid = torch.stack([2 * x / (width - 1) - 1, 2 * (y + margin) / (height - 1) - 1], dim=-1)
    pixels = images.flatten(0, 1).permute(0, 3, 1, 2).float()
    pixels = F.grid_sample(pixels, grid.flatten(0, 1).float(), align_corners=True)
    pixels = pixels.round().to(torch.uint8).permute(0, 2, 3, 1)
    return pixels.reshape(*images.shape[:2], rows, width, 3)


def jitter_colour(draws: Draws, images: Tensor) -> Tensor:
    """Images (B, N, rows, columns, 3) with another exposure, by one table for each channel."""
    levels = torch.arange(256, device=images.device)
    table = levels * draws.colour_gain[..., None] + draws.colour_offset[:, None, None]
    table = table.round().clamp(0, 255).to(torch.uint8)  # (B, 3, 256)
    start = 256 * torch.arange(table[..., 0].numel(), device=images.device)
    places = images + start.view(-1, 1, 1, 1, 3)
    return table.take(places)


def augment_seen(draws: Draws, seen: Tensor, warped: bool) -> Tensor:
    """Which pixels the lenses see, (B, N, rows, columns) bool, in the augmented images."""
    if warped:
        rows, columns = seen.shape[2:]
        x, y = (source_pixels(draws, (rows, columns)) + 0.5).floor().long().unbind(-1)
        inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        flat = torch.where(inside, y * columns + x, 0).flatten(2)
        seen = seen.flatten(2).gather(2, flat).view_as(x) | ~inside
    return torch.where(image_flips(draws)[..., None, None], seen.flip(3), seen)


def mostly_seen_of(seen: Tensor, stride: int) -> Tensor:
    """As asd_perception.cameras.view.mostly_seen: (B, N, rows, columns) to (B, N, h, w) bool."""
    blocks = seen.unflatten(3, (-1, stride)).unflatten(2, (-1, stride))
    return 2 * blocks.sum(dim=(3, 5)) >= stride**2


def moved_returns(draws: Draws, depths: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """As asd_training.data.augmentation.moved_returns, of (B, N, h, w); classes in int64."""
    mirrored = image_flips(draws)[..., None, None]
    depths = depths * draws.bev_scale[:, None, None, None].float()
    depths, classes = (torch.where(mirrored, x.flip(3), x) for x in (depths, classes.long()))
    return depths.masked_fill(draws.dropped[..., None, None], torch.inf), classes
