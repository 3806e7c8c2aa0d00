# SPDX-License-Identifier: Apache-2.0
"""Training the teacher on ground truth: `asd-train teacher`."""

from __future__ import annotations

import argparse

from torch import Tensor, nn

from asd_perception.network.center_head import HeadOutput
from asd_training.config import TeacherRun
from asd_training.datasets.index import KeyframeIndex
from asd_training.datasets.keyframes import TrainingSample
from asd_training.loop import DetectorTraining, run_training
from asd_training.objective import DEPTH_WEIGHT, detection_losses, pixel_loss
from asd_training.run_folder import add_arguments, open_run
from asd_training.teacher.detection import run_teacher
from asd_training.teacher.network import Teacher


class TeacherTraining(DetectorTraining):
    """The teacher and its objective on ground truth."""

    kind = "teacher"
    sees_lidar = True

    def __init__(self, config: TeacherRun, index: KeyframeIndex) -> None:
        network = config.teacher.network
        teacher = Teacher(config.teacher)
        sweeps, cameras = config.teacher.sweeps, teacher.uses_cameras
        super().__init__(config, teacher, network, index, sweeps, cameras)

    def losses(self, batch: TrainingSample) -> dict[str, Tensor]:
        output = run_teacher(self.network, batch)
        terms = detection_losses(output.head, batch.objects)
        if output.camera_depth is not None:
            terms["camera_depth"] = DEPTH_WEIGHT * pixel_loss(
                output.camera_depth, batch.pixels.depth_bins, batch.pixels.classes
            )
        return terms

    def heads(self, network: nn.Module, batch: TrainingSample) -> HeadOutput:
        return run_teacher(network, batch).head


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-train teacher`."""
    add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Train, validate with the official evaluator, and export to RUN/model."""
    config = open_run(args, TeacherRun)
    run_training(
        args,
        config,
        KeyframeIndex.open(args.data, args.version),
        TeacherTraining,
        method=f"{config.teacher.modality} teacher on ground truth",
    )
