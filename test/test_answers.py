# SPDX-License-Identifier: Apache-2.0
"""Promise: a teacher's prepared answers teach what the teacher itself would, as far as bfloat16
tells it, and are prepared only where augmentation shows the teacher nothing new."""

from __future__ import annotations

import dataclasses
import json
import re
import resource
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from commands import asd_train_here, stopped_at
from small import SMALL

from asd_perception.configuration import configuration, to_dict
from asd_perception.errors import UserError
from asd_perception.network import model_directory
from asd_training.benchmarks.training import cost
from asd_training.config.augmentation import AugmentationConfig
from asd_training.config.distillation import PRESETS, DistillConfig
from asd_training.config.run import StudentRun
from asd_training.config.teacher import TeacherConfig
from asd_training.data.index import KeyframeIndex
from asd_training.data.samples import KeyframeDataset, collate
from asd_training.models.answers import _used, changes
from asd_training.models.teacher import Teacher
from asd_training.resident import samples as resident_samples
from asd_training.training.student import StudentTraining

FULL = {"cross_modal": "adaptive", "multi_modal": "adaptive", "response": "soft"}
STILL = AugmentationConfig(bev_flip=False, bev_rotation=0, colour_gain=0, colour_offset=0)
MIRRORED = AugmentationConfig(bev_rotation=0, colour_gain=0, colour_offset=0)
OF_IMAGES = AugmentationConfig(bev_rotation=0, flip=True, resize=(0.9, 1.1), camera_dropout=0.3)


@pytest.fixture(scope="module")
def index(synthetic_root):
    return KeyframeIndex.open(synthetic_root)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """The model directories of a teacher of each modality."""
    folder = tmp_path_factory.mktemp("teachers")
    for seed, modality in enumerate(("lidar", "lidar_camera")):
        torch.manual_seed(seed)
        config = TeacherConfig(modality, network=SMALL)
        network = Teacher(config)
        with torch.no_grad():  # the head starts out the same everywhere; here, cells must differ
            for parameter in network.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
        model_directory.save_network(folder / modality, "teacher", network, config, {})
    return folder


@pytest.fixture
def training(index, teachers, tmp_path):
    def training(modality="lidar", augmentation=MIRRORED, cache=True, **losses):
        torch.manual_seed(0)
        distillation = DistillConfig(
            teacher=str(teachers / modality), ramp_steps=0, **(losses or FULL)
        )
        run = StudentRun(
            student=SMALL,
            distillation=distillation,
            augmentation=augmentation,
            cache=str(tmp_path / "cache") if cache else None,
        )
        return StudentTraining(run, index).train()

    return training


def a_batch(module):
    """Augmented samples, mirrored and not."""
    dataset = KeyframeDataset(
        module.index, SMALL, module.contents, augmentation=module.config.augmentation
    )
    keyframes = module.index.split("synthetic_train").tolist()
    draws = [np.random.default_rng(seed) for seed in range(6)]
    return collate([dataset.sample(i, draw) for i, draw in zip(2 * keyframes, draws, strict=True)])


@pytest.mark.parametrize(
    ("modality", "augmentation"),
    [
        ("lidar", None),
        ("lidar", MIRRORED),
        ("lidar", OF_IMAGES),
        ("lidar_camera", None),
        ("lidar_camera", MIRRORED),
    ],
)
def test_prepared_answers_give_the_loss_that_the_teacher_gives(training, modality, augmentation):
    gives_the_same_loss(training, modality, augmentation)


@pytest.mark.parametrize("multi_modal", ["raw", "adaptive_ray", "functional"])
@pytest.mark.parametrize("modality", ["lidar", "lidar_camera"])
def test_so_do_those_that_other_losses_need(training, modality, multi_modal):
    losses = {"multi_modal": multi_modal, "cross_modal": "raw", "response": "replaces"}
    gives_the_same_loss(training, modality, MIRRORED, **losses)


