# SPDX-License-Identifier: Apache-2.0
"""Promise: `asd-bench training` measures the real loader and the real step, and leaves no trace."""

import argparse
import json
import statistics

import pytest
import yaml
from small import SMALL as SMALL_STUDENT

from asd_perception.configuration import to_dict
from asd_perception.errors import UserError
from asd_training.commands.bench import training

SMALL = ("batch_size=1", "loader_workers=0", "teacher.network.bev.cell=3.2", "precision=32-true")


def benchmark(data, file, *changes, against=()):
    parser = argparse.ArgumentParser()
    training.configure(parser)
    arguments = ["teacher", str(data), "--device", "cpu", "--steps", "2", "--json", str(file)]
    changes = [*(f"--set={change}" for change in changes), *(f"--against={c}" for c in against)]
    training.run(parser.parse_args([*arguments, *changes]))


def test_two_configurations_are_measured_in_turns_and_leave_no_trace(
    synthetic_root, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "costs.json"
    against = ("batch_size=2", "learning_rate=0.001")
    benchmark(synthetic_root, file, *SMALL, f"cache={tmp_path / 'cache'}", against=against)
    assert {path.name for path in tmp_path.iterdir()} == {"costs.json", "cache"}
    results = json.loads(file.read_text())
    assert {"command", "machine", "date"} < set(results)
    figures = results["figures"]
    assert figures["against"] == list(against)
    first, second = figures["configurations"]
    assert first["precision"] == second["precision"] == "32-true"
    assert first["cache"] and second["cache"]
    assert [row["batch_size"] for row in (first, second)] == [1, 2]
    for row in (first, second):
        assert all(value > 0 for value in row["sample"].values())
        turns = row["core_seconds_by_turn"]
        assert len(turns) == figures["turns"]
        for turn in turns:
            assert turn["total"] == pytest.approx(turn["loader"] + turn["step"], abs=2e-5)
            assert turn["loader"] > 0 and turn["step"] > 0
        for part, cost in row["core_seconds_per_sample"].items():
            assert cost == statistics.median(turn[part] for turn in turns)
        assert row["samples_per_s"] > 0
        assert 0 < row["data_share"] < 1
    assert set(figures["times_cheaper"]) == {"loader", "step", "total"}
    printed = capsys.readouterr().out
    for part, ratio in figures["times_cheaper"].items():
        assert part in printed and f"{ratio:.2f}" in printed


def test_one_configuration_is_measured_alone(synthetic_root, tmp_path):
    benchmark(synthetic_root, tmp_path / "costs.json", *SMALL)
    figures = json.loads((tmp_path / "costs.json").read_text())["figures"]
    assert len(figures["configurations"]) == 1
    assert "times_cheaper" not in figures


def test_steps_on_resident_samples_are_measured(synthetic_root, tmp_path):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump({"student": to_dict(SMALL_STUDENT)}))
    parser = argparse.ArgumentParser()
    training.configure(parser)
    changes = [f"cache={tmp_path / 'cache'}", "resident=true", "batch_size=2", "loader_workers=0"]
    arguments = ["student", str(synthetic_root), "--config", str(tmp_path / "small.yaml")]
    arguments += ["--device", "cpu", "--steps", "2", "--json", str(tmp_path / "costs.json")]
    training.run(parser.parse_args([*arguments, *(f"--set={change}" for change in changes)]))
    (row,) = json.loads((tmp_path / "costs.json").read_text())["figures"]["configurations"]
    assert row["resident"]
    assert not row["recorded"]  # there is no GPU
    assert row["sample"]["kept_for_backward_gb"] > 0
    assert row["core_seconds_per_sample"]["step"] > 0
    assert row["samples_per_s"] > 0


def test_a_split_without_keyframes_is_told(synthetic_root, tmp_path):
    with pytest.raises(UserError, match="no scene of mini_train"):
        benchmark(synthetic_root, tmp_path / "costs.json", "train_split=mini_train")
    assert not list(tmp_path.iterdir())
