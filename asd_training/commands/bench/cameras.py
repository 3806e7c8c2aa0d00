# SPDX-License-Identifier: Apache-2.0
"""`asd-bench cameras`: how mAP falls when cameras are missing."""

from __future__ import annotations

import argparse
from pathlib import Path

from asd_training.commands.bench.shared import (
    add_device_argument,
    add_json_argument,
    add_model_argument,
    at_least,
    begin,
    description,
    finish,
)
from asd_training.commands.run_arguments import add_version_argument


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-bench cameras`."""
    parser.add_argument("data", type=Path, help="root of a nuScenes-format dataset")
    add_version_argument(parser)
    parser.add_argument(
        "--split",
        default="auto",
        help="which split to score (default: auto: val, *_val, or the only one there is)",
    )
    parser.add_argument(
        "--frames", type=int, help="score this many keyframes, evenly spread (default: all)"
    )
    add_model_argument(parser)
    add_device_argument(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Score the model with none to all but one of the cameras missing."""
    from asd_perception.runtime.detector import Detector
    from asd_training.benchmarks.cameras import benchmark, table
    from asd_training.data.nuscenes import dataset_cameras, dataset_version, open_dataset
    from asd_training.tables.splits import chosen_split

    at_least(1, args, "frames")
    begin(args)
    version = dataset_version(args.data, args.version)
    split = chosen_split(args.data, version, args.split, "val")
    nusc = open_dataset(args.data, version)
    cameras = len(dataset_cameras(nusc))
    detector = Detector.from_pretrained(args.model, args.device, cameras=cameras)
    figures = {
        **description(args.model, detector),
        **benchmark(detector, nusc, split, args.frames),
    }
    finish(args, "cameras", detector.device, figures, table)
