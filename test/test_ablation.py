# SPDX-License-Identifier: Apache-2.0
"""Promise: an ablation trains each row and seed once, goes on where it stopped, and its report says
what its JSON results say."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from commands import asd_train
from scipy import stats
from small import SMALL

from asd_perception import cores
from asd_perception.configuration import to_dict
from asd_perception.errors import UserError
from asd_perception.models import TINY
from asd_perception.network import model_directory
from asd_perception.network.student import Student
from asd_perception.runtime.detector import Detector
from asd_training.ablation.corruption import CORRUPTIONS, corrupt
from asd_training.ablation.report import DEFINITION, paired, write_report
from asd_training.ablation.runs import Runner, core_shares, plan, to_do
from asd_training.config.ablation import read_ablation
from asd_training.data.example import example_images, example_rig

CONFIGURATIONS = TINY.parents[2] / "config" / "training"


def small_ablation(folder: Path, **changes: object) -> Path:
    """An ablation of three rows that trains within seconds."""
    short = {"steps": 2, "batch_size": 1, "loader_workers": 0, "warmup_steps": 1}
    network = to_dict(SMALL)
    (folder / "base.yaml").write_text(yaml.safe_dump({**short, "student": network}))
    teacher = {"modality": "lidar", "sweeps": 1, "network": network}
    (folder / "teacher.yaml").write_text(yaml.safe_dump({**short, "teacher": teacher}))
    values = {
        "name": "small",
        "title": "A small ablation",
        "base": "base.yaml",
        "seeds": [0],
        "baseline": "plain",
        "control": "plain",
        "teachers": [{"name": "lidar", "config": "teacher.yaml"}],
        "rows": [
            {"name": "plain", "title": "plain", "set": {"student.fusion": "camera_only"}},
            {
                "name": "taught",
                "title": "taught",
                "set": {"distillation.cross_modal": "adaptive"},
                "teacher": "lidar",
            },
        ],
        "compare": [["taught", "plain"]],
        "robustness": ["taught"],
        **changes,
    }
    file = folder / "ablation.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def test_the_shipped_ablation_has_every_row_of_the_method(tmp_path):
    ablation = read_ablation(CONFIGURATIONS / "ablation.yaml")
    jobs = plan(ablation, CONFIGURATIONS, tmp_path)
    assert len(jobs) == len(ablation.teachers) + len(ablation.seeds) * len(ablation.rows)
    of = {job.labels["row"]: job.config for job in jobs if job.labels.get("seed") == 0}
    assert of["camera_only"].student.fusion == of["depth"].student.fusion == "camera_only"
    assert of["camera_only"].supervision.camera_depth == 0 < of["depth"].supervision.camera_depth
    assert of["symmetric"].student.fusion == "symmetric"
    assert of["heterogeneous"].student.fusion == "heterogeneous"
    taught = {name: config.distillation for name, config in of.items()}
    assert not taught["heterogeneous"].needs_teacher
    places = {name: (config.cross_modal, config.multi_modal) for name, config in taught.items()}
    for row, method in (("smooth", "adaptive"), ("ray", "adaptive_ray")):
        assert places[f"{row}_cross_modal"] == (method, "none")
        assert places[f"{row}_multi_modal"] == ("none", method)
        assert places[row] == (method, method)
    assert places["raw"] == ("raw", "raw") and places["l2"] == ("l2", "l2")
    assert places["functional"] == ("none", "functional")
    assert places["full"] == places["ray"]
    responses = {"adds": "soft", "unweighted": "unweighted", "replaces": "replaces"}
    for row, response in responses.items():
        assert taught[row].response == taught[f"{row}_poor"].response == response
        assert places[row] == ("none", "none")
    assert taught["full"].response == "replaces"
    assert of["detection"].supervision.detection == 1.3
    beginners = {name for name, config in taught.items() if config.initialise}
    assert beginners == set(of) - {"camera_only", "depth", "symmetric", "heterogeneous"}
    assert not taught["initialised"].asks_teacher
    assert len({config.steps for config in of.values()}) == 1  # all learn as long
    assert len({config.augmentation for config in of.values()}) == 1


def test_remedies_are_tried_on_validation_scenes_on_features_alone(tmp_path):
    ablation = read_ablation(CONFIGURATIONS / "ablation_remedies.yaml")
    jobs = plan(ablation, CONFIGURATIONS, tmp_path, seeds=[0])
    students = {job.labels["row"]: job.config for job in jobs if job.command == "student"}
    assert {config.val_split for config in students.values()} == {"synthetic_val"}
    taught = {name: config.distillation for name, config in students.items()}
    assert {config.response for config in taught.values()} == {"none"}
    for name, config in taught.items():
        assert config.cross_modal == config.multi_modal == name.partition("_")[0]
        assert config.adapters == (not name.endswith("_direct"))
        assert config.background_floor == (0.1 if name.endswith("_background") else 0.01)
    assert taught["adaptive_fine"].levels == (0.0, 1.0)


def test_rows_and_seeds_can_be_shared_out(tmp_path):
    ablation = read_ablation(small_ablation(tmp_path, seeds=[0, 1, 2]))
    names = [job.name for job in plan(ablation, tmp_path, tmp_path, ["taught"], [2])]
    assert names == ["teacher lidar", "taught-2"]
    assert [job.name for job in plan(ablation, tmp_path, tmp_path, ["plain"], [1])] == ["plain-1"]
    with pytest.raises(UserError, match="there is no seed 7; there are 0, 1, 2"):
        plan(ablation, tmp_path, tmp_path, None, [7])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": "nobody"}, "baseline names nobody, which is no row; rows are"),
        ({"seeds": [1, 1]}, "seeds are"),
        ({"teachers": []}, r"rows.\d..teacher is lidar, which is no teacher's name"),
        ({"rowz": []}, "unknown key rowz; did you mean rows"),
        (
            {"rows": [{"name": "plain", "titel": "x"}]},
            r"unknown key rows.0..titel; did you mean title. known keys are name, title, set",
        ),
        ({"rows": [{"name": "a b", "title": "x"}]}, "a name is letters, digits and _"),
        ({"base": "nowhere.yaml"}, "nowhere.yaml: No such file or directory"),
        (
            {"rows": [{"name": "plain", "title": "x", "set": {"stepz": 1}}]},
            "plain-0: .*unknown key stepz",
        ),
        (
            {"rows": [{"name": "plain", "title": "x", "set": {"distillation.initialise": True}}]},
            "plain-0: distillation needs a teacher, and the row names none",
        ),
    ],
)
def test_a_wrong_ablation_is_named_before_anything_runs(tmp_path, changes, message):
    compared = {} if "rows" not in changes else {"compare": [], "robustness": []}
    with pytest.raises(UserError, match=message):
        file = small_ablation(tmp_path, **{**compared, **changes})
        plan(read_ablation(file), tmp_path, tmp_path / "out")


def test_a_run_begun_with_another_configuration_is_refused(tmp_path):
    file = small_ablation(tmp_path)
    out = tmp_path / "out"
    job = plan(read_ablation(file), tmp_path, out)[1]
    job.folder.mkdir(parents=True)
    begun = {**to_dict(job.config), "resident": "auto"}  # the same weights
    (job.folder / "config.yaml").write_text(yaml.safe_dump(begun))
    plan(read_ablation(file), tmp_path, out)
    (tmp_path / "base.yaml").write_text(
        (tmp_path / "base.yaml").read_text().replace("steps: 2", "steps: 3", 1)
    )
    with pytest.raises(UserError, match=r"plain-0 was .*\(steps: 2 there, 3 now\); remove it"):
        plan(read_ablation(file), tmp_path, out)


def test_a_run_with_a_result_is_not_made_again(tmp_path):
    jobs = plan(read_ablation(small_ablation(tmp_path, seeds=[0, 1])), tmp_path, tmp_path / "out")
    by_name = {job.name: job for job in jobs}
    jobs[0].result.parent.mkdir(parents=True)

    def write(name, **changes):
        job = by_name[name]
        training = {**to_dict(job.config), **changes}
        del training["student"]
        result = {"changes": job.labels["changes"], "training": training}
        job.result.write_text(json.dumps(result))

    write("taught-0")
    write("plain-1")
    assert [job.name for job in to_do(jobs)] == ["teacher lidar", "plain-0", "taught-1"]
    by_name["teacher lidar"].result.write_text("{}")
    with pytest.raises(UserError, match=r"teacher-lidar.json is there and its model is not"):
        to_do(jobs)
    write("taught-1")
    assert [job.name for job in to_do(jobs)] == ["plain-0"]  # which needs no teacher
    older = to_dict(by_name["plain-0"].config)["distillation"]
    del older["adapters"]  # a result from before it was a key
    write("plain-0", distillation=older)
    assert not to_do(jobs)
    write("plain-0", cache="/elsewhere/cache", curve_from=7, precision="bf16-mixed")  # of auto
    assert not to_do(jobs)
    earliest = to_dict(by_name["plain-0"].config)
    del earliest["student"], earliest["resident"], earliest["pretrained"]
    by_name["plain-0"].result.write_text(
        json.dumps({"changes": by_name["plain-0"].labels["changes"], "training": earliest})
    )
    assert not to_do(jobs)
    write("plain-0", resident="auto")  # the same weights
    assert not to_do(jobs)
    write("plain-0", stepz=3)
    with pytest.raises(UserError, match=r"plain-0.json was made with .*unknown key stepz"):
        to_do(jobs)
    write("plain-0", steps=3)
    with pytest.raises(UserError, match=r"plain-0.json was made with .*steps: 3 there, 2 now"):
        to_do(jobs)
    by_name["plain-0"].result.write_text("{")
    with pytest.raises(UserError, match=r"plain-0.json is no result"):
        to_do(jobs)


def test_a_result_is_the_runs_own_wherever_either_was_made(tmp_path, monkeypatch):
    """Of a path, the two last names tell; the others belong to a machine or a working directory."""
    weights = tmp_path / "weights" / "resnet18"
    weights.mkdir(parents=True)
    row = {"name": "plain", "title": "x", "set": {"pretrained": str(weights)}}
    file = small_ablation(tmp_path, rows=[row], teachers=[], compare=[], robustness=[])
    (job,) = plan(read_ablation(file), tmp_path, tmp_path / "out")
    job.result.parent.mkdir(parents=True)

    def write(pretrained):
        training = {**to_dict(job.config), "pretrained": pretrained}
        del training["student"]
        job.result.write_text(json.dumps({"changes": row["set"], "training": training}))

    for folder in (tmp_path, weights, Path("/")):
        monkeypatch.chdir(folder)
        for path in (str(weights), "weights/resnet18", "/elsewhere/weights/resnet18"):
            write(path)
            assert not to_do([job])
        write("weights/resnet50")
        with pytest.raises(UserError, match="pretrained: weights/resnet50 there"):
            to_do([job])


def fake_results(folder: Path, ablation: Path, scores: dict[str, list[float]]) -> None:
    """Results as `ablate` writes them, with the given mAP by row and seed."""
    folder.mkdir()
    definition = yaml.safe_load(ablation.read_text())
    (folder / DEFINITION).write_text(json.dumps(definition))
    for row, values in scores.items():
        for seed, mean_ap in enumerate(values):
            result = {
                "row": row,
                "seed": seed,
                "parameters": 2_000_000,
                "minutes": 3.0,
                "device": "cpu",
                "machine": "x86_64, 1 threads",
                "date": "2026-01-01",
                "versions": {"commit": "abc", "torch": "2"},
                "data": {"train_keyframes": 5},
                "training": {"steps": 2, "batch_size": 1},
                "validation": {
                    "samples": 300,
                    "split": "val",
                    "mean_ap": mean_ap,
                    "nds": mean_ap + 0.1,
                    "tp_errors": {"trans_err": 0.5},
                },
            }
            (folder / f"{row}-{seed}.json").write_text(json.dumps(result))


def test_the_report_says_what_the_results_say(tmp_path):
    ablation = small_ablation(tmp_path, seeds=[0, 1, 2], compare=[["taught", "plain"]])
    plain, taught = [0.30, 0.32, 0.31], [0.35, 0.38, 0.35]
    fake_results(tmp_path / "results", ablation, {"plain": plain, "taught": taught})
    file = tmp_path / "docs" / "results.md"
    file.parent.mkdir()
    file.write_text("# Results\n\nWritten by hand.\n")
    write_report(tmp_path / "results", file)
    text = file.read_text()
    expected = stats.ttest_rel(taught, plain).pvalue
    assert "| 0.310 ± 0.010 | 0.410 ± 0.010 | 0.500 | – | – | – | 2.00 M | 3 |" in text
    assert f"| +0.050 ± 0.010 (p {expected:.3f}) |" in text
    assert text.startswith("# Results\n\nWritten by hand.\n")
    assert (file.parent / "results" / "small.png").stat().st_size > 1000

    file.write_text(text + "\nMore by hand.\n")
    (tmp_path / "results" / "taught-2.json").unlink()
    write_report(tmp_path / "results", file)
    again = file.read_text()
    assert again.count("## A small ablation") == 1
    assert "Written by hand." in again and "More by hand." in again
    assert "| +0.055 ± 0.007 (p " in again  # two seeds are left in common
    assert "No runs here" not in again
    for seed in (0, 1):
        (tmp_path / "results" / f"taught-{seed}.json").unlink()
    write_report(tmp_path / "results", file)
    last = file.read_text()
    assert "No runs here: taught." in last and "| taught |" not in last


def test_the_paired_test_is_scipys_and_modest_where_it_cannot_say():
    random = np.random.default_rng(0)
    ours, theirs = (dict(enumerate(random.normal(size=5))) for _ in range(2))
    found = paired(ours, theirs)
    assert found.p == pytest.approx(
        stats.ttest_rel(list(ours.values()), list(theirs.values())).pvalue
    )
    assert found.seeds == 5
    assert np.isnan(paired({0: 1.0}, {0: 2.0}).p)
    assert np.isnan(paired(ours, ours).p)
    assert paired({0: 1.0}, {1: 2.0}) is None


def inputs(seed: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (1, 6, 3, *SMALL.image_size), generator=generator)
    intrinsics = torch.tensor([[60.0, 0, 48], [0, 60, 16], [0, 0, 1]]).expand(1, 6, 3, 3)
    poses = torch.eye(4)
    poses[:3, :3] = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # looks forward
    return images, intrinsics, poses.expand(1, 6, 4, 4)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corruption_does_what_it_is_called(kind):
    torch.manual_seed(0)
    student = Student(SMALL).eval()
    with torch.no_grad():
        clean = student(*inputs(1))
        corrupt(student, kind, 0.0)
        same = student(*inputs(1))
        corrupt(student, kind, 1.0)
        wrong = student(*inputs(1))
    torch.testing.assert_close(same.head.heatmap, clean.head.heatmap)
    before, after = clean.simulated_points[0], wrong.simulated_points[0]
    # A point's ray: the camera looks along x, so that x is the depth.
    moved = after[:, 0] - before[:, 0]
    if kind == "dropped":
        assert not after[:, 3].any() and not wrong.evidence.any() and not moved.any()
    elif kind == "shifted":
        torch.testing.assert_close(moved, torch.ones_like(moved), rtol=0, atol=1e-4)
        assert torch.equal(after[:, 3], before[:, 3])
    else:
        assert moved.std() > 5
        assert after[:, 0].min() >= SMALL.depth.near and after[:, 0].max() <= SMALL.depth.far
        assert torch.equal(after[:, 3], before[:, 3])


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_detector_of_a_corrupted_student_sees_wrong_points(kind):
    student = model_directory.load(TINY)
    rig, images = example_rig(), example_images()
    clean = Detector(student).detect(images, rig, 0.0)
    corrupt(student, kind, 1.0)
    wrong = Detector(student).detect(images, rig, 0.0)
    assert not np.allclose(wrong.simulated_points, clean.simulated_points)
    assert not np.allclose(wrong.scores, clean.scores)


@pytest.mark.parametrize(
    ("cores", "jobs", "shares"),
    [
        ({0, 1, 2, 3}, 1, [{0, 1, 2, 3}]),
        ({0, 1, 2, 3}, 2, [{0, 1}, {2, 3}]),
        ({1, 4, 5}, 2, [{1}, {4, 5}]),
        ({1, 4}, 3, [{1}, {1}, {4}]),
    ],
)
def test_runs_side_by_side_have_cores_of_their_own(monkeypatch, cores, jobs, shares):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    assert core_shares(jobs) == shares


@pytest.mark.parametrize(("quota", "threads"), [(None, 2), (2.0, 1)])
def test_a_run_has_as_many_threads_as_cores(tmp_path, monkeypatch, quota, threads):
    """Two at once on a machine of four cores; a program in the training's place tells."""
    own = threading.local()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: getattr(own, "cores", {0, 1, 2, 3}))
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: setattr(own, "cores", cores))
    monkeypatch.setattr(cores, "_quota", lambda: quota)
    program, out = tmp_path / "program", tmp_path / "out"
    program.write_text("#!/bin/sh\necho threads: $OMP_NUM_THREADS\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    jobs = plan(read_ablation(small_ablation(tmp_path, seeds=[0, 1])), tmp_path, out, ["plain"])
    assert len(Runner(tmp_path, out, [], 2).run(jobs)) == 2
    for job in jobs:
        assert (out / "logs" / f"{job.name}.txt").read_text() == f"threads: {threads}\n"


def cores_of(run: Path) -> set[int]:
    """The cores of the process that trains into this folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            if str(run).encode() in (process / "cmdline").read_bytes():
                return os.sched_getaffinity(int(process.name))
    raise AssertionError(f"no process trains into {run}")


@pytest.mark.slow
def test_an_ablation_runs_resumes_and_reports(synthetic_root, tmp_path):
    file, out = small_ablation(tmp_path), tmp_path / "out"
    command = ("ablate", synthetic_root, out, "--config", file, "--jobs", "2")
    # Killed before anything is finished, it leaves no process behind and goes on.
    with subprocess.Popen(
        [sys.executable, "-m", "asd_training.commands.asd_train", *map(str, command)]
    ) as first:
        while not (out / "runs" / "plain-0" / "config.yaml").exists() and first.poll() is None:
            time.sleep(0.1)
        assert cores_of(out / "runs" / "plain-0") in core_shares(2)
        first.terminate()
    with pytest.raises(AssertionError):
        cores_of(out / "runs")
    done = asd_train(*command)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^plain-0: mAP \d.\d+, \d.\d+ core-seconds per sample$", done.stdout, re.M)
    results = {path.stem for path in (out / "results").glob("*-*.json")}
    assert results == {"teacher-lidar", "plain-0", "taught-0"}
    taught = json.loads((out / "results" / "taught-0.json").read_text())
    assert set(taught["core_seconds_per_sample"]) == {"prepare", "loader", "step"}
    assert taught["seed"] == 0 and "asd-train student" in taught["command"]
    assert taught["training"]["distillation"]["teacher"] == "lidar/model"  # no folder
    assert "taught" in (out / "results.md").read_text()

    before = (out / "runs" / "taught-0" / "model" / "model.safetensors").stat().st_mtime_ns
    assert asd_train(*command).returncode == 0
    after = (out / "runs" / "taught-0" / "model" / "model.safetensors").stat().st_mtime_ns
    assert after == before

    # One that fails is named at the end; its cause can be mended, and the others are there.
    shutil.rmtree(out / "runs" / "plain-0")
    (out / "results" / "plain-0.json").unlink()
    (out / "runs" / "plain-0").touch()
    (out / "results" / "taught-0.json").unlink()
    failed = asd_train(*command)
    assert failed.returncode == 2
    log = out / "logs" / "plain-0.txt"
    assert f"error: 1 of 3 runs failed: plain-0 (see {log}); fix that" in failed.stderr
    assert (out / "results" / "taught-0.json").exists()

    tested = asd_train("robustness", synthetic_root, out, "--keyframes", "1")
    assert tested.returncode == 0, tested.stderr
    curves = json.loads((out / "results" / "robustness" / "taught-0.json").read_text())
    assert set(curves["shifted"]) == {"0.5", "1", "2", "4"}
    assert "share of points dropped" in (out / "results.md").read_text()
