# SPDX-License-Identifier: Apache-2.0
"""A keyframe of a dataset, explained for a run: from folders to a picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from asd_perception.errors import UserError
from asd_perception.files import atomic_file, check_output_file
from asd_training.config.read import read_config
from asd_training.config.run import StudentRun
from asd_training.data.index import KeyframeIndex
from asd_training.data.nuscenes import read_images
from asd_training.data.samples import KeyframeDataset, SampleContents, collate
from asd_training.evaluation.pictures import cameras_picture
from asd_training.explain.explanation import explain, trained_adapters
from asd_training.explain.picture import draw
from asd_training.export.source import load_source
from asd_training.tables.splits import chosen_split
from asd_training.training.frozen_teacher import load_teacher


def explain_keyframe(
    run: Path,
    teacher_model: Path | None,
    data: Path,
    version: str | None,
    split: str,
    number: int,
    output: Path,
) -> None:
    """Look at one keyframe with both networks, and draw it.

    run: of a student. teacher_model: model directory, if the run had no teacher. number: of the
    keyframe in the split. output: the picture, *.png. Raises UserError.
    """
    check_output_file(output)
    if output.suffix != ".png":
        raise UserError(f"{output}: the picture's name must end in .png")
    student = load_source(run).student
    if student.config.fusion == "camera_only":
        raise UserError(f"{run} is a camera_only student; it has no fusion to explain")
    config = read_config(StudentRun, run / "config.yaml").distillation
    if teacher_model:
        config = dataclasses.replace(config, teacher=str(teacher_model))
    if config.teacher is None:
        raise UserError(f"{run} had no teacher; give a model directory with --teacher")
    # Shown in both places, whether or not the run was taught there adaptively.
    config = dataclasses.replace(
        config,
        cross_modal=_adaptive(config.cross_modal),
        multi_modal=_adaptive(config.multi_modal),
    )
    teacher = load_teacher(config, student.config)
    objective = trained_adapters(run, config, student, teacher)

    index = KeyframeIndex.open(data, version)
    split = chosen_split(index.root, index.version, split, "val")
    keyframes = index.split(split)
    if not 0 <= number < len(keyframes):
        raise UserError(
            f"--keyframe is {number}; the split {split} has {len(keyframes)}, from 0 on"
        )
    keyframe = int(keyframes[number])
    dataset = KeyframeDataset(
        index, student.config, SampleContents(sweeps=teacher.network.config.sweeps)
    )
    explanation = explain(student, teacher, objective, collate([dataset[keyframe]]))
    frame = index.frame(keyframe)
    found = explanation.found
    cameras = cameras_picture(read_images(frame), frame.rig, found.boxes, found.labels, frame.up)
    figure = draw(explanation, cameras, student.config.bev)
    with atomic_file(output) as path:
        figure.savefig(path, dpi=100, facecolor="white")


def _adaptive(method: str) -> Literal["adaptive", "adaptive_ray"]:
    """The adaptive loss by which a place is shown that was taught by this method."""
    return "adaptive_ray" if method == "adaptive_ray" else "adaptive"
