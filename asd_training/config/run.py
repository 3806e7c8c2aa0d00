# SPDX-License-Identifier: Apache-2.0
"""Configurations of training runs.

Their defaults are the shipped recipes config/training/synthetic.yaml and synthetic_teacher.yaml.
"""

from __future__ import annotations

import dataclasses
from dataclasses import field
from typing import Annotated, Literal, TypeVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from asd_perception.configuration import configuration, fault
from asd_perception.network.config import StudentConfig
from asd_training.config.augmentation import AugmentationConfig
from asd_training.config.distillation import DistillConfig
from asd_training.config.supervision import Supervision
from asd_training.config.teacher import TeacherConfig

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


@configuration
class TrainingConfig:
    """What every training run has. Lengths are in optimiser steps, not in passes over the data."""

    train_split: str = "synthetic_train"
    """Split of the dataset to train on."""
    val_split: str = "synthetic_val"
    """Split of the dataset to validate on."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of weights, order and augmentation of the samples."""
    steps: PositiveInt = 2000
    """Optimiser steps."""
    batch_size: PositiveInt = 4
    """Samples per process and forward pass."""
    accumulate: PositiveInt = 1
    """Forward passes per step."""
    learning_rate: PositiveFloat = 2e-3
    """Peak of one cosine cycle after the warm-up."""
    weight_decay: NonNegativeFloat = 0.01
    """Of AdamW; not applied to biases and normalisations."""
    warmup_steps: NonNegativeInt = 200
    """Steps of linear growth of the learning rate."""
    gradient_clip: PositiveFloat = 10.0
    """Largest norm of the gradient."""
    precision: Precision = "auto"
    """Lightning's name of the precision: 32-true, bf16-mixed or 16-mixed. auto: bf16-mixed on a GPU
    that computes in bfloat16 and on a CPU with AVX-512 BF16 or AMX, otherwise 32-true; a run
    records what it was at its beginning, and keeps it."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    """Decay of the averaged weights, which are validated and exported."""
    validate_every: NonNegativeInt = 0
    """Steps between validations on `validate_keyframes` keyframes; 0: only at the end, on all."""
    validate_keyframes: PositiveInt = 100
    """Keyframes of a validation during the run, spread over the split."""
    curve_from: NonNegativeInt = 3000
    """Samples after which the learning curve has its first point, on the whole validation split; it
    has another at each doubling and at the end. 0: only at the end."""
    checkpoint_every: PositiveInt = 100
    """Steps between checkpoints."""
    loader_workers: NonNegativeInt = 1
    """Processes that prepare samples."""
    cache: str | None = None
    """Folder for prepared samples, which runs and processes share: the training set's images at the
    network's size, what LiDAR saw and, where augmentation shows a teacher nothing new, its answers.
    Null: the samples are read from the dataset, and the teacher is asked, each time."""
    resident: Literal["auto"] | bool = False
    """Whether the samples of `cache` are copied to the device once, and augmented there, so that a
    GPU does not wait for the host. auto: on a GPU that has room for them. Not the default, since it
    has not run on a GPU yet."""
    balance_classes: bool = False
    """Draw keyframes with rare classes more often."""
    pretrained: str | None = None
    """Local folder or file with the image backbone's weights to start from; efficientnet-lite0: the
    ImageNet weights that the extra `imagenet` brings; null: random."""
    fine_tune: str | None = None
    """Model directory of the same architecture, whose weights the whole network starts from, in
    place of `pretrained` and of a teacher's; null: a new network."""
    frozen_stages: NonNegativeInt = 0
    """Stages of the image backbone, with all before them, that keep their weights and batch
    statistics. 0: it is trained whole."""
    recompute_images: bool = False
    """Recompute the image backbone's activations in the backward pass: less memory, more time."""
    augmentation: AugmentationConfig | None = field(default_factory=AugmentationConfig)
    """How far samples are changed at random; null: not at all."""

    def __post_init__(self) -> None:
        if self.resident is True and self.cache is None:
            raise fault("resident", "is true; it needs prepared samples: give cache a folder")
        if self.fine_tune is not None and self.pretrained is not None:
            raise fault("pretrained", "has no effect beside fine_tune; give one of them")
        if self.frozen_stages and self.pretrained is None and self.fine_tune is None:
            raise fault("frozen_stages", "keeps weights as they are: name some by pretrained")


@configuration
class StudentRun(TrainingConfig):
    """A training run of the student."""

    steps: PositiveInt = 4000
    """Optimiser steps."""
    augmentation: AugmentationConfig | None = field(
        default_factory=lambda: AugmentationConfig(camera_dropout=0.05)
    )
    """How far samples are changed at random; null: not at all."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """Architecture of the student."""
    supervision: Supervision = field(default_factory=Supervision)
    """What the student learns from boxes and LiDAR."""
    distillation: DistillConfig = field(default_factory=DistillConfig)
    """What the student learns from a teacher."""


@configuration
class TeacherRun(TrainingConfig):
    """A training run of the LiDAR (+ camera) teacher."""

    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """Architecture of the teacher."""


Run = TypeVar("Run", StudentRun, TeacherRun)


def as_begun(config: Run, begun: Run) -> Run:
    """A configuration with what a run with the configuration `begun` decided when it began."""
    if config.precision == "auto":
        return dataclasses.replace(config, precision=begun.precision)
    return config
