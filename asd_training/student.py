# SPDX-License-Identifier: Apache-2.0
"""Training the student on ground truth: `asd-train student`."""

from __future__ import annotations

import argparse

from torch import Tensor, nn

from asd_perception.constants import CLASSES
from asd_perception.network.center_head import HeadOutput
from asd_perception.network.student import Student
from asd_training.config import StudentRun
from asd_training.datasets.index import KeyframeIndex
from asd_training.datasets.keyframes import TrainingSample
from asd_training.loop import DetectorTraining, run_training
from asd_training.objective import student_objective
from asd_training.run_folder import add_arguments, open_run


class StudentTraining(DetectorTraining):
    """The student and its objective on ground truth.

    `semantics`, an auxiliary head on the image features, is left behind after training.
    """

    kind = "student"

    def __init__(self, config: StudentRun, index: KeyframeIndex) -> None:
        super().__init__(config, Student(config.student), config.student, index, sweeps=0)
        self.semantics = nn.Conv2d(config.student.backbone.channels, len(CLASSES) + 1, 1)

    def losses(self, batch: TrainingSample) -> dict[str, Tensor]:
        output = self.network(batch.images, batch.intrinsics, batch.ego_from_camera)
        semantics = self.semantics(output.image_features.flatten(0, 1))
        semantics = semantics.unflatten(0, output.image_features.shape[:2])
        return student_objective(output, semantics, batch.objects, batch.pixels)

    def heads(self, network: nn.Module, batch: TrainingSample) -> HeadOutput:
        return network(batch.images, batch.intrinsics, batch.ego_from_camera).head


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-train student`."""
    add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Train, validate with the official evaluator, and export to RUN/model."""
    config = open_run(args, StudentRun)
    run_training(
        args,
        config,
        KeyframeIndex.open(args.data, args.version, sweeps=1),
        StudentTraining,
        method="student on ground truth; LiDAR tells depth and class of image features",
    )
