# SPDX-License-Identifier: Apache-2.0
"""Promise: a student learns from a frozen teacher, and carries nothing of it but knowledge."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import pytest
import torch
import yaml
from small import SMALL

from asd_perception.bev_grid import BevGrid
from asd_perception.configuration import to_dict
from asd_perception.errors import UserError
from asd_perception.network import model_directory
from asd_perception.network.student import Student
from asd_perception.runtime.detector import Detector
from asd_training.config.distillation import PRESETS, DistillConfig
from asd_training.config.run import StudentRun
from asd_training.config.supervision import Supervision
from asd_training.config.teacher import TeacherConfig
from asd_training.data.index import KeyframeIndex
from asd_training.data.nuscenes import read_images
from asd_training.data.samples import KeyframeDataset, SampleContents, collate
from asd_training.models.teacher import Teacher
from asd_training.training.frozen_teacher import load_teacher, misfits
from asd_training.training.student import StudentTraining

BY_LIDAR = Supervision()


@pytest.fixture(scope="module")
def index(synthetic_root):
    return KeyframeIndex.open(synthetic_root)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The model directory of a LiDAR + camera teacher that fits SMALL."""
    torch.manual_seed(5)
    config = TeacherConfig("lidar_camera", sweeps=1, network=SMALL)
    path = tmp_path_factory.mktemp("teacher") / "model"
    model_directory.save_network(path, "teacher", Teacher(config), config, {})
    return path


def training(index, teacher, student=SMALL, supervision=BY_LIDAR, **distillation):
    torch.manual_seed(0)
    settings = DistillConfig(teacher=str(teacher), ramp_steps=0, **distillation)
    run = StudentRun(student=student, supervision=supervision, distillation=settings)
    return StudentTraining(run, index).train()


def a_batch(index, sweeps=1):
    dataset = KeyframeDataset(index, SMALL, SampleContents(sweeps=sweeps))
    return collate([dataset[0], dataset[1]])


def total(module, batch):
    return torch.stack(list(module.losses(batch).values())).sum()


FULL = {"cross_modal": "adaptive", "multi_modal": "adaptive", "response": "soft"}
ALONG_RAYS = {
    "cross_modal": "adaptive_ray",
    "multi_modal": "adaptive_ray",
    "response": "replaces",
}
BY_ITS_ANSWER = {"cross_modal": "raw", "multi_modal": "functional"}