def gives_the_same_loss(training, modality, augmentation, **losses):
    asks, prepares = (training(modality, augmentation, cache, **losses) for cache in (False, True))
    batch = a_batch(asks)
    if augmentation is not None:
        assert 0 < batch.mirrored.sum() < len(batch.mirrored)
    assert prepares.contents.sweeps == 0  # it needs no points itself
    found = prepares.losses(a_batch(prepares))
    for name, loss in asks.losses(batch).items():
        torch.testing.assert_close(
            found[name], loss, rtol=1e-2, atol=1e-4, msg=f"{name}: {found[name]} {loss}"
        )
    asked, prepared = asks.teacher(batch).answer, prepares.answers(batch)
    for name in prepares.answers.maps:
        maps = getattr(prepared, name).float(), getattr(asked, name)
        torch.testing.assert_close(*maps, rtol=2**-8, atol=1e-6, msg=name)


def test_they_are_prepared_only_where_the_teacher_sees_nothing_new(training):
    assert not changes(None, True) and not changes(STILL, True) and not changes(MIRRORED, True)
    assert not changes(OF_IMAGES, uses_cameras=False)
    seen = ["resize", "flip", "colour_gain", "colour_offset", "camera_dropout"]
    assert changes(OF_IMAGES, uses_cameras=True) == seen
    moved = AugmentationConfig(bev_scale=(0.9, 1.1))
    assert changes(moved, uses_cameras=False) == ["bev_rotation", "bev_scale"]
    for module in (training("lidar", moved), training("lidar_camera", OF_IMAGES)):
        assert module.asked_anew.startswith("augmentation changes what it sees: ")
        assert module.contents.sweeps == 1
    assert training(cache=False).asked_anew == "no cache is configured"


def test_an_augmentation_that_nobody_thought_of_counts_as_a_change():
    @configuration
    class WithFog(AugmentationConfig):
        fog: float = 0.1

    fog = WithFog(bev_rotation=0, colour_gain=0, colour_offset=0)
    assert changes(fog, uses_cameras=False) == changes(fog, uses_cameras=True) == ["fog"]


@pytest.mark.parametrize("key", ["cross_modal", "multi_modal", "response"])
def test_a_loss_whose_maps_are_not_known_is_refused(key):
    losses = dict.fromkeys(("cross_modal", "multi_modal", "response"), "none") | {key: "novel"}
    with pytest.raises(KeyError, match="novel"):
        _used(SimpleNamespace(**losses), SimpleNamespace(uses_cameras=True))


def test_answers_that_a_benchmark_prepares_are_those_of_a_run(training, tmp_path):
    def bits(module):
        return {name: maps.view(torch.int16) for name, maps in module.answers.maps.items()}

    def measured():
        module = training()
        module.config = dataclasses.replace(
            module.config, precision="bf16-mixed", batch_size=1, train_split="synthetic_train"
        )
        return module, cost(module, torch.device("cpu"))

    with torch.autocast("cpu", torch.bfloat16):
        in_bfloat16 = bits(training())
    shutil.rmtree(tmp_path / "cache")
    expected = bits(training())
    shutil.rmtree(tmp_path / "cache")
    (first, at_first), (_, then) = measured(), measured()
    assert at_first == then  # the teacher's forward pass is none of the student's
    for name, of_map in expected.items():
        assert torch.equal(in_bfloat16[name], of_map)
        assert torch.equal(bits(first)[name], of_map)


def test_only_maps_that_the_losses_use_are_kept_and_shared_between_runs(training, tmp_path):
    def kept():
        return {file.parent for file in (tmp_path / "cache").glob("*/maps.bin")}

    multi_modal = training(multi_modal="adaptive").answers
    assert list(multi_modal.maps) == ["lidar_bev"]  # without cameras it is the fused one
    assert (
        multi_modal.bytes_per_keyframe == 2 * 2 * SMALL.bev_channels * SMALL.bev.size**2
    )  # bytes, sides, channels
    first = kept()
    assert len(first) == 1
    assert training(cross_modal="l2").answers.folders == multi_modal.folders
    assert kept() == first
    everything = training().answers
    assert list(everything.maps) == ["lidar_bev", "heatmap", "boxes"]
    assert everything.folders["lidar_bev"] == multi_modal.folders["lidar_bev"]
    assert len(kept()) == 3
    assert training(augmentation=STILL).answers.folders.keys() == everything.folders.keys()
    assert list(training("lidar_camera").answers.maps)[:2] == ["lidar_bev", "fused_bev"]
    assert len(kept()) == 3 + 3 + 4


