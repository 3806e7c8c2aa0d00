# SPDX-License-Identifier: Apache-2.0
"""Training targets from annotated boxes and LiDAR."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asd_perception.bev_grid import BevGrid
from asd_perception.constants import CLASSES
from asd_perception.geometry import Array, inverse, points_in_box, project, transform_points
from asd_perception.network.center_head import encode_boxes
from asd_perception.network.config import DepthConfig, StudentConfig
from asd_perception.network.view_transform import depth_bin_index
from asd_training.data.nuscenes import Annotations

MAX_OBJECTS = 160
"""Annotated objects kept per frame, nearest first; fixes the shape of a batch."""

IGNORED = 1 - 2**-24
"""Heatmap at the centre of an object beyond MAX_OBJECTS, just below the 1 of a peak: the loss asks
for no peak there, and (1 - target)^4 punishes none."""

MAX_RADIUS = 8
"""Radius in cells of the widest Gaussian disc; fixes its window. A 15 m trailer has 6 at 0.4 m."""

BACKGROUND = len(CLASSES)
"""Class of a LiDAR return that lies on no annotated object."""

UNKNOWN = -1
"""Target of a feature pixel that no LiDAR return falls into."""


class DetectionTargets(NamedTuple):
    """Targets of one frame, or of a batch with a leading axis B.

    heatmap: (10, rows, columns) Gaussian peaks in [0, 1], exactly 1 at each object's cell, IGNORED
    at those of objects that are left out because there are too many.
    cells: (M,) int64 flat cell index of each object's centre. valid: (M,) bool, False is padding.
    boxes: (M, 10) as encode_boxes gives. velocities: (M, 2) m/s, NaN where unknown.
    attributes: (M,) int64, NO_ATTRIBUTE where there is none. labels: (M,) int64.
    """

    heatmap: Tensor
    cells: Tensor
    valid: Tensor
    boxes: Tensor
    velocities: Tensor
    attributes: Tensor
    labels: Tensor


class PixelTargets(NamedTuple):
    """LiDAR targets per feature pixel of one frame, or of a batch with a leading axis B.

    depth_bins (N, h, w) int64: the depth bin of the nearest return in each feature pixel;
    classes (N, h, w) int64: the class of the object it lies on, or BACKGROUND. Both are UNKNOWN
    where there is no return between the nearest and the farthest bin.
    """

    depth_bins: Tensor
    classes: Tensor


class NearestReturns(NamedTuple):
    """The nearest LiDAR return in each feature pixel of N cameras.

    depths (N, h, w) float32: in m, infinite where there is no return. classes (N, h, w) int8: of
    the annotated object it lies on, or BACKGROUND.
    """

    depths: NDArray[np.float32]
    classes: NDArray[np.int8]


def nearest_returns(
    points: Array,
    objects: Annotations,
    intrinsics: Array,
    ego_from_camera: Array,
    config: StudentConfig,
) -> NearestReturns:
    """LiDAR points (P, 3) and objects in base_link as seen in the image features of N cameras.

    intrinsics (N, 3, 3) of the network's input; ego_from_camera (N, 4, 4). Returns nearer than the
    first depth bin are passed over.
    """
    stride = config.backbone.stride
    height, width = config.feature_size
    shape = (len(intrinsics), height, width)
    depths = np.full((shape[0], height * width), np.inf, np.float32)
    source = np.full(depths.shape, -1)  # index of that return, -1 for none
    for camera, (matrix, pose) in enumerate(zip(intrinsics, ego_from_camera, strict=True)):
        camera_from_ego = inverse(pose)
        depth = points @ camera_from_ego[2, :3] + camera_from_ego[2, 3]
        in_front = np.flatnonzero(depth >= config.depth.near)
        pixels, depth = project(transform_points(camera_from_ego, points[in_front]), matrix)
        # Feature pixel j covers the input pixels from stride * j to stride * (j + 1) - 1.
        column, row = np.floor((pixels.T + 0.5) / stride).astype(np.int64)
        seen = np.flatnonzero((column >= 0) & (column < width) & (row >= 0) & (row < height))
        seen = seen[np.argsort(-depth[seen], kind="stable")]  # the nearest is written last
        flat = row[seen] * width + column[seen]
        depths[camera, flat] = depth[seen]
        source[camera, flat] = in_front[seen]

    classes = np.full(depths.shape, BACKGROUND, np.int8)
    hit = np.flatnonzero(source >= 0)
    places = points[source.flat[hit]]
    x, y = places[:, 0].copy(), places[:, 1].copy()  # side by side in memory, and quickly compared
    for box, label in zip(objects.boxes, objects.labels, strict=True):
        reach = np.linalg.norm(box[3:5]) / 2  # most returns are out of it, and quickly told
        near = np.flatnonzero((np.abs(x - box[0]) <= reach) & (np.abs(y - box[1]) <= reach))
        classes.flat[hit[near[points_in_box(places[near], box)]]] = label
    return NearestReturns(depths.reshape(shape), classes.reshape(shape))


def pixel_targets(returns: NearestReturns, depth: DepthConfig) -> PixelTargets:
    """The targets of the pixels that these returns fall into."""
    bins, inside = depth_bin_index(torch.from_numpy(returns.depths), depth)
    classes = torch.from_numpy(returns.classes).long()
    return PixelTargets(torch.where(inside, bins, UNKNOWN), torch.where(inside, classes, UNKNOWN))


def detection_targets(objects: Annotations, grid: BevGrid) -> DetectionTargets:
    """The targets of one frame's objects in base_link.

    Of more than MAX_OBJECTS the nearest are kept. Objects outside the grid are left out, and those
    that neither LiDAR nor radar saw: the evaluator ignores them, and most are hidden from the
    cameras, too.
    """
    boxes = torch.from_numpy(objects.boxes).float()
    rows, columns, encoded = (values.numpy() for values in encode_boxes(boxes, grid))
    inside = (rows >= 0) & (rows < grid.size) & (columns >= 0) & (columns < grid.size)
    index = np.flatnonzero(inside & objects.observed)
    distance = np.hypot(objects.boxes[index, 0], objects.boxes[index, 1])
    index = index[np.argsort(distance, kind="stable")]

    cells, labels = (rows * grid.size + columns)[index], objects.labels[index]
    discs = gaussian_discs(torch.from_numpy(cells), boxes[index, 3:5], grid)
    covered, values = (tensor.numpy() for tensor in discs)
    covered = covered + labels[:, None] * grid.size**2  # each class has a map of its own
    values[MAX_OBJECTS:] = np.minimum(values[MAX_OBJECTS:], IGNORED)
    within = np.flatnonzero(values)  # the few cells of the squares that the discs fill
    heatmap = np.zeros(len(CLASSES) * grid.size**2, np.float32)
    np.maximum.at(heatmap, covered.ravel()[within], values.ravel()[within])

    return DetectionTargets(
        heatmap=torch.from_numpy(heatmap).view(len(CLASSES), grid.size, grid.size),
        cells=_padded(cells),
        valid=_padded(np.ones(len(index), bool)),
        boxes=_padded(encoded[index]),
        velocities=_padded(objects.velocities[index].astype(np.float32)),
        attributes=_padded(objects.attributes[index]),
        labels=_padded(labels),
    )


def _padded(values: NDArray[Any]) -> Tensor:
    result = np.zeros((MAX_OBJECTS, *values.shape[1:]), values.dtype)
    result[: len(values)] = values[:MAX_OBJECTS]
    return torch.from_numpy(result)


def gaussian_discs(cells: Tensor, sizes: Tensor, grid: BevGrid) -> tuple[Tensor, Tensor]:
    """A Gaussian disc of peak 1 around each object, wide enough for boxes that still overlap.

    cells (..., M) int64: flat index of each object's cell. sizes (..., M, 2): length, width in m.
    Returns flat cell indices (..., M, P) and the discs' values there (..., M, P): a square of P
    cells around each object, 0 outside the disc and outside the grid.
    """
    radius = _radius(sizes / grid.cell)[..., None]  # (..., M, 1)
    offset = torch.arange(-MAX_RADIUS, MAX_RADIUS + 1, device=cells.device)
    sigma = (2 * radius + 1) / 6
    # exp(-(x^2 + y^2)) is exp(-x^2) exp(-y^2): of each object's rows, and of its columns
    bell = torch.where(offset.abs() <= radius, torch.exp(-(offset**2) / (2 * sigma**2)), 0.0)
    places = torch.stack([cells // grid.size, cells % grid.size])[..., None] + offset
    bells = torch.where((places >= 0) & (places < grid.size), bell, 0.0)  # (2, ..., M, side)
    row, column = places.clamp(0, grid.size - 1)
    covered = row[..., :, None] * grid.size + column[..., None, :]  # (..., M, side, side)
    values = bells[0][..., :, None] * bells[1][..., None, :]
    return covered.flatten(-2), values.flatten(-2)


def _radius(sizes: Tensor) -> Tensor:
    """Radius (...) in whole cells within which a shifted box still overlaps the true one by 0.1.

    sizes (..., 2): length and width in cells. Source: CornerNet (arXiv 1808.01244) as CenterPoint
    uses it: the smallest of three cases, which at IoU 0.1 is always that of a larger box around
    the true one; between 2 and MAX_RADIUS.
    """
    overlap = 0.1
    total, area = sizes.sum(dim=-1), sizes.prod(dim=-1)
    a, b, c = 4 * overlap, -2 * overlap * total, (overlap - 1) * area
    root = (b + (b**2 - 4 * a * c).sqrt()) / 2
    return root.long().clamp(2, MAX_RADIUS)
