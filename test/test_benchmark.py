# SPDX-License-Identifier: Apache-2.0
"""Promise: `asd-bench` has six commands that write one results format, and its figures are right.

Those of the node are in test_node_benchmark.py, those of training in test_throughput.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import re
import sys
from pathlib import Path

import pytest
import torch
from small import SMALL

from asd_perception.configuration import from_dict
from asd_perception.errors import UserError
from asd_perception.network import model_directory
from asd_perception.network.center_head import BOX_VALUES
from asd_perception.network.student import Student
from asd_perception.runtime.detector import Detector
from asd_training.benchmarks import pooling
from asd_training.benchmarks.results import Results
from asd_training.commands import asd_bench

COMMANDS = ("frame", "node", "training", "pooling", "index", "cameras")


def run(command, *arguments):
    """Run a command in this process, as asd-bench does."""
    module = importlib.import_module(f"asd_training.commands.bench.{command}")
    parser = argparse.ArgumentParser()
    module.configure(parser)
    module.run(parser.parse_args([str(argument) for argument in arguments]))


def read(file, benchmark):
    """The figures of a results file, whose other keys are as in every one."""
    results = json.loads(file.read_text())
    assert list(results) == [field.name for field in dataclasses.fields(Results)]
    assert results["benchmark"] == benchmark
    assert results["command"].startswith("asd-bench")
    assert " cores" in results["machine"]
    assert results["device"] == "cpu"
    assert results["threads"] == torch.get_num_threads()
    assert results["torch"] == torch.__version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", results["date"])
    return results["figures"]


def helps(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["asd-bench", *arguments, "--help"])
    with pytest.raises(SystemExit) as ended:
        asd_bench.main()
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_help_lists_six_commands(monkeypatch, capsys):
    listed = re.findall(r"^    (\w+)  ", helps(monkeypatch, capsys), re.MULTILINE)
    assert tuple(listed) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_and_a_results_file(command, monkeypatch, capsys):
    text = helps(monkeypatch, capsys, command)
    assert f"usage: asd-bench {command}" in text
    assert "--json FILE" in text


def test_every_published_results_file_has_the_format():
    documents = {
        file.name: json.loads(file.read_text())
        for file in (Path(__file__).parents[1] / "docs/results").glob("*.json")
    }
    benchmarks = {
        name: document
        for name, document in documents.items()
        if "method" not in document  # the metrics of a training
    }
    assert len(benchmarks) > 20
    for name, document in benchmarks.items():
        document.pop("originally", None)  # what its command was called then
        assert list(document) == [field.name for field in dataclasses.fields(Results)], name
        results = from_dict(Results, document, f"{name}: ")
        assert results.benchmark in (*COMMANDS, "soak", "gpu_frame"), name


def test_stages_are_timed_counted_and_compared(tmp_path, capsys):
    out = tmp_path / "figures.json"
    run("frame", "--device", "cpu", "--repeats", 2, "--against", "reference", "--json", out)
    report = read(out, "frame")
    assert report["runs"] == Detector.from_pretrained().describe()
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
    assert head["operations"] == 2 * cells * (9 * 24 * 32 + 32 * (10 + BOX_VALUES + 2 + 8))
    assert head["bytes"] > 4 * cells * (24 + 30)
    by_operations = 1e3 * head["operations"] / report["ceilings"]["operations"]
    assert head["floor_ms"] >= by_operations * (1 - 1e-9)


def test_a_camera_only_student_has_no_stage_of_points(tmp_path, capsys):
    torch.manual_seed(0)
    student = Student(dataclasses.replace(SMALL, fusion="camera_only"))
    model_directory.save(tmp_path / "model", student, {})
    run("frame", "--model", tmp_path / "model", "--device", "cpu", "--repeats", 2)
    printed = capsys.readouterr().out
    assert "BEV encoder" in printed and "simulated points" not in printed


def test_every_way_to_pool_is_timed(tmp_path, monkeypatch, capsys):
    monkeypatch.delitem(pooling.CASES, "ResNet-50, 256x704")  # ten seconds
    out = tmp_path / "pooling.json"
    run("pooling", "--device", "cpu", "--repeats", 2, "--json", out)
    cases = read(out, "pooling")["cases"]
    assert set(cases) == set(pooling.CASES) and len(cases) == 2
    for figures in cases.values():
        assert set(figures["ms"]) == set(pooling.POOLS)
        assert all(ms > 0 for times in figures["ms"].values() for ms in times.values())
        assert 0 < figures["of_bandwidth"] < 1
    assert capsys.readouterr().out.count("times as long as splat: index_add_ ") == len(cases)


def test_the_index_is_measured_and_the_dataset_left_alone(synthetic_root, tmp_path):
    out = tmp_path / "index.json"
    before = sorted(path.name for path in synthetic_root.iterdir())
    run("index", synthetic_root, "--repeat-to", 20, "--json", out)
    (figures,) = read(out, "index")["datasets"]
    assert figures["keyframes"] == 6
    assert figures["projected"]["keyframes"] == 20
    assert sorted(path.name for path in synthetic_root.iterdir()) == before


def test_fewer_cameras_are_scored_from_none_missing_to_five(
    synthetic_root, small_model, tmp_path, capsys
):
    out = tmp_path / "cameras.json"
    options = ("--model", small_model, "--device", "cpu", "--frames", 1, "--json", out)
    run("cameras", synthetic_root, *options)
    figures = read(out, "cameras")
    assert figures["frames"] == 1
    assert [row["missing"] for row in figures["curve"]] == [0, 1, 2, 3, 4, 5]
    assert all(0 <= row["map"] <= row["map_present"] <= 1 for row in figures["curve"])
    whole = figures["curve"][0]
    assert whole["found_again"] == (1 if whole["looked_for_again"] else 0)
    assert "5 missing: mAP" in capsys.readouterr().out


def test_wrong_arguments_are_named(tmp_path):
    with pytest.raises(UserError, match="--repeats is 1; it must be 2 or more"):
        run("frame", "--repeats", 1)
    with pytest.raises(UserError, match="--repeats is 1"):
        run("pooling", "--repeats", 1)
    with pytest.raises(UserError, match="--threads is 0"):
        run("pooling", "--threads", 0)
    with pytest.raises(UserError, match="--steps is 0"):
        run("training", "student", tmp_path, "--steps", 0)
    with pytest.raises(UserError, match="--repeat-to is 0"):
        run("index", tmp_path, "--repeat-to", 0)
    with pytest.raises(UserError, match="--frames is 0"):
        run("cameras", tmp_path, "--frames", 0)
    with pytest.raises(UserError, match="is a folder"):
        run("frame", "--json", tmp_path)
    with pytest.raises(UserError, match="no config.yaml"):
        run("frame", "--model", tmp_path)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no device cuda: PyTorch finds no GPU"):
            run("frame", "--device", "cuda")
