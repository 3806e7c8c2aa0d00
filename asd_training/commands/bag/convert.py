# SPDX-License-Identifier: Apache-2.0
"""`asd-bag convert`: a nuScenes scene as a rosbag2."""

from __future__ import annotations

import argparse

from asd_training.commands.run_arguments import add_version_argument


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-bag convert`."""
    parser.epilog = "example:\n  asd-bag convert data/nuscenes bags/scene-0103 --scene scene-0103"
    parser.add_argument("data", help="root of a nuScenes-format dataset")
    parser.add_argument("output", help="folder of the new bag")
    parser.add_argument("--scene", required=True, help="name of the scene")
    add_version_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Write the bag."""
    from asd_training.bags.convert import convert_scene
    from asd_training.data.nuscenes import open_dataset

    counts = convert_scene(open_dataset(args.data, args.version), args.scene, args.output)
    print(f"{args.output}: {sum(counts.values())} messages on {len(counts)} topics")
