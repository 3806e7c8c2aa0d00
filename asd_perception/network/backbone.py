# SPDX-License-Identifier: Apache-2.0
"""Image features: a backbone, ours or transformers', and a small feature pyramid."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoBackbone, AutoConfig
from typing_extensions import Self

from asd_perception.errors import UserError
from asd_perception.network.backbones.efficientnet_lite import EfficientNetLite0
from asd_perception.network.config import BackboneConfig, StudentConfig
from asd_perception.network.layers import ConvNormReLU


class ImageEncoder(nn.Module):
    """Images to one feature map per image, at the backbone's stride; it normalises them itself.

    Its weights are random: nothing is downloaded.
    Raises UserError for an unknown option, and where the configured stride is not that of the
    finest stage used.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: StudentConfig) -> None:
        """network: whose `backbone`, `image_mean` and `image_std` count here."""
        super().__init__()
        self.config = config = network.backbone
        for name, value in (("mean", network.image_mean), ("std", network.image_std)):
            self.register_buffer(name, torch.tensor(value)[:, None, None], persistent=False)
        self.backbone = _backbone(config)
        self.frozen: list[nn.Module] = []
        stride = _finest_stride(self.backbone)
        if stride != config.stride:
            raise UserError(
                f"backbone.stride is {config.stride}, but {config.out_features[0]} of "
                f"{config.model_type} has stride {stride}"
            )
        self.lateral = nn.ModuleList(
            nn.Conv2d(channels, config.channels, 1) for channels in self.backbone.channels
        )
        self.smooth = ConvNormReLU(config.channels, config.channels)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, N, 3, H, W), RGB in 0-255, uint8 or float, to features (B, N, channels, h, w).

        h = H / stride, w = W / stride.
        """
        pixels = (images.flatten(0, 1) - self.mean) / self.std
        # Convolutions keep their input's memory format, and run fastest on channels last.
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return self.features(pixels).unflatten(0, images.shape[:2])

    def features(self, pixels: Tensor) -> Tensor:
        """Normalised images (M, 3, H, W) to features (M, channels, h, w)."""
        stages = self.backbone(pixels).feature_maps  # fine to coarse
        lateral = [conv(stage) for conv, stage in zip(self.lateral, stages, strict=True)]
        merged = lateral[-1]
        for finer in reversed(lateral[:-1]):
            merged = finer + F.interpolate(merged, size=finer.shape[-2:], mode="nearest")
        return self.smooth(merged)

    def recompute_stages(self) -> None:
        """Keep only the stages' inputs in training, and compute the rest again going backward.

        A copy of this module made afterwards would call this one's stages. Raises UserError for a
        backbone whose stages are not known.
        """
        stages = self._stages()
        if not stages:
            raise UserError(
                f"the stages of {self.config.model_type} are not known: "
                "this backbone cannot be recomputed"
            )
        for stage in stages:
            stage.forward = partial(
                checkpoint,
                stage.forward,
                use_reentrant=False,
                context_fn=partial(_recompute_contexts, stage),
            )

    def freeze_stages(self, count: int) -> None:
        """Train neither the stem nor the first `count` stages, whose batch statistics stay as well.

        0: train all. Raises UserError if the backbone has fewer stages, or does not tell them.
        """
        stages = self._stages()
        if count > len(stages):
            raise UserError(
                f"frozen_stages is {count}, but {self.config.model_type} has {len(stages)} stages"
            )
        if count:
            ends = ("stem", "embedder", "embeddings")
            stem = [m for name, m in self.backbone.named_modules() if name.endswith(ends)]
            self.frozen = [*stem, *stages[:count]]
        for module in self.frozen:
            module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """As of any module, but what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def _stages(self) -> list[nn.Module]:
        """The backbone's stages, fine to coarse; none where they are not known."""
        return [
            stage
            for name, module in self.backbone.named_modules()
            if name.endswith(("stages", "encoder.layers"))
            for stage in module
        ]


def _backbone(config: BackboneConfig) -> nn.Module:
    """The backbone with random weights. Raises UserError."""
    if config.model_type == "efficientnet_lite0":
        for name in config.options:
            raise UserError(f"backbone.options.{name} is no option of efficientnet_lite0")
        return EfficientNetLite0(config.out_features)
    known = AutoConfig.for_model(config.model_type)
    for name in config.options:
        if not hasattr(known, name):  # transformers would keep it, and build without it
            raise UserError(f"backbone.options.{name} is no option of {config.model_type}")
    options = AutoConfig.for_model(
        config.model_type, **config.options, out_features=list(config.out_features)
    )
    backbone = AutoBackbone.from_config(options)
    if config.model_type == "swin":  # a classifier's norm, which no feature map passes through
        backbone.swin.layernorm.requires_grad_(False)
    return backbone


def _recompute_contexts(
    stage: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """The contexts in which a stage goes forward, and forward once more."""
    return nullcontext(), _running_statistics_kept(stage)


@contextmanager
def _running_statistics_kept(stage: nn.Module) -> Iterator[None]:
    """A batch that normalisation layers have seen before does not move their statistics again."""
    kept = {module: dict(module.named_buffers(recurse=False)) for module in stage.modules()}
    for module, buffers in kept.items():
        for name, buffer in buffers.items():
            setattr(module, name, buffer.clone())
    try:
        yield
    finally:
        for module, buffers in kept.items():
            for name, buffer in buffers.items():
                setattr(module, name, buffer)


def _finest_stride(backbone: nn.Module) -> int:
    """The stride of the backbone's finest output, measured on an empty image."""
    side = 64
    training = backbone.training
    with torch.no_grad():
        finest = backbone.eval()(torch.zeros(1, 3, side, side)).feature_maps[0]
    backbone.train(training)
    return side // finest.shape[-1]
