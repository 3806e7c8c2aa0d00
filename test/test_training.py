# SPDX-License-Identifier: Apache-2.0
"""Promise: `asd-train student` and `teacher` turn a dataset into a model, or say why not.

A run that is killed and resumed, or spread over processes, learns the same.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from small import SMALL

from asd_perception.configuration import to_dict
from asd_perception.constants import CLASSES, NO_ATTRIBUTE
from asd_perception.errors import UserError
from asd_perception.geometry import transform_from
from asd_perception.models import TINY
from asd_perception.network import model_directory
from asd_perception.network.config import BACKBONES, StudentConfig
from asd_training.config.augmentation import AugmentationConfig
from asd_training.config.read import read_config
from asd_training.config.run import StudentRun, TeacherRun
from asd_training.config.teacher import TeacherConfig
from asd_training.data.index import KeyframeIndex
from asd_training.data.nuscenes import Annotations
from asd_training.data.sampler import StepBatches, TrainingStream
from asd_training.data.samples import KeyframeDataset, SampleContents, collate
from asd_training.data.targets import BACKGROUND, UNKNOWN, nearest_returns, pixel_targets
from asd_training.models.ema import MovingAverage
from asd_training.models.teacher import Teacher
from asd_training.training.run import prepare
from asd_training.training.student import StudentTraining
from asd_training.training.teacher import TeacherTraining

SHORT = "steps: 10\nbatch_size: 1\nwarmup_steps: 1\nloader_workers: 0\n"


@pytest.fixture(scope="module")
def index(synthetic_root):
    return KeyframeIndex.open(synthetic_root)


@pytest.fixture(scope="module")
def dataset(index):
    return KeyframeDataset(index, StudentConfig(), SampleContents(sweeps=1), AugmentationConfig())


def test_training_ends_in_a_model_directory_with_provenance(asd_train, synthetic_root, tmp_path):
    config = tmp_path / "short.yaml"
    config.write_text(SHORT + "validate_every: 5\n" + yaml.safe_dump({"student": to_dict(SMALL)}))
    run = tmp_path / "run"
    done = asd_train("student", synthetic_root, run, "--config", config, "--set", "accumulate=2")
    assert done.returncode == 0, done.stderr
    assert "mAP" in done.stdout
    assert "Training" in done.stdout and "Epoch" not in done.stdout and "v_num" not in done.stdout
    assert model_directory.load(run / "model").config == SMALL
    provenance = model_directory.read_document(run / "model")["provenance"]
    assert provenance["training"]["steps"] == 10
    assert provenance["training"]["accumulate"] == 2
    assert provenance["data"]["train_keyframes"] > 0
    assert 0 <= provenance["validation"]["mean_ap"] <= 1
    assert json.loads((run / "metrics.json").read_text()) == provenance
    assert yaml.safe_load((run / "config.yaml").read_text())["steps"] == 10
    assert list((run / "log").glob("version_*/metrics.csv"))
    assert list((run / "log").glob("version_*/events.*"))
    assert (run / "best.ckpt").is_file()
    assert (run / "last.ckpt").is_file()

    again = asd_train("student", synthetic_root, run, "--config", config)
    assert again.returncode == 2
    assert "is finished" in again.stderr


def test_a_teacher_is_trained_and_saved(asd_train, synthetic_root, tmp_path):
    done = asd_train(
        *("teacher", synthetic_root, tmp_path / "run", "--set", "steps=2", "--set", "batch_size=1"),
        *(
            "--set",
            "loader_workers=0",
            "--set",
            "teacher.sweeps=2",
            "--set",
            "teacher.modality=lidar",
        ),
    )
    assert done.returncode == 0, done.stderr
    teacher = model_directory.load_network(
        tmp_path / "run" / "model", "teacher", TeacherConfig, Teacher
    )
    assert teacher.config.modality == "lidar"
    with pytest.raises(UserError, match="holds no student"):
        model_directory.load(tmp_path / "run" / "model")


def test_changes_from_the_command_line_reach_nested_keys(tmp_path):
    (tmp_path / "base.yaml").write_text("steps: 7\nstudent: {head_channels: 16}\n")
    changes = ["student.image_size=[64, 96]", "learning_rate=0.5"]
    config = read_config(StudentRun, tmp_path / "base.yaml", changes)
    assert (config.steps, config.learning_rate) == (7, 0.5)
    assert config.student.image_size == (64, 96)
    assert config.student.head_channels == 16


def test_an_empty_configuration_is_the_defaults(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing changed\n")
    assert read_config(StudentRun, tmp_path / "empty.yaml") == StudentRun()
    config = read_config(StudentRun, tmp_path / "empty.yaml", ["learning_rate=1e-4"])
    assert config.learning_rate == 1e-4  # which YAML reads as a text


def test_a_key_of_a_named_backbone_can_be_changed(tmp_path):
    (tmp_path / "base.yaml").write_text("student: {backbone: resnet50}\n")
    config = read_config(StudentRun, tmp_path / "base.yaml", ["student.backbone.channels=64"])
    assert config.student.backbone == dataclasses.replace(BACKBONES["resnet50"], channels=64)


def test_an_option_of_the_default_backbone_can_be_changed(tmp_path):
    default = StudentRun().student.backbone
    config = read_config(StudentRun, None, ["student.backbone.options.depths=[1, 1, 1, 1]"])
    changed = {**default.options, "depths": [1, 1, 1, 1]}
    assert config.student.backbone == dataclasses.replace(default, options=changed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stepz=5", "unknown key stepz"),
        ("steps=many", "steps: expected a whole number, found 'many'"),
        ("steps=0", "steps is 0; it must be at least 1"),
        ("student.depth.binz=3", "unknown key student.depth.binz"),
        ("steps.more=1", "there is no key steps.more"),
        ("steps", "expected key=value"),
        ("precision=64", "precision is 64; it must be one of auto, 32-true"),
        ("precision=half", "it must be one of auto, 32-true"),
        ("weight_decay=-1", "weight_decay is -1; it must be at least 0"),
        ("learning_rate=fast", "learning_rate: expected a number, found 'fast'"),
        ("student.backbone=resnet19", "student.backbone is 'resnet19'; known names are resnet18"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path, change, message):
    (tmp_path / "base.yaml").write_text("steps: 7\n")
    with pytest.raises(UserError, match=message.replace("[", ".")):
        read_config(StudentRun, tmp_path / "base.yaml", [change])


def test_every_shipped_configuration_is_valid():
    folder = TINY.parents[2] / "config" / "training"
    files = sorted(folder.glob("[!a]*.yaml"))  # an ablation is tested with its runs
    assert len(files) >= 4
    for file in files:
        kind = TeacherRun if "teacher" in yaml.safe_load(file.read_text()) else StudentRun
        read_config(kind, file)


def wait_while(process, condition):
    """Wait until the condition ends to hold; the process must run so long."""
    while condition():
        assert process.poll() is None, "the process ended before it was killed"
        time.sleep(0.01)


def writing_of(file):
    """Another value for each time that a file was written; None before."""
    return file.stat().st_mtime_ns if file.is_file() else None


@pytest.mark.slow
def test_a_killed_and_resumed_run_ends_like_an_uninterrupted_one(
    asd_train, synthetic_root, tmp_path
):
    config = tmp_path / "short.yaml"
    config.write_text(
        SHORT.replace("10", "16")
        + "checkpoint_every: 3\nvalidate_every: 3\nvalidate_keyframes: 1\n"
    )
    whole = asd_train("student", synthetic_root, tmp_path / "whole", "--config", config)
    assert whole.returncode == 0, whole.stderr

    run = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "asd_training.commands.asd_train",
        "student",
        synthetic_root,
        run,
    ]
    # Sums of as many threads as in this process, in which other tests may have changed the number.
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command += ["--config", config]
    with subprocess.Popen(command, start_new_session=True, env=environment) as process:
        wait_while(process, lambda: not (run / "best.ckpt").is_file())
        before = writing_of(run / "last.ckpt")
        wait_while(process, lambda: writing_of(run / "last.ckpt") == before)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (run / "model").exists()
    resumed = asd_train("student", synthetic_root, run, "--resume")
    assert resumed.returncode == 0, resumed.stderr

    weights = [
        safetensors.torch.load_file(folder / "model" / "model.safetensors")
        for folder in (tmp_path / "whole", run)
    ]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=0, msg=name)
    metrics = [
        json.loads((folder / "metrics.json").read_text())["validation"]
        for folder in (tmp_path / "whole", run)
    ]
    assert metrics[0] == metrics[1]
    best = [torch.load(folder / "best.ckpt") for folder in (tmp_path / "whole", run)]
    assert best[0]["global_step"] == best[1]["global_step"]
    for name, tensor in best[0]["state_dict"].items():
        torch.testing.assert_close(best[1]["state_dict"][name], tensor, rtol=0, atol=0, msg=name)


def test_a_sample_depends_on_its_place_in_the_run_alone(dataset):
    places = np.arange(len(dataset))
    stream = TrainingStream(dataset, places, seed=3)
    ahead, again = stream[7], TrainingStream(dataset, places, seed=3)[7]
    assert torch.equal(ahead.images, again.images)
    assert torch.equal(ahead.objects.heatmap, again.objects.heatmap)
    seen = [int(stream[place].keyframe) for place in range(2 * len(places))]
    assert sorted(seen[: len(places)]) == sorted(seen[len(places) :]) == places.tolist()


def test_processes_share_the_places_and_a_resumed_run_takes_the_rest():
    ranks = [list(StepBatches(2, 5, rank=rank, processes=3)) for rank in range(3)]
    together = sorted(place for rank in ranks for batch in rank for place in batch)
    assert together == list(range(30))
    assert list(StepBatches(2, 5, first=3, rank=1, processes=3)) == ranks[1][3:]
    assert len(StepBatches(2, 5, first=3)) == 5  # Lightning counts from the run's beginning


def test_the_moving_average_follows_and_forgets_its_start():
    network = torch.nn.BatchNorm1d(1)
    torch.nn.init.constant_(network.weight, 100.0)
    average = MovingAverage(network, 0.9)
    torch.nn.init.constant_(network.weight, 1.0)
    for steps in range(300):
        network.num_batches_tracked += 1
        average.update(network, average.share(steps))
        if steps == 1:
            assert average.module.weight.item() == pytest.approx(1 + 99 * 0.1 * 2 / 11)
    assert average.module.weight.item() == pytest.approx(1.0, abs=1e-3)
    assert average.module.num_batches_tracked.item() == 300
    assert not any(p.requires_grad for p in average.parameters())


def test_a_lidar_point_becomes_the_depth_and_the_class_of_its_pixel():
    config = StudentConfig(image_size=(128, 352))
    intrinsics = np.array([[280.0, 0, 176], [0, 280, 40], [0, 0, 1]])
    ego_from_camera = transform_from([0.5, -0.5, 0.5, -0.5], [1.0, 0.0, 1.5])  # looks forward
    near, far, behind = [21.5, 0.3, 1.0], [41.5, 0.6, 0.5], [-10.0, 0.0, 1.0]
    aside = [11.0, 3.0, 1.5]
    bus = Annotations(
        boxes=np.array([[25.0, 0.0, 1.5, 12.0, 2.5, 3.0, 0.0]]),
        velocities=np.zeros((1, 2)),
        labels=np.array([CLASSES.index("bus")]),
        attributes=np.array([NO_ATTRIBUTE]),
        tokens=("bus",),
        num_lidar_points=np.array([1]),
        num_radar_points=np.array([0]),
    )
    rig = intrinsics[None], ego_from_camera[None]
    points = np.array([near, far, behind, aside])
    targets = pixel_targets(nearest_returns(points, bus, *rig, config), config.depth)
    assert targets.depth_bins.shape == targets.classes.shape == (1, 16, 44)
    # (u, v) = (176 - 280 * 0.3 / 20.5, 40 + 280 * 0.5 / 20.5) = (171.9, 46.8): feature (21, 5).
    assert targets.depth_bins[0, 5, 21] == 19  # 20.5 m: the bin from 20 to 21 m, twentieth from 1 m
    assert targets.classes[0, 5, 21] == CLASSES.index("bus")
    assert targets.classes[0, 5, 11] == BACKGROUND  # (u, v) = (92, 40)
    assert (targets.depth_bins != UNKNOWN).sum() == 2  # the far point lies behind the near one
    assert torch.equal(targets.depth_bins == UNKNOWN, targets.classes == UNKNOWN)

    nothing = pixel_targets(nearest_returns(np.zeros((0, 3)), bus, *rig, config), config.depth)
    assert (nothing.classes == UNKNOWN).all()


def test_samples_collate_and_points_stay_ragged(dataset):
    samples = [dataset[0], dataset[1]]
    batch = collate(samples)
    assert batch.images.shape == (2, 6, 3, 96, 256)
    assert batch.images.dtype == torch.uint8
    assert batch.pixels.depth_bins.shape == (2, 6, 12, 32)
    assert (batch.pixels.depth_bins != UNKNOWN).float().mean() > 0.1
    assert batch.pixels.classes.unique().numel() > 2
    assert batch.objects.heatmap.shape == (2, 10, 128, 128)
    assert batch.objects.valid.any()
    assert batch.keyframe.tolist() == [0, 1]
    for i, sample in enumerate(samples):
        assert torch.equal(batch.points[batch.point_sample == i], sample.points)


@pytest.mark.parametrize("kind", ["student", "teacher"])
def test_the_loss_falls_on_one_frame(index, kind):
    torch.manual_seed(0)
    batch = collate([KeyframeDataset(index, SMALL, SampleContents(sweeps=1))[0]])
    if kind == "student":
        module = StudentTraining(StudentRun(student=SMALL), index).train()
    else:
        run = TeacherRun(teacher=TeacherConfig("lidar", network=SMALL))
        module = TeacherTraining(run, index).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = torch.stack(list(module.losses(batch).values())).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    unused = [n for n, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused  # every weight takes part


def test_recomputed_stages_give_the_same_gradients(index):
    batch = collate([KeyframeDataset(index, StudentConfig(), SampleContents())[0]])
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        module = StudentTraining(StudentRun(recompute_images=recompute), index).train()
        sum(module.losses(batch).values()).backward()
        gradients.append({n: p.grad for n, p in module.network.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_convolutions_that_onednn_corrupts_memory_in_are_refused_on_a_cpu(index):
    narrow = dataclasses.replace(SMALL, encoder_channels=(8, 16, 16))
    config = StudentRun(student=narrow, val_split="synthetic_train", loader_workers=0)
    with pytest.raises(UserError, match=r"bev_encoder\..* has 8 input channels; .*at least 16"):
        prepare(config, index, StudentTraining, torch.device("cpu"))
    prepare(config, index, StudentTraining, torch.device("meta"))


def test_a_loss_that_is_not_finite_is_told(index):
    module = StudentTraining(StudentRun(), index)
    batch = collate([KeyframeDataset(index, StudentConfig(), SampleContents())[0]])
    with torch.no_grad():
        next(module.network.head.parameters()).fill_(torch.nan)
    with pytest.raises(UserError, match="the loss is not finite at step 0 .*lower learning_rate"):
        module.training_step(batch, 0)


_TRAINED_BY_THE_LOOP = """
import os, sys
from pathlib import Path
import torch
from asd_training.config.read import read_config
from asd_training.config.run import StudentRun, TeacherRun
from asd_training.data.index import KeyframeIndex
from asd_training.training.run import prepare, train
from asd_training.training.run import prepare
from asd_training.training.student import StudentTraining
from asd_training.training.teacher import TeacherTraining

