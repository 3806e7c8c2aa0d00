# SPDX-License-Identifier: Apache-2.0
"""`asd-bench pooling`: BEV pooling against its plain references."""

from __future__ import annotations

import argparse

from asd_training.commands.bench.shared import (
    add_device_argument,
    add_json_argument,
    add_repeats_argument,
    add_threads_argument,
    at_least,
    begin,
    finish,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-bench pooling`."""
    add_device_argument(parser)
    add_threads_argument(parser)
    add_repeats_argument(parser, 30)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Time all cases."""
    from asd_perception.runtime.detector import find_device
    from asd_training.benchmarks.pooling import benchmark, table

    at_least(2, args, "repeats")
    begin(args)
    device = find_device(args.device)
    finish(args, "pooling", device, benchmark(device, args.repeats), table)
