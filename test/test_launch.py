# SPDX-License-Identifier: Apache-2.0
"""Promise: the launch files load in a real `launch`, and bring up what they are asked for."""

import py_compile
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

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


ACTIONS = ("LifecycleNode", "Node", "ExecuteProcess", "TimerAction", "RegisterEventHandler")


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
    up = ["RegisterEventHandler", "LifecycleNode", "TimerAction"]
    expected = up if autostart == "true" else ["LifecycleNode"]
    assert actions == expected + ["Node"] * (rviz == "true")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"model": "/nope"}, "/nope has no config.yaml"),
        ({"params_file": "/nope.yaml"}, "no file /nope.yaml"),
        ({"log_level": "loud"}, "log_level: 'loud' is not debug or info or warn"),
        ({"rviz": "maybe"}, "rviz: 'maybe' is not true or false"),
        ({"autostart": "yes"}, "autostart: 'yes' is not true or false"),
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


@pytest.fixture
def detector_launch():
    """The launch file as a module."""
    pytest.importorskip("launch_ros", reason="launch_ros is not on PyPI; needs a ROS install")
    from launch.launch_description_sources.python_launch_file_utilities import (
        load_python_launch_file_as_module,
    )

    return load_python_launch_file_as_module(str(LAUNCH_FILES[0]))


def test_a_misspelt_argument_is_named_with_the_nearest(detector_launch, monkeypatch):
    """launch itself takes any."""
    log = Mock()
    monkeypatch.setattr(detector_launch, "get_logger", lambda name: log)
    detector_launch._warn_of_misspelt(["modle", "model", "rate", "bag", "robot", "loglevel"])
    assert [call.args[0] for call in log.warning.mock_calls] == [
        "there is no launch argument modle; did you mean model?",
        "there is no launch argument loglevel; did you mean log_level?",
    ]


def test_a_node_that_refuses_its_parameters_fails_the_launch(detector_launch):
    for status in (0, 1, -2):
        detector_launch._end_where_refused(SimpleNamespace(returncode=status), None)
    with pytest.raises(RuntimeError, match="cannot start"):
        detector_launch._end_where_refused(SimpleNamespace(returncode=2), None)


def test_nothing_is_asked_of_a_node_that_may_still_refuse_its_parameters(detector_launch):
    """What waits for its answer could not be ended."""
    observer = Mock()
    topics = observer.get_publisher_names_and_types_by_node
    topics.side_effect = detector_launch.NodeNameNonExistentError
    assert not detector_launch._is_up(observer, "/robot/detector")
    topics.side_effect = None
    topics.return_value = [("/rosout", ["rcl_interfaces/msg/Log"])]
    assert not detector_launch._is_up(observer, "/robot/detector")
    topics.return_value.append(("/health", ["diagnostic_msgs/msg/DiagnosticArray"]))
    assert detector_launch._is_up(observer, "/robot/detector")
    topics.assert_called_with("detector", "/robot")
    assert detector_launch._is_up(observer, "/detector")
    topics.assert_called_with("detector", "/")


def test_a_bag_is_replayed_to_the_detector_with_rviz():
    declared, actions = start_up(LAUNCH_FILES[1], bag="/bags/scene")
    assert declared >= {"bag", "rate", "model", "device", "image_transport", "rviz"}
    assert actions == [
        "RegisterEventHandler",
        "LifecycleNode",
        "TimerAction",
        "Node",
        "ExecuteProcess",
    ]
