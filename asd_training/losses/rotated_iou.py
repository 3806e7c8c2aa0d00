# SPDX-License-Identifier: Apache-2.0
"""Overlap of rotated boxes seen from above, in plain PyTorch, batched, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

NO_OVERLAP = 1e-6
"""An IoU below this is rounding, and counts as 0."""


def bev_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union (...) of boxes (..., 7) and (..., 7) in the x-y plane, pair by pair.

    Boxes are (x, y, z, length, width, height, yaw) with positive sizes. No gradient.
    """
    first, second = first.detach().double(), second.detach().double()
    intersection = _intersection(_outline_seen_from(first, second), second[..., 3:5] / 2)
    areas = first[..., 3] * first[..., 4] + second[..., 3] * second[..., 4]
    iou = intersection / (areas - intersection)
    return torch.where(iou > NO_OVERLAP, iou, 0.0).clamp(max=1).float()


def _outline_seen_from(box: Tensor, other: Tensor) -> Tensor:
    """Corners (..., 4, 2) of `box`, counter-clockwise, with `other` centred and axis-aligned."""
    # (1, 1), (-1, 1), (-1, -1), (1, -1); made there, since a GPU would wait for numbers sent to it
    number = torch.arange(4, device=box.device)
    signs = torch.stack([1 - (number + 1) // 2 % 2 * 2, 1 - number // 2 * 2], dim=-1)
    corners = signs * box[..., None, 3:5] / 2
    corners = _rotated(corners, box[..., 6]) + (box[..., :2] - other[..., :2])[..., None, :]
    return _rotated(corners, -other[..., 6])


def _rotated(points: Tensor, angle: Tensor) -> Tensor:
    """Points (..., P, 2) turned counter-clockwise by angles (...) in rad."""
    cos, sin = angle.cos()[..., None], angle.sin()[..., None]
    x, y = points.unbind(-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)


def _intersection(outline: Tensor, half: Tensor) -> Tensor:
    """Area (...) common to a convex outline (..., P, 2) and the rectangle +-half (..., 2).

    Each point of the outline is moved to the nearest one in the rectangle. Parts outside collapse
    onto the rectangle's border, so the new outline encloses the intersection. It is straight
    between the points where the old one crosses the lines x = +-half, y = +-half, so the shoelace
    formula over these points is exact, without special cases.
    """
    start, end = outline, outline.roll(-1, dims=-2)
    half = half[..., None, :]
    step = end - start
    crossings = torch.cat([(-half - start) / step, (half - start) / step], dim=-1)  # (..., P, 4)
    # 0 / 0 is an edge that lies on the line: it crosses nowhere.
    crossings = crossings.nan_to_num(0.0).clamp(0, 1).sort(dim=-1).values
    points = start[..., None, :] + crossings[..., None] * step[..., None, :]
    points = torch.cat([start[..., None, :], points], dim=-2)  # an edge's end starts the next one
    x, y = points.clamp(-half[..., None, :], half[..., None, :]).flatten(-3, -2).unbind(-1)
    return ((x * y.roll(-1, dims=-1) - y * x.roll(-1, dims=-1)).sum(dim=-1) / 2).clamp(min=0)
