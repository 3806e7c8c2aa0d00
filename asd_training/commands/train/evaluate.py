# SPDX-License-Identifier: Apache-2.0
"""`asd-train evaluate`: official metrics of a model or a submission, and a report of its errors."""

from __future__ import annotations

import argparse
import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asd_perception.errors import UserError
from asd_perception.files import check_output_file
from asd_perception.provenance import command_line, without_folders
from asd_training.commands.run_arguments import add_version_argument

if TYPE_CHECKING:
    from nuscenes import NuScenes

    from asd_training.evaluation.scoring import Evaluation, Submission


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        "model",
        type=Path,
        help="model directory of a student or a teacher, or a submission's JSON file",
    )
    parser.add_argument(
        "data",
        type=Path,
        nargs="+",
        help="root of a nuScenes-format dataset; several are scored each and together",
    )
    parser.add_argument(
        "--split",
        default="auto",
        help="which split to score (default: auto: val, *_val, or the only one there is)",
    )
    add_version_argument(parser)
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="first make the student's scores probabilities on this split, choose its threshold, "
        "measure its errors for the covariances that the node publishes, and write all three into "
        "the model directory's config.yaml",
    )
    for option, what in (
        ("output", "the submission JSON"),
        ("report", "one HTML file with tables, curves and pictures"),
        ("metrics", "the numbers of the report as JSON"),
    ):
        parser.add_argument(f"--{option}", type=Path, metavar="FILE", help=f"write {what}")


def run(args: argparse.Namespace) -> None:
    """Detect in every keyframe of a split, print the official metrics, write what is asked for."""
    from asd_perception.network import model_directory
    from asd_training.data.nuscenes import dataset_version
    from asd_training.evaluation.bootstrap import intervals
    from asd_training.evaluation.error_analysis import analyse
    from asd_training.evaluation.metrics_file import Setting, write_metrics
    from asd_training.evaluation.report.report import write_report
    from asd_training.evaluation.scoring import pooled
    from asd_training.evaluation.summary import format_evaluation
    from asd_training.tables.splits import chosen_split

    is_submission = args.model.is_file()
    if is_submission and args.output:
        raise UserError(f"{args.model} is a submission already; leave out --output")
    if is_submission and args.calibrate:
        raise UserError(f"--calibrate is for a student; {args.model} is a submission")
    if len(args.data) > 1:
        if is_submission:
            raise UserError(f"{args.model} is a submission; give the one dataset that it is of")
        for option in ("output", "report", "calibrate"):
            if getattr(args, option):
                raise UserError(f"--{option} is of one dataset; give one, not {len(args.data)}")
    for path in (args.output, args.report, args.metrics):
        if path:
            check_output_file(path)
    splits = [
        chosen_split(root, dataset_version(root, args.version), args.split, "val")
        for root in args.data
    ]
    provenance = None
    if not is_submission:
        document = model_directory.read_document(args.model)
        if args.calibrate and "student" not in document:
            raise UserError(f"--calibrate is for a student; {args.model} holds none")
        if args.calibrate:
            check_output_file(args.model / "config.yaml")
        provenance = without_folders(document.get("provenance") or {})
    data = [
        _Data.of(root, split, args.version) for root, split in zip(args.data, splits, strict=True)
    ]
    _check_distinct(data)
    parts = []
    for root, one in zip(args.data, data, strict=True):
        part = _Part.of(one, args)
        parts.append(part)
        if len(args.data) > 1:
            found = part.evaluation
            analysis = analyse(found)
            print(f"\n{root}\n{format_evaluation(found, analysis, intervals(found, analysis))}")
    evaluation = parts[0].evaluation
    if len(parts) > 1:
        print(f"\nall {len(parts)} together")
        evaluation = pooled([part.evaluation for part in parts])
    analysis = analyse(evaluation)
    errors = intervals(evaluation, analysis)
    print(format_evaluation(evaluation, analysis, errors))
    if not (args.report or args.metrics):
        return
    setting = Setting(
        source=without_folders(str(args.model)),
        provenance=provenance,
        dataset=", ".join(without_folders(str(root)) for root in args.data),
        version=", ".join(dict.fromkeys(part.nusc.version for part in parts)),
        split=", ".join(dict.fromkeys(splits)),
        scenes=sum(part.scenes for part in parts),
        command=command_line("asd-train"),
        date=datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
    )
    if args.metrics:
        write_metrics(args.metrics, setting, evaluation, analysis, errors)
    if args.report:
        write_report(args.report, parts[0].nusc, setting, evaluation, analysis)
        print(f"report: {args.report}")


