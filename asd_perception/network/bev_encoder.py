# SPDX-License-Identifier: Apache-2.0
"""The BEV encoder, shared in form by student and teacher."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from asd_perception.network.layers import ConvNormReLU, ResidualBlock


class BevEncoder(nn.Module):
    """Residual stages at strides 1, 2 and 4, merged back to stride 1.

    The stage at stride 1 is a single convolution: most of the work is done on coarser maps,
    where it is cheaper and sees farther.
    """

    def __init__(self, inputs: int, channels: tuple[int, int, int], blocks: int) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.fine = ConvNormReLU(inputs, fine)
        self.middle = _stage(fine, middle, blocks)
        self.coarse = _stage(middle, coarse, blocks)
        self.coarse_to_middle = nn.Conv2d(coarse, middle, 1)
        self.smooth = ConvNormReLU(middle, middle)
        self.middle_to_fine = nn.Conv2d(middle, fine, 1)

    def forward(self, bev: Tensor) -> Tensor:
        """(B, inputs, Y, X) to (B, channels[0], Y, X)."""
        fine = self.fine(bev)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        middle = self.smooth(middle + _upsample(self.coarse_to_middle(coarse)))
        return fine + _upsample(self.middle_to_fine(middle))


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    first = ResidualBlock(inputs, outputs, stride=2)
    return nn.Sequential(first, *(ResidualBlock(outputs, outputs) for _ in range(blocks - 1)))


def _upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
