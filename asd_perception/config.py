# SPDX-License-Identifier: Apache-2.0
"""The student's configuration: typed, checked, and read from or written to YAML."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from asd_perception.bev_grid import BevGrid
from asd_perception.errors import UserError

T = TypeVar("T")

_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
"""1e-4: a number to most people, a text to YAML 1.1, which wants 1.0e-4."""

FUSIONS = ("heterogeneous", "symmetric", "camera_only")


@dataclass(frozen=True)
class BackboneConfig:
    """The image backbone, built by transformers' AutoBackbone, and its feature pyramid.

    model_type: transformers' name ("resnet", "swin", "convnext", ...).
    options: keyword arguments of that model's configuration class.
    out_features: the stages used, fine to coarse; the finest one's stride is `stride`.
    """

    model_type: str = "resnet"
    options: dict[str, Any] = field(
        default_factory=lambda: {
            "embedding_size": 32,
            "hidden_sizes": [32, 64, 128, 192],
            "depths": [1, 2, 2, 1],
            "layer_type": "basic",
        }
    )
    out_features: tuple[str, ...] = ("stage2", "stage3", "stage4")
    stride: int = 8
    channels: int = 64


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
}
"""The standard backbones: in YAML, `backbone: resnet50` stands for the whole mapping.

Strides as usual for 256x704 images: 16 for ResNet-50 (BEVDet, BEVDepth), 8 for Swin-T (BEVFusion).
"""


@dataclass(frozen=True)
class DepthConfig:
    """Depth bins along each camera ray: `bins` of equal width from `near` to `far`, in m."""

    near: float = 1.0
    far: float = 60.0
    bins: int = 59

    @property
    def bin_width(self) -> float:
        """Depth that one bin covers in m."""
        return (self.far - self.near) / self.bins


@dataclass(frozen=True)
class StudentConfig:
    """Architecture of the student, from tiny (CPU, the defaults) to Swin-T at 256x704.

    image_size: height and width of the network's input in pixels.
    image_mean, image_std: per RGB channel, on the 0-255 scale.
    bev_channels: channels of the camera, simulated-point and fused BEV features.
    fusion: "heterogeneous"; to compare with, "symmetric", or "camera_only", a student without
        simulated points.
    encoder_channels: channels of the BEV encoder's stages at strides 1, 2 and 4.
    encoder_blocks: residual blocks a stage.
    head_channels: channels of the centre head.
    max_objects: boxes decoded a frame.
    """

    image_size: tuple[int, int] = (128, 352)
    image_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    image_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    depth: DepthConfig = field(default_factory=DepthConfig)
    bev: BevGrid = field(default_factory=BevGrid)
    bev_channels: int = 24
    fusion: str = "heterogeneous"
    encoder_channels: tuple[int, int, int] = (24, 48, 96)
    encoder_blocks: int = 1
    head_channels: int = 32
    max_objects: int = 200

    def __post_init__(self) -> None:
        for side in self.image_size:
            if side <= 0 or side % 32:
                raise UserError(f"image_size {self.image_size}: each side must be a multiple of 32")
        if self.depth.bins < 2 or not 0 < self.depth.near < self.depth.far:
            raise UserError(f"depth {self.depth}: needs 0 < near < far and at least 2 bins")
        if self.fusion not in FUSIONS:
            raise UserError(f"fusion is {self.fusion!r}; it must be one of {', '.join(FUSIONS)}")
        for name, counts in (
            ("bev_channels", [self.bev_channels]),
            ("encoder_channels", self.encoder_channels),
            ("encoder_blocks", [self.encoder_blocks]),
            ("head_channels", [self.head_channels]),
        ):
            if min(counts) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 1 <= self.max_objects <= 500:
            raise UserError(
                f"max_objects is {self.max_objects}; nuScenes' evaluator takes 1 to 500 a frame"
            )
        if self.bev.size % 4:
            raise UserError(f"bev has {self.bev.size} cells a side; it must be a multiple of 4")


def from_dict(cls: type[T], values: Any, where: str = "") -> T:
    """Build the dataclass `cls` from plain YAML values.

    Raises UserError that names an unknown key, or a value of a wrong type, with its full path.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where or 'configuration'}: expected keys and values, found {values!r}")
    hints = typing.get_type_hints(cls)
    known = [item.name for item in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise UserError(f"unknown key {where}{key}; known keys are {', '.join(known)}")
    return cls(
        **{key: _convert(hints[key], value, f"{where}{key}") for key, value in values.items()}
    )


def as_backbone(value: Any, where: str = "backbone") -> BackboneConfig:
    """A backbone from its name in BACKBONES or from plain YAML values; raises UserError."""
    if not isinstance(value, str):
        return from_dict(BackboneConfig, value, f"{where}.")
    if value not in BACKBONES:
        raise UserError(
            f"{where} is {value!r}; known names are {', '.join(BACKBONES)} "
            "(or give model_type, options, ...)"
        )
    return BACKBONES[value]


def to_dict(config: Any) -> dict[str, Any]:
    """The plain values of a configuration, ready for YAML."""
    return _plain(dataclasses.asdict(config))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def _convert(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint`, for the few types that configurations use."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is BackboneConfig:
        return as_backbone(value, where)
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, f"{where}.")
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return _convert(next(item for item in arguments if item is not type(None)), value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(value):
            return tuple(
                _convert(k, v, f"{where}[{i}]")
                for i, (k, v) in enumerate(zip(kinds, value, strict=True))
            )
    elif hint is float and (
        (isinstance(value, (int, float)) and not isinstance(value, bool))
        or (isinstance(value, str) and _EXPONENT.fullmatch(value))
    ):
        return float(value)
    elif type(value) is (origin or hint):
        return value
    name = getattr(hint, "__name__", None) if origin is None else str(hint)
    raise UserError(f"{where}: expected {name}, found {value!r}")
