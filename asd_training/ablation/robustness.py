# SPDX-License-Identifier: Apache-2.0
"""The students of an ablation, scored with corrupted simulated points.

One JSON file per student in OUTPUT/results/robustness, from which the report draws curves.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np

from asd_perception.errors import UserError
from asd_perception.files import atomic_file
from asd_perception.network import model_directory
from asd_perception.provenance import command_line
from asd_perception.runtime.detector import Detector
from asd_training.ablation.corruption import CORRUPTIONS, corrupt
from asd_training.ablation.report import read_results, write_report
from asd_training.data.nuscenes import dataset_cameras, open_dataset, scene_samples, split_scenes
from asd_training.evaluation.detection import detect_samples
from asd_training.evaluation.scoring import score


def run_robustness(
    data: Path,
    version: str | None,
    out: Path,
    keyframes: int | None,
    device: str,
    report: Path | None,
) -> Path:
    """Score what is not scored yet, then write the ablation's report; returns its file.

    out: folder of the ablation. keyframes: at most this many, spread over the ablation's. report:
    default OUTPUT/results.md. Raises UserError.
    """
    results = out / "results"
    ablation, runs = read_results(results)
    if not ablation.robustness:
        raise UserError(f"{out}: the ablation names no rows under robustness")
    if keyframes is not None and keyframes < 1:
        raise UserError(f"--keyframes is {keyframes}; it must be at least 1")
    finished = [result for row in ablation.robustness for result in runs[row].values()]
    if not finished:
        raise UserError(f"{out}: no run of {', '.join(ablation.robustness)} is finished yet")
    split = finished[0]["validation"]["split"]  # all rows have the same
    nusc = open_dataset(data, version)
    cameras = len(dataset_cameras(nusc))
    samples = [s for scene in split_scenes(nusc, split) for s in scene_samples(nusc, scene)]
    if not samples:
        raise UserError(f"{data}: the split {split} holds no keyframe")
    if keyframes is not None:
        count = min(keyframes, len(samples))
        samples = [samples[i] for i in np.linspace(0, len(samples) - 1, count).round().astype(int)]

    for row in ablation.robustness:
        for seed in runs[row]:
            name = f"{row}-{seed}"
            file = results / "robustness" / f"{name}.json"
            if file.exists():
                continue
            model = out / "runs" / name / "model"

            def metrics(kind: str | None = None, level: float = 0.0, model: Path = model) -> Any:
                student = model_directory.load(model)
                if kind is not None:
                    corrupt(student, kind, level)
                detector = Detector(student, device, cameras=cameras)
                print(f"{model}: {kind or 'clean'} {level:g}", flush=True)
                return dataclasses.asdict(score(nusc, detect_samples(detector, nusc, samples)))

            result = {
                "row": row,
                "seed": seed,
                "command": command_line("asd-train"),
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
    report = report or out / "results.md"
    write_report(results, report)
    return report
