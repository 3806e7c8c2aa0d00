# SPDX-License-Identifier: Apache-2.0
"""`asd-bench frame`: how long a frame takes, stage by stage."""

from __future__ import annotations

import argparse

from asd_training.commands.bench.shared import (
    add_device_argument,
    add_json_argument,
    add_model_argument,
    add_repeats_argument,
    add_threads_argument,
    at_least,
    begin,
    description,
    finish,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-bench frame`."""
    add_model_argument(parser)
    add_device_argument(parser)
    add_threads_argument(parser)
    add_repeats_argument(parser, 100)
    parser.add_argument(
        "--cameras", type=int, default=6, help="how many cameras the rig has (default: %(default)s)"
    )
    parser.add_argument(
        "--against",
        choices=["reference"],
        help="also run the plain eager network with reference ops, in turns, and print ratios",
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Time each stage and the whole frame."""
    from asd_perception.runtime.detector import Detector
    from asd_training.benchmarks.frame import benchmark, table

    at_least(2, args, "repeats")
    begin(args)
    detector = Detector.from_pretrained(args.model, args.device, cameras=args.cameras)
    figures = {
        **description(args.model, detector),
        **benchmark(detector, args.repeats, against_reference=args.against == "reference"),
    }
    finish(args, "frame", detector.device, figures, table)
