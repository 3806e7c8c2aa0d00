# SPDX-License-Identifier: Apache-2.0
"""Training the student on ground truth and, with distillation, on a teacher's outputs."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor, nn

from asd_perception.constants import CLASSES
from asd_perception.network.center_head import HeadOutput
from asd_perception.network.student import Student
from asd_training.config.run import StudentRun
from asd_training.data.index import KeyframeIndex
from asd_training.data.samples import SampleContents, TrainingSample
from asd_training.losses.detection import student_objective
from asd_training.losses.distillation import DistillationObjective
from asd_training.models.answers import PreparedAnswers, changes
from asd_training.resident.samples import lacking_room
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
        asked_anew, sweeps = "", 0
        if teacher and distillation.asks_teacher:
            asked_anew = _why_asked_anew(config, teacher)
            sweeps = teacher.network.config.sweeps if asked_anew else 0
        contents = SampleContents(sweeps=sweeps, pixel_targets=config.supervision.needs_lidar)
        super().__init__(config, student, config.student, index, contents)
        self.supervision = config.supervision
        self.semantics = semantics
        self.teacher, self.distillation = None, None
        if teacher and distillation.asks_teacher:
            self.teacher, self.asked_anew = teacher, asked_anew
            theirs = teacher.network.config.network
            self.distillation = DistillationObjective(
                distillation, config.student, theirs, teacher.answer_to
            )

    def losses(self, batch: TrainingSample) -> dict[str, Tensor]:
        student = self.network
        geometry = student.geometry(
            batch.images, batch.intrinsics, batch.ego_from_camera, batch.seen
        )
        output = student.forward_bev(student.image_encoder(batch.images), geometry)
        semantics = None
        if self.semantics is not None:
            semantics = self.semantics(output.image_features.flatten(0, 1))
            semantics = semantics.unflatten(0, output.image_features.shape[:2])
        objects, soft, taught = batch.objects, None, {}
        if self.teacher is not None and self.distillation is not None:
            answer = self.teacher(batch).answer if self.asked_anew else self.answers(batch)
            soft = self.distillation.soft_targets(answer, objects)
            taught = self.distillation(answer, output, geometry, objects, self.step_number)
        terms = student_objective(output, semantics, objects, batch.pixels, self.supervision, soft)
        return terms | taught

    @property
    def statistics(self) -> dict[str, Tensor]:
        return {} if self.distillation is None else self.distillation.statistics

    @cached_property
    def answers(self) -> PreparedAnswers:
        """The teacher's answers to the training samples, where they are prepared."""
        config, augmentation = self.config, self.config.augmentation
        assert isinstance(config, StudentRun) and config.cache and self.teacher
        return PreparedAnswers.open(
            config.cache,
            self.teacher.network,
            config.distillation,
            self.index,
            self.index.split(config.train_split),
            config.student,
            mirrored=augmentation is not None and augmentation.bev_flip,
            device=self.device,
        )

    @property
    def has_answers(self) -> bool:
        """Whether the teacher's answers are prepared."""
        return self.teacher is not None and not self.asked_anew

    @property
    def bytes_beside_samples(self) -> int:
        on_device = self.has_answers and self.answers.device.type != "cpu"
        return self.answers.nbytes if on_device else 0

    @property
    def why_not_recorded(self) -> str | None:
        samples = self.samples
        if samples and self.has_answers and self.answers.device.type != samples.device.type:
            return "the teacher's answers are read from files"
        return super().why_not_recorded

    def place_answers(self) -> str | None:
        """Put the teacher's answers on this module's device; or why they stay in the files."""
        if self.answers.device.type != "cpu" or self.device.type == "cpu":
            return None
        if reason := lacking_room(self.answers.nbytes, self.device):
            return reason
        self.answers.move(self.device)
        return None

    def on_fit_start(self) -> None:
        if self.teacher is None:
            return
        if self.asked_anew:
            how = f"asked about each sample ({self.asked_anew})"
        else:  # prepared here: outside of the steps and of what a benchmark counts
            how = f"answers prepared ({self.answers.bytes_per_keyframe / 1e6:.1f} MB per keyframe)"
            if reason := self.place_answers():
                how += f"; read from files: {reason}"
        if self.trainer.is_global_zero:
            print(f"teacher: {how}")

    def heads(self, network: nn.Module, batch: TrainingSample) -> HeadOutput:
        return network(batch.images, batch.intrinsics, batch.ego_from_camera, batch.seen).head


def _why_asked_anew(config: StudentRun, teacher: FrozenTeacher) -> str:
    """Why the teacher is asked about each sample; empty if its answers can be prepared."""
    if config.cache is None:
        return "no cache is configured"
    keys = changes(config.augmentation, teacher.network.uses_cameras)
    return f"augmentation changes what it sees: {', '.join(keys)}" if keys else ""
