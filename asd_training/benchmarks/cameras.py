# SPDX-License-Identifier: Apache-2.0
"""How mAP falls when cameras are missing, and whether the others still find what they did.

    python -m asd_training.missing_cameras DATA --json docs/results/missing_cameras.json

Each frame loses cameras drawn at random, the same at each call; the official evaluator scores all
annotated objects, those that only a missing camera could see included.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from asd_perception.constants import CAMERAS
from asd_perception.errors import UserError, run_cli
from asd_perception.network import model_directory
from asd_perception.rig import CameraRig
from asd_perception.runtime.detections import Detections
from asd_perception.runtime.detector import Detector
from asd_training.benchmarks.results import write_results
from asd_training.data.nuscenes import (
    camera_frame,
    open_dataset,
    read_images,
    scene_samples,
    split_scenes,
    submission_boxes,
)
from asd_training.evaluation.detection import SCORE_THRESHOLD
from asd_training.evaluation.scoring import Submission, score

SAME = 0.2  # m, how near an object must be found again
CONFIDENT = 0.3  # score of the objects that are looked for again


def main() -> int:
    """Entry point of `python -m asd_training.missing_cameras`."""
    parser = argparse.ArgumentParser(description="mAP with none to five cameras missing.")
    parser.add_argument("data", type=Path, help="nuScenes-format dataset")
    parser.add_argument("--split", default="synthetic_val", help="(default: %(default)s)")
    parser.add_argument("--frames", type=int, help="so many, evenly spread (default: all)")
    parser.add_argument("--model", type=Path, default=model_directory.TINY)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    return run_cli("missing_cameras", lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Print the curve, and write it if asked to."""
    nusc = open_dataset(args.data)
    samples = [s for name in split_scenes(nusc, args.split) for s in scene_samples(nusc, name)]
    if args.frames is not None and args.frames < 1:
        raise UserError(f"--frames must be positive, not {args.frames}")
    if args.frames is not None and args.frames < len(samples):
        samples = [samples[i * len(samples) // args.frames] for i in range(args.frames)]
    detector = Detector.from_pretrained(args.model, args.device)
    curve = missing_camera_curve(detector, nusc, samples)
    for row in curve:
        print(
            f"{row['missing']} missing: mAP (classes present) {row['map_present']:.4f}, "
            f"NDS {row['nds']:.4f}, found again in the other cameras {row['found_again']:.3f}"
        )
    if args.json is not None:
        command = "python -m asd_training.missing_cameras " + shlex.join(sys.argv[1:])
        write_results(args.json, command, model=args.model.name, frames=len(samples), curve=curve)


def missing_camera_curve(
    detector: Detector, nusc: Any, samples: list[dict[str, Any]]
) -> list[dict[str, float]]:
    """One row for none to five missing cameras.

    found_again: of the confident objects that the whole rig found where no missing camera looks,
    the share that is found again: same class, within SAME m.
    """
    submissions: list[Submission] = [{} for _ in CAMERAS]
    looked_for, again = np.zeros(len(CAMERAS)), np.zeros(len(CAMERAS))
    rng = np.random.default_rng(0)
    for sample in tqdm(samples, desc="detecting", unit="frame"):
        frame = camera_frame(nusc, sample)
        images = read_images(frame, detector.config.image_size)
        order = rng.permutation(len(CAMERAS))
        whole: Detections | None = None
        for missing in range(len(CAMERAS)):
            lost, there = order[:missing], np.sort(order[missing:])
            rig = _part(frame.rig, there)
            found = detector.detect([images[i] for i in there], rig, SCORE_THRESHOLD)
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


def _part(rig: CameraRig, cameras: NDArray[np.int64]) -> CameraRig:
    return CameraRig(
        tuple(rig.names[i] for i in cameras),
        rig.intrinsics[cameras],
        rig.ego_from_camera[cameras],
        rig.image_sizes[cameras],
        rig.distortion[cameras],
    )


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


if __name__ == "__main__":
    sys.exit(main())
