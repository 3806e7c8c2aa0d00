# SPDX-License-Identifier: Apache-2.0
"""Promise: the launch file loads in a real `launch`, and names what the package installs."""

import py_compile
from pathlib import Path

import pytest
import yaml

from asd_perception.ros.parameters import PARAMETERS

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILE = ROOT / "launch" / "detector.launch.py"
PARAMS_FILE = ROOT / "config" / "detector.yaml"


def test_the_launch_file_compiles(tmp_path):
    py_compile.compile(str(LAUNCH_FILE), cfile=str(tmp_path / "launch.pyc"), doraise=True)


def test_the_parameter_file_gives_the_defaults_of_every_parameter():
    given = yaml.safe_load(PARAMS_FILE.read_text())["/**"]["detector"]["ros__parameters"]
    for group in [name for name, value in given.items() if isinstance(value, dict)]:
        given.update({f"{group}.{name}": value for name, value in given.pop(group).items()})
    defaults = {entry.name: entry.default for entry in PARAMETERS}
    del defaults["autostart"]  # the launch file and the console script decide it
    assert given == defaults


def test_the_launch_file_brings_the_node_up():
    launch = pytest.importorskip("launch", reason="launch is not on PyPI; needs a ROS install")
    pytest.importorskip("launch_ros", reason="launch_ros is not on PyPI; needs a ROS install")
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(LAUNCH_FILE))
    arguments = {argument.name for argument in description.get_launch_arguments()}
    assert arguments >= {"model", "device", "image_transport", "params_file", "autostart"}
    context = launch.LaunchContext()
    actions = []
    for entity in description.entities:
        actions += entity.visit(context) or []
    names = [type(action).__name__ for action in actions]
    assert names == ["RegisterEventHandler", "LifecycleNode", "EmitEvent"]
