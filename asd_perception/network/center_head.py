# SPDX-License-Identifier: Apache-2.0
"""The centre-heatmap head, and both directions of its box encoding.

An object is a peak in its class's heatmap at the cell that holds its centre; the other maps tell
the rest at that cell (CenterPoint, Yin et al., CVPR 2021).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asd_perception.bev_grid import BevGrid
from asd_perception.constants import ATTRIBUTES, CLASS_ATTRIBUTES, CLASSES, NO_ATTRIBUTE
from asd_perception.network.layers import ConstantInitConv2d, ConvNormReLU
from asd_perception.network.view_transform import grid_position

PRIOR = 0.1
"""The heatmap's probability before training; a low one keeps the first losses small."""

BOX_VALUES = 10
"""Numbers that describe a box at its cell, see HeadOutput.boxes."""

MAX_LOG_SIZE = 5.0
"""Sizes are decoded within exp(-5) and exp(5) m, so that no output is infinite."""

_ALLOWED = torch.tensor(
    [[attribute in CLASS_ATTRIBUTES[name] for attribute in ATTRIBUTES] for name in CLASSES]
)
"""Which attributes (8) a class (10) may have."""

_ALLOWED_ON = {_ALLOWED.device: _ALLOWED}


class HeadOutput(NamedTuple):
    """The head's maps.

    heatmap (B, 10, Y, X): logits. boxes (B, 10, Y, X): x and y of the centre from the cell's
    centre and z above base_link in m, log length, log width, log height (m), sin yaw, cos yaw,
    sin 2 yaw, cos 2 yaw. velocity (B, 2, Y, X): m/s in base_link axes. attribute (B, 8, Y, X):
    logits.
    """

    heatmap: Tensor
    boxes: Tensor
    velocity: Tensor
    attribute: Tensor


class Decoded(NamedTuple):
    """K objects per sample, best first.

    boxes (B, K, 7): x, y, z, length, width, height, yaw. scores (B, K). labels (B, K) int64.
    velocities (B, K, 2). attributes (B, K) int64, NO_ATTRIBUTE where the class has none.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    velocities: Tensor
    attributes: Tensor


class CenterHead(nn.Module):
    """BEV features to the head's maps: one shared convolution, one linear map per quantity."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.shared = ConvNormReLU(inputs, channels)
        self.heatmap = ConstantInitConv2d(channels, len(CLASSES), value=-math.log(1 / PRIOR - 1))
        self.boxes = nn.Conv2d(channels, BOX_VALUES, 1)
        self.velocity = nn.Conv2d(channels, 2, 1)
        self.attribute = nn.Conv2d(channels, len(ATTRIBUTES), 1)

    def forward(self, bev: Tensor) -> HeadOutput:
        """bev (B, inputs, Y, X)."""
        shared = self.shared(bev)
        return HeadOutput(
            self.heatmap(shared), self.boxes(shared), self.velocity(shared), self.attribute(shared)
        )


def encode_boxes(boxes: Tensor, grid: BevGrid) -> tuple[Tensor, Tensor, Tensor]:
    """Where boxes (M, 7) stand on the grid, and the targets (M, 10) of HeadOutput.boxes there.

    Returns rows (M), columns (M), both int64, and targets. A centre outside the grid gives a row
    or column outside 0 ... grid.size - 1.
    """
    cells = grid_position(boxes, grid).floor()
    centres = (cells + 0.5) * grid.cell - grid.half_extent
    yaw = boxes[:, 6:]
    heading, axis = [yaw.sin(), yaw.cos()], [(2 * yaw).sin(), (2 * yaw).cos()]
    place = [boxes[:, :2] - centres, boxes[:, 2:3]]
    targets = torch.cat([*place, boxes[:, 3:6].log(), *heading, *axis], dim=1)
    columns, rows = cells.long().unbind(-1)
    return rows, columns, targets


