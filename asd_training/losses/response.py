# SPDX-License-Identifier: Apache-2.0
"""Soft-weighted response distillation: the student mimics the teacher where the teacher is good.

The abstract: it lets the student selectively mimic the teacher's high-quality outputs. The formula
is this project's own reading of that (Zhao et al., AAAI 2026; only the abstract was available).
The teacher's output for annotated object i is what its head gives at the object's cell: the
probability p_T,i of the object's class and the box b_T,i. Its quality is

    q_i = p_T,i^alpha IoU_BEV(b_T,i, b_GT,i)^(1 - alpha)    in [0, 1]; 0: the box misses
    a_i = (1 + cos(yaw_T,i - yaw_GT,i)) / 2                 in [0, 1]; 0: it faces backwards

    boxes   = sum_i q_i a_i |b_S,i - b_T,i|_1               encoded as HeadOutput.boxes
    heatmap = sum_x W(x) sum_c |p_S - p_T|^2 BCE(p_S, p_T)  over cells x and classes c
    W(x)    = max_i q_i Gaussian_i(x)                       within an object's disc
              BACKGROUND_WEIGHT                             outside all discs, if max_c p_T < EMPTY
              0                                             elsewhere

both divided by the number of objects. The heatmap's cost is the quality focal loss with the teacher
as the target; all classes count, so that the student sees which ones the teacher finds similar. An
object that the teacher misses has q = 0: its disc has no effect, not even as background.

LiDAR shows an object's position better than its heading: a box that is turned round still overlaps
perfectly. a_i keeps such headings from the student, whose images show the front. A barrier's two
sides are equal (the angle is doubled); a cone has no heading (a_i = 1).

These terms come in addition to those of ground truth (`soft`), which a teacher that sees LiDAR
mostly repeats. In the other form (`replaces`) its answer takes the place of a share lambda q of
ground truth's, cell by cell, with q(x) = max_i q_i Gaussian_i(x) and G ground truth's heatmap:

    y(x, c) = (1 - lambda q) [G = 1] + lambda q p_T                  target of the heatmap
    W(x, c) = max(q, UNSEEN)                                          where G = 1
              (1 - lambda q) (1 - G)^4 + lambda q                     elsewhere
    heatmap = sum W |p_S - y|^2 BCE(p_S, y)
    boxes   = sum_i max(q_i, UNSEEN) |b_S,i - (1 - lambda q_i a_i) b_GT,i - lambda q_i a_i b_T,i|_1

At lambda = 0 and q = 1 they are `detection_losses`. An object that even the teacher does not find,
as no LiDAR return or a few lie on it, weighs UNSEEN.
"""

from __future__ import annotations

import torch
from torch import Tensor

from asd_perception.bev_grid import BevGrid
from asd_perception.constants import CLASSES
from asd_perception.network.center_head import HeadOutput, decode_boxes
from asd_training.data.targets import DetectionTargets, gaussian_discs
from asd_training.losses.detection import (
    BOX_WEIGHT,
    SoftTargets,
    at_cells,
    quality_focal_loss,
    shared_count,
)
from asd_training.losses.rotated_iou import bev_iou
from asd_training.models.teacher import TeacherAnswer

EMPTY = 0.05
"""A cell counts as empty if the teacher gives every class less than this probability."""

BACKGROUND_WEIGHT = 0.1
"""Weight of such a cell, relative to 1 at an object that the teacher finds perfectly."""

UNSEEN = 0.3
"""Weight of an object that the teacher does not find, where its answers replace ground truth's."""


def response_losses(
    teacher: HeadOutput | TeacherAnswer,
    student: HeadOutput,
    targets: DetectionTargets,
    grid: BevGrid,
    alpha: float,
    *,
    soft: bool = True,
) -> dict[str, Tensor]:
    """The terms response_heatmap and response_boxes. The teacher gets no gradient.

    soft=False is the plain form for comparison: each q and a is 1.
    """
    with torch.autocast(student.heatmap.device.type, enabled=False):
        with torch.no_grad():
            quality = agreement = targets.valid.float()
            if soft:
                quality, agreement = response_quality(teacher, targets, grid, alpha)
            weight = heatmap_weight(teacher.heatmap, quality, targets, grid)
            teacher_boxes = at_cells(teacher.boxes.float(), targets.cells)  # (B, M, 10)
        count = shared_count(targets.valid.sum())
        answer = teacher.heatmap.detach().float().sigmoid()
        cost = quality_focal_loss(student.heatmap.float(), answer)
        boxes = at_cells(student.boxes.float(), targets.cells)
        return {
            "response_heatmap": (weight * cost).sum() / count,
            "response_boxes": BOX_WEIGHT
            * ((quality * agreement)[..., None] * (boxes - teacher_boxes).abs()).sum()
            / count,
        }


