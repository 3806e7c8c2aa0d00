# SPDX-License-Identifier: Apache-2.0
"""`asd-train synthesize`: ray-traced driving scenes in nuScenes format."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = "Generate ray-traced driving scenes in nuScenes format."


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.description = DESCRIPTION
    parser.add_argument("output", type=Path, help="folder of the new dataset")
    for split, count in (("train", 40), ("val", 10), ("test", 0)):
        parser.add_argument(
            f"--{split}", type=int, default=count, metavar="SCENES",
            help=f"scenes of the split synthetic_{split} (default: %(default)s)",
        )  # fmt: skip
    parser.add_argument(
        "--keyframes", type=int, default=20,
        help="annotated keyframes per scene, at 2 Hz (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument(
        "--scale", type=float, default=0.25,
        help="image size as a share of 1600x900 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--sweeps",
        action="store_true",
        help="also record images at 12 Hz and LiDAR at 20 Hz",
    )
    parser.add_argument(
        "--workers", type=int, default=None, help="number of processes (default: one per core)"
    )
    parser.add_argument(
        "--shard", type=_shard, default=(1, 1), metavar="K/N",
        help="record the K-th of N shares of the scenes alone, on one of N machines; with the "
        "files of all in one folder, the same command without --shard writes the tables",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from asd_training.synthetic.generate import synthesize

    scenes = {"train": args.train, "val": args.val, "test": args.test}
    synthesize(
        *(args.output, scenes, args.keyframes, args.seed, args.scale, args.sweeps),
        workers=args.workers,
        shard=args.shard,
    )


def _shard(text: str) -> tuple[int, int]:
    number, _, shards = text.partition("/")
    try:
        return int(number), int(shards)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not K/N, such as 3/16") from None
