# SPDX-License-Identifier: Apache-2.0
"""`asd-bag evaluate`: recorded detections, scored by the official nuScenes evaluator."""

from __future__ import annotations

import argparse

from asd_training.commands.run_arguments import add_version_argument


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-bag evaluate`."""
    parser.epilog = "example:\n  asd-bag evaluate bags/detections data/nuscenes --output results"
    parser.add_argument("bag", help="folder of the bag with the detections")
    parser.add_argument("data", help="root of the dataset whose scenes were played")
    add_version_argument(parser)
    parser.add_argument(
        "--output", help="new folder for submission.json and metrics.json (default: only print)"
    )
    parser.add_argument(
        "--topic",
        default="/detector/detections",
        help="Detection3DArray topic (default /detector/detections)",
    )
    parser.add_argument(
        "--objects-topic",
        help="PointCloud2 topic with velocities and attributes (default: 'objects' beside --topic)",
    )


def run(args: argparse.Namespace) -> None:
    """Score the bag, and print metrics and coverage."""
    from asd_training.bags.evaluate import evaluate_bag, format_coverage
    from asd_training.data.nuscenes import open_dataset
    from asd_training.evaluation.scoring import format_metrics

    metrics, coverage = evaluate_bag(
        args.bag,
        open_dataset(args.data, args.version),
        topic=args.topic,
        objects_topic=args.objects_topic,
        output=args.output,
    )
    print(format_metrics(metrics))
    print(format_coverage(coverage))
