# SPDX-License-Identifier: Apache-2.0
"""What a teacher finds in keyframes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from asd_perception import model_directory
from asd_training.datasets.index import KeyframeIndex
from asd_training.datasets.keyframes import KeyframeDataset, TrainingSample, collate
from asd_training.evaluation import Submission, submission_of
from asd_training.teacher.network import Teacher, TeacherConfig, TeacherOutput


def load_teacher(path: str | Path) -> Teacher:
    """The teacher of a model directory, on the CPU, in evaluation mode. Raises UserError."""
    return model_directory.load_network(path, "teacher", TeacherConfig, Teacher)


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


def detect_keyframes(
    teacher: Teacher,
    index: KeyframeIndex,
    keyframes: Iterable[int],
    device: torch.device,
) -> Submission:
    """Run a teacher over keyframes of an index, with a progress bar."""
    network = teacher.config.network
    dataset = KeyframeDataset(
        index, network, None, teacher.config.sweeps, cameras=teacher.uses_cameras, targets=False
    )
    loader = DataLoader(Subset(dataset, list(map(int, keyframes))), collate_fn=collate)
    teacher = teacher.to(device).eval()
    submission: Submission = {}
    for batch in tqdm(loader, desc="detecting", unit="frame"):
        batch = move_data_to_device(batch, device)
        with torch.inference_mode():
            output = run_teacher(teacher, batch).head
        submission |= submission_of(output, batch.keyframe.tolist(), index, network)
    return submission
