# SPDX-License-Identifier: Apache-2.0
"""`asd-bag`: the command line of rosbag2 conversion, replay, recording and scoring."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from asd_perception.errors import run_cli

# Where a user says how Fast DDS is to send; without any of these, our own fastdds.xml is used.
_FAST_DDS_SETTINGS = (
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "FASTDDS_BUILTIN_TRANSPORTS",
)

_EPILOG = """\
the whole round, in three terminals and with the detector running:
  asd-bag convert data bags/scene --scene scene-0103
  asd-bag record bags/detections /detector/detections /detector/objects
  asd-bag play bags/scene --clock --wait-for '/CAM_*/image_raw/compressed'
  asd-bag evaluate bags/detections data
"""


def main() -> None:
    """Entry point of `asd-bag`."""
    args = _parser().parse_args()
    sys.exit(run_cli(f"asd-bag {args.command}", lambda: args.run(args)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asd-bag",
        description="Turn nuScenes scenes into rosbag2 files, replay them, record what the "
        "detector publishes, and score it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", dest="command", required=True)

    convert = _add(
        commands,
        "convert",
        "write a nuScenes scene as a rosbag2 (mcap)",
        "asd-bag convert data/nuscenes bags/scene-0103 --scene scene-0103",
        _convert,
    )
    convert.add_argument("dataroot", help="root of the nuScenes-format dataset")
    convert.add_argument("output", help="folder of the new bag")
    convert.add_argument("--scene", required=True, help="name of the scene")
    _add_version(convert)

    play = _add(
        commands,
        "play",
        "publish a bag's messages at their times",
        "asd-bag play bags/scene-0103 --clock --wait-for '/CAM_*/image_raw/compressed'",
        _play,
    )
    play.add_argument("bag", help="folder of the bag")
    play.add_argument("--rate", type=float, default=1.0, help="speed, 1 is real time (default)")
    play.add_argument("--clock", action="store_true", help="publish the bag's time on /clock")
    play.add_argument(
        "--topics",
        nargs="+",
        default=["*"],
        metavar="PATTERN",
        help="play only these topics; shell patterns, quoted (default: all)",
    )
    play.add_argument(
        "--wait-for",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="start when each of these topics has a subscriber; shell patterns, quoted",
    )
    play.add_argument(
        "--wait-timeout",
        type=float,
        default=30.0,
        metavar="S",
        help="give up waiting after this many seconds (default 30)",
    )

    record = _add(
        commands,
        "record",
        "record topics into a rosbag2 (mcap) until Ctrl-C",
        "asd-bag record bags/detections /detector/detections /detector/objects --until-idle 5",
        _record,
    )
    record.add_argument("output", help="folder of the new bag")
    record.add_argument("topics", nargs="+", metavar="topic", help="topic to record")
    record.add_argument("--duration", type=float, metavar="S", help="stop after this many seconds")
    record.add_argument(
        "--until-idle",
        type=float,
        metavar="S",
        help="stop when messages came and then none for this many seconds",
    )

    evaluate = _add(
        commands,
        "evaluate",
        "score recorded detections with the official nuScenes evaluator",
        "asd-bag evaluate bags/detections data/nuscenes --output results",
        _evaluate,
    )
    evaluate.add_argument("bag", help="folder of the bag with the detections")
    evaluate.add_argument("dataroot", help="root of the dataset whose scenes were played")
    _add_version(evaluate)
    evaluate.add_argument(
        "--output", help="new folder for submission.json and metrics.json (default: only print)"
    )
    evaluate.add_argument(
        "--topic",
        default="/detector/detections",
        help="Detection3DArray topic (default /detector/detections)",
    )
    evaluate.add_argument(
        "--objects-topic",
        help="PointCloud2 topic with velocities and attributes (default: 'objects' beside --topic)",
    )
    return parser


def _add(commands, name, summary, example, run) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", help="dataset version (default: the only one there is)")


# The imports below are inside the functions: `asd-bag play` must not wait for the devkit.


def _convert(args: argparse.Namespace) -> None:
    from asd_training.bags.convert import convert_scene
    from asd_training.datasets.nuscenes import open_dataset

    counts = convert_scene(open_dataset(args.dataroot, args.version), args.scene, args.output)
    print(f"{args.output}: {sum(counts.values())} messages on {len(counts)} topics")


def _play(args: argparse.Namespace) -> None:
    from asd_training.bags.play import play

    if not any(name in os.environ for name in _FAST_DDS_SETTINGS):
        os.environ[_FAST_DDS_SETTINGS[0]] = str(Path(__file__).with_name("fastdds.xml"))
    report = play(
        args.bag,
        rate=args.rate,
        clock=args.clock,
        topics=args.topics,
        wait_for=args.wait_for,
        wait_timeout=args.wait_timeout,
    )
    print(
        f"sent {sum(report.sent.values())} messages, {report.frames} camera frames; "
        f"late by {report.late_p99 * 1e3:.1f} ms (p99), {report.latest * 1e3:.1f} ms (max)"
    )


def _record(args: argparse.Namespace) -> None:
    from asd_training.bags.record import record

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


def _evaluate(args: argparse.Namespace) -> None:
    from asd_training.bags.evaluate import evaluate_bag, format_coverage
    from asd_training.datasets.nuscenes import open_dataset
    from asd_training.evaluation import format_metrics

    metrics, coverage = evaluate_bag(
        args.bag,
        open_dataset(args.dataroot, args.version),
        topic=args.topic,
        objects_topic=args.objects_topic,
        output=args.output,
    )
    print(format_metrics(metrics))
    print(format_coverage(coverage))
