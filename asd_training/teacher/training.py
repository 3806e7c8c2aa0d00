# SPDX-License-Identifier: Apache-2.0
"""Training the teacher on ground truth: `asd-train teacher`."""

from __future__ import annotations

import argparse

from torch import Tensor, nn

from asd_perception import model_directory
from asd_perception.errors import UserError
from asd_perception.network.center_head import HeadOutput
from asd_training.config import TeacherRun
from asd_training.datasets.index import KeyframeIndex
from asd_training.datasets.keyframes import TrainingSample
from asd_training.loop import DetectorTraining, prepare, train
from asd_training.objective import DEPTH_WEIGHT, detection_losses, pixel_loss
from asd_training.pretrained import load_pretrained_backbone
from asd_training.run_folder import add_arguments, begin, finish, is_first_process, open_run
from asd_training.teacher.network import Teacher, TeacherOutput


class TeacherTraining(DetectorTraining):
    """The teacher and its objective on ground truth."""

    def __init__(self, config: TeacherRun, index: KeyframeIndex) -> None:
        network = config.teacher.network
        super().__init__(config, Teacher(config.teacher), network, index, config.sweeps)

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


def run_teacher(teacher: nn.Module, batch: TrainingSample) -> TeacherOutput:
    """What a teacher sees in a batch."""
    return teacher(
        batch.points,
        batch.point_sample,
        len(batch.images),
        batch.images,
        batch.intrinsics,
        batch.ego_from_camera,
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-train teacher`."""
    add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Train, validate with the official evaluator, and export to RUN/model."""
    config = open_run(args, TeacherRun)
    index = KeyframeIndex.open(args.data, args.version, config.sweeps)
    if not len(index.split(config.train_split)):
        raise UserError(f"{args.data}: the split {config.train_split} holds no keyframe")
    prepare(config)
    module = TeacherTraining(config, index)
    if config.pretrained and not args.resume:
        load_pretrained_backbone(module.network.image_encoder, config.pretrained)
    begin(args.run, config)
    provenance = train(module, args.run, args.resume)
    if is_first_process():
        provenance = {"method": f"{config.teacher.modality} teacher on ground truth", **provenance}
        teacher = module.average.module
        model_directory.save_network(
            args.run / "model", "teacher", teacher, config.teacher, provenance
        )
        finish(args.run, provenance)
        print(f"teacher: {args.run / 'model'}")
