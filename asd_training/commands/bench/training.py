# SPDX-License-Identifier: Apache-2.0
"""`asd-bench training`: what a sample of a training costs, by part."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from asd_training.commands.bench.shared import (
    add_device_argument,
    add_json_argument,
    at_least,
    begin,
    finish,
)
from asd_training.commands.run_arguments import add_config_arguments
from asd_training.config.read import read_config
from asd_training.config.run import StudentRun, TeacherRun

CONFIGURATIONS: dict[str, Any] = {"student": StudentRun, "teacher": TeacherRun}


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-bench training`."""
    parser.add_argument("kind", choices=tuple(CONFIGURATIONS), help="which training")
    parser.add_argument("data", type=Path, help="root of a nuScenes-format dataset")
    add_config_arguments(parser)
    add_device_argument(parser)
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="measure in turns with the same configuration under this further change, as in "
        "--against precision=32-true --against cache=null (may be repeated)",
    )
    parser.add_argument(
        "--steps", type=int, default=20, help="steps that count of each turn (default: %(default)s)"
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Measure loader and step; nothing is trained that stays."""
    from asd_perception.runtime.detector import find_device
    from asd_training.benchmarks.training import benchmark, table
    from asd_training.data.index import KeyframeIndex
    from asd_training.training.student import StudentTraining
    from asd_training.training.teacher import TeacherTraining

    at_least(1, args, "steps")
    begin(args)
    device = find_device(args.device)
    build: Any = {"student": StudentTraining, "teacher": TeacherTraining}[args.kind]
    changes = [args.set, *([[*args.set, *args.against]] if args.against else [])]
    configs = [read_config(CONFIGURATIONS[args.kind], args.config, change) for change in changes]
    index = KeyframeIndex.open(args.data, args.version)
    figures = benchmark(configs, index, build, args.steps, device)
    about = {"data": str(args.data), "against": args.against}
    finish(args, "training", device, {**about, **figures}, table)
