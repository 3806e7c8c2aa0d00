# SPDX-License-Identifier: Apache-2.0
"""`asd-train robustness`: the students of an ablation, scored with corrupted simulated points.

One JSON file a student in OUT/results/robustness, from which the ablation's report draws curves.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

from asd_perception import model_directory
from asd_perception.detector import Detector
from asd_perception.errors import UserError
from asd_perception.files import atomic_file
from asd_training.ablation.corruption import CORRUPTIONS, corrupt
from asd_training.ablation.report import read_results, write_report
from asd_training.datasets.nuscenes import open_dataset, scene_samples, split_scenes
from asd_training.evaluation import detect_samples, score


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-train robustness`."""
    parser.add_argument("data", type=Path, help="root of the ablation's dataset")
    parser.add_argument("out", type=Path, help="folder of the ablation; goes on where it was left")
    parser.add_argument("--version", help="version folder of the dataset, if it holds several")
    parser.add_argument(
        "--keyframes", type=int, help="at most so many, spread over the ablation's (default: all)"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="as for ablate (default: OUT/results.md)"
    )


def run(args: argparse.Namespace) -> None:
    """Score what is not scored yet, then write the ablation's report."""
    results = args.out / "results"
    ablation, runs = read_results(results)
    if not ablation.robustness:
        raise UserError(f"{args.out}: the ablation names no rows under robustness")
    if args.keyframes is not None and args.keyframes < 1:
        raise UserError(f"--keyframes is {args.keyframes}; it must be at least 1")
    finished = [result for row in ablation.robustness for result in runs[row].values()]
    if not finished:
        raise UserError(f"{args.out}: no run of {', '.join(ablation.robustness)} is finished yet")
    split = finished[0]["validation"]["split"]  # all rows have the same
    nusc = open_dataset(args.data, args.version)
    samples = [s for scene in split_scenes(nusc, split) for s in scene_samples(nusc, scene)]
    if not samples:
        raise UserError(f"{args.data}: the split {split} holds no keyframe")
    if args.keyframes is not None:
        count = min(args.keyframes, len(samples))
        samples = [samples[i] for i in np.linspace(0, len(samples) - 1, count).round().astype(int)]

    for row in ablation.robustness:
        for seed in runs[row]:
            name = f"{row}-{seed}"
            file = results / "robustness" / f"{name}.json"
            if file.exists():
                continue
            model = args.out / "runs" / name / "model"

            def metrics(kind: str | None = None, level: float = 0.0, model: Path = model) -> Any:
                student = model_directory.load(model)
                if kind is not None:
                    corrupt(student, kind, level)
                detector = Detector(student, args.device)
                print(f"{model}: {kind or 'clean'} {level:g}", flush=True)
                return dataclasses.asdict(score(nusc, detect_samples(detector, nusc, samples)))

            result = {
                "row": row,
                "seed": seed,
                "command": shlex.join(["asd-train", *sys.argv[1:]]),
                "split": split,
                "keyframes": len(samples),
                "date": datetime.date.today().isoformat(),
                "clean": metrics(),
                **{
                    kind: {f"{level:g}": metrics(kind, level) for level in corruption.levels}
                    for kind, corruption in CORRUPTIONS.items()
                },
            }
            with atomic_file(file) as path:
                path.write_text(json.dumps(result, indent=1) + "\n")
    report = args.report or args.out / "results.md"
    write_report(results, report)
    print(f"report: {report}")
