# SPDX-License-Identifier: Apache-2.0
"""Training the student on ground truth and, with distillation, on a teacher's outputs."""

from __future__ import annotations

from torch import Tensor, nn

from asd_perception.constants import CLASSES
from asd_perception.network.center_head import HeadOutput
from asd_perception.network.student import Student
from asd_training.config.run import StudentRun
from asd_training.data.index import KeyframeIndex
from asd_training.data.samples import SampleContents, TrainingSample
from asd_training.losses.detection import student_objective
from asd_training.losses.distillation import DistillationObjective
from asd_training.training.frozen_teacher import FrozenTeacher, load_teacher
from asd_training.training.module import DetectorTraining


class StudentTraining(DetectorTraining):
    """The student and its objective.

    Not exported, since only training needs them: the teacher; `semantics`, an auxiliary head on the
    image features; the adapters of the distillation.
    """

    kind = "student"

    def __init__(self, config: StudentRun, index: KeyframeIndex) -> None:
        distillation = config.distillation
        # The student comes first, so that a seed gives the same start, whatever the teacher.
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
        super().__init__(config, student, config.student, index, SampleContents(sweeps=sweeps))
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
        output = self.network(batch.images, batch.intrinsics, batch.ego_from_camera, batch.seen)
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
        return network(batch.images, batch.intrinsics, batch.ego_from_camera, batch.seen).head