@pytest.mark.parametrize(
    "losses", [FULL, ALONG_RAYS, BY_ITS_ANSWER], ids=lambda losses: losses["multi_modal"]
)
def test_the_teacher_stays_as_it_is_and_out_of_what_is_trained_and_saved(index, teacher, losses):
    module = training(index, teacher, **losses)
    before = copy.deepcopy(module.teacher.network.state_dict())
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
    total(module, a_batch(index)).backward()
    optimizer.step()
    for name, tensor in module.teacher.network.state_dict().items():  # batch statistics too
        assert torch.equal(tensor, before[name]), name
    assert not module.teacher.network.training
    assert all(p.grad is None for p in module.teacher.network.parameters())

    kept = set(Student(SMALL).state_dict())
    assert set(module.network.state_dict()) == set(module.average.module.state_dict()) == kept
    others = {name.split(".")[0] for name in module.state_dict()}
    assert others == {"network", "average", "semantics", "distillation"}
    unused = [n for n, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused


def test_what_teaches_a_student_does_not_change_how_it_starts(index, teacher):
    starts = [
        training(index, teacher, **PRESETS["none"]),
        training(index, teacher, cross_modal="l2", response="unweighted"),
        training(index, teacher, **FULL),
    ]
    for other in starts[1:]:
        for part in ("network", "semantics"):
            expected = getattr(starts[0], part).state_dict()
            for name, tensor in getattr(other, part).state_dict().items():
                assert torch.equal(tensor, expected[name]), name


def test_a_student_can_begin_with_the_teachers_encoder_and_head(index, teacher):
    module = training(index, teacher, initialise=True)
    weights = load_teacher(module.config.distillation, SMALL).network.state_dict()
    for network in (module.network, module.average.module):
        for name, tensor in network.state_dict().items():
            if name.startswith(("bev_encoder.", "head.")):
                assert torch.equal(tensor, weights[name]), name
    assert module.teacher is None  # it is not asked anything more
    assert module.contents.sweeps == 0
    assert module.network.head.boxes.weight.requires_grad


def test_distillation_draws_the_student_to_the_teacher(index, teacher):
    """Its own terms fall when the student is trained on nothing else."""
    module = training(index, teacher, **FULL)
    batch = a_batch(index)
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=3e-3)
    history = []
    for _ in range(12):
        terms = module.losses(batch)
        loss = sum(terms[name] for name in ("cross_modal", "multi_modal", "response_boxes"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append({name: float(value.detach()) for name, value in terms.items()})
    for name in ("cross_modal", "multi_modal"):
        assert history[-1][name] < 0.97 * history[0][name], name


def test_supervision_is_what_the_weights_say(index, teacher):
    batch = a_batch(index)
    none = training(
        index, teacher, supervision=Supervision(camera_depth=0.0, point_depth=0.0, semantics=0.0)
    )
    assert set(none.losses(batch)) == {"heatmap", "boxes", "velocity", "attribute"}
    assert none.semantics is None
    one, two = (
        training(index, teacher, supervision=Supervision(point_depth=weight)).losses(batch)
        for weight in (1.0, 2.0)
    )
    torch.testing.assert_close(two["point_depth"], 2 * one["point_depth"])
    with pytest.raises(UserError, match="camera_depth is -1.0"):
        Supervision(camera_depth=-1.0)


def test_a_camera_only_student_has_no_points_and_no_idle_weights(index, teacher, synthetic_root):
    config = dataclasses.replace(SMALL, fusion="camera_only")
    module = training(index, teacher, config, multi_modal="adaptive")
    total(module, a_batch(index)).backward()
    assert not any(name.startswith(("point_sim", "fusion")) for name in module.network.state_dict())
    unused = [n for n, p in module.network.named_parameters() if p.grad is None]
    assert not unused
    assert "point_depth" not in module.losses(a_batch(index))

    frame = index.frame(0)
    found = Detector(module.network).detect(read_images(frame), frame.rig, 0.0)
    assert len(found.boxes) and found.simulated_points is None


@pytest.mark.parametrize(
    ("student", "distillation", "message"),
    [
        ({"bev": BevGrid(half_extent=12.8, cell=1.6)}, FULL, "its bev is .*25.6.* the student's"),
        ({"image_size": (64, 96)}, FULL, r"its image_size is \(32, 96\), the student's \(64, 96\)"),
        ({"head_channels": 16}, {"initialise": True}, "its head_channels is 8, the student's 16"),
        ({"bev_channels": 8}, {"initialise": True}, "its bev_channels is 16"),
        ({"fusion": "camera_only"}, FULL, "a camera_only student has no simulated points"),
    ],
)
def test_a_teacher_that_does_not_fit_is_named(teacher, student, distillation, message):
    with pytest.raises(UserError, match=f"the teacher .* does not fit the student: {message}"):
        load_teacher(
            DistillConfig(teacher=str(teacher), **distillation),
            dataclasses.replace(SMALL, **student),
        )


def test_what_differs_but_does_not_matter_is_no_fault():
    lidar = TeacherConfig("lidar", network=SMALL)
    student = dataclasses.replace(SMALL, image_size=(64, 96), bev_channels=16, head_channels=16)
    assert not misfits(lidar, student, DistillConfig(**FULL))


def test_a_response_that_replaces_changes_ground_truths_terms_and_adds_none(index, teacher):
    batch = a_batch(index)
    replaced = training(index, teacher, response="replaces").losses(batch)
    alone = training(index, teacher, response="replaces", response_share=0.0).losses(batch)
    plain = training(index, teacher, **PRESETS["none"]).losses(batch)
    assert set(replaced) == set(plain)
    for name in ("heatmap", "boxes"):
        assert not torch.equal(replaced[name], alone[name])
    for name in set(plain) - {"heatmap", "boxes"}:
        assert torch.equal(replaced[name], plain[name]), name
    factor = training(
        index, teacher, supervision=Supervision(detection=1.3), response="replaces"
    ).losses(batch)
    torch.testing.assert_close(factor["heatmap"], 1.3 * replaced["heatmap"])


def test_a_student_with_other_channels_is_adapted(index, teacher):
    module = training(index, teacher, dataclasses.replace(SMALL, bev_channels=12), **FULL)
    terms = module.losses(a_batch(index))
    assert torch.isfinite(terms["cross_modal"]) and torch.isfinite(terms["multi_modal"])


def test_a_missing_teacher_is_one_clear_line(teacher, tmp_path):
    with pytest.raises(UserError, match="give its model directory with --teacher"):
        load_teacher(DistillConfig(**FULL), SMALL)
    model_directory.save(tmp_path / "student", Student(SMALL), {})
    with pytest.raises(UserError, match="holds no teacher"):
        load_teacher(DistillConfig(teacher=str(tmp_path / "student"), **FULL), SMALL)


def small_run(folder: Path, steps: int = 2) -> Path:
    file = folder / "small.yaml"
    values = {"steps": steps, "batch_size": 1, "loader_workers": 0, "student": to_dict(SMALL)}
    file.write_text(yaml.safe_dump(values))
    return file


def test_the_command_distils_into_a_plain_student(asd_train, synthetic_root, teacher, tmp_path):
    config = small_run(tmp_path, steps=10)  # the first that are logged
    run = tmp_path / "run"
    done = asd_train(
        *("student", synthetic_root, run, "--config", config, "--set", "distillation.alpha=0.3"),
        *("--distill", "adaptive", "--teacher", teacher),
    )
    assert done.returncode == 0, done.stderr
    student = model_directory.load(run / "model")
    assert set(student.state_dict()) == set(Student(SMALL).state_dict())
    provenance = model_directory.read_document(run / "model")["provenance"]
    short = f"{teacher.parent.name}/model"  # no folder of the machine that trained it
    assert provenance["method"].endswith(f"taught by {short}")
    assert provenance["training"]["distillation"]["teacher"] == short
    assert str(tmp_path) not in json.dumps(provenance)
    distillation = provenance["training"]["distillation"]
    assert (distillation["cross_modal"], distillation["alpha"]) == ("adaptive", 0.3)
    saved = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    assert any(name.startswith("distillation.adapters.") for name in saved)
    (log,) = run.glob("log/*/metrics.csv")
    columns = log.read_text().splitlines()[0].split(",")
    for place in ("cross_modal", "multi_modal"):
        assert {f"gate/{place}_granularity_{where}" for where in ("near", "far")} <= {*columns}
    assert not any("lidar" in name or "teacher" in name for name in saved)

    idle = asd_train("student", synthetic_root, tmp_path / "idle", "--teacher", teacher)
    assert idle.returncode == 2
    assert "--teacher has nothing to teach" in idle.stderr
