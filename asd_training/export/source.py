# SPDX-License-Identifier: Apache-2.0
"""Where an exported student comes from: a run, a checkpoint or a model directory."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple

from asd_perception.errors import UserError
from asd_perception.network import model_directory
from asd_perception.network.student import Student
from asd_perception.provenance import command_line
from asd_training.config.read import read_config
from asd_training.config.run import StudentRun
from asd_training.models.pretrained import load_pickle
from asd_training.training.run_folder import LAST, read_origin


class Source(NamedTuple):
    """A student, its provenance, and the cameras that it was trained with, where they are known."""

    student: Student
    provenance: dict[str, Any]
    cameras: list[str]


def load_source(source: Path) -> Source:
    """The student of a run's folder, a checkpoint or a model directory.

    A finished run gives its model directory, which knows its scores; an unfinished one the last
    checkpoint. Raises UserError.
    """
    if source.is_file():
        return load_checkpoint(source)
    for folder in (source, source / "model"):
        if (folder / model_directory.WEIGHTS).exists():
            document = model_directory.read_document(folder)
            provenance, cameras = document.get("provenance") or {}, document.get("cameras") or []
            return Source(model_directory.load(folder), provenance, cameras)
    if (source / LAST).exists():
        return load_checkpoint(source / LAST)
    raise UserError(f"{source} is no run with a checkpoint, no *.ckpt file and no model directory")


def load_checkpoint(file: Path) -> Source:
    """The student of a Lightning checkpoint, with the architecture of its run's config.yaml.

    Raises UserError if either cannot be read or they do not fit. Reading them cannot run code.
    """
    checkpoint = load_pickle(file)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise UserError(f"{file} is no checkpoint of `asd-train student`")
    config = read_config(StudentRun, file.parent / "config.yaml")
    student = Student(config.student)
    prefix = "average.module."  # the averaged weights
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(prefix)
    }
    model_directory.load_weights(student, weights, file)
    step = checkpoint.get("global_step", 0)
    provenance = {
        **read_origin(file.parent),
        "method": "student of a training checkpoint",
        "exported": command_line("asd-train"),
        "steps": step,
        "log": _log_until(file.parent, step),
    }
    cameras = provenance.get("data", {}).get("cameras", [])
    return Source(student.eval(), provenance, cameras)


def _log_until(run: Path, step: int) -> dict[str, float]:
    """The last value of each column of the run's metrics.csv files, up to a step."""
    values: dict[int, dict[str, float]] = {}
    for file in sorted(run.glob("log/version_*/metrics.csv"), key=lambda f: f.stat().st_mtime):
        with file.open(newline="") as stream:
            for row in csv.DictReader(stream):
                found = {name: float(value) for name, value in row.items() if value}
                values.setdefault(int(found.get("step", 0)), {}).update(found)
    # Lightning counts the steps of a log from 0, those of a checkpoint from 1.
    return {name: v for at in sorted(values) if at < step for name, v in values[at].items()}
