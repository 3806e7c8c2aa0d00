# SPDX-License-Identifier: Apache-2.0
"""What the centre head should have said: training targets from annotated boxes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asd_perception.bev_grid import BevGrid
from asd_perception.constants import CLASSES
from asd_perception.network.center_head import encode_boxes
from asd_training.datasets.nuscenes import Annotations

MAX_OBJECTS = 160
"""Annotated objects kept a frame, nearest first; fixes the shape of a batch."""


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
