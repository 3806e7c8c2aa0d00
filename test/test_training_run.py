# SPDX-License-Identifier: Apache-2.0
"""Promise: what stops a training run is told in one line, leaves nothing half-written, and the run
goes on from there."""

import dataclasses
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from commands import asd_train_here, stopped_at
from small import SMALL
from tables import each, without_lidar

from asd_perception.configuration import to_dict
from asd_perception.errors import UserError
from asd_perception.files import claimed
from asd_perception.models import TINY
from asd_perception.network import model_directory
from asd_training.config.run import StudentRun, TeacherRun
from asd_training.data.index import KeyframeIndex
from asd_training.data.samples import KeyframeDataset, SampleContents, collate
from asd_training.training import progress, run_folder
from asd_training.training.checkpoints import AtomicCheckpointIO
from asd_training.training.failures import outside_reason
from asd_training.training.student import StudentTraining
from asd_training.training.teacher import TeacherTraining

RUN = StudentRun(steps=2, batch_size=1, warmup_steps=0, checkpoint_every=1, student=SMALL)
RESOLVED = dataclasses.replace(RUN, train_split="synthetic_train", val_split="synthetic_val")
"""As a run's folder gets it, once the data set's splits are chosen."""


@pytest.fixture
def small(tmp_path):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(to_dict(RUN)))
    return tmp_path / "small.yaml"


@pytest.fixture
def asd_train(monkeypatch, capfd):
    """Runs the command in this process; its exit status and what it said on stderr."""

    def call(*arguments):
        status, _, err = asd_train_here(monkeypatch, capfd, *arguments)
        return status, err

    return call


@pytest.fixture(scope="module")
def index(synthetic_root):
    return KeyframeIndex.open(synthetic_root)


@pytest.fixture
def root(synthetic_root, index, tmp_path):
    """A dataset of the test's own, to damage."""
    return shutil.copytree(synthetic_root, tmp_path / "data")


def test_a_log_tells_how_far_a_run_is(root, small, tmp_path, monkeypatch, capfd):
    """As a terminal's bar does."""
    monkeypatch.setattr(progress, "LINE_PERIOD", 0.0)
    status, out, _ = asd_train_here(
        monkeypatch, capfd, "student", root, tmp_path / "run", "--config", small
    )
    assert status in (0, None)
    lines = re.findall(r"^step (\d) of 2, 0 min left, .*loss", out, re.MULTILINE)
    assert lines == ["1", "2"]


def await_checkpoint(run, process):
    """Wait for a run's first checkpoint, or for its end."""
    while not (run / "last.ckpt").is_file() and process.poll() is None:
        time.sleep(0.05)


def assert_one_line(outcome, *messages):
    code, said = outcome
    assert code == 2
    assert "Traceback" not in said
    assert said.count("error:") == 1
    line = said.strip().splitlines()[-1]
    assert re.search("asd-train (student|teacher): error: ", line)  # behind the progress bar
    for message in messages:
        assert message in said


