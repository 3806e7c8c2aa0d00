# SPDX-License-Identifier: Apache-2.0
"""`asd-bench node`: how late the node's detections are, and how many frames it loses."""

from __future__ import annotations

import argparse

from asd_training.bags.live.ros import check_ros
from asd_training.commands.bench.shared import (
    add_device_argument,
    add_json_argument,
    add_model_argument,
    begin,
    finish,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-bench node`."""
    parser.epilog = (
        "DDS is configured as usual: FASTRTPS_DEFAULT_PROFILES_FILE=config/fastdds.xml on Jazzy, "
        "FASTDDS_DEFAULT_PROFILES_FILE on Kilted and later"
    )
    add_model_argument(parser)
    add_device_argument(parser)
    parser.add_argument(
        "--transport",
        choices=["raw", "compressed"],
        default="compressed",
        help="how the images are sent (default: %(default)s)",
    )
    parser.add_argument(
        "--rate", type=float, default=12.0, help="sweeps per second (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="how long to play (default: %(default)s)"
    )
    parser.add_argument(
        "--odometry",
        type=int,
        choices=[0, 20, 50, 100],
        default=50,
        help="messages per second of a driving robot's odometry; 0: none (default: %(default)s)",
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Start the node, play to it, and count and time what it publishes."""
    from asd_perception.runtime.detector import find_device

    begin(args)
    check_ros()
    from asd_training.benchmarks.node import benchmark, table  # needs ROS, which the help does not

    device = find_device(args.device)
    figures = benchmark(
        args.model, args.device, args.transport, args.rate, args.seconds, args.odometry
    )
    finish(args, "node", device, {"model": args.model.name, **figures}, table)
