# SPDX-License-Identifier: Apache-2.0
"""`asd-train explain`: one picture of what the method does in one keyframe."""

from __future__ import annotations

import argparse
from pathlib import Path

from asd_training.commands.run_arguments import add_version_argument


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-train explain`."""
    parser.add_argument("run", type=Path, help="folder of a student's run")
    parser.add_argument("data", type=Path, help="root of a nuScenes-format dataset")
    parser.add_argument("output", type=Path, help="the picture to write, *.png")
    parser.add_argument(
        "--teacher", type=Path, metavar="MODEL", help="model directory, if the run had no teacher"
    )
    parser.add_argument(
        "--split",
        default="auto",
        help="split of the keyframe (default: auto: val, *_val, or the only one there is)",
    )
    parser.add_argument(
        "--keyframe", type=int, default=0, help="its number in the split (default: 0)"
    )
    add_version_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Look at one keyframe with both networks, and draw it."""
    from asd_training.explain.keyframe import explain_keyframe

    explain_keyframe(
        *(args.run, args.teacher, args.data, args.version, args.split, args.keyframe),
        output=args.output,
    )
    print(f"picture: {args.output}")
