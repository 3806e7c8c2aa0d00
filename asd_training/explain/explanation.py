# SPDX-License-Identifier: Apache-2.0
"""What the method does in one keyframe: both networks' answers, and what distillation asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from asd_perception.errors import UserError
from asd_perception.geometry import Array
from asd_perception.network.center_head import decode, decode_boxes
from asd_perception.network.student import Student, StudentOutput
from asd_perception.runtime.detections import Detections
from asd_perception.runtime.detector import detections_of
from asd_training.config.distillation import DistillConfig
from asd_training.data.samples import TrainingSample
from asd_training.losses.adaptive_ray import SHARES, AdaptiveRay
from asd_training.losses.adaptive_smooth import AdaptiveSmooth
from asd_training.losses.distillation import DistillationObjective
from asd_training.losses.features import object_mask, standardised_pair
from asd_training.losses.response import response_quality
from asd_training.models.pretrained import load_pickle
from asd_training.models.teacher import TeacherOutput
from asd_training.training.frozen_teacher import FrozenTeacher
from asd_training.training.run_folder import LAST

SHOWN_SCORE = 0.2
"""Detections of at least this score are drawn."""


@dataclass(frozen=True)
class Alignment:
    """One place of feature distillation: the teacher's and the adapted student's standardised
    features (C, Y, X), how those are called, what the adaptive loss makes of them, and how its
    levels are called."""

    teacher: Tensor
    student: Tensor
    names: tuple[str, str]
    asked: AdaptiveSmooth | AdaptiveRay
    levels: list[str]


@dataclass(frozen=True)
class Explanation:
    """All that the picture shows of one keyframe; tensors without a batch axis but for outputs.

    quality (M) in [0, 1], boxes (M, 7): of the annotated objects.
    """

    batch: TrainingSample
    teacher: TeacherOutput
    student: StudentOutput
    cross_modal: Alignment
    multi_modal: Alignment
    boxes: Array
    quality: Array
    found: Detections


def trained_adapters(
    run: Path, config: DistillConfig, student: Student, teacher: FrozenTeacher
) -> DistillationObjective:
    """The objective with the adapters of the run's checkpoint; identities where it has none.

    The scale of a channel is the checkpoint's, too, or that of the keyframe. Raises UserError where
    an identity cannot be, since the channels differ.
    """
    theirs = teacher.network.config.network
    objective = DistillationObjective(config, student.config, theirs, teacher.answer_to)
    prefix = "distillation.adapters."
    saved = {}
    if (run / LAST).is_file():
        saved = load_pickle(run / LAST)["state_dict"]
    for name, adapter in objective.adapters.items():
        if isinstance(adapter, nn.Identity):  # features were compared as they are
            continue
        weight = saved.get(f"{prefix}{name}.weight")
        if weight is not None and weight.shape == adapter.weight.shape:
            adapter.load_state_dict({"weight": weight})
        elif adapter.in_channels != adapter.out_channels:
            raise UserError(
                f"{run} holds no {name} adapter from {adapter.in_channels} to "
                f"{adapter.out_channels} channels; give a run that was distilled by this teacher"
            )
    objective.eval()
    for name, scale in objective.scales.items():
        prefix = f"distillation.scales.{name}."
        buffers = {key: saved[prefix + key] for key in scale.state_dict() if prefix + key in saved}
        if buffers:
            scale.load_state_dict(buffers)
        else:
            scale.train()
    return objective


@torch.no_grad()
def explain(
    student: Student,
    teacher: FrozenTeacher,
    objective: DistillationObjective,
    batch: TrainingSample,
) -> Explanation:
    """What both networks say of a batch of one keyframe, and what distillation asks there."""
    answer = teacher(batch)
    geometry = student.geometry(batch.images, batch.intrinsics, batch.ego_from_camera, batch.seen)
    output = student.forward_bev(student.image_encoder(batch.images), geometry)
    config, grid, objects = objective.config, student.config.bev, batch.objects
    mask = object_mask(objects, config.background_floor)

    def alignment(name: str, theirs: Tensor, ours: Tensor, *names: str) -> Alignment:
        asked: AdaptiveSmooth | AdaptiveRay
        if name in objective.scales:
            asked = objective.adaptive_ray(name, answer.answer, output, geometry, mask)
            if name == "multi_modal":
                theirs, ours = answer.encoded_bev, output.encoded_bev
                names = "encoded features", "encoded features"
            levels = [f"{share:g} σ" for share in SHARES]
        else:
            asked = objective.adaptive_smooth(theirs, objective.adapters[name](ours), mask)
            levels = [f"{sigma:g} cells" for sigma in config.levels]
        maps = standardised_pair(theirs, objective.adapters[name](ours))
        return Alignment(maps[0][0], maps[1][0], (names[0], names[1]), asked, levels)

    assert output.point_bev is not None
    cells = objects.cells[0][objects.valid[0]]
    encoded = objects.boxes[0][objects.valid[0]]
    decoded = decode(output.head, grid, student.config.max_objects)
    return Explanation(
        batch=batch,
        teacher=answer,
        student=output,
        cross_modal=alignment(
            *("cross_modal", answer.lidar_bev, output.point_bev),
            *("LiDAR features", "simulated points' features"),
        ),
        multi_modal=alignment(
            *("multi_modal", answer.fused_bev, output.fused_bev),
            *("fused features", "fused features"),
        ),
        boxes=decode_boxes(cells // grid.size, cells % grid.size, encoded, grid).double().numpy(),
        quality=response_quality(answer.head, objects, grid, config.alpha)[0][
            objects.valid
        ].numpy(),
        found=detections_of(decoded, 0, SHOWN_SCORE),
    )
