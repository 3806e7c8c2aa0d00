# SPDX-License-Identifier: Apache-2.0
"""Promise: `asd-train evaluate` scores models and submissions, and writes what it is told to."""

import json

import pytest
import torch
from html_page import Page
from submissions import noisy_truth, validation_samples
from test_network import SMALL

from asd_perception.errors import OutOfMemoryError
from asd_perception.network import model_directory
from asd_perception.network.student import Student
from asd_training.config.teacher import TeacherConfig
from asd_training.data.index import KeyframeIndex
from asd_training.data.nuscenes import open_dataset
from asd_training.evaluation import detection
from asd_training.evaluation.scoring import write_submission
from asd_training.models.teacher import Teacher


@pytest.fixture(scope="module")
def nusc(synthetic_root):
    return open_dataset(synthetic_root)


@pytest.fixture(scope="module")
def samples(nusc):
    return validation_samples(nusc)


def test_the_command_writes_report_and_metrics_of_a_submission(
    asd_train, nusc, samples, synthetic_root, tmp_path
):
    write_submission(noisy_truth(nusc, samples), tmp_path / "found.json")
    done = asd_train(
        "evaluate",
        tmp_path / "found.json", synthetic_root,
        "--report", tmp_path / "new" / "r.html", "--metrics", tmp_path / "m.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "m.json").read_text())
    assert f"NDS {numbers['nds']:.4f}" in done.stdout
    assert numbers["command"].startswith("asd-train evaluate ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["found.json", "m.json", "new"]
    assert Page((tmp_path / "new" / "r.html").read_text()).open == []


def test_an_output_that_cannot_be_written_is_told_before_the_work(
    asd_train, synthetic_root, tmp_path
):
    (tmp_path / "file").touch()
    done = asd_train(
        "evaluate", tmp_path / "no-model", synthetic_root, "--report", tmp_path / "file" / "r.html"
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "file is a file" in done.stderr


def test_several_datasets_are_scored_together_and_each_but_once(
    asd_train, synthetic_root, tmp_path
):
    model_directory.save(tmp_path / "model", Student(SMALL), {})
    twice = synthetic_root, synthetic_root
    done = asd_train("evaluate", tmp_path / "model", *twice, "--report", tmp_path / "r.html")
    assert done.returncode == 2 and "--report is of one dataset; give one, not 2" in done.stderr
    done = asd_train("evaluate", tmp_path / "model", *twice)
    assert done.returncode == 2
    assert "hold the same sample" in done.stderr and "keyframe/s" not in done.stderr
    assert "mAP" not in done.stdout  # nothing was detected before
    (tmp_path / "found.json").write_text("{}")
    done = asd_train("evaluate", tmp_path / "found.json", *twice)
    assert done.returncode == 2 and "give the one dataset that it is of" in done.stderr


def test_a_run_in_place_of_its_model_is_told_what_to_give(asd_train, synthetic_root, tmp_path):
    run = tmp_path / "run"
    model_directory.save(run / "model", Student(SMALL), {})
    (run / "config.yaml").write_text("steps: 2\n")
    done = asd_train("evaluate", run, synthetic_root)
    assert done.returncode == 2
    assert done.stderr == (
        f"asd-train evaluate: error: {run} is the folder of a run; give {run / 'model'}\n"
    )


def test_what_is_written_names_no_folder_of_the_machine_that_trained(
    asd_train, synthetic_root, tmp_path
):
    teacher = Teacher(TeacherConfig(modality="lidar", sweeps=1, network=SMALL))
    model_directory.save_network(tmp_path / "t", "teacher", teacher, teacher.config, {})
    config = tmp_path / "t" / "config.yaml"  # as an earlier version wrote it
    text = config.read_text().replace("provenance: {}", "provenance: {data: /home/al/x}")
    config.write_text(text)
    done = asd_train(
        "evaluate",
        tmp_path / "t", synthetic_root,
        "--report", tmp_path / "r.html", "--metrics", tmp_path / "m.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "m.json").read_text())
    assert numbers["provenance"] == {"data": "x"}
    for file in ("m.json", "r.html"):
        assert "/home/al" not in (tmp_path / file).read_text()


def test_the_command_scores_a_teacher_with_its_own_sweeps(
    asd_train, samples, synthetic_root, tmp_path
):
    teacher = Teacher(TeacherConfig(modality="lidar", sweeps=1, network=SMALL))
    model_directory.save_network(tmp_path / "t", "teacher", teacher, teacher.config, {})
    done = asd_train(
        "evaluate",
        tmp_path / "t", synthetic_root, "--output", tmp_path / "s.json",
        "--report", tmp_path / "r.html", "--metrics", tmp_path / "m.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    submission = json.loads((tmp_path / "s.json").read_text())
    assert set(submission["results"]) == {sample["token"] for sample in samples}
    assert submission["meta"]["use_lidar"] and not submission["meta"]["use_camera"]
    assert json.loads((tmp_path / "m.json").read_text())["samples"] == len(samples)
    assert Page((tmp_path / "r.html").read_text()).open == []


def test_a_teacher_that_memory_is_too_small_for_is_called_that(synthetic_root, monkeypatch):
    teacher = Teacher(TeacherConfig(modality="lidar", sweeps=1, network=SMALL))
    monkeypatch.setattr(detection, "run_teacher", lambda *_: torch.empty(1 << 50))
    index = KeyframeIndex.open(synthetic_root)
    with pytest.raises(OutOfMemoryError, match="out of memory on cpu; use a smaller model"):
        detection.detect_keyframes(teacher, index, [0], torch.device("cpu"))