@dataclass(frozen=True)
class _Data:
    """What is scored of one dataset: its tables, and the scenes and samples of a split of it."""

    root: Path
    split: str
    nusc: NuScenes
    scenes: list[str]
    samples: list[dict[str, Any]]

    @classmethod
    def of(cls, root: Path, split: str, version: str | None) -> _Data:
        """Raises UserError where the split holds no keyframe."""
        from asd_training.data.nuscenes import open_dataset, scene_samples, split_scenes

        nusc = open_dataset(root, version)
        scenes = split_scenes(nusc, split)
        samples = [sample for scene in scenes for sample in scene_samples(nusc, scene)]
        if not samples:
            raise UserError(f"{root}: the split {split} holds no keyframe")
        return cls(root, split, nusc, scenes, samples)


def _check_distinct(data: list[_Data]) -> None:
    """Raise UserError, before any detection, if two datasets hold the same sample."""
    seen: dict[str, Path] = {}
    for one in data:
        for sample in one.samples:
            if sample["token"] in seen:
                raise UserError(
                    f"{seen[sample['token']]} and {one.root} hold the same sample "
                    f"{sample['token']}; give each once"
                )
        seen |= {sample["token"]: one.root for sample in one.samples}


@dataclass(frozen=True)
class _Part:
    """One dataset: its tables, how many scenes its split has, and the evaluation on them."""

    nusc: NuScenes
    scenes: int
    evaluation: Evaluation

    @classmethod
    def of(cls, data: _Data, args: argparse.Namespace) -> _Part:
        """Detect in a dataset's samples with the model, or take the submission, and evaluate."""
        from asd_training.evaluation.scoring import evaluate, evaluate_submission

        nusc, scenes = data.nusc, len(data.scenes)
        if args.model.is_file():
            tokens = [sample["token"] for sample in data.samples]
            return cls(nusc, scenes, evaluate_submission(nusc, args.model, tokens))
        submission, modalities = _detect(args, data)
        return cls(nusc, scenes, evaluate(nusc, submission, args.output, modalities))


def _detect(args: argparse.Namespace, data: _Data) -> tuple[Submission, list[str]]:
    """What a teacher or a student finds in a dataset's keyframes, and what it sees them with."""
    import numpy as np

    from asd_perception.network import model_directory
    from asd_perception.runtime.detector import Detector, find_device
    from asd_training.data.cameras import tell_lacking_cameras
    from asd_training.data.index import KeyframeIndex
    from asd_training.data.nuscenes import dataset_cameras
    from asd_training.evaluation.detection import detect_keyframes, detect_samples
    from asd_training.models.teacher import load_teacher

    nusc, samples = data.nusc, data.samples
    if "teacher" in model_directory.read_document(args.model):
        teacher = load_teacher(args.model)
        index = KeyframeIndex.open(data.root, nusc.version)
        keyframes = index.split(data.split)
        tell_lacking_cameras(index.cameras, index.has_camera[keyframes])
        found = detect_keyframes(teacher, index, keyframes, find_device(args.device))
        return found, teacher.config.modality.split("_")
    cameras = dataset_cameras(nusc)
    there = np.array([[name in sample["data"] for name in cameras] for sample in samples])
    tell_lacking_cameras(cameras, there)
    detector = Detector.from_pretrained(args.model, args.device, cameras=len(cameras))
    if args.calibrate:
        detector.score_calibration = None  # an earlier one, which is replaced
    submission = detect_samples(detector, nusc, samples)
    if args.calibrate:
        submission = _calibrate(args, data.split, nusc, submission)
    return submission, ["camera"]


def _calibrate(args: argparse.Namespace, split: str, nusc: NuScenes, raw: Submission) -> Submission:
    """Calibrate the model by what it found; its submission with calibrated scores."""
    from asd_training.evaluation import calibration, validation_errors
    from asd_training.evaluation.scoring import evaluate

    evaluation = evaluate(nusc, raw)
    provenance = {
        "data": without_folders(str(args.data[0])),
        "version": nusc.version,
        "split": split,
        "keyframes": len(raw),
        "command": command_line("asd-train"),
        "date": datetime.date.today().isoformat(),
    }
    found = calibration.fit(evaluation, provenance)
    errors = validation_errors.measure(evaluation, found, provenance)
    calibration.write(args.model, found, errors)
    print(calibration.format_calibration(evaluation, found))
    print(validation_errors.format_errors(errors))
    return calibration.with_calibrated_scores(raw, found)
