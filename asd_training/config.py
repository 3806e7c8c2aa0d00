# SPDX-License-Identifier: Apache-2.0
"""Configurations of training runs: typed, read from YAML, changed from the command line."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from asd_perception.config import StudentConfig, as_backbone, from_dict, to_dict
from asd_perception.errors import UserError
from asd_training.datasets.augmentation import AugmentationConfig
from asd_training.distillation.objective import DistillConfig
from asd_training.objective import PixelSupervision
from asd_training.teacher.network import TeacherConfig

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class LoopConfig:
    """What every training run has. Lengths are in optimiser steps, not in passes over the data.

    train_split, val_split: split names of the dataset. batch_size: samples a process and a
    forward pass; accumulate: forward passes a step. learning_rate: peak of one cosine cycle after
    `warmup_steps` of linear growth. gradient_clip: largest norm. precision: Lightning's name.
    ema_decay: of the averaged weights, which are validated and exported. validate_every: steps
    between validations on `validate_keyframes` keyframes spread over the split (0: only at the
    end, on all of it). balance_classes: draw keyframes with rare classes more often. pretrained:
    local folder or file with the image backbone's weights to start from (asd_training.pretrained);
    none: random. recompute_images: recompute the image backbone's activations in the backward
    pass, which saves memory for time. augmentation: how far samples are changed; null: not at all.
    """

    train_split: str = "synthetic_train"
    val_split: str = "synthetic_val"
    seed: int = 0
    steps: int = 2000
    batch_size: int = 4
    accumulate: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_steps: int = 200
    gradient_clip: float = 10.0
    precision: str = "32-true"
    ema_decay: float = 0.998
    validate_every: int = 0
    validate_keyframes: int = 100
    checkpoint_every: int = 100
    loader_workers: int = 1
    balance_classes: bool = False
    pretrained: str | None = None
    recompute_images: bool = False
    augmentation: AugmentationConfig | None = field(default_factory=AugmentationConfig)

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UserError(
                f"precision is {self.precision!r}; it must be one of {', '.join(PRECISIONS)}"
            )
        for key in ("steps", "batch_size", "accumulate", "checkpoint_every", "validate_keyframes"):
            if getattr(self, key) < 1:
                raise UserError(f"{key} is {getattr(self, key)}; it must be at least 1")
        for key in ("seed", "warmup_steps", "validate_every", "loader_workers", "weight_decay"):
            if not getattr(self, key) >= 0:
                raise UserError(f"{key} is {getattr(self, key)}; it must not be negative")
        if self.seed >= 2**32:
            raise UserError(f"seed is {self.seed}; it must be below 2^32")
        for key in ("learning_rate", "gradient_clip"):
            if not 0 < getattr(self, key) < math.inf:
                raise UserError(f"{key} is {getattr(self, key)}; it must be above 0, and finite")
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"ema_decay is {self.ema_decay}; it must be in [0, 1)")


@dataclass(frozen=True)
class StudentRun(LoopConfig):
    """A training run of the student. supervision: by LiDAR; distillation: by a teacher."""

    student: StudentConfig = field(default_factory=StudentConfig)
    supervision: PixelSupervision = field(default_factory=PixelSupervision)
    distillation: DistillConfig = field(default_factory=DistillConfig)


@dataclass(frozen=True)
class TeacherRun(LoopConfig):
    """A training run of the LiDAR (+ camera) teacher."""

    teacher: TeacherConfig = field(default_factory=TeacherConfig)


Run = TypeVar("Run", StudentRun, TeacherRun)


def read_config(cls: type[Run], path: Path | None, changes: list[str] | None = None) -> Run:
    """A run's configuration from YAML (None: the defaults), with `key=value` changes applied.

    A change's key is a path with dots ("student.image_size"), its value is read as YAML.
    Raises UserError that names the key at fault.
    """
    values: Any = {}
    if path is not None:
        try:
            values = yaml.safe_load(path.read_text())
            values = {} if values is None else values  # an empty file: the defaults
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    for change in changes or []:
        _apply(values, change)
    try:
        return from_dict(cls, values)
    except UserError as error:
        raise UserError(f"{path}: {error}" if path else str(error)) from error


def _apply(values: Any, change: str) -> None:
    """Set one `a.b.c=value` in nested dictionaries, in place."""
    key, equals, text = change.partition("=")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {change}: the value is not valid YAML") from error
    if not equals or not key:
        raise UserError(f"--set {change}: expected key=value")
    *parents, last = key.split(".")
    for parent in parents:
        if isinstance(values, dict):
            child = values.setdefault(parent, {})
            if parent == "backbone":  # in full, and not by a name, before a part of it is changed
                child = values[parent] = to_dict(as_backbone(child))
            values = child
    if not isinstance(values, dict):
        raise UserError(f"--set {change}: there is no key {key}")
    values[last] = value