def assert_nothing_half_written(run):
    assert {path.name for path in run.iterdir()} <= {
        *("config.yaml", "origin.json", "log", "last.ckpt", "best.ckpt")
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: [", "cannot be read"),
        ("stepz: 5", "unknown key stepz"),
        ("train_split: nowhere", "no split 'nowhere'"),
        ("val_split: nowhere", "no split 'nowhere'"),
        (
            "validate_every: 5\nval_split: mini_val",
            "it has no scene of mini_val; it has synthetic_train",
        ),
        ("student: {backbone: {options: {depthz: 1}}}", "options.depthz is no option of resnet"),
        ("seed: 99999999999", "seed is 99999999999; it must be below 4294967296"),
        ("pretrained: nowhere", "pretrained weights nowhere do not exist, and are not downloaded"),
        ("fine_tune: nowhere", "nowhere has no config.yaml; is it a model directory?"),
        ("fine_tune: a\npretrained: b", "pretrained has no effect beside fine_tune"),
        (f"fine_tune: {TINY}\nstudent: {{bev_channels: 8}}", "does not fit the configured arch"),
    ],
)
def test_a_wrong_configuration_is_told_before_the_run_begins(
    synthetic_root, index, tmp_path, asd_train, text, message
):
    (tmp_path / "config.yaml").write_text(text)
    outcome = asd_train(
        "student", synthetic_root, tmp_path / "run", "--config", tmp_path / "config.yaml"
    )
    assert_one_line(outcome, message)
    assert len(outcome[1].strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_training_without_a_usable_object_does_not_begin(root, tmp_path, small, asd_train):
    each(root, "sample_annotation", lambda row: row.update(num_lidar_pts=0, num_radar_pts=0))
    outcome = asd_train("student", root, tmp_path / "run", "--config", small)
    assert_one_line(outcome, "no object of the split synthetic_train can be learnt: of ")
    assert "0 have LiDAR or radar points" in outcome[1]
    assert not (tmp_path / "run").exists()


def test_a_missing_file_is_told_before_the_first_step(root, tmp_path, small, asd_train):
    image = sorted(root.glob("samples/CAM_BACK/*"))[0]
    image.unlink()
    outcome = asd_train("student", root, tmp_path / "run", "--config", small)
    assert_one_line(outcome, f"{image} is missing; the dataset is incomplete")
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_going_on_has_its_folder_to_itself(
    synthetic_root, index, tmp_path, small, asd_train
):
    run = tmp_path / "run"
    with claimed(run / ".lock") as alone:
        assert alone
        for options in (["--config", small], ["--resume"]):
            outcome = asd_train("student", synthetic_root, run, *options)
            assert_one_line(outcome, f"a run is going on in {run}; wait for its end, or choose")
    assert asd_train("student", synthetic_root, run, "--config", small)[0] == 0


def test_a_validation_that_breaks_costs_no_model(
    synthetic_root, index, tmp_path, small, asd_train, monkeypatch
):
    def broken(*_):
        raise AssertionError("the evaluator's own")

    monkeypatch.setattr("asd_training.training.module.score", broken)
    code, said = asd_train("student", synthetic_root, tmp_path / "run", "--config", small)
    assert code == 0, said
    assert "no metrics on synthetic_val: AssertionError: the evaluator's own" in said
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_a_run_stopped_by_a_corrupt_image_starts_once_it_is_mended(
    synthetic_root, root, tmp_path, small, asd_train
):
    run = tmp_path / "run"
    for image in root.glob("samples/CAM_BACK/*"):
        image.write_bytes(image.read_bytes()[:100])
    outcome = asd_train("student", root, run, "--config", small)
    assert_one_line(outcome, str(root / "samples" / "CAM_BACK"), "continue with --resume")
    assert_nothing_half_written(run)
    begun = json.loads((run / "origin.json").read_text())
    assert begun["data"]["train_keyframes"] == 3
    assert begun["versions"]["torch"]

    shutil.copytree(synthetic_root / "samples", root / "samples", dirs_exist_ok=True)
    assert_one_line(asd_train("student", root, run, "--config", small), "continue with --resume")
    assert asd_train("student", root, run, "--resume")[0] == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["command"] == begun["command"]
    named = f"{root.parent.name}/data {run.parent.name}/run"  # without the machine's folders
    assert [at["command"] for at in metrics["resumed"]] == [f"asd-train student {named} --resume"]
    assert metrics == model_directory.read_document(run / "model")["provenance"]

    # Killed after its last checkpoint but before its model is written, it ends the same.
    weights = safetensors.torch.load_file(run / "model" / "model.safetensors")
    shutil.rmtree(run / "model")
    assert asd_train("student", root, run, "--resume")[0] == 0
    again = safetensors.torch.load_file(run / "model" / "model.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in weights.items())
    assert json.loads((run / "metrics.json").read_text())["validation"] == metrics["validation"]


def test_fine_tuning_starts_from_all_weights_of_a_model(synthetic_root, tmp_path, asd_train):
    still = StudentRun(
        steps=1,
        learning_rate=1e-12,
        curve_from=0,
        loader_workers=0,
        precision="32-true",
        student=model_directory.student_config(TINY),
        fine_tune=str(TINY),
    )
    (tmp_path / "still.yaml").write_text(yaml.safe_dump(to_dict(still)))
    run = tmp_path / "run"
    assert asd_train("student", synthetic_root, run, "--config", tmp_path / "still.yaml")[0] == 0
    start, end = (
        safetensors.torch.load_file(model / "model.safetensors") for model in (TINY, run / "model")
    )
    for name, tensor in start.items():
        if "running" not in name and "num_batches" not in name:  # batch statistics move at once
            torch.testing.assert_close(end[name], tensor)


def test_a_missing_lidar_file_is_one_line(root, tmp_path, small, asd_train):
    for sweep in root.glob("samples/LIDAR_TOP/*"):
        sweep.unlink()
    outcome = asd_train("student", root, tmp_path / "run", "--config", small)
    assert_one_line(outcome, "LIDAR_TOP", "is missing, and 2 others; the dataset is incomplete")
    assert not (tmp_path / "run").exists()


def test_a_learning_rate_that_makes_nan_is_one_line(
    synthetic_root, index, tmp_path, small, asd_train
):
    changes = ["--set", "learning_rate=1e30", "--set", "steps=9"]
    outcome = asd_train("student", synthetic_root, tmp_path / "run", "--config", small, *changes)
    assert_one_line(outcome, "not finite at step", "lower learning_rate")
    assert_nothing_half_written(tmp_path / "run")


@pytest.mark.parametrize(
    "changes",
    [
        ("student", "accumulate=2", "loader_workers=2"),
        # 16 channels: below, with several threads, oneDNN's bfloat16 gradient of a strided 1x1
        # convolution (jit_bf16_1x1) writes past its memory on some processors.
        pytest.param(
            (
                *("student", "precision=bf16-mixed", "balance_classes=true"),
                "student.encoder_channels=[16, 16, 16]",
            ),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("teacher", "teacher.modality=lidar", "teacher.sweeps=1", "accumulate=2"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda changes: "-".join(changes),
)
def test_a_run_stopped_in_the_middle_of_a_step_ends_as_if_it_had_not_been(
    synthetic_root, index, tmp_path, small, asd_train, monkeypatch, changes
):
    kind, *changes = changes
    if kind == "teacher":
        values = {k: v for k, v in to_dict(RUN).items() if hasattr(TeacherRun(), k)}
        small.write_text(yaml.safe_dump({**values, "teacher": {"network": to_dict(SMALL)}}))
    arguments = ["--config", small, "--set", "steps=4", *(f"--set={change}" for change in changes)]
    assert asd_train(kind, synthetic_root, tmp_path / "whole", *arguments)[0] == 0

    training = StudentTraining if kind == "student" else TeacherTraining
    with stopped_at(monkeypatch, training, 3):
        assert_one_line(asd_train(kind, synthetic_root, tmp_path / "run", *arguments), "stopped")
    assert asd_train(kind, synthetic_root, tmp_path / "run", "--resume")[0] == 0

    whole, resumed = (
        safetensors.torch.load_file(tmp_path / run / "model" / "model.safetensors")
        for run in ("whole", "run")
    )
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=0, atol=0, msg=name)


def test_a_run_does_not_go_on_with_other_data_or_processes(
    synthetic_root, index, root, tmp_path, monkeypatch
):
    run_folder.begin(tmp_path / "run", RESOLVED, index)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="began with processes 1, not 2; start as many"):
        run_folder.begin(tmp_path / "run", RESOLVED, index)
    monkeypatch.delenv("WORLD_SIZE")
    splits = next(root.glob("v1.0*")) / "splits.json"
    scenes = json.loads(splits.read_text())
    splits.write_text(json.dumps({**scenes, "synthetic_train": []}))
    with pytest.raises(UserError, match="began with data .*; give its dataset"):
        run_folder.begin(tmp_path / "run", RESOLVED, KeyframeIndex.open(root))
    assert run_folder.begin(tmp_path / "run", RESOLVED, index)["processes"] == 1


def test_a_run_that_began_before_cameras_were_named_goes_on(index, tmp_path):
    run_folder.begin(tmp_path, RESOLVED, index)
    origin = json.loads((tmp_path / "origin.json").read_text())
    cameras = origin["data"].pop("cameras")
    (tmp_path / "origin.json").write_text(json.dumps(origin))
    assert run_folder.begin(tmp_path, RESOLVED, index)["data"]["cameras"] == cameras


def test_many_slurm_tasks_without_torchrun_are_refused(
    synthetic_root, tmp_path, small, asd_train, monkeypatch
):
    monkeypatch.setenv("SLURM_NTASKS", "2")
    outcome = asd_train("student", synthetic_root, tmp_path / "run", "--config", small)
    assert_one_line(outcome, "start each node's with torchrun")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def full_disk():
    """A disk on which no file may grow beyond 100 kB, until it is called."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_run_stopped_by_a_full_disk_goes_on_when_there_is_room(
    synthetic_root, index, tmp_path, small, asd_train, full_disk
):
    run = tmp_path / "run"
    outcome = asd_train("student", synthetic_root, run, "--config", small)
    assert_one_line(outcome, f"{run / 'last.ckpt'} cannot be written", "continue with --resume")
    assert_nothing_half_written(run)
    full_disk()
    assert asd_train("student", synthetic_root, run, "--resume")[0] == 0


def test_a_full_disk_leaves_the_checkpoint_before_whole(tmp_path, full_disk):
    file = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1, "weights": torch.zeros(10)}, file)
    with pytest.raises(UserError, match=r"last.ckpt cannot be written \(File too large\)"):
        AtomicCheckpointIO().save_checkpoint({"step": 2, "weights": torch.zeros(100_000)}, file)
    assert torch.load(file)["step"] == 1
    assert list(tmp_path.iterdir()) == [file]


def test_a_damaged_checkpoint_is_one_line(synthetic_root, index, tmp_path, small, asd_train):
    run = tmp_path / "run"
    assert asd_train("student", synthetic_root, run, "--config", small)[0] == 0
    shutil.rmtree(run / "model")
    (run / "last.ckpt").write_bytes((run / "last.ckpt").read_bytes()[:1000])
    outcome = asd_train("student", synthetic_root, run, "--resume")
    assert_one_line(outcome, f"{run / 'last.ckpt'} cannot be read as a file of tensors")


def test_a_split_without_annotations_costs_the_metrics_not_the_model(
    root, tmp_path, small, asd_train
):
    tables = next(root.glob("v1.0*"))
    index = KeyframeIndex.open(root)
    kept = {index.sample_tokens[i].decode() for i in index.split("synthetic_train")}
    annotations = json.loads((tables / "sample_annotation.json").read_text())
    annotations = [row for row in annotations if row["sample_token"] in kept]
    (tables / "sample_annotation.json").write_text(json.dumps(annotations))

    run = tmp_path / "run"
    code, said = asd_train("student", root, run, "--config", small)
    assert code == 0
    assert "no metrics on synthetic_val: " in said
    assert "these samples have no annotated object of the ten classes" in said
    assert "Traceback" not in said
    model_directory.load(run / "model")
    assert "no annotated" in json.loads((run / "metrics.json").read_text())["validation"]["failed"]


def test_a_split_without_keyframes_is_said_to_have_no_metrics(
    synthetic_root, index, tmp_path, small, asd_train
):
    run = tmp_path / "run"
    mini = ("--config", small, "--set", "val_split=mini_val")
    code, said = asd_train("student", synthetic_root, run, *mini)
    assert code == 0
    assert "no metrics on mini_val: the dataset has no keyframe of this split" in said
    assert "no keyframe" in json.loads((run / "metrics.json").read_text())["validation"]["failed"]


def test_a_validation_that_cannot_be_done_stops_the_run_before_its_first_step(
    root, index, tmp_path, small, asd_train
):
    for keyframe in index.split("synthetic_val"):
        for path in index.frame(keyframe).image_paths:
            (root / Path(path).relative_to(index.root)).write_bytes(b"")
    run = tmp_path / "run"
    outcome = asd_train("student", root, run, "--config", small, "--set", "validate_every=2")
    assert_one_line(outcome, str(root / "samples"), "continue with --resume")
    assert not (run / "last.ckpt").exists()


@pytest.mark.slow
def test_a_killed_loader_process_is_one_line(synthetic_root, index, tmp_path, small):
    run = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "asd_training.commands.asd_train",
        "student",
        synthetic_root,
        run,
    ]
    with subprocess.Popen(
        [*command, "--config", small, "--set", "steps=100000", "--set", "loader_workers=1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            await_checkpoint(run, process)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for child in children:
                os.kill(int(child), signal.SIGKILL)
            said = process.communicate(timeout=120)[1]
        finally:
            process.kill()
    assert len(children) >= 1
    assert_one_line((process.returncode, said), "a loader process was killed", "--resume")


def test_a_killed_loader_process_is_found_under_what_a_library_made_of_it(tmp_path):
    try:
        try:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. \nmore")
        except RuntimeError as killed:
            raise TypeError("unsupported callable") from killed
    except TypeError as error:
        assert "(pid 7) is killed" in outside_reason(error, tmp_path)
    assert outside_reason(TypeError("unsupported callable"), tmp_path) is None


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 ..."),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
    ids=["GPU", "cuDNN", "CPU"],
)
def test_a_step_that_memory_is_too_small_for_is_told_with_the_remedy(tmp_path, error):
    reason = outside_reason(error, tmp_path)
    assert "out of memory (" in reason and "smaller batch_size" in reason
    assert "\n" not in reason


def test_a_network_that_memory_is_too_small_for_is_called_that(
    synthetic_root, index, tmp_path, small, asd_train
):
    large = f"student.head_channels={10**12}"
    outcome = asd_train(
        "student", synthetic_root, tmp_path / "run", "--config", small, "--set", large
    )
    assert_one_line(outcome, "out of memory on cpu; use a smaller model")


@pytest.mark.parametrize("leftover", [".config.yaml.x1.yaml", ".origin.json.x1.json"])
def test_what_a_killed_start_leaves_is_in_nobodys_way(
    synthetic_root, index, tmp_path, small, asd_train, leftover
):
    run = tmp_path / "run"
    run.mkdir()
    (run / leftover).write_text("half")
    code, said = asd_train("student", synthetic_root, run, "--config", small)
    assert code == 0, said
    assert not (run / leftover).exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").touch()
    outcome = asd_train("student", synthetic_root, tmp_path / "other", "--config", small)
    assert_one_line(outcome, "is not empty; choose another folder")


@pytest.mark.slow
def test_ctrl_c_says_where_the_run_stands(synthetic_root, index, tmp_path, small):
    run = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "asd_training.commands.asd_train",
        "student",
        synthetic_root,
        run,
    ]
    with subprocess.Popen(
        [*command, "--config", small, "--set", "steps=100000"],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has SIGINT ignored, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            await_checkpoint(run, process)
            first = (run / "last.ckpt").stat().st_mtime_ns
            while (run / "last.ckpt").stat().st_mtime_ns == first and process.poll() is None:
                time.sleep(0.05)  # until the run has gone on
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=120)[1]
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in said
    line = said.strip().splitlines()[-1]
    assert line.startswith("stopped at step ")
    assert f"{run / 'last.ckpt'} holds step " in line
    assert line.endswith("continue with --resume")


def test_a_gradient_that_is_not_finite_is_told(index):
    module = StudentTraining(RUN, index)
    optimizer = module.configure_optimizers()["optimizer"]
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    next(module.network.head.parameters()).grad.view(-1)[0] = torch.inf
    with pytest.raises(UserError, match="the gradient is not finite at step 0 .*learning_rate"):
        module.configure_gradient_clipping(optimizer)


def test_weight_decay_pulls_at_weights_not_at_norms_and_biases(index):
    module = StudentTraining(RUN, index)
    groups = module.configure_optimizers()["optimizer"].param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
    assert len(decay) == len(trained) == sum(len(group["params"]) for group in groups)
    for name, parameter in trained.items():
        assert decay[id(parameter)] == (RUN.weight_decay if parameter.ndim > 1 else 0), name


def test_validation_is_in_float32_whatever_training_is_in(index):
    torch.manual_seed(0)
    module = StudentTraining(RUN, index).eval()
    batch = collate([KeyframeDataset(index, SMALL, SampleContents())[0]])
    submissions = []
    for mixed in (False, True):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            module.validation_step(batch, 0)
        submissions.append(module._submission)
        module._submission = {}
    assert sum(map(len, submissions[0].values())) > 0
    assert submissions[0] == submissions[1]


def test_batches_and_seeds_draw_random_numbers_of_their_own(index):
    module = StudentTraining(RUN, index)
    seeds = set()
    for seed in (0, 1, 1 << 16):
        module.config = dataclasses.replace(RUN, seed=seed)
        for batch in (0, 1, 2):
            module.on_train_batch_start(None, batch)
            seeds.add(torch.initial_seed())
    assert len(seeds) == 9


def test_a_student_learns_from_a_camera_only_dataset(root, tmp_path, small, asd_train):
    without_lidar(root)
    outcome = asd_train("student", root, tmp_path / "run", "--config", small)
    assert_one_line(outcome, "has no LIDAR_TOP", "--set supervision.camera_depth=0")
    boxes_alone = ("camera_depth", "point_depth", "semantics")
    options = [o for key in boxes_alone for o in ("--set", f"supervision.{key}=0")]
    code, said = asd_train("student", root, tmp_path / "run", "--config", small, *options)
    assert code == 0, said
    assert "no metrics" not in said
