# SPDX-License-Identifier: Apache-2.0
"""`asd-train curves`: the learning curves of runs, as one picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from asd_perception.errors import UserError


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-train curves`."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="the picture, *.png or *.svg"
    )


def run(args: argparse.Namespace) -> None:
    """Draw mAP, NDS and the validation's losses over samples and over core-hours."""
    from asd_perception.files import atomic_file, check_output_file
    from asd_training.evaluation.learning_curve import draw_curves, read_curve

    if args.output.suffix not in (".png", ".svg"):
        raise UserError(f"--output {args.output}: the picture is a *.png or *.svg")
    check_output_file(args.output)
    figure = draw_curves({str(run): read_curve(run) for run in args.runs})
    with atomic_file(args.output) as temporary:
        figure.savefig(temporary, dpi=130, facecolor="white")
    print(f"picture: {args.output}")
