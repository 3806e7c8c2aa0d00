# SPDX-License-Identifier: Apache-2.0
"""`asd-train evaluate`: official metrics of a model or a submission, and a report of its errors."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

from asd_perception.errors import UserError
from asd_perception.files import check_output_file
from asd_perception.provenance import command_line, without_folders
from asd_training.commands.run_arguments import add_version_argument


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        "model",
        type=Path,
        help="model directory of a student or a teacher, or a submission's JSON file",
    )
    parser.add_argument("data", type=Path, help="root of a nuScenes-format dataset")
    parser.add_argument(
        "--split",
        default="auto",
        help="which split to score (default: auto: val, *_val, or the only one there is)",
    )
    add_version_argument(parser)
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    for option, what in (
        ("output", "the submission JSON"),
        ("report", "one HTML file with tables, curves and pictures"),
        ("metrics", "the numbers of the report as JSON"),
    ):
        parser.add_argument(f"--{option}", type=Path, metavar="FILE", help=f"write {what}")


def run(args: argparse.Namespace) -> None:
    """Detect in every keyframe of a split, print the official metrics, write what is asked for."""
    import numpy as np

    from asd_perception.network import model_directory
    from asd_perception.runtime.detector import Detector, find_device
    from asd_training.data.cameras import tell_lacking_cameras
    from asd_training.data.index import KeyframeIndex
    from asd_training.data.nuscenes import (
        dataset_cameras,
        dataset_version,
        open_dataset,
        scene_samples,
        split_scenes,
    )
    from asd_training.evaluation.detection import detect_keyframes, detect_samples
    from asd_training.evaluation.error_analysis import analyse
    from asd_training.evaluation.metrics_file import Setting, write_metrics
    from asd_training.evaluation.report.report import write_report
    from asd_training.evaluation.scoring import evaluate, evaluate_submission, format_metrics
    from asd_training.models.teacher import load_teacher
    from asd_training.tables.splits import chosen_split

    is_submission = args.model.is_file()
    if is_submission and args.output:
        raise UserError(f"{args.model} is a submission already; leave out --output")
    for path in (args.output, args.report, args.metrics):
        if path:
            check_output_file(path)
    version = dataset_version(args.data, args.version)
    split = chosen_split(args.data, version, args.split, "val")
    nusc = open_dataset(args.data, version)
    scenes = split_scenes(nusc, split)
    samples = [sample for scene in scenes for sample in scene_samples(nusc, scene)]
    if not samples:
        raise UserError(f"{args.data}: the split {split} holds no keyframe")
    if is_submission:
        tokens = [sample["token"] for sample in samples]
        evaluation = evaluate_submission(nusc, args.model, tokens)
        provenance = None
    else:
        document = model_directory.read_document(args.model)
        provenance = without_folders(document.get("provenance") or {})
        if "teacher" in document:
            teacher = load_teacher(args.model)
            index = KeyframeIndex.open(args.data, nusc.version)
            keyframes = index.split(split)
            tell_lacking_cameras(index.cameras, index.has_camera[keyframes])
            found = detect_keyframes(teacher, index, keyframes, find_device(args.device))
            evaluation = evaluate(nusc, found, args.output, teacher.config.modality.split("_"))
        else:
            cameras = dataset_cameras(nusc)
            there = np.array([[name in sample["data"] for name in cameras] for sample in samples])
            tell_lacking_cameras(cameras, there)
            detector = Detector.from_pretrained(args.model, args.device, cameras=len(cameras))
            evaluation = evaluate(nusc, detect_samples(detector, nusc, samples), args.output)
    print(format_metrics(evaluation.metrics))
    if not (args.report or args.metrics):
        return
    setting = Setting(
        source=without_folders(str(args.model)),
        provenance=provenance,
        dataset=without_folders(str(args.data)),
        version=nusc.version,
        split=split,
        scenes=len(scenes),
        command=command_line("asd-train"),
        date=datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
    )
    analysis = analyse(evaluation)
    if args.metrics:
        write_metrics(args.metrics, setting, evaluation, analysis)
    if args.report:
        write_report(args.report, nusc, setting, evaluation, analysis)
        print(f"report: {args.report}")
