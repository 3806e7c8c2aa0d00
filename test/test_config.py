# SPDX-License-Identifier: Apache-2.0
"""Promise: a configuration survives YAML, and a wrong one is told by the name of its key."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from asd_perception.configuration import from_dict, to_dict
from asd_perception.errors import UserError
from asd_perception.network.config import StudentConfig
from asd_training.config.read import commented_yaml, read_config
from asd_training.config.run import StudentRun, TeacherRun

CONFIGURATIONS = Path(__file__).parents[1] / "config" / "training"


@pytest.mark.parametrize("config", [StudentConfig(), StudentRun(), TeacherRun()])
def test_round_trip_through_yaml(config):
    assert from_dict(type(config), yaml.safe_load(yaml.safe_dump(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"image_sise": [128, 352]},
            "unknown key image_sise; did you mean image_size. known keys are image_size",
        ),
        ({"depth": {"bins": "many"}}, "depth.bins: expected a whole number, found 'many'"),
        ({"depth": {"far": True}}, "depth.far: expected a number, found True"),
        ({"image_size": [128, 352, 3]}, "image_size: expected a list of at most 2, found"),
        ({"image_size": 128}, "image_size: expected a list, found 128"),
        ({"image_size": [100, 352]}, "image_size is .100, 352.; .* multiple of 32"),
        ({"depth": {"near": 10.0, "far": 5.0}}, "depth.near is 10.0; it must be below far, 5.0"),
        ({"depth": {"near": 0.0}}, "depth.near is 0.0; it must be above 0"),
        ({"depth": {"bins": 1}}, "depth.bins is 1; it must be at least 2"),
        ("resnet", "expected keys and values"),
        ({"bev": {"cell": 0}}, "bev.cell is 0.0; it must be above 0 and at most half_extent, 51.2"),
        ({"bev": {"half_extent": -51.2}}, "bev.cell is 0.8; it must be above 0 and at most"),
        ({"bev": {"z_min": 9}}, "bev.z_min is 9.0; it must be below z_max, 5.0"),
        ({"bev": {"half_extent": 8.8}}, "bev has 22 cells per side; it must be a multiple of 4"),
        ({"encoder_blocks": -1}, "encoder_blocks is -1; it must be at least 1"),
        ({"encoder_channels": [32, 0, 64]}, r"encoder_channels.1. is 0; it must be at least 1"),
    ],
)
def test_a_wrong_value_is_named(values, message):
    with pytest.raises(UserError, match=message):
        from_dict(StudentConfig, values)


@pytest.mark.parametrize(
    ("kind", "name"), [(StudentRun, "synthetic"), (TeacherRun, "synthetic_teacher")]
)
def test_without_a_file_a_run_is_the_shipped_recipe(kind, name):
    assert kind() == read_config(kind, CONFIGURATIONS / f"{name}.yaml")


@pytest.mark.parametrize("kind", [StudentRun, TeacherRun])
def test_the_printed_configuration_says_all_and_can_be_run(kind, tmp_path):
    changes = ["steps=7", "learning_rate=1e-4", "pretrained=weights"]
    config = read_config(kind, None, changes)
    text = commented_yaml(config)
    (tmp_path / "printed.yaml").write_text(text)
    assert read_config(kind, tmp_path / "printed.yaml") == config
    lines = [line.strip() for line in text.splitlines()]
    for before, line in pairwise(lines):
        name = line.partition(":")[0]
        inside = line.startswith("- ") or name in StudentConfig().backbone.options
        if not line.startswith("#") and not inside:  # of a list, or of another library
            assert before.startswith("#"), f"{name} has no comment"


def test_a_configuration_needs_neither_torch_nor_a_dataset():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import asd_training.config.read, sys; print(*sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"torch", "nuscenes", "lightning", "transformers", "cv2"} & set(done.stdout.split())


def test_an_unknown_key_names_the_nearest_known_one():
    with pytest.raises(UserError, match=r"unknown key student.depth.binz; did you mean bins\?"):
        read_config(StudentRun, None, ["student.depth.binz=3"])
    with pytest.raises(UserError, match=r"key student.backbone.stridee; did you mean stride\?"):
        read_config(StudentRun, None, ["student.backbone.stridee=3"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning-rate: 1", "unknown key learning-rate; did you mean learning_rate? known keys"),
        ("student: {image-size: [96, 256]}", "student.image-size; did you mean image_size?"),
        ("student: {trained_cameras: [{focl: 1}]}", "trained_cameras[0].focl; did you mean focal?"),
        ("steps =3: 1", "unknown key 'steps =3'; did you mean steps?"),
        ("'': 1", "unknown key ''; known keys are train_split"),
        ("1: 2", "unknown key 1: a key is text, and this is 1"),
        ("null: 2", "unknown key None: a key is text, and this is None"),
        ("student: {2026-11-29: 2}", "unknown key student.2026-11-29: a key is text"),
        ("student: {trained_cameras: [{1: 2}]}", "unknown key student.trained_cameras[0].1: a key"),
    ],
)
def test_a_key_that_is_no_name_is_unknown(tmp_path, text, message):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read_config(StudentRun, tmp_path / "run.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("student.image_size=[100,352]", "student.image_size is (100, 352); each side"),
        ("student.depth.near=70", "student.depth.near is 70.0; it must be below far, 60.0"),
        ("student.bev.cell=0", "student.bev.cell is 0.0; it must be above 0"),
        ("student.bev.half_extent=8.8", "student.bev has 22 cells per side; it must be"),
        ("frozen_stages=2", "frozen_stages keeps weights as they are: name some by pretrained"),
        ("student.backbone.stride=0", "student.backbone.stride is 0; it must be at least 1"),
        ("augmentation.resize=[2,1]", "augmentation.resize is (2.0, 1.0); it needs 0.1"),
        ("distillation.levels=[2,1]", "distillation.levels are (2.0, 1.0); they must rise"),
        ("distillation.levels=[0,.nan]", "distillation.levels[1] is nan; it must be finite"),
        ("distillation.response_weight=.inf", "distillation.response_weight is inf; it must be"),
        ("supervision.semantics=.inf", "supervision.semantics is inf; it must be finite"),
        ("weight_decay=.inf", "weight_decay is inf; it must be finite"),
    ],
)
def test_a_fault_has_its_full_path_and_is_blamed_on_what_brought_it_in(tmp_path, change, message):
    file = tmp_path / "run.yaml"
    file.write_text("steps: 7\n")
    changes = ["seed=3", change, "batch_size=2"]
    with pytest.raises(UserError, match=re.escape(f"--set {change}: {message}")) as caught:
        read_config(StudentRun, file, changes)
    assert str(file) not in str(caught.value)
    key, _, value = change.partition("=")
    for part in reversed(key.split(".")):
        value = f"{{{part}: {value}}}"
    file.write_text(value)
    with pytest.raises(UserError, match=re.escape(f"{file}: {message}")):
        read_config(StudentRun, file, ["seed=3"])


def test_a_change_may_mend_the_file(tmp_path):
    (tmp_path / "run.yaml").write_text("student: {depth: {near: 70}}\n")
    config = read_config(StudentRun, tmp_path / "run.yaml", ["student.depth.far=80"])
    assert config.student.depth.far == 80
