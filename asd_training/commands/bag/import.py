# SPDX-License-Identifier: Apache-2.0
"""`asd-bag import`: a robot's bags as a data set in nuScenes' format."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-bag import`."""
    parser.epilog = (
        "each bag is a scene; boxes come from a vision_msgs/msg/Detection3DArray topic, in the\n"
        "ten classes of nuScenes; lens distortion is taken out of the images\n"
        "examples:\n"
        "  asd-bag import drive1 drive2 drive3 data/robot --val drive3\n"
        "  asd-train check data/robot\n"
        "  asd-train student data/robot runs/robot"
    )
    parser.add_argument("bag", nargs="+", type=Path, help="folder of a bag, .mcap or .db3 file")
    parser.add_argument("output", type=Path, help="folder of the new data set")
    parser.add_argument(
        "--val",
        nargs="+",
        type=Path,
        default=[],
        metavar="BAG",
        help="bags of the split val (default: the last fifth of several); the others are train",
    )
    parser.add_argument(
        "--cameras",
        nargs="+",
        default=[],
        metavar="NAME",
        help="cameras by their names or image topics, as for asd-bag check (default: all)",
    )
    parser.add_argument(
        "--params-file", type=Path, help="parameters of the node, as in config/detector.yaml"
    )
    parser.add_argument(
        "--base-frame", help="frame of the robot, on the ground below it (default: base_link)"
    )
    for option, kind in (
        ("lidar", "PointCloud2"),
        ("boxes", "Detection3DArray"),
        ("odometry", "Odometry"),
    ):
        parser.add_argument(
            f"--{option}",
            default="",
            metavar="TOPIC",
            help=f"{kind} topic (default: the one with most messages)",
        )
    parser.add_argument(
        "--period",
        type=float,
        default=0.5,
        metavar="S",
        help="seconds between keyframes (default 0.5)",
    )
    parser.add_argument(
        "--keyframes-only",
        action="store_true",
        help="leave out the images and sweeps between keyframes",
    )


def run(args: argparse.Namespace) -> None:
    """Write the data set, and say what is in it."""
    from asd_training.bags.check import parameters_from_file
    from asd_training.bags.importing.dataset import import_bags
    from asd_training.bags.importing.recording import Choice

    parameters = parameters_from_file(args.params_file) if args.params_file else {}
    counts = import_bags(
        args.bag,
        args.output,
        val=args.val,
        choice=Choice(
            cameras=args.cameras,
            lidar=args.lidar,
            boxes=args.boxes,
            odometry=args.odometry,
            base_frame=args.base_frame or str(parameters.get("base_frame", "base_link")),
        ),
        parameters=parameters,
        period=args.period,
        keyframes_only=args.keyframes_only,
    )
    print(
        f"{args.output}: {counts['scene']} scenes, {counts['sample']} keyframes, "
        f"{counts['sample_data']} images and sweeps, {counts['sample_annotation']} boxes of "
        f"{counts['instance']} objects"
    )
