# SPDX-License-Identifier: Apache-2.0
"""What the network should have said: training targets from annotated boxes and LiDAR."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asd_perception.bev_grid import BevGrid
from asd_perception.config import StudentConfig
from asd_perception.constants import CLASSES
from asd_perception.geometry import Array, inverse, points_in_box, project, transform_points
from asd_perception.network.center_head import encode_boxes
from asd_perception.network.view_transform import depth_bin_index
from asd_training.datasets.nuscenes import Annotations

MAX_OBJECTS = 160
"""Annotated objects kept a frame, nearest first; fixes the shape of a batch."""

BACKGROUND = len(CLASSES)
"""Class of a LiDAR return that lies on no annotated object."""

UNKNOWN = -1
"""Target of a feature pixel that no LiDAR return falls into."""


class DetectionTargets(NamedTuple):
    """Targets of one frame, or of a batch with a leading axis B.

    heatmap: (10, rows, columns) Gaussian peaks in [0, 1], exactly 1 at each object's cell.
    cells: (M,) int64 flat cell index of each object's centre. valid: (M,) bool, False is padding.
    boxes: (M, 8) as encode_boxes gives. velocities: (M, 2) m/s, NaN where unknown.
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
    """What LiDAR tells of the image features of one frame, or of a batch with a leading axis B.

    depth_bins (N, h, w) int64: the depth bin of the nearest return in each feature pixel;
    classes (N, h, w) int64: the class of the object it lies on, or BACKGROUND. Both are UNKNOWN
    where there is no return between the nearest and the farthest bin.
    """

    depth_bins: Tensor
    classes: Tensor


def pixel_targets(
    points: Array,
    objects: Annotations,
    intrinsics: Array,
    ego_from_camera: Array,
    config: StudentConfig,
) -> PixelTargets:
    """LiDAR points (P, 3) and objects in base_link as seen in the image features of N cameras.

    intrinsics (N, 3, 3) of the network's input; ego_from_camera (N, 4, 4).
    """
    stride = config.backbone.stride
    height, width = (side // stride for side in config.image_size)
    shape = (len(intrinsics), height, width)
    nearest = np.full((shape[0], height * width), np.inf)
    source = np.full(nearest.shape, -1)  # index of that return, -1 for none
    for camera, (matrix, pose) in enumerate(zip(intrinsics, ego_from_camera, strict=True)):
        in_camera = transform_points(inverse(pose), points)
        in_front = np.flatnonzero(in_camera[:, 2] >= config.depth.near)
        pixels, depth = project(in_camera[in_front], matrix)
        # Feature pixel j covers the input pixels from stride * j to stride * (j + 1) - 1.
        cell = np.floor((pixels + 0.5) / stride).astype(np.int64)
        seen = np.flatnonzero(np.all((cell >= 0) & (cell < (width, height)), axis=1))
        seen = seen[np.argsort(-depth[seen], kind="stable")]  # the nearest is written last
        flat = cell[seen, 1] * width + cell[seen, 0]
        nearest[camera, flat] = depth[seen]
        source[camera, flat] = in_front[seen]

    bins, inside = depth_bin_index(torch.from_numpy(nearest), config.depth)
    classes = np.full(nearest.shape, BACKGROUND)
    hit = np.append(points, [[np.nan] * 3], axis=0)[source].reshape(-1, 3)
    for box, label in zip(objects.boxes, objects.labels, strict=True):
        classes[points_in_box(hit, box).reshape(classes.shape)] = label
    return PixelTargets(
        depth_bins=torch.where(inside, bins, UNKNOWN).reshape(shape),
        classes=torch.where(inside, torch.from_numpy(classes), UNKNOWN).reshape(shape),
    )


def detection_targets(objects: Annotations, grid: BevGrid) -> DetectionTargets:
    """The targets of one frame's objects in base_link.

    Objects outside the grid, and objects that no LiDAR point hit (the evaluator ignores them,
    and most are hidden from the cameras too), are left out.
    """
    rows, columns, _ = encode_boxes(torch.from_numpy(objects.boxes).float(), grid)
    inside = ((rows >= 0) & (rows < grid.size) & (columns >= 0) & (columns < grid.size)).numpy()
    index = np.flatnonzero(inside & (objects.num_lidar_points > 0))
    distance = np.linalg.norm(objects.boxes[index, :2], axis=1)
    index = index[np.argsort(distance, kind="stable")][:MAX_OBJECTS]

    boxes = objects.boxes[index]
    rows, columns, encoded = encode_boxes(torch.from_numpy(boxes).float(), grid)
    heatmap = np.zeros((len(CLASSES), grid.size, grid.size), dtype=np.float32)
    for label, row, column, box in zip(objects.labels[index], rows, columns, boxes, strict=True):
        _draw_gaussian(heatmap[label], int(row), int(column), _radius(box[3:5], grid.cell))

    return DetectionTargets(
        heatmap=torch.from_numpy(heatmap),
        cells=_padded(rows * grid.size + columns),
        valid=_padded(torch.ones(len(index), dtype=torch.bool)),
        boxes=_padded(encoded),
        velocities=_padded(torch.from_numpy(objects.velocities[index]).float()),
        attributes=_padded(torch.from_numpy(objects.attributes[index])),
        labels=_padded(torch.from_numpy(objects.labels[index])),
    )


def _padded(values: Tensor) -> Tensor:
    result = values.new_zeros((MAX_OBJECTS, *values.shape[1:]))
    result[: len(values)] = values
    return result


def _radius(size: NDArray[np.float64], cell: float) -> int:
    """Radius in cells within which a shifted box still overlaps the true one by IoU 0.1.

    Source: CornerNet (arXiv 1808.01244) as CenterPoint uses it, smallest of its three cases,
    at least 2 cells.
    """
    length, width = size / cell
    overlap = 0.1
    total, area = length + width, length * width
    roots = []
    for a, b, c in (
        (1.0, total, area * (1 - overlap) / (1 + overlap)),
        (4.0, 2 * total, (1 - overlap) * area),
        (4 * overlap, -2 * overlap * total, (overlap - 1) * area),
    ):
        roots.append((b + np.sqrt(max(0.0, b * b - 4 * a * c))) / 2)
    return max(2, int(min(roots)))


def _draw_gaussian(heatmap: NDArray[np.float32], row: int, column: int, radius: int) -> None:
    """Raise `heatmap` (rows, columns) in place to a Gaussian disc of peak 1 at one cell."""
    axis = np.arange(-radius, radius + 1)
    sigma = (2 * radius + 1) / 6
    disc = np.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / (2 * sigma**2)).astype(np.float32)
    top, left = max(0, row - radius), max(0, column - radius)
    window = heatmap[top : row + radius + 1, left : column + radius + 1]
    first_row, first_column = top - (row - radius), left - (column - radius)
    part = disc[
        first_row : first_row + window.shape[0], first_column : first_column + window.shape[1]
    ]
    np.maximum(window, part, out=window)
