# SPDX-License-Identifier: Apache-2.0
"""`asd-train check`: whether a data set is what training and the evaluator need."""

from __future__ import annotations

import argparse
from pathlib import Path

from asd_training.commands.run_arguments import add_version_argument


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-train check`."""
    parser.epilog = (
        "reads every table, image and LiDAR sweep of the keyframes, and looks at calibrations and\n"
        "mountings; exits with 1 if something cannot be used\n"
        "example:\n"
        "  asd-train check data/robot --output looked_at"
    )
    parser.add_argument("data", type=Path, help="root of a nuScenes-format dataset")
    parser.add_argument(
        "--output",
        type=Path,
        help="new folder for pictures of some keyframes: the boxes in the images, and from above "
        "with LiDAR (default: only print)",
    )
    add_version_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Print what is in the data set and what is wrong with it, and draw keyframes."""
    from contextlib import nullcontext

    from asd_perception.cameras.rig_check import Level
    from asd_perception.files import atomic_directory
    from asd_training.checking.dataset import (
        draw_keyframes,
        format_contents,
        format_faults,
        rig_findings,
        unreadable,
    )
    from asd_training.data.index import KeyframeIndex

    with atomic_directory(args.output) if args.output else nullcontext() as folder:
        index = KeyframeIndex.open(args.data, args.version)
        print(format_contents(index))
        findings = rig_findings(index)
        for finding in findings:
            print(f"{finding.level.name}: {finding.text}")
        faults = unreadable(index)
        if folder is not None:
            draw_keyframes(index, folder)
    print(format_faults(index, faults))
    if args.output:
        print(f"pictures: {args.output}")
    if faults or any(finding.level is Level.ERROR for finding in findings):
        raise SystemExit(1)
