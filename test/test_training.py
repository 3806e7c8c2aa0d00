# SPDX-License-Identifier: Apache-2.0
"""Promise: `asd-train student` turns a dataset into a working model directory, or says why not."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from torch.utils.data import default_collate

from asd_perception import model_directory
from asd_perception.config import StudentConfig
from asd_perception.constants import CLASSES, NO_ATTRIBUTE
from asd_perception.geometry import transform_from
from asd_training.datasets.keyframes import KeyframeDataset
from asd_training.datasets.nuscenes import Annotations, open_dataset, split_scenes
from asd_training.student import StudentTraining, TrainingConfig
from asd_training.targets import BACKGROUND, UNKNOWN, pixel_targets


def asd_train(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "asd_training.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def dataset(synthetic_root):
    nusc = open_dataset(synthetic_root)
    scenes = split_scenes(nusc, "synthetic_train")
    return KeyframeDataset(nusc, scenes, StudentConfig(), augment=True)


def test_training_ends_in_a_model_directory_with_provenance(synthetic_root, tmp_path):
    config = tmp_path / "short.yaml"
    config.write_text("steps: 10\nbatch_size: 1\nwarmup_steps: 1\nloader_workers: 0\n")
    run = tmp_path / "run"
    done = asd_train("student", synthetic_root, run, "--config", config)
    assert done.returncode == 0, done.stderr
    assert "mAP" in done.stdout
    student = model_directory.load(run / "model")
    assert sum(p.numel() for p in student.parameters()) * 4 < 12e6
    provenance = model_directory.read_config(run / "model")["provenance"]
    assert provenance["training"]["steps"] == 10
    assert provenance["data"]["train_keyframes"] > 0
    assert 0 <= provenance["validation"]["mean_ap"] <= 1
    assert yaml.safe_load((run / "config.yaml").read_text())["steps"] == 10
    assert (run / "log" / "version_0" / "metrics.csv").is_file()

    again = asd_train("student", synthetic_root, run, "--config", config)
    assert again.returncode == 2
    assert "is finished" in again.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz: 5", "unknown key stepz"),
        ("steps: many", "steps: expected int, found 'many'"),
        ("steps: [", "cannot be read"),
        ("train_split: nowhere", "no split 'nowhere'"),
    ],
)
def test_a_wrong_configuration_is_one_line(synthetic_root, tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text)
    done = asd_train(
        "student", synthetic_root, tmp_path / "run", "--config", tmp_path / "config.yaml"
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_lidar_point_becomes_the_depth_and_the_class_of_its_pixel():
    config = StudentConfig()
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
    )
    targets = pixel_targets(
        np.array([near, far, behind, aside]), bus, intrinsics[None], ego_from_camera[None], config
    )
    assert targets.depth_bins.shape == targets.classes.shape == (1, 16, 44)
    # (u, v) = (176 - 280 * 0.3 / 20.5, 40 + 280 * 0.5 / 20.5) = (171.9, 46.8): feature (21, 5).
    assert targets.depth_bins[0, 5, 21] == 19  # 20.5 m: the bin from 20 to 21 m, twentieth from 1 m
    assert targets.classes[0, 5, 21] == CLASSES.index("bus")
    assert targets.classes[0, 5, 11] == BACKGROUND  # (u, v) = (92, 40)
    assert (targets.depth_bins != UNKNOWN).sum() == 2  # the far point lies behind the near one
    assert torch.equal(targets.depth_bins == UNKNOWN, targets.classes == UNKNOWN)

    nothing = pixel_targets(np.zeros((0, 3)), bus, intrinsics[None], ego_from_camera[None], config)
    assert (nothing.classes == UNKNOWN).all()


def test_samples_are_alike_in_shape_and_collate(dataset):
    batch = default_collate([dataset[0], dataset[1]])
    assert batch.images.shape == (2, 6, 3, 128, 352)
    assert batch.images.dtype == torch.uint8
    assert batch.pixels.depth_bins.shape == (2, 6, 16, 44)
    assert (batch.pixels.depth_bins != UNKNOWN).float().mean() > 0.1
    assert (batch.pixels.classes.unique().numel()) > 2
    assert batch.objects.heatmap.shape == (2, 10, 128, 128)
    assert batch.objects.valid.any()


def test_the_loss_falls_on_one_frame(dataset):
    torch.manual_seed(0)
    dataset.augment = False
    batch = default_collate([dataset[0]])
    module = StudentTraining(TrainingConfig()).train()
    module.log = module.log_dict = lambda *args, **kwargs: None  # there is no trainer to log to
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = module.training_step(batch, 0)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    unused = [name for name, p in module.named_parameters() if p.grad is None]
    assert not unused  # every weight takes part
