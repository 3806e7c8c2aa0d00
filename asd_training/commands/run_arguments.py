# SPDX-License-Identifier: Apache-2.0
"""The arguments that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from asd_perception.errors import UserError

if TYPE_CHECKING:
    from asd_training.config.run import Run


def add_version_argument(parser: argparse.ArgumentParser) -> None:
    """The argument that says which of a dataset's versions is meant."""
    parser.add_argument("--version", help="version folder of the dataset, if it holds several")


def add_tables_argument(parser: argparse.ArgumentParser) -> None:
    """The argument that says where an ablation's tables go."""
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="Markdown file to write the tables into (default: OUTPUT/results.md)",
    )


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what is trained, and on which version of the data."""
    parser.add_argument(
        "--config",
        type=Path,
        help="YAML file, as in config/training/ (default: the values of synthetic.yaml, for a "
        "teacher synthetic_teacher.yaml)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a key of the configuration, as in --set steps=100 --set "
        "student.image_size=[128,352] (may be repeated)",
    )
    add_version_argument(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of a training command."""
    parser.add_argument("data", type=Path, nargs="?", help="root of a nuScenes-format dataset")
    parser.add_argument(
        "run", type=Path, nargs="?", help="folder of the run: logs, checkpoints, model"
    )
    add_config_arguments(parser)
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run")
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print the whole configuration, with a comment per key, and train nothing",
    )


def prints_config(args: argparse.Namespace, cls: type[Run]) -> bool:
    """Whether no more than the configuration was asked for, which is then printed.

    Raises UserError where dataset or folder are missing and it was not.
    """
    if args.print_config:
        from asd_training.config.read import commented_yaml, read_config

        print(commented_yaml(read_config(cls, args.config, args.set)))
        return True
    if args.run is None:
        missing = "a dataset and a folder for the run" if args.data is None else "a run's folder"
        raise UserError(f"give {missing}, as in: data runs/mine (--help says more)")
    return False