@torch.no_grad()
def soft_targets(
    teacher: HeadOutput | TeacherAnswer,
    targets: DetectionTargets,
    grid: BevGrid,
    alpha: float,
    share: float,
) -> SoftTargets:
    """The targets of the form `replaces`; share: lambda. Of padding, the weight is 0."""
    with torch.autocast(teacher.heatmap.device.type, enabled=False):
        quality, agreement = response_quality(teacher, targets, grid, alpha)
        truth, peak = targets.heatmap, targets.heatmap == 1
        q = quality_map(quality, targets, grid)[:, None]
        heatmap = (1 - share * q) * peak + share * q * teacher.heatmap.float().sigmoid()
        elsewhere = (1 - share * q) * (1 - truth) ** 4 + share * q

        boxes = at_cells(teacher.boxes.float(), targets.cells)  # (B, M, 10)
        mixed = targets.boxes.lerp(boxes, share * (quality * agreement)[..., None])
        return SoftTargets(
            heatmap,
            torch.where(peak, q.clamp(min=UNSEEN), elsewhere),
            mixed,
            quality.clamp(min=UNSEEN) * targets.valid,
        )


def response_quality(
    teacher: HeadOutput | TeacherAnswer, targets: DetectionTargets, grid: BevGrid, alpha: float
) -> tuple[Tensor, Tensor]:
    """q and a (B, M) in [0, 1] of the teacher's output for each object; q is 0 for padding."""
    rows, columns = targets.cells // grid.size, targets.cells % grid.size
    answer = decode_boxes(rows, columns, at_cells(teacher.boxes.float(), targets.cells), grid)
    truth = decode_boxes(rows, columns, targets.boxes, grid)
    probability = at_cells(teacher.heatmap.float(), targets.cells).sigmoid()  # (B, M, 10)
    probability = probability.gather(2, targets.labels[..., None])[..., 0]
    quality = targets.valid * probability**alpha * bev_iou(answer, truth) ** (1 - alpha)
    return quality, heading_agreement(answer[..., 6] - truth[..., 6], targets.labels)


def heading_agreement(difference: Tensor, labels: Tensor) -> Tensor:
    """a in [0, 1] of the difference of two headings in rad, for objects of these classes."""
    turns = torch.where(labels == CLASSES.index("barrier"), 2, 1)
    turns = torch.where(labels == CLASSES.index("traffic_cone"), 0, turns)
    return (1 + (turns * difference).cos()) / 2


def heatmap_weight(
    teacher: Tensor, quality: Tensor, targets: DetectionTargets, grid: BevGrid
) -> Tensor:
    """W (B, 1, rows, columns) from the teacher's heatmap logits (B, 10, ...) and quality (B, M)."""
    empty = (teacher.float().sigmoid().amax(dim=1) < EMPTY) & (targets.heatmap.amax(dim=1) == 0)
    return torch.where(empty, BACKGROUND_WEIGHT, quality_map(quality, targets, grid))[:, None]


def quality_map(quality: Tensor, targets: DetectionTargets, grid: BevGrid) -> Tensor:
    """max_i q_i Gaussian_i(x) (B, rows, columns) of objects of this quality (B, M)."""
    cells, discs = gaussian_discs(targets.cells, targets.boxes[..., 3:5].exp(), grid)
    values = (quality[..., None] * discs).flatten(1)
    nothing = values.new_zeros(len(values), grid.size * grid.size)
    highest = nothing.scatter_reduce(1, cells.flatten(1), values, "amax")
    return highest.view(-1, grid.size, grid.size)
