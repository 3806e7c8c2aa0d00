# SPDX-License-Identifier: Apache-2.0
"""`asd-bag check`: whether a bag of any robot is what the detector needs."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path

from asd_perception.files import atomic_directory
from asd_perception.models import TINY


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-bag check`."""
    parser.epilog = (
        "exits with 1 if something cannot work, otherwise with 0\n"
        "examples:\n"
        "  asd-bag check my_robot.bag --output my_rig\n"
        "  asd-bag check my_robot.bag --cameras front left right --base-frame base_footprint"
    )
    parser.add_argument("bag", help="folder of the bag, or a .mcap or .db3 file")
    parser.add_argument(
        "--params-file", type=Path, help="parameters of the node, as in config/detector.yaml"
    )
    parser.add_argument(
        "--cameras",
        nargs="+",
        default=[],
        metavar="NAME",
        help="names of the cameras (NAME/image_raw, or as they are discovered) or their image "
        "topics (default: the node's parameter, or else all cameras of the bag)",
    )
    parser.add_argument("--base-frame", help="frame of the detections (default: base_link)")
    parser.add_argument("--model", help="model directory (default: the model of the package)")
    parser.add_argument(
        "--output",
        type=Path,
        help="new folder for pictures: the rig from above, and each camera as the network is "
        "shown it (default: only print)",
    )


def run(args: argparse.Namespace) -> None:
    """Print what was found, and write the pictures."""
    from asd_perception.cameras.rig_check import Level
    from asd_perception.network import model_directory
    from asd_perception.ros.check.report import report
    from asd_training.bags.check import parameters_from_file, record_bag
    from asd_training.bags.check_pictures import write_pictures

    parameters = dict(parameters_from_file(args.params_file)) if args.params_file else {}
    if args.base_frame:
        parameters["base_frame"] = args.base_frame
    model = args.model or parameters.get("model") or TINY
    config = model_directory.student_config(model)
    with atomic_directory(args.output) if args.output else nullcontext() as folder:
        recording = record_bag(args.bag, args.cameras, parameters)
        found = report(recording, config.trained_cameras, config.image_size, live=False)
        print(found.text)
        if folder is not None:
            write_pictures(recording, found, folder)
    if args.output:
        print(f"pictures: {args.output}")
    if found.count(Level.ERROR):
        raise SystemExit(1)
