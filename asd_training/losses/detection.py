# SPDX-License-Identifier: Apache-2.0
"""The objective on ground truth: detection losses, and LiDAR supervision per pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from asd_perception.constants import NO_ATTRIBUTE
from asd_perception.network.center_head import HeadOutput
from asd_perception.network.student import StudentOutput
from asd_training.config.supervision import Supervision
from asd_training.data.targets import BACKGROUND, UNKNOWN, DetectionTargets, PixelTargets

# Weights of the terms in the sum; the heatmap's is 1.
BOX_WEIGHT = 0.25
VELOCITY_WEIGHT = 0.05
ATTRIBUTE_WEIGHT = 0.1

OBJECT_PIXEL_WEIGHT = 5.0
"""Weight of a feature pixel on an object, relative to one on the background."""


class SoftTargets(NamedTuple):
    """What a teacher makes of the targets of heatmap and boxes (response.py), and their weights.

    heatmap, heatmap_weight (B, 10, rows, columns); boxes (B, M, 10), box_weight (B, M).
    """

    heatmap: Tensor
    heatmap_weight: Tensor
    boxes: Tensor
    box_weight: Tensor


def student_objective(
    output: StudentOutput,
    semantics: Tensor | None,
    objects: DetectionTargets,
    pixels: PixelTargets,
    supervision: Supervision,
    soft: SoftTargets | None = None,
) -> dict[str, Tensor]:
    """All terms of the loss, weighted; the loss is their sum.

    semantics (B, N, 11, h, w): class logits of the image features, the background last; None where
    they are not trained. soft: as for `detection_losses`.
    """
    terms = {
        name: supervision.detection * loss
        for name, loss in detection_losses(output.head, objects, soft).items()
    }
    depth_loss = {"cross_entropy": cross_entropy, "crps": crps}[supervision.depth_loss]
    for name, weight, logits, target, loss in (
        (
            "camera_depth",
            supervision.camera_depth,
            output.camera_depth,
            pixels.depth_bins,
            depth_loss,
        ),
        ("point_depth", supervision.point_depth, output.point_depth, pixels.depth_bins, depth_loss),
        ("semantics", supervision.semantics, semantics, pixels.classes, cross_entropy),
    ):
        if weight > 0 and logits is not None:
            terms[name] = weight * pixel_loss(logits, target, pixels.classes, loss)
    return terms


def detection_losses(
    output: HeadOutput, targets: DetectionTargets, soft: SoftTargets | None = None
) -> dict[str, Tensor]:
    """Losses of the centre head, each a scalar normalised by the number of objects.

    In float32 (or wider), whatever precision the network computes in: bfloat16 has no number
    between 0.996 and 1, so 1 - p would vanish. soft: in place of the targets' heatmap and boxes.
    """
    output = HeadOutput(*(at_least_float32(maps) for maps in output))
    count = shared_count(targets.valid.sum())
    boxes = at_cells(output.boxes, targets.cells)  # (B, M, 10)
    velocity = at_cells(output.velocity, targets.cells)  # (B, M, 2)
    attribute = at_cells(output.attribute, targets.cells)  # (B, M, 8)

    # Masks instead of selections, which on a GPU would wait for the number of selected elements.
    known = targets.valid & torch.isfinite(targets.velocities).all(-1)
    velocities = targets.velocities.nan_to_num()
    attributes = torch.where(targets.valid, targets.attributes, NO_ATTRIBUTE)
    if soft is None:
        heatmap = heatmap_loss(output.heatmap, targets.heatmap)
        box = l1_loss(boxes, targets.boxes, targets.valid)
    else:
        heatmap = (soft.heatmap_weight * quality_focal_loss(output.heatmap, soft.heatmap)).sum()
        box = (soft.box_weight[..., None] * (boxes - soft.boxes).abs()).sum()
    return {
        "heatmap": heatmap / count,
        "boxes": BOX_WEIGHT * box / count,
        "velocity": VELOCITY_WEIGHT * l1_loss(velocity, velocities, known) / count,
        "attribute": ATTRIBUTE_WEIGHT
        * F.cross_entropy(
            attribute.flatten(0, 1),
            attributes.flatten(),
            ignore_index=NO_ATTRIBUTE,
            reduction="sum",
        )
        / count,
    }


def l1_loss(found: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The sum of |found - target|, both (B, M, C), where the mask (B, M) holds."""
    return torch.where(mask[..., None], (found - target).abs(), 0).sum()


