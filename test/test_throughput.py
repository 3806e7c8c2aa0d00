# SPDX-License-Identifier: Apache-2.0
"""Promise: `asd-bench training` times the real loader and the real step, and leaves no trace."""

import argparse
import json

import pytest

from asd_perception.errors import UserError
from asd_training.commands.bench import training

SMALL = ("batch_size=1", "loader_workers=0", "teacher.sweeps=1", "teacher.modality=lidar")


def benchmark(data, file, *changes):
    parser = argparse.ArgumentParser()
    training.configure(parser)
    arguments = ["teacher", str(data), "--device", "cpu", "--steps", "2", "--json", str(file)]
    training.run(parser.parse_args([*arguments, *(f"--set={change}" for change in changes)]))


def test_figures_are_consistent_and_the_only_trace(synthetic_root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    benchmark(synthetic_root, tmp_path / "throughput.json", *SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["throughput.json"]
    results = json.loads((tmp_path / "throughput.json").read_text())
    figures = results["figures"]
    printed = capsys.readouterr().out
    assert figures == json.loads(printed[printed.index("{") :])
    assert {"command", "machine", "date"} < set(results)
    assert {"seed", "load_average_before"} < set(figures)
    assert figures["timed_batches"] == 2
    assert all(value > 0 for value in figures["sample"].values())
    step, together = figures["step"], figures["together"]
    assert step["batch_ms"] == pytest.approx(1e3 / step["samples_per_s"], rel=0.05)
    # Without processes of its own, the loader's time is a part of the whole.
    loader_ms = together["batch_ms"] * together["data_share"]
    assert 0.5 * figures["loader"]["sample_core_ms"] < loader_ms < together["batch_ms"]


def test_a_split_without_keyframes_is_told(synthetic_root, tmp_path):
    with pytest.raises(UserError, match="mini_train holds no keyframe"):
        benchmark(synthetic_root, tmp_path / "throughput.json", "train_split=mini_train")
    assert not list(tmp_path.iterdir())
