# SPDX-License-Identifier: Apache-2.0
"""`asd-train teacher`: train the LiDAR (+ camera) teacher, and write RUN/model."""

from __future__ import annotations

import argparse

from asd_training.commands.run_arguments import add_run_arguments, prints_config
from asd_training.config.run import TeacherRun


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-train teacher`."""
    add_run_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Train, validate with the official evaluator, and export to RUN/model."""
    if prints_config(args, TeacherRun):
        return
    # Behind --print-config, which needs neither torch nor the devkit
    from asd_training.checking.training_data import with_splits
    from asd_training.data.index import KeyframeIndex
    from asd_training.data.nuscenes import dataset_version
    from asd_training.training.run import run_training
    from asd_training.training.run_folder import open_run
    from asd_training.training.teacher import TeacherTraining

    with open_run(args.run, args.resume, TeacherRun, args.config, args.set) as config:
        method = f"{config.teacher.modality} teacher on ground truth"
        version = dataset_version(args.data, args.version)
        config = with_splits(config, args.data, version)
        index = KeyframeIndex.open(args.data, version)
        run_training(args.run, args.resume, config, index, TeacherTraining, method)
