# SPDX-License-Identifier: Apache-2.0
"""`asd-train calibrate`: make a student's scores probabilities, and choose its threshold."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
from pathlib import Path

from asd_perception.errors import UserError
from asd_perception.files import atomic_file
from asd_perception.provenance import command_line, without_folders
from asd_training.commands.run_arguments import add_version_argument


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        "model", type=Path, help="model directory of a student; its config.yaml is changed"
    )
    parser.add_argument("data", type=Path, help="root of a nuScenes-format dataset")
    parser.add_argument(
        "--split",
        default="synthetic_val",
        help="split to calibrate on; scores of one that was used here say less "
        "(default: %(default)s)",
    )
    add_version_argument(parser)
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")


def run(args: argparse.Namespace) -> None:
    """Detect in a split, fit, and write what was found into the model directory."""
    import numpy as np
    import yaml

    from asd_perception.configuration import to_dict
    from asd_perception.constants import CLASSES
    from asd_perception.network import model_directory
    from asd_perception.runtime.detector import Detector
    from asd_perception.runtime.score_calibration import KEY, SCORE_THRESHOLD, ScoreCalibration
    from asd_training.data.nuscenes import (
        dataset_cameras,
        open_dataset,
        scene_samples,
        split_scenes,
    )
    from asd_training.evaluation.calibration import Reliability, Scored, fit_lines
    from asd_training.evaluation.detection import detect_samples
    from asd_training.evaluation.scoring import evaluate

    nusc = open_dataset(args.data, args.version)
    scenes = split_scenes(nusc, args.split)
    samples = [sample for scene in scenes for sample in scene_samples(nusc, scene)]
    if not samples:
        raise UserError(f"{args.data}: the split {args.split} holds no keyframe")
    cameras = len(dataset_cameras(nusc))
    detector = Detector.from_pretrained(args.model, args.device, cameras=cameras)
    detector.score_calibration = None  # an earlier one, which is replaced
    raw = Scored.of(evaluate(nusc, detect_samples(detector, nusc, samples)))

    scale, offset = fit_lines(raw)
    provenance = {
        "data": without_folders(str(args.data)),
        "version": nusc.version,
        "split": args.split,
        "keyframes": len(samples),
        "command": command_line("asd-train"),
        "date": datetime.date.today().isoformat(),
    }
    lines = ScoreCalibration(scale=scale, offset=offset, score_threshold=0.0, provenance=provenance)
    scored = dataclasses.replace(raw, scores=lines.apply(raw.scores, raw.labels))
    f1, threshold = scored.best_threshold()
    # A little less than the score itself, which float32 may round down.
    calibration = dataclasses.replace(lines, score_threshold=float(np.float32(threshold) * 0.9999))

    document = model_directory.read_document(args.model)
    document[KEY] = to_dict(calibration)
    with atomic_file(args.model / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(document, sort_keys=False))

    print(f"{'class':<22}{'scale':>7}{'offset':>8}{'detections':>12}{'right':>7}")
    for label, name in enumerate(CLASSES):
        mine = raw.labels == label
        print(
            f"{name:<22}{scale[name]:>7.2f}{offset[name]:>8.2f}"
            f"{mine.sum():>12}{raw.right[mine].sum():>7}"
        )
    errors = [Reliability.of(some.scores, some.right).error for some in (raw, scored)]
    print(f"mean error of the scores: {errors[0]:.3f}, calibrated {errors[1]:.3f}")
    for what, some, least in (
        ("raw", raw, SCORE_THRESHOLD),
        ("calibrated", scored, calibration.score_threshold),
    ):
        shown = some.scores >= least
        counts = np.array([shown.sum(), (shown & some.right).sum(), some.objects]) / len(samples)
        print(
            f"{what} scores from {least:.3f} on: {counts[0]:.1f} objects a keyframe, "
            f"{counts[1]:.1f} of them right, of {counts[2]:.1f} annotated"
        )
    print(f"best F1 {f1:.3f}; {args.model / 'config.yaml'} holds calibration and threshold")
