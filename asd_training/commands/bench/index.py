# SPDX-License-Identifier: Apache-2.0
"""`asd-bench index`: what the keyframe index costs, and what it saves."""

from __future__ import annotations

import argparse
from pathlib import Path

from asd_training.commands.bench.shared import add_json_argument, at_least, begin, finish
from asd_training.commands.run_arguments import add_version_argument

TRAINVAL_KEYFRAMES = 34_149


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-bench index`."""
    parser.add_argument(
        "data", type=Path, nargs="+", help="root of a nuScenes-format dataset; nothing is written"
    )
    add_version_argument(parser)
    parser.add_argument(
        "--repeat-to",
        type=int,
        default=TRAINVAL_KEYFRAMES,
        metavar="N",
        help="project the figures to this many keyframes (default: %(default)s, nuScenes trainval)",
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Build, load and read an index of each dataset."""
    import numpy as np
    import torch

    from asd_training.benchmarks.index import measure

    at_least(1, args, "repeat-to")
    begin(args)
    figures = {
        "clock": "CPU time of the process",
        "numpy": np.__version__,
        "datasets": [measure(root, args.version, args.repeat_to) for root in args.data],
    }
    finish(args, "index", torch.device("cpu"), figures)
