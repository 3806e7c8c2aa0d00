# SPDX-License-Identifier: Apache-2.0
"""`asd-train ablate`: every row of an ablation over several seeds; it can be interrupted."""

from __future__ import annotations

import argparse
from pathlib import Path

from asd_training.commands.run_arguments import add_tables_argument, add_version_argument


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-train ablate`."""
    parser.add_argument("data", type=Path, help="root of a nuScenes-format dataset")
    parser.add_argument(
        "output", type=Path, help="folder of runs and results; kept ones are not repeated"
    )
    parser.add_argument(
        "--config", type=Path, required=True, help="YAML file, as in config/training/ablation.yaml"
    )
    add_version_argument(parser)
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="runs side by side, each on its own share of the cores (default: 1)",
    )
    for option, kind, what in (("rows", str, "rows"), ("seeds", int, "seeds")):
        parser.add_argument(
            f"--{option}",
            nargs="+",
            type=kind,
            help=f"run only these {what}, to share the work out",
        )
    add_tables_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Run what is not finished yet, then write the report."""
    from asd_training.ablation.runs import run_ablation

    report = run_ablation(
        *(args.data, args.version, args.output, args.config, args.jobs, args.rows, args.seeds),
        report=args.report,
    )
    print(f"report: {report}")
