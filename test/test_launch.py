# SPDX-License-Identifier: Apache-2.0
"""Promise: the launch files load in a real `launch`, and bring up what they are asked for."""

import py_compile
from pathlib import Path

import pytest
import yaml

from asd_perception.ros.parameters.table import PARAMETERS

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
PARAMS_FILE = ROOT / "config" / "detector.yaml"


@pytest.mark.parametrize("file", LAUNCH_FILES, ids=lambda file: file.name)
def test_the_launch_files_compile(file, tmp_path):
    py_compile.compile(str(file), cfile=str(tmp_path / "launch.pyc"), doraise=True)


def test_the_parameter_file_gives_the_defaults_of_every_parameter():
    given = yaml.safe_load(PARAMS_FILE.read_text())["/**"]["ros__parameters"]
    for group in [name for name, value in given.items() if isinstance(value, dict)]:
        given.update({f"{group}.{name}": value for name, value in given.pop(group).items()})
    defaults = {entry.name: entry.default for entry in PARAMETERS}
    del defaults["autostart"]  # the launch file and the console script decide it
    assert given == defaults


ACTIONS = ("LifecycleNode", "Node", "ExecuteProcess", "EmitEvent", "RegisterEventHandler")


def start_up(file, **arguments):
    """The arguments that a launch file declares, and the actions that it leads to."""
    launch = pytest.importorskip("launch", reason="launch is not on PyPI; needs a ROS install")
    pytest.importorskip("launch_ros", reason="launch_ros is not on PyPI; needs a ROS install")
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(file))
    context = launch.LaunchContext()
    context.launch_configurations.update(arguments)
    actions, entities = [], list(description.entities)
    while entities:
        entity = entities.pop(0)
        if type(entity).__name__ in ACTIONS:
            actions.append(entity)
        else:
            entities[:0] = entity.visit(context) or []
    declared = {argument.name for argument in description.get_launch_arguments()}
    return declared, [type(action).__name__ for action in actions]


@pytest.mark.parametrize("rviz", ["true", "false"])
@pytest.mark.parametrize("autostart", ["true", "false"])
def test_the_detector_is_brought_up(autostart, rviz):
    declared, actions = start_up(LAUNCH_FILES[0], autostart=autostart, rviz=rviz)
    assert declared >= {"model", "device", "image_transport", "namespace", "rviz", "autostart"}
    assert declared >= {"name", "remappings"}
    up = ["RegisterEventHandler", "LifecycleNode", "EmitEvent"]
    expected = up if autostart == "true" else ["LifecycleNode"]
    assert actions == expected + ["Node"] * (rviz == "true")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"model": "/nope"}, "/nope has no config.yaml"),
        ({"params_file": "/nope.yaml"}, "no file /nope.yaml"),
        ({"log_level": "loud"}, "loud"),
        ({"remappings": "odometry:=/odom image"}, "'image' is not FROM:=TO"),
        ({"remappings": "odometry:=/my odom"}, "'odom' is not FROM:=TO"),
        ({"remappings": "odometry:=/2/odom"}, "'odometry:=/2/odom' is not FROM:=TO"),
        ({"remappings": "a:=b:=c"}, "'a:=b:=c' is not FROM:=TO"),
        ({"name": "front detector"}, "name: 'front detector' is no name of a node: letters"),
        ({"name": ""}, "name: '' is no name of a node"),
        ({"namespace": "robot//front"}, "namespace: 'robot//front' is no namespace"),
    ],
)
def test_a_wrong_argument_ends_the_launch_before_anything_starts(arguments, reason):
    with pytest.raises(RuntimeError, match=reason):
        start_up(LAUNCH_FILES[0], **arguments)


def test_a_bag_is_replayed_to_the_detector_with_rviz():
    declared, actions = start_up(LAUNCH_FILES[1], bag="/bags/scene")
    assert declared >= {"bag", "rate", "model", "device", "image_transport", "rviz"}
    assert actions == [
        "RegisterEventHandler",
        "LifecycleNode",
        "EmitEvent",
        "Node",
        "ExecuteProcess",
    ]
