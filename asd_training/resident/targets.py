# SPDX-License-Identifier: Apache-2.0
"""asd_training.data.targets for a whole batch on its device: the same targets, with masks instead
of selections, so that it can be recorded as a CUDA graph."""

from __future__ import annotations

import torch
from torch import Tensor

from asd_perception.bev_grid import BevGrid
from asd_perception.constants import CLASSES
from asd_perception.network.center_head import encode_boxes
from asd_perception.network.config import DepthConfig, StudentConfig
from asd_perception.network.view_transform import depth_bin_index
from asd_training.data.targets import (
    BACKGROUND,
    IGNORED,
    MAX_OBJECTS,
    UNKNOWN,
    DetectionTargets,
    PixelTargets,
    gaussian_discs,
)
from asd_training.resident.augmentation import Cameras, Objects, image_rays


def detection_targets(objects: Objects, grid: BevGrid) -> DetectionTargets:
    """As asd_training.data.targets.detection_targets; at least MAX_OBJECTS places for objects."""
    boxes = objects.boxes.float()
    rows, columns, encoded = encode_boxes(boxes.flatten(0, 1), grid)
    inside = (rows >= 0) & (rows < grid.size) & (columns >= 0) & (columns < grid.size)
    counted = inside.view_as(objects.there) & objects.there & objects.observed
    distance = objects.boxes[..., :2].norm(dim=-1).masked_fill(~counted, torch.inf)
    order = distance.argsort(dim=1, stable=True)

    def nearest_first(values: Tensor) -> Tensor:
        """Values (B, M, ...), those of objects that do not count as zeros at the end."""
        values = values.where(counted.view(*counted.shape, *[1] * (values.ndim - 2)), 0)
        index = order.view(*order.shape, *[1] * (values.ndim - 2)).expand_as(values)
        return values.gather(1, index)

    valid, labels = counted.gather(1, order), nearest_first(objects.labels)
    cells = nearest_first((rows * grid.size + columns).view_as(objects.there))
    covered, discs = gaussian_discs(cells, nearest_first(boxes)[..., 3:5], grid)
    covered = covered + labels[..., None] * grid.size**2  # each class has a map of its own
    discs = torch.where(valid[..., None], discs, 0.0)
    discs = torch.cat([discs[:, :MAX_OBJECTS], discs[:, MAX_OBJECTS:].clamp(max=IGNORED)], dim=1)
    heatmap = discs.new_zeros(len(boxes), len(CLASSES) * grid.size**2)
    heatmap = heatmap.scatter_reduce(1, covered.flatten(1), discs.flatten(1), "amax")
    first = slice(None), slice(MAX_OBJECTS)
    return DetectionTargets(
        heatmap=heatmap.view(-1, len(CLASSES), grid.size, grid.size),
        cells=cells[first],
        valid=valid[first],
        boxes=nearest_first(encoded.view(*objects.there.shape, -1))[first],
        velocities=nearest_first(objects.velocities.float())[first],
        attributes=nearest_first(objects.attributes)[first],
        labels=labels[first],
    )


def nearest_returns(
    points: Tensor, real: Tensor, objects: Objects, cameras: Cameras, config: StudentConfig
) -> tuple[Tensor, Tensor]:
    """As asd_training.data.targets.nearest_returns, of points (B, P, 3) float64.

    real (B, P) bool: which of them there are. Returns depths (B, N, h, w) float32 and classes
    (B, N, h, w) int64.
    """
    stride, (height, width) = config.backbone.stride, config.feature_size
    x, y, depth = image_rays(points, cameras)  # (B, N, P)
    column, row = (((along / depth + 0.5) / stride).floor() for along in (x, y))
    hits = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    hits = hits & (depth >= config.depth.near) & real[:, None]
    # What hits no pixel goes anywhere, as infinitely far, but not all to one place: on a GPU,
    # writes to one place wait for each other.
    number = torch.arange(points.shape[1], device=points.device)
    anywhere = (number % (height * width)).expand_as(hits)
    flat = torch.where(hits, (row * width + column).long(), anywhere)
    depth = depth.where(hits, torch.inf)
    nearest = depth.new_full((*depth.shape[:2], height * width), torch.inf)
    nearest = nearest.scatter_reduce(2, flat, depth, "amin")
    source = torch.where(hits & (depth == nearest.gather(2, flat)), number, -1)
    found = torch.full_like(nearest, -1, dtype=torch.int64).scatter_reduce(2, flat, source, "amax")

    index = found.clamp(min=0).flatten(1)[..., None].expand(-1, -1, 3)
    classes = class_at(points.gather(1, index), objects).view_as(found)
    classes = torch.where(found >= 0, classes, BACKGROUND)
    shape = (*depth.shape[:2], height, width)
    return nearest.float().view(shape), classes.view(shape)


def pixel_targets(depths: Tensor, classes: Tensor, depth: DepthConfig) -> PixelTargets:
    """The targets of the pixels that these returns (B, N, h, w) fall into."""
    bins, inside = depth_bin_index(depths, depth)
    return PixelTargets(torch.where(inside, bins, UNKNOWN), torch.where(inside, classes, UNKNOWN))


def class_at(places: Tensor, objects: Objects) -> Tensor:
    """The class of the object that holds each of the places (B, Q, 3), or BACKGROUND.

    Where objects overlap, of the last one.
    """
    x, y, z = (places[:, :, None] - objects.boxes[:, None, :, :3]).unbind(-1)  # (B, Q, M)
    length, width, height, yaw = objects.boxes[:, None, :, 3:].unbind(-1)
    cos, sin = yaw.cos(), yaw.sin()
    within = (cos * x + sin * y).abs() <= length / 2
    within = within & ((cos * y - sin * x).abs() <= width / 2) & (z.abs() <= height / 2)
    within = within & objects.there[:, None]
    number = torch.arange(within.shape[2], device=places.device)
    last = torch.where(within, number, -1).amax(dim=2)
    labels = objects.labels.gather(1, last.clamp(min=0))
    return torch.where(last >= 0, labels, BACKGROUND)
