# SPDX-License-Identifier: Apache-2.0
"""`asd-train synthesize`: ray-traced driving scenes in nuScenes format, or a preview of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from asd_perception.errors import UserError

DESCRIPTION = "Generate ray-traced driving scenes in nuScenes format, or a picture of some."

# What only a dataset has, and its defaults.
_OF_DATASETS: dict[str, Any] = {
    "train": 40, "val": 10, "test": 0, "keyframes": 20, "sweeps": False, "shard": (1, 1)
}  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.description = DESCRIPTION
    parser.add_argument(
        "output", type=Path, help="folder of the new dataset; with --preview, a picture"
    )
    for split in ("train", "val", "test"):
        parser.add_argument(
            f"--{split}", type=int, default=_OF_DATASETS[split], metavar="SCENES",
            help=f"scenes of the split synthetic_{split} (default: %(default)s)",
        )  # fmt: skip
    parser.add_argument(
        "--keyframes", type=int, default=_OF_DATASETS["keyframes"],
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
        "--preview", type=int, default=None, metavar="N",
        help="write no dataset but one picture (.jpg, .png) of N keyframes, each of another scene",
    )  # fmt: skip
    parser.add_argument(
        "--boxes", action="store_true", help="draw the annotated objects into the preview"
    )
    parser.add_argument(
        "--shard", type=_shard, default=_OF_DATASETS["shard"], metavar="K/N",
        help="record the K-th of N shares of the scenes alone, on one of N machines; with the "
        "files of all in one folder, the same command without --shard writes the tables",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    if args.preview is not None:
        _preview(args)
        return
    if args.boxes:
        raise UserError("--boxes draws into a preview; give --preview N, too")
    from asd_training.synthetic.generate import synthesize

    scenes = {"train": args.train, "val": args.val, "test": args.test}
    synthesize(
        *(args.output, scenes, args.keyframes, args.seed, args.scale, args.sweeps),
        workers=args.workers,
        shard=args.shard,
    )


def _preview(args: argparse.Namespace) -> None:
    unused = [name for name, default in _OF_DATASETS.items() if getattr(args, name) != default]
    if unused:
        raise UserError(f"--{unused[0]} says what a dataset holds; a preview has no use for it")
    from asd_training.synthetic.preview import preview

    preview(args.output, args.preview, args.seed, args.scale, args.workers, args.boxes)


def _shard(text: str) -> tuple[int, int]:
    number, _, shards = text.partition("/")
    try:
        return int(number), int(shards)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not K/N, such as 3/16") from None
