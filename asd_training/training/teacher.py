# SPDX-License-Identifier: Apache-2.0
"""Training the teacher on ground truth."""

from __future__ import annotations

from torch import Tensor, nn

from asd_perception.network.center_head import HeadOutput
from asd_training.config.run import TeacherRun
from asd_training.config.supervision import DEPTH_WEIGHT
from asd_training.data.index import KeyframeIndex
from asd_training.data.samples import TrainingSample
from asd_training.losses.detection import detection_losses, pixel_loss
from asd_training.models.teacher import Teacher, run_teacher, sample_contents
from asd_training.training.module import DetectorTraining


class TeacherTraining(DetectorTraining):
    """The teacher and its objective on ground truth."""

    kind = "teacher"

    def __init__(self, config: TeacherRun, index: KeyframeIndex) -> None:
        network = config.teacher.network
        teacher = Teacher(config.teacher)
        super().__init__(config, teacher, network, index, sample_contents(config.teacher))

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