def heatmap_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Penalty-reduced focal loss, summed. Source: CornerNet (arXiv 1808.01244), eq. 1.

    -(1 - p)^2 log p at the peaks (target = 1), -(1 - target)^4 p^2 log(1 - p) elsewhere.
    logits, target: (B, 10, rows, columns).
    """
    p = logits.sigmoid()
    positive = F.logsigmoid(logits) * (1 - p) ** 2
    negative = F.logsigmoid(-logits) * p**2 * (1 - target) ** 4
    return -torch.where(target == 1, positive, negative).sum()


def quality_focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """|p - y|^2 BCE(p, y), elementwise: the focal loss of targets y between 0 and 1 as well.

    Source: Li et al. (NeurIPS 2020, arXiv 2006.04388), beta = 2.
    """
    cost = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (logits.sigmoid() - target) ** 2 * cost


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-log p of the target (B, h, w) int64, 0 where it is UNKNOWN; logits (B, K, h, w)."""
    return F.cross_entropy(logits, target, ignore_index=UNKNOWN, reduction="none")


def crps(logits: Tensor, target: Tensor) -> Tensor:
    """The continuous ranked probability score of ordered bins; shapes as in `cross_entropy`.

    sum_b (CDF(b) - [b >= target])^2, in bins: a distribution at one bin costs its distance from the
    target, and one that spreads costs less the nearer its mass lies. Source: Gneiting and Raftery
    (JASA 2007), eq. 20.
    """
    distribution = logits.softmax(dim=1).cumsum(dim=1)
    bins = torch.arange(logits.shape[1], device=logits.device)[:, None, None]
    step = (bins >= target[:, None]).to(logits.dtype)  # of UNKNOWN targets masked below
    score = (distribution - step).square().sum(dim=1)
    return torch.where(target == UNKNOWN, 0.0, score)


def pixel_loss(
    logits: Tensor,
    target: Tensor,
    classes: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
) -> Tensor:
    """The mean loss of the feature pixels that LiDAR hit; those on objects have a larger weight.

    logits (B, N, K, h, w); target and classes (B, N, h, w) int64, as in PixelTargets.
    """
    weight = torch.where(classes == BACKGROUND, 1.0, OBJECT_PIXEL_WEIGHT) * (classes != UNKNOWN)
    per_pixel = loss(at_least_float32(logits.flatten(0, 1)), target.flatten(0, 1))
    return (weight.flatten(0, 1) * per_pixel).sum() / shared_count(weight.sum())


def shared_count(count: Tensor, minimum: float = 1) -> Tensor:
    """The divisor that makes a sum over this process's `count` elements their mean, in float32.

    The count, but at least `minimum`. In a distributed run it is the mean count over all processes:
    data-parallel training averages the processes' gradients, and losses divided by this have the
    gradient that one process with the whole batch would have.
    """
    count = count.detach().float()
    processes = 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(count)
        processes = torch.distributed.get_world_size()
    return count.clamp(min=minimum) / processes


def at_least_float32(maps: Tensor) -> Tensor:
    """Maps in float32, or wider if they are."""
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


def at_cells(maps: Tensor, cells: Tensor) -> Tensor:
    """The values (B, M, C) of BEV maps (B, C, rows, columns) at flat cells (B, M)."""
    index = cells[:, None].expand(-1, maps.shape[1], -1)
    return maps.flatten(2).gather(2, index).transpose(1, 2)