def decode_boxes(rows: Tensor, columns: Tensor, encoded: Tensor, grid: BevGrid) -> Tensor:
    """The inverse of `encode_boxes`: rows, columns (...), encoded (..., 10) to boxes (..., 7)."""
    cells = torch.stack([columns, rows], dim=-1)
    centres = (cells + 0.5) * grid.cell - grid.half_extent
    size = encoded[..., 3:6].clamp(-MAX_LOG_SIZE, MAX_LOG_SIZE).exp()
    yaw = decode_yaw(encoded[..., 6:8], encoded[..., 8:10])
    return torch.cat([centres + encoded[..., :2], encoded[..., 2:3], size, yaw[..., None]], dim=-1)


def decode_yaw(heading: Tensor, axis: Tensor) -> Tensor:
    """The yaw (...) in rad along `axis` (..., 2: sin 2 yaw, cos 2 yaw), and that way round which
    is nearer to `heading` (..., 2: sin yaw, cos yaw).

    Front and back of an object are told apart late in training, of some objects never. Until then
    L1 is content with any heading between the two, and gives its axis no gradient; the axis is the
    same for both. An axis of length 0 says nothing: the yaw is then the heading's.
    """
    along = torch.atan2(axis[..., 0], axis[..., 1]) / 2
    turned = heading[..., 0] * along.sin() + heading[..., 1] * along.cos() < 0
    opposite = torch.where(along > 0, along - torch.pi, along + torch.pi)
    yaw = torch.where(turned, opposite, along)
    silent = (axis == 0).all(dim=-1)
    return torch.where(silent, torch.atan2(heading[..., 0], heading[..., 1]), yaw)


@torch.compiler.assume_constant_result
def _allowed_on(device: torch.device) -> Tensor:
    """_ALLOWED on a device. Kept: to send it there with each frame would be to wait for a GPU."""
    if device not in _ALLOWED_ON:
        _ALLOWED_ON[device] = _ALLOWED.to(device)
    return _ALLOWED_ON[device]


def decode(output: HeadOutput, grid: BevGrid, max_objects: int) -> Decoded:
    """The best `max_objects` heatmap peaks as objects.

    A cell is a peak if no neighbour exceeds it; of neighbours that are equal, as logits from half
    precision often are, the first one in the order of the cells. Shapes are static: a sample with
    fewer peaks is filled up with objects of score 0.
    """
    heatmap = output.heatmap.float()
    # Maxima of three cells in a row, then of what lies before and after a cell: on the CPU that
    # takes a fraction of max_pool2d's time.
    wide = F.pad(heatmap, (1, 1, 1, 1), value=-torch.inf)
    three = torch.maximum(torch.maximum(wide[..., :-2], wide[..., 1:-1]), wide[..., 2:])
    before = torch.maximum(three[..., :-2, :], wide[..., 1:-1, :-2])
    after = torch.maximum(three[..., 2:, :], wide[..., 1:-1, 2:])
    peak = (heatmap > before) & (heatmap >= after)
    logits, order = heatmap.where(peak, -torch.inf).flatten(1).topk(max_objects)  # (B, K)
    cells = grid.size * grid.size
    labels, cell = order // cells, order % cells

    def at_peaks(maps: Tensor) -> Tensor:
        """(B, C, Y, X) to (B, K, C)."""
        flat = maps.float().flatten(2)
        return flat.gather(2, cell[:, None].expand(-1, flat.shape[1], -1)).transpose(1, 2)

    allowed = _allowed_on(heatmap.device)[labels]  # (B, K, 8)
    attribute = at_peaks(output.attribute).masked_fill(~allowed, -torch.inf).argmax(dim=-1)
    return Decoded(
        boxes=decode_boxes(cell // grid.size, cell % grid.size, at_peaks(output.boxes), grid),
        scores=logits.sigmoid(),
        labels=labels,
        velocities=at_peaks(output.velocity),
        attributes=torch.where(allowed.any(dim=-1), attribute, NO_ATTRIBUTE),
    )
