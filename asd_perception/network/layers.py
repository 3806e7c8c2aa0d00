# SPDX-License-Identifier: Apache-2.0
"""The convolutional building blocks that every part of the network uses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNormReLU(nn.Sequential):
    """Convolution, batch normalisation, ReLU. (B, in, H, W) to (B, out, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


def conv_of_parts(conv: nn.Conv2d, *parts: Tensor) -> Tensor:
    """`conv` of the parts' concatenation along the channels, which is not made.

    To join maps of 24, 24 and 1 channels, and to split their gradient, costs more than `conv`.
    """
    weights = conv.weight.split([part.shape[1] for part in parts], dim=1)
    result = F.conv2d(parts[0], weights[0], conv.bias, conv.stride, conv.padding)
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        result = result + F.conv2d(part, weight, None, conv.stride, conv.padding)
    return result


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al., CVPR 2016, basic block)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = ConvNormReLU(inputs, outputs, stride=stride)
        self.second = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class ConstantInitConv2d(nn.Conv2d):
    """A convolution whose output is `value` everywhere until it is trained."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, *, value: float) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        nn.init.zeros_(self.weight)
        self.bias = nn.Parameter(torch.full((outputs,), value))
