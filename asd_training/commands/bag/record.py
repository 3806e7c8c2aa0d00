# SPDX-License-Identifier: Apache-2.0
"""`asd-bag record`: topics into a rosbag2."""

from __future__ import annotations

import argparse
import signal
import threading

from asd_training.bags.live.ros import check_ros


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-bag record`."""
    parser.epilog = (
        "example:\n  asd-bag record bags/detections /detector/detections /detector/objects "
        "--until-idle 5"
    )
    parser.add_argument("output", help="folder of the new bag")
    parser.add_argument("topics", nargs="+", metavar="topic", help="topic to record")
    parser.add_argument("--duration", type=float, metavar="S", help="stop after this many seconds")
    parser.add_argument(
        "--until-idle",
        type=float,
        metavar="S",
        help="stop when messages came and then none for this many seconds",
    )


def run(args: argparse.Namespace) -> None:
    """Record until Ctrl-C, or until the options say so."""
    check_ros()
    from asd_training.bags.live.record import record  # needs ROS, which the help does not

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    counts = record(
        args.output,
        args.topics,
        duration=args.duration,
        until_idle=args.until_idle,
        stop=stop,
    )
    print(f"{args.output}: " + ", ".join(f"{count} {topic}" for topic, count in counts.items()))
