# SPDX-License-Identifier: Apache-2.0
"""Detections of a teacher or a student in keyframes, as a submission."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from nuscenes import NuScenes
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from asd_perception.constants import CLASSES
from asd_perception.errors import memory_checked
from asd_perception.network.center_head import HeadOutput, decode
from asd_perception.network.config import StudentConfig
from asd_perception.runtime.detector import Detector, detections_of
from asd_training.data.index import KeyframeIndex
from asd_training.data.nuscenes import camera_frame, read_images, submission_boxes
from asd_training.data.samples import KeyframeDataset, collate
from asd_training.evaluation.scoring import Submission
from asd_training.models.teacher import Teacher, run_teacher, sample_contents


def detect_keyframes(
    teacher: Teacher,
    index: KeyframeIndex,
    keyframes: Iterable[int],
    device: torch.device,
) -> Submission:
    """Run a teacher over keyframes of an index, with a progress bar. Raises OutOfMemoryError."""
    network = teacher.config.network
    dataset = KeyframeDataset(index, network, sample_contents(teacher.config).for_validation())
    loader = DataLoader(Subset(dataset, list(map(int, keyframes))), collate_fn=collate)
    submission: Submission = {}
    with memory_checked(device), torch.inference_mode():
        teacher = teacher.to(device).eval()
        for batch in tqdm(loader, desc="detecting", unit="frame"):
            batch = move_data_to_device(batch, device)
            output = run_teacher(teacher, batch).head
            submission |= submission_of(output, batch.keyframe.tolist(), index, network)
    return submission


SCORE_THRESHOLD = 0.01
"""Score under which a box is not submitted: low, since AP counts the whole curve."""


def submission_threshold(detector: Detector) -> float:
    """SCORE_THRESHOLD as the detector's scores have it.

    A calibration may put it elsewhere in each class; then it is the lowest of these.
    """
    calibration = detector.score_calibration
    if calibration is None:
        return SCORE_THRESHOLD
    of_each = np.full(len(CLASSES), SCORE_THRESHOLD)
    return 0.9999 * float(calibration.apply(of_each, np.arange(len(CLASSES))).min())


def detect_samples(
    detector: Detector,
    nusc: NuScenes,
    samples: list[dict[str, Any]],
    score_threshold: float | None = None,
) -> Submission:
    """Run the detector over keyframes, offline, with a progress bar.

    score_threshold: None: `submission_threshold`.
    """
    if score_threshold is None:
        score_threshold = submission_threshold(detector)
    submission = {}
    for sample in tqdm(samples, desc="detecting", unit="frame"):
        frame = camera_frame(nusc, sample)
        images = read_images(frame, detector.views(frame.rig))
        detections = detector.detect(images, frame.rig, score_threshold)
        submission[frame.sample_token] = submission_boxes(
            detections, frame.sample_token, frame.global_from_ego
        )
    return submission


def submission_of(
    output: HeadOutput, keyframes: Sequence[int], index: KeyframeIndex, config: StudentConfig
) -> Submission:
    """The decoded boxes of a head's output for keyframes of an index, one per item of the batch.

    config: grid and number of boxes.
    """
    decoded = decode(HeadOutput(*(m.float() for m in output)), config.bev, config.max_objects)
    submission = {}
    for i, keyframe in enumerate(keyframes):
        frame = index.frame(keyframe)
        submission[frame.sample_token] = submission_boxes(
            detections_of(decoded, i, SCORE_THRESHOLD), frame.sample_token, frame.global_from_ego
        )
    return submission