def test_a_device_holds_them_if_samples_and_they_have_room(training, monkeypatch):
    module = training()
    needed = module.answers.nbytes  # asked for by real numbers
    module = module.to("meta")
    module.samples = SimpleNamespace(device=torch.device("meta"))
    monkeypatch.setattr(resident_samples, "free_bytes", lambda _: 2 * needed - 1)
    assert re.search("they take 0.0 GB, and at most 50% of the 0.0 GB", module.place_answers())
    assert module.answers.device.type == "cpu"
    assert module.why_not_recorded == "the teacher's answers are read from files"
    assert module.bytes_beside_samples == 0
    monkeypatch.setattr(resident_samples, "free_bytes", lambda _: 2 * needed)
    assert module.place_answers() is None
    assert {maps.device.type for maps in module.answers.maps.values()} == {"meta"}
    assert module.bytes_beside_samples == needed


@pytest.mark.parametrize("file", ["maps.bin", "records.npz"])
def test_torn_answers_are_made_anew(training, capfd, file):
    answers = training().answers
    expected = answers.maps["heatmap"].clone()
    path = answers.folders["heatmap"] / file
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    again = training().answers
    assert re.search(f"{path.parent} is damaged and is built anew \\(.+\\)", capfd.readouterr().err)
    assert path.stat().st_size == len(whole)
    assert torch.equal(again.maps["heatmap"], expected)


def test_a_changed_byte_is_refused(training):
    module = training()
    batch, folder = a_batch(module), module.answers.folders["boxes"]
    row = int(batch.mirrored[0]) * module.answers.keyframes  # of the first sample
    with (folder / "maps.bin").open("r+b") as changed:
        changed.seek(row * module.answers.maps["boxes"][0].nbytes + 100)
        changed.write(b"\x7f\x3f")
    with pytest.raises(UserError, match=rf"{folder} is damaged \(answer {row}\); remove it"):
        module.losses(batch)


def test_a_full_disk_leaves_nothing(training, tmp_path, monkeypatch):
    # Loader processes would share memory through files that the limit applies to as well.
    monkeypatch.setattr("asd_training.data.samples.available_cores", lambda: 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match=f"File too large: '{tmp_path}"):
            assert training().answers
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
    assert training().answers


@pytest.mark.slow
def test_a_run_says_what_it_does_and_resumed_ends_as_if_never_stopped(
    synthetic_root, teachers, tmp_path, monkeypatch, capfd
):
    run = StudentRun(
        steps=3, batch_size=2, warmup_steps=0, checkpoint_every=1, augmentation=MIRRORED,
        student=SMALL, cache=str(tmp_path / "cache"), curve_from=0, loader_workers=0,
    )  # fmt: skip
    values = to_dict(run)
    values["distillation"] |= {**PRESETS["adaptive"], "teacher": str(teachers / "lidar")}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(values))

    def student(folder, *arguments):
        command = ("student", synthetic_root, tmp_path / folder, *arguments)
        return asd_train_here(monkeypatch, capfd, *command)

    configured = ("--config", tmp_path / "small.yaml")
    code, said, _ = student("whole", *configured)
    assert code == 0
    assert re.search(r"\nteacher: answers prepared \(0.1 MB per keyframe\)\n", said)

    with stopped_at(monkeypatch, StudentTraining, 2):
        assert student("stopped", *configured)[0] == 2
    assert student("stopped", "--resume")[0] == 0
    whole, stopped = (
        safetensors.torch.load_file(tmp_path / name / "model" / "model.safetensors")
        for name in ("whole", "stopped")
    )
    for name, tensor in whole.items():
        torch.testing.assert_close(stopped[name], tensor, rtol=0, atol=0, msg=name)
    costs = {
        name: json.loads((tmp_path / name / "metrics.json").read_text())["core_seconds_per_sample"]
        for name in ("whole", "stopped")
    }
    assert set(costs["whole"]) == set(costs["stopped"]) == {"prepare", "loader", "step"}
    assert costs["whole"]["prepare"] > costs["stopped"]["prepare"] > 0  # which found all there

    code, said, _ = student(
        "anew", *configured, "--set=augmentation.bev_rotation=1", "--set=steps=1"
    )
    assert code == 0
    because = "asked about each sample (augmentation changes what it sees: bev_rotation)"
    assert f"\nteacher: {because}\n" in said
