# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation, with ReLU6 instead of swish.

Tan and Le, "EfficientNet: Rethinking model scaling for convolutional neural networks", ICML 2019;
its blocks are those of MobileNetV2 (Sandler et al., CVPR 2018).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_outputs import BackboneOutput

from asd_perception.errors import UserError

IMAGE_MEAN = (127.0, 127.0, 127.0)
"""Mean per RGB channel, on the 0-255 scale, that its ImageNet weights are made for."""
IMAGE_STD = (128.0, 128.0, 128.0)
"""Likewise the standard deviation."""


class Stage(NamedTuple):
    """Blocks one after the other, of which the first has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM_CHANNELS = 32
STAGES = (
    Stage(blocks=1, kernel=3, stride=1, expansion=1, channels=16),
    Stage(blocks=2, kernel=3, stride=2, expansion=6, channels=24),
    Stage(blocks=2, kernel=5, stride=2, expansion=6, channels=40),
    Stage(blocks=3, kernel=3, stride=2, expansion=6, channels=80),
    Stage(blocks=3, kernel=5, stride=1, expansion=6, channels=112),
    Stage(blocks=4, kernel=5, stride=2, expansion=6, channels=192),
    Stage(blocks=1, kernel=3, stride=1, expansion=6, channels=320),
)
"""At strides 2, 4, 8, 16, 16, 32 and 32 behind a stem of stride 2."""


class EfficientNetLite0(nn.Module):
    """The stages up to the last one used; what a classifier has behind them is left out.

    channels: of each feature map. Raises UserError for a stage that it does not have.

    TensorFlow, where its ImageNet weights come from, pads strided convolutions with one zero less
    above and on the left than below and on the right. Here padding is the same on all sides, for
    which images and filters are turned by half a turn: on even sides that gives the same features.
    """

    def __init__(self, out_features: tuple[str, ...]) -> None:
        """out_features: some of stage1 to stage7, fine to coarse."""
        super().__init__()
        names = [f"stage{i + 1}" for i in range(len(STAGES))]
        if not out_features or [name for name in names if name in out_features] != [*out_features]:
            raise UserError(
                f"backbone.out_features is {', '.join(out_features) or 'empty'}; those of "
                f"efficientnet_lite0 are some of {', '.join(names)}, fine to coarse"
            )
        self.used = [names.index(name) for name in out_features]
        self.channels = [STAGES[i].channels for i in self.used]
        self.stem = ConvNorm(3, STEM_CHANNELS, 3, stride=2)
        self.stages = nn.ModuleList()
        inputs = STEM_CHANNELS
        for stage in STAGES[: self.used[-1] + 1]:
            blocks = nn.Sequential()
            for i in range(stage.blocks):
                blocks.append(InvertedResidual(inputs, stage, stage.stride if i == 0 else 1))
                inputs = stage.channels
            self.stages.append(blocks)

    def forward(self, pixels: Tensor) -> BackboneOutput:
        """Normalised images (M, 3, H, W), sides multiples of 32, to feature maps (M, C, h, w)."""
        x = self.stem(pixels.flip(2, 3))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return BackboneOutput(feature_maps=tuple(maps[i].flip(2, 3) for i in self.used))


class InvertedResidual(nn.Module):
    """Channels expanded, filtered one by one, and projected to few; with a shortcut around where
    the shape stays."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        hidden = inputs * stage.expansion
        self.expand = nn.Identity() if stage.expansion == 1 else ConvNorm(inputs, hidden, 1)
        self.depthwise = ConvNorm(hidden, hidden, stage.kernel, stride, groups=hidden)
        self.project = ConvNorm(hidden, stage.channels, 1, activation=False)
        self.has_shortcut = inputs == stage.channels and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.has_shortcut else y


class ConvNorm(nn.Sequential):
    """Convolution, batch normalisation and, unless told otherwise, ReLU6."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
            # Not in place: of bfloat16 on a CPU, that is four times slower.
            *([nn.ReLU6()] if activation else []),
        )

    def forward(self, x: Tensor) -> Tensor:
        convolution, norm, *activation = self
        folded = not isinstance(norm, nn.BatchNorm2d)  # into the convolution, for inference
        if not folded and not norm.training:  # frozen: one pass for both
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            weight = convolution.weight * scale[:, None, None, None]
            bias = norm.bias - norm.running_mean * scale
            x = F.conv2d(
                x, weight, bias, convolution.stride, convolution.padding, 1, convolution.groups
            )
        elif not folded and convolution.groups > 1 and x.device.type == "cpu":
            # A CPU's gradients of depthwise convolutions are far slower in bfloat16.
            with torch.autocast("cpu", enabled=False):
                x = norm(convolution(x.float()))
        else:
            x = norm(convolution(x))
        return activation[0](x) if activation else x
