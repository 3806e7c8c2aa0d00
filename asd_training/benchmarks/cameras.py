# SPDX-License-Identifier: Apache-2.0
"""How mAP falls when cameras are missing, and whether the others still find what they did.

Each frame loses cameras drawn at random, the same at each call; the official evaluator scores all
annotated objects, those that only a missing camera could see included.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from nuscenes import NuScenes
from tqdm import tqdm

from asd_perception.cameras.rig import CameraRig
from asd_perception.errors import UserError
from asd_perception.runtime.detections import Detections
from asd_perception.runtime.detector import Detector
from asd_training.data.nuscenes import (
    camera_frame,
    camera_records,
    dataset_cameras,
    read_images,
    scene_samples,
    split_scenes,
    submission_boxes,
)
from asd_training.evaluation.detection import submission_threshold
from asd_training.evaluation.scoring import Submission, score

SAME = 0.2  # m, how near an object must be found again
CONFIDENT = 0.3  # score of the objects that are looked for again


def benchmark(detector: Detector, nusc: NuScenes, split: str, frames: int | None) -> dict[str, Any]:
    """The curve over the keyframes of a split that lack no camera of the dataset.

    frames: so many of them, evenly spread; None: all. Raises UserError if there are none.
    """
    cameras = set(dataset_cameras(nusc))
    samples = [
        sample
        for name in split_scenes(nusc, split)
        for sample in scene_samples(nusc, name)
        if cameras <= sample["data"].keys()
    ]
    if not samples:
        raise UserError(
            f"{nusc.dataroot}: the split {split} holds no keyframe with all {len(cameras)} cameras"
        )
    if frames is not None and frames < len(samples):
        samples = [samples[i * len(samples) // frames] for i in range(frames)]
    return {"frames": len(samples), "curve": missing_camera_curve(detector, nusc, samples)}


def table(figures: dict[str, Any]) -> str:
    """The figures for a terminal."""
    return "\n".join(
        f"{row['missing']} missing: mAP (classes present) {row['map_present']:.4f}, "
        f"NDS {row['nds']:.4f}, found again in the other cameras {row['found_again']:.3f}"
        for row in figures["curve"]
    )


def missing_camera_curve(
    detector: Detector, nusc: NuScenes, samples: list[dict[str, Any]]
) -> list[dict[str, float]]:
    """One row for none to all but one of the cameras missing, which all keyframes have.

    found_again: of the confident objects that the whole rig found where no missing camera looks,
    the share that is found again: same class, within SAME m.
    """
    cameras = len(camera_records(nusc, samples[0]))
    submissions: list[Submission] = [{} for _ in range(cameras)]
    looked_for, again = np.zeros(cameras), np.zeros(cameras)
    rng = np.random.default_rng(0)
    for sample in tqdm(samples, desc="detecting", unit="frame"):
        frame = camera_frame(nusc, sample)
        images = read_images(frame, detector.views(frame.rig))
        order = rng.permutation(cameras)
        whole: Detections | None = None
        for missing in range(cameras):
            lost, there = order[:missing], np.sort(order[missing:])
            some = [images[i] for i in there]
            found = detector.detect(some, frame.rig.part(there), submission_threshold(detector))
            boxes = submission_boxes(found, frame.sample_token, frame.global_from_ego)
            submissions[missing][frame.sample_token] = boxes
            whole = whole or found
            unharmed = (whole.scores >= CONFIDENT) & ~_seen_by(frame.rig, lost, whole.boxes)
            looked_for[missing] += unharmed.sum()
            again[missing] += _found_again(whole, found)[unharmed].sum()
    rows = []
    for missing, submission in enumerate(submissions):
        metrics = score(nusc, submission)
        rows.append(
            {
                "missing": missing,
                "map_present": metrics.mean_ap_present,
                "map": metrics.mean_ap,
                "nds": metrics.nds,
                "looked_for_again": int(looked_for[missing]),
                "found_again": float(again[missing] / max(looked_for[missing], 1)),
            }
        )
    return rows


def _seen_by(
    rig: CameraRig, cameras: NDArray[np.int64], boxes: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Whether one of the cameras has a box's centre in its image or not far beside it. (M,)"""
    seen = np.zeros(len(boxes), bool)
    for camera in cameras:
        pixels, depths = rig.project(boxes[:, :3].astype(np.float64), int(camera))
        margin = 0.2 * rig.image_sizes[camera]  # half an object stands in the image
        inside = (pixels > -margin) & (pixels < rig.image_sizes[camera] + margin)
        seen |= inside.all(axis=1) & (depths > 0)
    return seen


def _found_again(first: Detections, second: Detections) -> NDArray[np.bool_]:
    """Which of the first objects are among the second: same class, within SAME m. (M,)"""
    offsets = first.boxes[:, None, :2] - second.boxes[None, :, :2]
    same = np.hypot(offsets[..., 0], offsets[..., 1]) < SAME
    return np.any(same & (first.labels[:, None] == second.labels[None]), axis=1)
