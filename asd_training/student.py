# SPDX-License-Identifier: Apache-2.0
"""Training the student on ground truth, and on what a teacher says: `asd-train student`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from asd_perception.constants import CLASSES
from asd_perception.errors import UserError
from asd_perception.network.center_head import HeadOutput
from asd_perception.network.student import Student
from asd_training.config import StudentRun
from asd_training.datasets.index import KeyframeIndex
from asd_training.datasets.keyframes import TrainingSample
from asd_training.distillation.objective import PRESETS, DistillationObjective
from asd_training.distillation.teacher import FrozenTeacher, load_teacher
from asd_training.loop import DetectorTraining, run_training
from asd_training.objective import student_objective
from asd_training.run_folder import add_arguments, open_run


class StudentTraining(DetectorTraining):
    """The student and its objective.

    What only training needs is left behind: the teacher; `semantics`, an auxiliary head on the
    image features; and the adapters of the distillation.
    """

    kind = "student"
    sees_lidar = False

    def __init__(self, config: StudentRun, index: KeyframeIndex) -> None:
        distillation = config.distillation
        # The student comes first: with the same seed it starts the same, whatever teaches it.
        student = Student(config.student)
        semantics = None
        if config.supervision.semantics > 0:
            semantics = nn.Conv2d(config.student.backbone.channels, len(CLASSES) + 1, 1)
        teacher: FrozenTeacher | None = None
        if distillation.needs_teacher:
            teacher = load_teacher(distillation, config.student)
            if distillation.initialise:
                teacher.initialise(student)
        sweeps = teacher.network.config.sweeps if teacher and distillation.asks_teacher else 0
        super().__init__(config, student, config.student, index, sweeps)
        self.supervision = config.supervision
        self.semantics = semantics
        self.teacher, self.distillation = None, None
        if teacher and distillation.asks_teacher:
            self.teacher = teacher
            self.distillation = DistillationObjective(
                distillation,
                config.student.bev,
                config.student.bev_channels,
                teacher.network.config.network.bev_channels,
            )

    def losses(self, batch: TrainingSample) -> dict[str, Tensor]:
        output = self.network(batch.images, batch.intrinsics, batch.ego_from_camera)
        semantics = None
        if self.semantics is not None:
            semantics = self.semantics(output.image_features.flatten(0, 1))
            semantics = semantics.unflatten(0, output.image_features.shape[:2])
        terms = student_objective(output, semantics, batch.objects, batch.pixels, self.supervision)
        if self.teacher is not None and self.distillation is not None:
            answer = self.teacher(batch)
            terms |= self.distillation(answer, output, batch.objects, self.global_step)
        return terms

    def heads(self, network: nn.Module, batch: TrainingSample) -> HeadOutput:
        return network(batch.images, batch.intrinsics, batch.ego_from_camera).head


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-train student`."""
    add_arguments(parser)
    parser.add_argument(
        "--distill",
        choices=tuple(PRESETS),
        help="learn from a teacher: its features by plain L2, or the full method (adaptive: "
        "adaptive-smooth features, soft-weighted responses); "
        "single keys with --set distillation.KEY=VALUE",
    )
    parser.add_argument(
        "--teacher", type=Path, metavar="MODEL", help="model directory of the teacher"
    )


def run(args: argparse.Namespace) -> None:
    """Train, validate with the official evaluator, and export to RUN/model."""
    args.set = distillation_changes(args.distill, args.teacher) + args.set
    config = open_run(args, StudentRun)
    distillation = config.distillation
    if args.teacher and not distillation.needs_teacher:
        raise UserError("--teacher has nothing to teach; say what with --distill or --set")
    method = "student on ground truth"
    if distillation.needs_teacher and distillation.teacher:
        method += f", taught by {distillation.teacher}"
    run_training(
        args,
        config,
        KeyframeIndex.open(args.data, args.version),
        StudentTraining,
        method=method,
    )


def distillation_changes(preset: str | None, teacher: Path | None) -> list[str]:
    """What --distill and --teacher mean, as changes of the configuration (key=value)."""
    values: dict[str, Any] = dict(PRESETS[preset]) if preset else {}
    if teacher:
        values["teacher"] = str(teacher.resolve())
    return [f"distillation.{key}={json.dumps(value)}" for key, value in values.items()]
