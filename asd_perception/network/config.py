# SPDX-License-Identifier: Apache-2.0
"""The student's architecture as a configuration."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt

from asd_perception.bev_grid import BevGrid
from asd_perception.cameras.calibration import NUSCENES_CAMERAS, TrainedCamera
from asd_perception.configuration import configuration, fault, validated

Fusion = Literal["heterogeneous", "symmetric", "camera_only"]


@configuration
class BackboneConfig:
    """The image backbone, ours or built by transformers' AutoBackbone, and its feature pyramid."""

    model_type: str = "resnet"
    """efficientnet_lite0, or transformers' name ("resnet", "swin", "convnext", ...)."""
    options: dict[str, Any] = field(
        default_factory=lambda: {
            "embedding_size": 32,
            "hidden_sizes": [32, 64, 128, 192],
            "depths": [1, 2, 2, 1],
            "layer_type": "basic",
        }
    )
    """Keyword arguments of that model's configuration class; efficientnet_lite0 has none."""
    out_features: tuple[str, ...] = ("stage2", "stage3", "stage4")
    """The stages used, fine to coarse."""
    stride: PositiveInt = 8
    """Pixels of the input per feature pixel, of the finest stage used."""
    channels: PositiveInt = 64
    """Channels of the feature pyramid."""


BACKBONES = {
    "resnet18": BackboneConfig(
        model_type="resnet",
        options={
            "layer_type": "basic",
            "embedding_size": 64,
            "hidden_sizes": [64, 128, 256, 512],
            "depths": [2, 2, 2, 2],
        },
        out_features=("stage3", "stage4"),
        stride=16,
        channels=128,
    ),
    "resnet50": BackboneConfig(
        model_type="resnet",
        options={
            "layer_type": "bottleneck",
            "embedding_size": 64,
            "hidden_sizes": [256, 512, 1024, 2048],
            "depths": [3, 4, 6, 3],
        },
        out_features=("stage3", "stage4"),
        stride=16,
        channels=256,
    ),
    "swin_t": BackboneConfig(
        model_type="swin",
        options={
            "embed_dim": 96,
            "depths": [2, 2, 6, 2],
            "num_heads": [3, 6, 12, 24],
            "window_size": 7,
            "drop_path_rate": 0.1,
        },
        out_features=("stage2", "stage3", "stage4"),
        stride=8,
        channels=256,
    ),
    "convnext_t": BackboneConfig(
        model_type="convnext",
        options={
            "hidden_sizes": [96, 192, 384, 768],
            "depths": [3, 3, 9, 3],
            "drop_path_rate": 0.1,
        },
        out_features=("stage2", "stage3", "stage4"),
        stride=8,
        channels=256,
    ),
    "efficientnet_lite0": BackboneConfig(
        model_type="efficientnet_lite0",
        options={},
        out_features=("stage3", "stage5", "stage6"),
        stride=8,
        channels=64,
    ),
}
"""The standard backbones: in YAML, `backbone: resnet50` stands for the whole mapping.

Strides as usual for 256x704 images: 16 for ResNet-50 (BEVDet, BEVDepth), 8 for Swin-T (BEVFusion).
"""


def as_backbone(value: Any) -> Any:
    """The backbone that a name in BACKBONES, or a mapping of its keys, stands for."""
    if isinstance(value, dict):
        return validated(BackboneConfig, value)
    if isinstance(value, str) and value not in BACKBONES:
        known = ", ".join(BACKBONES)
        raise fault("", f"is {value!r}; known names are {known} (or give model_type, options, ...)")
    return BACKBONES[value] if isinstance(value, str) else value


@configuration
class DepthConfig:
    """Depth bins of equal width along each camera ray."""

    near: PositiveFloat = 1.0
    """Depth in m at which the first bin begins."""
    far: float = 60.0
    """Depth in m at which the last bin ends."""
    bins: Annotated[int, Field(ge=2)] = 59
    """Number of bins."""

    def __post_init__(self) -> None:
        if self.near >= self.far:
            raise fault("near", f"is {self.near}; it must be below far, {self.far}")

    @property
    def bin_width(self) -> float:
        """Depth that one bin covers in m."""
        return (self.far - self.near) / self.bins


@configuration
class StudentConfig:
    """Architecture of the student, from tiny (CPU, the defaults) to Swin-T at 256x704."""

    image_size: tuple[int, int] = (96, 256)
    """Height and width of the network's input in pixels, multiples of 32."""
    image_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    """Mean per RGB channel, on the 0-255 scale."""
    image_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    """Standard deviation per RGB channel, on the 0-255 scale."""
    trained_cameras: tuple[TrainedCamera, ...] = NUSCENES_CAMERAS
    """The cameras that it is trained with; others are turned and zoomed into them (view.py)."""
    backbone: Annotated[BackboneConfig, BeforeValidator(as_backbone)] = field(
        default_factory=BackboneConfig
    )
    """Image backbone: resnet18, resnet50, swin_t, convnext_t, efficientnet_lite0, or its keys."""
    depth: DepthConfig = field(default_factory=DepthConfig)
    """Depth bins of lift-splat and simulated points."""
    bev: BevGrid = field(default_factory=BevGrid)
    """BEV grid around the robot."""
    bev_channels: PositiveInt = 24
    """Channels of the camera, simulated-point and fused BEV features."""
    fusion: Fusion = "heterogeneous"
    """heterogeneous; to compare with, symmetric, or camera_only: without simulated points."""
    encoder_channels: tuple[PositiveInt, PositiveInt, PositiveInt] = (24, 48, 96)
    """Channels of the BEV encoder's stages at strides 1, 2 and 4."""
    encoder_blocks: PositiveInt = 1
    """Residual blocks per stage."""
    head_channels: PositiveInt = 32
    """Channels of the centre head."""
    max_objects: Annotated[int, Field(ge=1, le=500)] = 200
    """Boxes decoded per frame; nuScenes' evaluator takes 500 at most."""

    @property
    def feature_size(self) -> tuple[int, int]:
        """Rows and columns of an image's features."""
        height, width = self.image_size
        return height // self.backbone.stride, width // self.backbone.stride

    def __post_init__(self) -> None:
        if any(side <= 0 or side % 32 for side in self.image_size):
            raise fault("image_size", f"is {self.image_size}; each side must be a multiple of 32")
        if self.bev.size % 4:
            raise fault("bev", f"has {self.bev.size} cells per side; it must be a multiple of 4")
