# SPDX-License-Identifier: Apache-2.0
"""The teacher that a student learns from: loaded from its model directory, checked, frozen."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from asd_perception.errors import UserError
from asd_perception.network.center_head import HeadOutput
from asd_perception.network.config import StudentConfig
from asd_training.config.distillation import DistillConfig
from asd_training.config.teacher import TeacherConfig
from asd_training.data.samples import TrainingSample
from asd_training.models import teacher
from asd_training.models.teacher import Teacher, TeacherOutput, run_teacher

SHARED_MODULES = ("bev_encoder", "head")
"""Modules that teacher and student share; a student can be initialised with the teacher's."""


class FrozenTeacher:
    """A teacher that never changes: no gradient, no update of batch statistics.

    It is not an nn.Module, so a module that holds it neither trains nor saves it.
    """

    def __init__(self, network: Teacher) -> None:
        self.network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, batch: TrainingSample) -> TeacherOutput:
        """What it sees in a batch, on the batch's device."""
        return run_teacher(self.network.to(batch.images.device), batch)

    def answer_to(self, fused_bev: Tensor) -> HeadOutput:
        """What its BEV encoder and head make of a student's fused features (B, C, Y, X), which get
        a gradient."""
        network = self.network.to(fused_bev.device)
        return network.head(network.bev_encoder(fused_bev))

    def initialise(self, student: nn.Module) -> None:
        """Copy the weights of SHARED_MODULES to the student."""
        for name in SHARED_MODULES:
            weights = getattr(self.network, name).state_dict()
            getattr(student, name).load_state_dict(weights)


def load_teacher(config: DistillConfig, student: StudentConfig) -> FrozenTeacher:
    """The teacher that `config` names. Raises UserError if it cannot teach such a student."""
    if config.teacher is None:
        raise UserError("distillation needs a teacher; give its model directory with --teacher")
    path = Path(config.teacher)
    network = teacher.load_teacher(path)
    faults = misfits(network.config, student, config)
    if faults:
        raise UserError(f"the teacher {path} does not fit the student: {'; '.join(faults)}")
    return FrozenTeacher(network)


def misfits(teacher: TeacherConfig, student: StudentConfig, config: DistillConfig) -> list[str]:
    """Why this teacher does not fit this student and configuration; empty if it does."""
    theirs = teacher.network
    compared = ["bev"]
    if teacher.modality == "lidar_camera":
        compared.append("image_size")  # one augmented sample feeds both
    shared = ["bev_channels", "encoder_channels", "encoder_blocks", "head_channels"]
    faults = [
        f"its {name} is {getattr(theirs, name)}, the student's {getattr(student, name)}"
        + (" (or set distillation.initialise=false)" if name in shared else "")
        for name in compared + shared * config.initialise
        if getattr(theirs, name) != getattr(student, name)
    ]
    if config.cross_modal != "none" and student.fusion == "camera_only":
        faults.append("a camera_only student has no simulated points for cross_modal distillation")
    return faults
