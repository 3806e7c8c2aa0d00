# SPDX-License-Identifier: Apache-2.0
"""Promise: a configuration survives YAML, and a wrong one is told by the name of its key."""

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
        ({"depth": {"bins": "many"}}, "depth.bins: expected int, found 'many'"),
        ({"depth": {"far": True}}, "depth.far: expected float, found True"),
        ({"image_size": [128, 352, 3]}, "image_size: expected tuple"),
        ({"image_size": [100, 352]}, "multiple of 32"),
        ({"depth": {"near": 10.0, "far": 5.0}}, "near < far"),
        ("resnet", "expected keys and values"),
        ({"bev": {"cell": 0}}, r"bev .*cell=0.*needs 0 < cell <= half_extent"),
        ({"bev": {"half_extent": -51.2}}, "needs 0 < cell <= half_extent"),
        ({"bev": {"z_min": 9}}, "z_min < z_max"),
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
    with pytest.raises(UserError, match=r"unknown key backbone.stridee; did you mean stride\?"):
        read_config(StudentRun, None, ["student.backbone.stridee=3"])
