# SPDX-License-Identifier: Apache-2.0
"""Promise: the benchmark times every stage, counts its work, and compares with the plain one."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest
import torch
from small import SMALL

from asd_perception.errors import UserError
from asd_perception.network import model_directory
from asd_perception.network.student import Student
from asd_training.benchmarks import frame as benchmark


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, arguments)])
    benchmark.main()


def test_stages_are_timed_counted_and_compared(monkeypatch, tmp_path, capsys):
    out = tmp_path / "figures.json"
    run(monkeypatch, "--repeats", 2, "--against", "reference", "--json", out)
    report = json.loads(out.read_text())
    assert report["largest_difference"] < 1e-4  # the same boxes, faster
    printed = capsys.readouterr().out
    for name, stage in report["stages"].items():
        assert name in printed
        for variant in ("ours", "reference"):
            times = stage[variant]
            assert 0 < times["median"] <= times["p95"] <= times["p99"]
    # By hand: the 3x3 convolution over 128 x 128 cells, 24 to 32 channels, and its four 1x1 maps.
    cells = 128 * 128
    head = report["stages"]["head"]
    assert head["operations"] == 2 * cells * (9 * 24 * 32 + 32 * (10 + 8 + 2 + 8))
    assert head["bytes"] > 4 * cells * (24 + 28)
    by_operations = 1e3 * head["operations"] / report["ceilings"]["operations"]
    assert head["floor_ms"] >= by_operations * (1 - 1e-9)


def test_a_camera_only_student_has_no_stage_of_points(monkeypatch, tmp_path, capsys):
    torch.manual_seed(0)
    student = Student(dataclasses.replace(SMALL, fusion="camera_only"))
    model_directory.save(tmp_path / "model", student, {})
    run(monkeypatch, tmp_path / "model", "--repeats", 2)
    printed = capsys.readouterr().out
    assert "BEV encoder" in printed and "simulated points" not in printed


def test_wrong_arguments_are_named(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="--repeats is 1"):
        run(monkeypatch, "--repeats", 1)
    with pytest.raises(UserError, match="is a folder"):
        run(monkeypatch, "--json", tmp_path)
    with pytest.raises(UserError, match="no config.yaml"):
        run(monkeypatch, tmp_path)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="cuda is not available"):
            run(monkeypatch, "--device", "cuda")
