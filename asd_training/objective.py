# SPDX-License-Identifier: Apache-2.0
"""The student's objective on ground truth: detection losses and LiDAR depth supervision."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from asd_perception.constants import NO_ATTRIBUTE
from asd_perception.network.center_head import HeadOutput
from asd_perception.network.student import StudentOutput
from asd_training.targets import DetectionTargets

NO_DEPTH = -1
"""Depth target of a feature pixel that no LiDAR point falls into."""

# Weights of the terms in the sum; the heatmap's is 1.
BOX_WEIGHT = 0.25
VELOCITY_WEIGHT = 0.05
ATTRIBUTE_WEIGHT = 0.1
DEPTH_WEIGHT = 0.5


def student_objective(
    output: StudentOutput, targets: DetectionTargets, depth_bins: Tensor
) -> dict[str, Tensor]:
    """All terms of the loss, weighted; the loss is their sum.

    depth_bins: (B, N, h, w) int64 bin of the nearest LiDAR return, or NO_DEPTH.
    """
    terms = detection_losses(output.head, targets)
    terms["camera_depth"] = DEPTH_WEIGHT * depth_loss(output.camera_depth, depth_bins)
    terms["point_depth"] = DEPTH_WEIGHT * depth_loss(output.point_depth, depth_bins)
    return terms


def detection_losses(output: HeadOutput, targets: DetectionTargets) -> dict[str, Tensor]:
    """Losses of the centre head, each a scalar normalised by the number of objects."""
    count = targets.valid.sum().clamp(min=1)
    boxes = _at_cells(output.boxes, targets.cells)  # (B, M, 8)
    velocity = _at_cells(output.velocity, targets.cells)  # (B, M, 2)
    attribute = _at_cells(output.attribute, targets.cells)  # (B, M, 8)

    known = targets.valid & torch.isfinite(targets.velocities).all(-1)
    has_attribute = targets.valid & (targets.attributes != NO_ATTRIBUTE)
    return {
        "heatmap": heatmap_loss(output.heatmap, targets.heatmap) / count,
        "boxes": BOX_WEIGHT * (boxes - targets.boxes).abs()[targets.valid].sum() / count,
        "velocity": VELOCITY_WEIGHT
        * (velocity[known] - targets.velocities[known]).abs().sum()
        / count,
        "attribute": ATTRIBUTE_WEIGHT
        * F.cross_entropy(
            attribute[has_attribute], targets.attributes[has_attribute], reduction="sum"
        )
        / count,
    }


def heatmap_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Penalty-reduced focal loss, summed. Source: CornerNet (arXiv 1808.01244), eq. 1.

    -(1 - p)^2 log p at the peaks (target = 1), -(1 - target)^4 p^2 log(1 - p) elsewhere.
    logits, target: (B, 10, rows, columns).
    """
    p = logits.sigmoid()
    positive = F.logsigmoid(logits) * (1 - p) ** 2
    negative = F.logsigmoid(-logits) * p**2 * (1 - target) ** 4
    return -torch.where(target == 1, positive, negative).sum()


def depth_loss(logits: Tensor, bins: Tensor) -> Tensor:
    """Cross-entropy of the depth distribution where LiDAR saw something.

    logits (B, N, D, h, w), bins (B, N, h, w).
    """
    return F.cross_entropy(logits.flatten(0, 1), bins.flatten(0, 1), ignore_index=NO_DEPTH)


def _at_cells(maps: Tensor, cells: Tensor) -> Tensor:
    """The values (B, M, C) of BEV maps (B, C, rows, columns) at flat cells (B, M)."""
    index = cells[:, None].expand(-1, maps.shape[1], -1)
    return maps.flatten(2).gather(2, index).transpose(1, 2)
