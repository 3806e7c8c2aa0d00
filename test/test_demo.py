# SPDX-License-Identifier: Apache-2.0
"""Promise: the demo works in a folder of its own, on scenes that its model never saw."""

import json

import pytest

from asd_perception.errors import UserError
from asd_perception.models import TINY
from asd_perception.network import model_directory
from asd_perception.network.config import StudentConfig
from asd_perception.network.student import Student
from asd_training import demo


def test_the_shipped_model_has_not_seen_the_demo():
    demo._check_unseen(TINY)


def test_a_model_that_has_seen_the_demo_is_refused(tmp_path):
    provenance = {"data": {"synthesis": {"seed": demo.SEED}}}
    model_directory.save(tmp_path / "model", Student(StudentConfig()), provenance)
    with pytest.raises(UserError, match="was trained on the demo's own scenes"):
        demo._check_unseen(tmp_path / "model")


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "bags").mkdir()
    with pytest.raises(UserError, match="holds other files"):
        demo._claim(tmp_path)
    assert (tmp_path / "bags").is_dir()


def test_arguments_are_checked_before_a_folder_is_made(tmp_path):
    with pytest.raises(UserError, match="ask for at least one scene"):
        demo.run_demo(tmp_path / "demo", TINY, scenes=0, keyframes=4, scale=0.5)
    assert not (tmp_path / "demo").exists()


def test_its_own_folder_is_used_again(tmp_path):
    demo._claim(tmp_path / "demo")
    (tmp_path / "demo" / "picture.jpg").touch()
    demo._claim(tmp_path / "demo")


@pytest.mark.parametrize(("keyframes", "kept"), [(4, True), (5, False)])
def test_scenes_of_other_arguments_are_made_anew(tmp_path, keyframes, kept):
    data = tmp_path / "data"
    data.mkdir()
    settings = {"scenes": {"test": 2}, "keyframes": 4, "scale": 0.5, "seed": demo.SEED}
    (data / "synthesis.json").write_text(json.dumps(settings))
    demo._forget_other_data(data, (2, keyframes, 0.5, demo.SEED))
    assert data.exists() == kept
