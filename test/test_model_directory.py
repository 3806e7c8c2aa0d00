# SPDX-License-Identifier: Apache-2.0
"""Promise: a model survives its folder bit by bit, and a broken folder is told in one line."""

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from asd_perception.errors import UserError
from asd_perception.network import model_directory
from asd_perception.network.config import StudentConfig
from asd_perception.network.student import Student


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    return Student(StudentConfig()).eval()


@pytest.fixture
def folder(student, tmp_path):
    model_directory.save(tmp_path / "model", student, {"command": "test"})
    return tmp_path / "model"


def rewrite_config(folder, change):
    document = yaml.safe_load((folder / "config.yaml").read_text())
    change(document)
    (folder / "config.yaml").write_text(yaml.safe_dump(document))


def test_weights_and_configuration_come_back(student, folder):
    loaded = model_directory.load(folder)
    assert loaded.config == student.config
    assert not loaded.training
    for name, tensor in student.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert model_directory.read_document(folder)["provenance"] == {"command": "test"}


def test_a_model_that_was_trained_elsewhere_loses_that_machines_folders(student, tmp_path):
    old = {"command": "asd-train student /home/alice/data runs/mine", "data": "/srv/sets/nuscenes"}
    model_directory.save(tmp_path / "model", student, old)
    assert model_directory.read_document(tmp_path / "model")["provenance"] == {
        "command": "asd-train student data runs/mine",
        "data": "sets/nuscenes",
    }


def test_the_cameras_of_the_training_are_named_and_restrict_nothing(student, folder, tmp_path):
    model_directory.save(tmp_path / "three", student, {}, ["left", "front", "right"])
    assert model_directory.read_document(tmp_path / "three")["cameras"] == [
        "left",
        "front",
        "right",
    ]
    for cameras in (["roof"], []):
        rewrite_config(folder, lambda document, names=cameras: document.update(cameras=names))
        model_directory.load(folder)
    rewrite_config(folder, lambda document: document.pop("cameras"))
    model_directory.load(folder)
    rewrite_config(folder, lambda document: document.update(cameras=6))
    with pytest.raises(UserError, match="cameras is no list of names"):
        model_directory.load(folder)


def test_missing_extra_and_misshaped_tensors_are_named(folder):
    weights = load_file(folder / "model.safetensors")
    names = list(weights)
    del weights[names[0]]
    weights[names[1]] = torch.zeros(1, 2, 3, 4, 5)
    weights["intruder"] = torch.zeros(1)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(UserError) as error:
        model_directory.load(folder)
    assert f"{names[0]} is missing" in str(error.value)
    assert "intruder is not in the architecture" in str(error.value)
    assert f"{names[1]} has shape (1, 2, 3, 4, 5) instead of" in str(error.value)
    assert "\n" not in str(error.value)


def test_truncated_weights_are_told(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"model.safetensors cannot be read"):
        model_directory.load(folder)


def test_configuration_that_disagrees_with_the_weights_is_told(folder):
    rewrite_config(folder, lambda document: document["student"].update(head_channels=16))
    with pytest.raises(UserError, match="does not fit its config.yaml: .*has shape"):
        model_directory.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format=99), "not a model configuration of format 1"),
        (lambda d: d.update(classes=["car"]), "classes are not car, truck"),
        (lambda d: d["student"].update(colour="red"), "unknown key student.colour"),
        (
            lambda d: d["student"]["backbone"].update(model_type="nope"),
            "cannot be built|nope",
        ),
        (lambda d: d.pop("student"), "student"),
    ],
)
def test_a_wrong_configuration_is_told(folder, change, message):
    rewrite_config(folder, change)
    with pytest.raises(UserError, match=message):
        model_directory.load(folder)


def test_yaml_cannot_run_code(folder):
    (folder / "config.yaml").write_text("!!python/object/apply:os.system ['touch /tmp/owned']")
    with pytest.raises(UserError, match="cannot be read"):
        model_directory.load(folder)


def test_missing_files_are_named(folder, tmp_path):
    with pytest.raises(UserError, match="has no config.yaml"):
        model_directory.load(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no model.safetensors"):
        model_directory.load(folder)


def test_an_existing_model_is_not_overwritten(student, folder):
    with pytest.raises(UserError, match="exists already"):
        model_directory.save(folder, student, {})