root, run, kind, *changes = sys.argv[1:]
cls, training = {
    "student": (StudentRun, StudentTraining), "teacher": (TeacherRun, TeacherTraining)
}[kind]

class Recorded(training):
    def on_train_batch_start(self, *arguments):
        super().on_train_batch_start(*arguments)
        self.network.eval()  # batch statistics differ by nature

    def configure_gradient_clipping(self, *arguments, **keywords):
        gradients = {name: p.grad for name, p in self.network.named_parameters()}
        if self.trainer.is_global_zero:
            torch.save(gradients, Path(self.trainer.default_root_dir) / "gradients")
        super().configure_gradient_clipping(*arguments, **keywords)

torch.set_num_threads(1)
processes = int(os.environ.get("WORLD_SIZE", "1"))
changes += ["steps=1", f"batch_size={2 // processes}", "loader_workers=0", "augmentation=null"]
changes += ["val_split=mini_val", "precision=32-true"]
index = KeyframeIndex.open(root)
module, _ = prepare(read_config(cls, None, changes), index, Recorded, torch.device("cpu"))
train(module, Path(run), resume=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", [["student"], ["teacher", "teacher.modality=lidar_camera", "teacher.sweeps=1"]]
)
def test_two_processes_have_the_gradients_of_one(synthetic_root, tmp_path, what):
    script = tmp_path / "trained_by_the_loop.py"
    script.write_text(_TRAINED_BY_THE_LOOP)
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    for run, launcher in (("one", []), ("two", torchrun)):
        done = subprocess.run(
            [sys.executable, *launcher, script, synthetic_root, tmp_path / run, *what],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / run / "gradients") for run in ("one", "two"))
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.slow
def test_torchrun_trains_on_two_processes(synthetic_root, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [
            *torchrun,
            "--standalone",
            "-m",
            "asd_training.commands.asd_train",
            "student",
            synthetic_root,
        ]
        + [tmp_path / "run", "--set", "steps=3", "--set", "batch_size=1"]
        + ["--set", "loader_workers=0", "--set", "validate_every=2"]
        + ["--set", "validate_keyframes=1"],  # one process has none
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["processes"] == 2
    model_directory.load(tmp_path / "run" / "model")
