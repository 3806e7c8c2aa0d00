# SPDX-License-Identifier: Apache-2.0
"""Arguments and output that the benchmarks share."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asd_perception.errors import UserError
from asd_perception.files import check_output_file
from asd_perception.models import TINY
from asd_perception.provenance import command_line

if TYPE_CHECKING:
    import torch

    from asd_perception.runtime.detector import Detector


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """The argument that names a student."""
    parser.add_argument(
        "--model",
        type=Path,
        default=TINY,
        metavar="DIR",
        help="model directory (default: the tiny student of this package)",
    )


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """The argument that says where the network runs."""
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default)")


def add_threads_argument(parser: argparse.ArgumentParser) -> None:
    """The argument that `begin` obeys."""
    parser.add_argument(
        "--threads", type=int, help="number of CPU threads (default: as torch chooses)"
    )


def add_repeats_argument(parser: argparse.ArgumentParser, default: int) -> None:
    """The argument that says how often each stage is timed."""
    parser.add_argument(
        "--repeats",
        type=int,
        default=default,
        help="how often each stage is timed (default: %(default)s)",
    )


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """The argument of the results file."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")


def at_least(least: int, args: argparse.Namespace, option: str) -> None:
    """Raises UserError if a number was given for an option, and it is too small."""
    value = getattr(args, option.replace("-", "_"))
    if value is not None and value < least:
        raise UserError(f"--{option} is {value}; it must be {least} or more")


def begin(args: argparse.Namespace) -> None:
    """Look at the results file before the long work, and set the threads. Raises UserError."""
    if args.json:
        check_output_file(args.json)
    if getattr(args, "threads", None) is not None:
        import cv2
        import torch

        at_least(1, args, "threads")
        torch.set_num_threads(args.threads)
        cv2.setNumThreads(args.threads)


def description(model: Path, detector: Detector) -> dict[str, Any]:
    """The figures' keys that say what was measured: the model's name, and how it ran."""
    return {"model": model.name, "runs": detector.describe()}


def finish(
    args: argparse.Namespace,
    benchmark: str,
    device: torch.device,
    figures: dict[str, Any],
    table: Callable[[dict[str, Any]], str] | None = None,
) -> None:
    """Print the figures, as a table or else as JSON, and write the results file if asked to."""
    from asd_training.benchmarks.results import results_of

    results = results_of(benchmark, command_line("asd-bench"), device, figures)
    print(results.heading())
    print(table(results.figures) if table else json.dumps(results.figures, indent=1))
    if args.json:
        results.write(args.json)
