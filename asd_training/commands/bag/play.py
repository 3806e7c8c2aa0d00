# SPDX-License-Identifier: Apache-2.0
"""`asd-bag play`: a bag's messages, published at their times."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from pathlib import Path

import asd_training.bags
from asd_training.bags.live.ros import check_ros

# The first names the settings of Fast DDS 3 (Kilted and later), the second those of 2 (Jazzy).
_PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
# Where a user says how Fast DDS is to send; without any of these, our own fastdds.xml is used.
_FAST_DDS_SETTINGS = (*_PROFILES, "FASTDDS_BUILTIN_TRANSPORTS")


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-bag play`."""
    parser.epilog = (
        "a topic whose type is not installed, or whose name ROS 2 does not allow, is left out\n"
        "examples:\n"
        "  asd-bag play bags/scene --wait-for '/CAM_*/image_raw/compressed'\n"
        "  asd-bag play my_robot.bag --loop --clock --start 12.5 --remap /cam:=/front/image_raw"
    )
    parser.add_argument("bag", help="folder of the bag")
    parser.add_argument("--rate", type=float, default=1.0, help="speed, 1 is real time (default)")
    parser.add_argument("--clock", action="store_true", help="publish the bag's time on /clock")
    parser.add_argument(
        "--topics",
        nargs="+",
        default=["*"],
        metavar="PATTERN",
        help="play only these topics; shell patterns, quoted (default: all)",
    )
    parser.add_argument("--loop", action="store_true", help="begin again at the end, until Ctrl-C")
    parser.add_argument(
        "--start",
        type=float,
        default=0.0,
        metavar="S",
        help="begin this many seconds into the bag; what was latched before comes first",
    )
    parser.add_argument(
        "--remap",
        nargs="+",
        type=_renaming,
        default=[],
        metavar="OLD:=NEW",
        help="publish these topics under other names; the other options go by the bag's names",
    )
    parser.add_argument(
        "--wait-for",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="start when each of these topics has a subscriber; shell patterns, quoted",
    )
    parser.add_argument(
        "--wait-timeout",
        type=float,
        default=30.0,
        metavar="S",
        help="give up waiting after this many seconds (default 30)",
    )


def run(args: argparse.Namespace) -> None:
    """Play the bag, and say how late its messages were."""
    check_ros()
    from asd_training.bags.live.play import play  # needs ROS, which the help does not

    if not any(name in os.environ for name in _FAST_DDS_SETTINGS):
        folder = Path(asd_training.bags.__file__).parent
        os.environ.update(dict.fromkeys(_PROFILES, str(folder / "fastdds.xml")))
    stop = threading.Event()
    if args.loop:
        signal.signal(signal.SIGINT, lambda *_: stop.set())
    report = play(
        args.bag,
        rate=args.rate,
        clock=args.clock,
        loop=args.loop,
        start=args.start,
        topics=args.topics,
        remap=dict(args.remap),
        stop=stop,
        wait_for=args.wait_for,
        wait_timeout=args.wait_timeout,
    )
    print(
        f"sent {sum(report.sent.values())} messages, {report.frames} camera frames; "
        f"late by {report.late_p99 * 1e3:.1f} ms (p99), {report.latest * 1e3:.1f} ms (max)"
    )


def _renaming(text: str) -> tuple[str, str]:
    old, sign, new = text.partition(":=")
    if not (old and sign and new):
        raise argparse.ArgumentTypeError(f"{text!r} is not OLD:=NEW, such as /image:=/front/image")
    return old, new
