# SPDX-License-Identifier: Apache-2.0
"""`asd-demo`: from nothing to scored detections of the real node."""

from __future__ import annotations

import argparse
from pathlib import Path

from asd_perception.models import TINY
from asd_training.commands.command_line import run_main


def main() -> None:
    """Entry point of `asd-demo`."""
    run_main("asd-demo", _run)


def _run() -> None:
    parser = argparse.ArgumentParser(
        prog="asd-demo",
        description="Ray-trace unseen scenes, replay them to the detector node, and score what "
        "it published.",
    )
    parser.add_argument(
        "output",
        type=Path,
        nargs="?",
        default=Path("demo"),
        help="folder of data, bags and results (default: ./demo)",
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=TINY,
        help="model directory (default: the tiny student of this package)",
    )
    parser.add_argument(
        "--scenes",
        type=int,
        default=2,
        help="how many unseen scenes to make (default: %(default)s)",
    )
    parser.add_argument(
        "--keyframes",
        type=int,
        default=16,
        help="keyframes per scene, at 2 Hz (default: %(default)s)",
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=0.5,
        help="image size as a share of 1600x900 (default: %(default)s)",
    )
    args = parser.parse_args()
    from asd_training.demo import run_demo  # takes seconds, which the help does not need

    run_demo(args.output, args.model, args.scenes, args.keyframes, args.scale)


if __name__ == "__main__":
    main()
