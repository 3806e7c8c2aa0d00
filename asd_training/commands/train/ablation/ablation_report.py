# SPDX-License-Identifier: Apache-2.0
"""`asd-train ablation-report`: an ablation's tables and plots from its JSON results."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-train ablation-report`."""
    parser.add_argument(
        "results", type=Path, help="folder of JSON results: OUTPUT/results of ablate"
    )
    parser.add_argument("output", type=Path, help="Markdown file to write the tables into")


def run(args: argparse.Namespace) -> None:
    """Write the report of results made before."""
    from asd_training.ablation.report import write_report

    write_report(args.results, args.output)
    print(f"report: {args.output}")
