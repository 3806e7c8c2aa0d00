# SPDX-License-Identifier: Apache-2.0
"""`asd-train student`: train the camera-only student, and write RUN/model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from asd_perception.errors import UserError
from asd_training.commands.run_arguments import add_run_arguments, prints_config
from asd_training.config.distillation import PRESETS
from asd_training.config.run import StudentRun


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-train student`."""
    add_run_arguments(parser)
    parser.add_argument(
        "--distill",
        choices=tuple(PRESETS),
        help="learn from a teacher: its features by plain L2, or the full method (adaptive: "
        "adaptive-smooth features, soft-weighted responses); "
        "single keys with --set distillation.KEY=VALUE",
    )
    parser.add_argument(
        "--teacher", type=Path, metavar="MODEL", help="model directory of the teacher"
    )


def run(args: argparse.Namespace) -> None:
    """Train, validate with the official evaluator, and export to RUN/model."""
    args.set = distillation_changes(args.distill, args.teacher) + args.set
    if prints_config(args, StudentRun):
        return
    # Behind --print-config, which needs neither torch nor the devkit
    from asd_training.checking.training_data import with_splits
    from asd_training.data.index import KeyframeIndex
    from asd_training.data.nuscenes import dataset_version
    from asd_training.training.run import run_training
    from asd_training.training.run_folder import open_run
    from asd_training.training.student import StudentTraining

    with open_run(args.run, args.resume, StudentRun, args.config, args.set) as config:
        distillation = config.distillation
        if args.teacher and not distillation.needs_teacher:
            raise UserError("--teacher has nothing to teach; say what with --distill or --set")
        method = "student on ground truth"
        if distillation.needs_teacher and distillation.teacher:
            method += f", taught by {distillation.teacher}"
        version = dataset_version(args.data, args.version)
        config = with_splits(config, args.data, version)
        index = KeyframeIndex.open(args.data, version)
        run_training(args.run, args.resume, config, index, StudentTraining, method)


def distillation_changes(preset: str | None, teacher: Path | None) -> list[str]:
    """What --distill and --teacher mean, as changes of the configuration (key=value)."""
    values: dict[str, Any] = dict(PRESETS[preset]) if preset else {}
    if teacher:
        values["teacher"] = str(teacher.resolve())
    return [f"distillation.{key}={json.dumps(value)}" for key, value in values.items()]
