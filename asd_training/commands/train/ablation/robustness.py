# SPDX-License-Identifier: Apache-2.0
"""`asd-train robustness`: an ablation's students, scored with corrupted simulated points."""

from __future__ import annotations

import argparse
from pathlib import Path

from asd_training.commands.run_arguments import add_tables_argument, add_version_argument


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-train robustness`."""
    parser.add_argument("data", type=Path, help="root of the ablation's dataset")
    parser.add_argument(
        "output", type=Path, help="folder of the ablation; kept scores are not repeated"
    )
    add_version_argument(parser)
    parser.add_argument(
        "--keyframes", type=int, help="how many of the ablation's keyframes to score (default: all)"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    add_tables_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Score what is not scored yet, then write the ablation's report."""
    from asd_training.ablation.robustness import run_robustness

    report = run_robustness(
        args.data, args.version, args.output, args.keyframes, args.device, args.report
    )
    print(f"report: {report}")
