# SPDX-License-Identifier: Apache-2.0
"""Fusion of the camera's BEV features C with the simulated points' P.

Heterogeneous fusion (method.md) leans on the camera:

    F = Phi(C) + g * Psi(C, P),   Psi(C, P) = W (sigmoid(U C) * relu(V1 P + V2 P))

Phi starts as the identity. V1 looks at the cell alone and keeps its exact place, V2 at a window of
about 9x9 cells; like W they have no bias, so that where no point lies within the window Psi
vanishes exactly and F = Phi(C). The gate g in (0, 1), from C, P and the points' evidence, starts
mostly closed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asd_perception.network.layers import ConstantInitConv2d, ConvNormReLU, conv_of_parts

INITIAL_GATE = -2.0
"""The gate's logit before training: 12 % open."""


class HeterogeneousFusion(nn.Module):
    """The camera's features, and a gated residual from the points."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.camera = nn.Sequential(
            ConvNormReLU(channels, channels, kernel=1),
            ConstantInitConv2d(channels, channels, value=0.0),
        )
        self.cell = nn.Conv2d(channels, channels, 1, bias=False)
        self.window = nn.Sequential(  # at half resolution, where a wide window is cheap
            nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.Upsample(scale_factor=2.0, mode="bilinear"),
        )
        self.semantics = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.Sigmoid())
        self.out = nn.Conv2d(channels, channels, 1, bias=False)
        self.gate = nn.Sequential(
            nn.Conv2d(2 * channels + 1, 16, 1),
            nn.ReLU(),
            ConstantInitConv2d(16, 1, value=INITIAL_GATE),
        )

    def forward(self, camera: Tensor, points: Tensor, evidence: Tensor) -> tuple[Tensor, Tensor]:
        """camera C and points P (B, C, Y, X), evidence (B, 1, Y, X).

        Returns the fused features (B, C, Y, X) and the gate (B, 1, Y, X).
        """
        hidden = conv_of_parts(self.gate[0], camera, points, evidence)
        gate = self.gate[1:](hidden).sigmoid()
        geometry = F.relu(self.cell(points) + self.window(points))
        residual = self.out(self.semantics(camera) * geometry)
        return camera + self.camera(camera) + gate * residual, gate


class SymmetricFusion(nn.Module):
    """The usual alternative: concatenate and convolve, both modalities alike. No gate: it is 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ConvNormReLU(2 * channels, channels)

    def forward(self, camera: Tensor, points: Tensor, evidence: Tensor) -> tuple[Tensor, Tensor]:
        """As HeterogeneousFusion."""
        return self.conv(torch.cat([camera, points], dim=1)), torch.ones_like(evidence)
