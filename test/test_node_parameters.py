# SPDX-License-Identifier: Apache-2.0
"""Promise: parameters are taken as people write them, and wrong ones are refused with a reason."""

import sys
from contextlib import contextmanager

import pytest
import rclpy
import yaml
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from asd_perception.constants import CLASSES
from asd_perception.errors import UserError
from asd_perception.ros.parameters.declaration import declare_parameters, unknown_parameters
from asd_perception.ros.parameters.files import files_for_others
from asd_perception.ros.parameters.settings import (
    LatencyBudget,
    Settings,
    read_budgets,
    read_selection,
)
from asd_perception.ros.subscriptions import OVERRIDABLE
from asd_perception.runtime.selection import Selection


@contextmanager
def node_with(*arguments):
    """A node with the detector's parameters, of these values."""
    context = rclpy.Context()
    context.init(args=["--ros-args", *arguments])
    node = rclpy.create_node("detector", context=context)
    try:
        declare_parameters(node)
        yield node
    finally:
        node.destroy_node()
        context.shutdown()


def given(**values):
    return [word for name, value in values.items() for word in ("-p", f"{name}:={value}")]


def change(node, name, value):
    """Why a change is refused, or nothing."""
    (result,) = node.set_parameters([Parameter(name, value=value)])
    return "" if result.successful else result.reason


def test_by_default_all_objects_of_a_score_are_wanted():
    with node_with() as node:
        assert read_selection(node, 0.05) == Selection(
            0.05, {}, CLASSES, (-1e3, 1e3), (-1e3, 1e3), 0.0
        )


def test_wishes_are_read_as_they_are_now():
    values = {"class_threshold.car": 0.3, "classes": "[car, bus]", "region.x": "[-5.0, 50.0]"}
    with node_with(*given(**values)) as node:
        assert read_selection(node, 0.05).class_thresholds == {"car": 0.3}
        assert read_selection(node, 0.05).classes == ("car", "bus")
        assert read_selection(node, 0.05).x == (-5.0, 50.0)
        assert not change(node, "duplicate_radius", 1.5)
        assert not change(node, "class_threshold.car", -1.0)
        assert read_selection(node, 0.05).duplicate_radius == 1.5
        assert read_selection(node, 0.05).class_thresholds == {}
        assert unknown_parameters(node, of_qos=False) == []


def test_budgets_are_read_as_they_are_now():
    with node_with(*given(**{"latency_budget.total": "[0.1, 1.0]"})) as node:
        none = LatencyBudget()
        assert read_budgets(node) == {"total": LatencyBudget(0.1, 1.0), "stamp": none}
        assert not change(node, "latency_budget.stamp", [0.0, 0.5])
        assert not change(node, "latency_budget.total", [0.2, 0.0])
        assert read_budgets(node) == {
            "total": LatencyBudget(warn=0.2),
            "stamp": LatencyBudget(error=0.5),
        }


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("classes", ["car", "pedestrain"], "no class 'pedestrain'; did you mean pedestrian?"),
        ("classes", "car", "Wrong parameter type"),
        ("class_threshold.car", 1.5, "out of range"),
        ("region.x", [10.0, -10.0], "from and to, of which the first is smaller"),
        ("region.x", [10.0], "is not two numbers"),
        ("region.y", [0.0, float("nan")], "is not two numbers"),
        ("region.y", ["a", "b"], "is not a list of numbers"),
        ("latency_budget.total", [0.2, 0.1], "the ERROR would come before the WARN"),
        ("latency_budget.total", [-0.1, 0.0], "is not two times from 0 to 60 s"),
        ("latency_budget.stamp", [0.1], "is not two times"),
        ("latency_budget.stamp", [0.1, float("nan")], "is not two times"),
        ("duplicate_radius", -0.1, "out of range"),
        ("duplicate_radius", float("nan"), "out of range"),
        ("duplicate_radius", True, "is not a number"),
        ("score_threshold", "much", "is not a number"),
        ("use_odometry", 1, "Wrong parameter type"),
    ],
)
def test_a_wrong_value_is_refused_with_the_reason(name, value, reason):
    with node_with() as node:
        assert reason in change(node, name, value)


def test_whole_numbers_are_numbers():
    values = {"score_threshold": 1, "region.x": "[-5, 50]", "sync.max_wait": 1}
    with node_with(*given(**values)) as node:
        assert node.get_parameter("score_threshold").value == 1.0
        assert read_selection(node, 0.05).x == (-5.0, 50.0)
        assert Settings.read(node).sync_max_wait == 1.0
        assert not change(node, "score_threshold", 0)
        assert not change(node, "region.y", [-2, 2])
        assert "from -1 to 1" in change(node, "score_threshold", 2)


def test_a_misspelt_class_is_named_with_the_nearest():
    with node_with(*given(**{"class_threshold.truk": 0.5})) as node:
        (line,) = unknown_parameters(node, of_qos=False)
        assert "class_threshold.truk has no effect; did you mean class_threshold.truck?" in line


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("[tank]", "no class 'tank'; known are .*"),
        ("[]", "give at least one"),
        ("7", "7 is not a list of names"),
    ],
)
def test_a_wrong_value_at_start_is_refused_in_our_words(value, reason):
    with (
        pytest.raises(UserError, match=f"^classes: .*{reason}$"),
        node_with(*given(classes=value)),
    ):
        pass


@pytest.mark.parametrize(
    ("policy", "value", "reason"),
    [
        ("reliability", "sometimes", "'sometimes' is not reliable or best_effort"),
        ("depth", 0, "0 is not a whole number from 1"),
        ("history", "none", "'none' is not keep_last"),
    ],
)
def test_a_wrong_quality_of_service_is_refused(policy, value, reason):
    name = f"qos_overrides./chatter.subscription.{policy}"
    with (
        node_with(*given(**{name: value})) as node,
        pytest.raises(ParameterException, match=reason),
    ):
        node.create_subscription(Image, "/chatter", print, 1, qos_overriding_options=OVERRIDABLE)


@pytest.mark.parametrize("humble", [False, True])
def test_new_cameras_get_their_parameters(monkeypatch, humble):
    """Humble's rclpy tells nobody that parameters have been set."""
    if humble:
        monkeypatch.delattr(Node, "add_post_set_parameters_callback")
    with node_with() as node:
        assert not node.has_parameter("camera.left.image")
        assert not change(node, "cameras", ["left", "right"])
        assert node.get_parameter("cameras").value == ["left", "right"]
        assert node.has_parameter("camera.left.image")
        assert "calibration" in change(node, "camera.right.calibration", "unknown")
        assert change(node, "cameras", ["left", "left"])
        assert not node.has_parameter("camera.other.image")


@pytest.mark.parametrize(
    ("nodes", "others"),
    [
        (["detector"], "/detector"),
        (["/robot/detector"], ""),
        (["robot/detector", "planner"], ""),
        (["/**"], ""),
        (["/**/detector"], ""),
        (["/*/detector"], ""),
        (["/*"], "/*"),
        (["/robot", "planner"], "/robot, /planner"),
    ],
)
def test_a_parameter_file_for_other_nodes_alone_is_named(
    monkeypatch, tmp_path, capfd, nodes, others
):
    """ROS takes it without a word."""
    file = tmp_path / "robot.yaml"
    content = {name: {"ros__parameters": {"score_threshold": 0.77}} for name in nodes}
    file.write_text(yaml.safe_dump(content))
    arguments = ["--params-file", str(file), "-r", "__ns:=/robot"]
    monkeypatch.setattr(sys, "argv", ["detector", "--ros-args", *arguments])
    with node_with(*arguments) as node:
        told = f"robot.yaml has nothing for the node /robot/detector, only for {others};"
        assert (told in capfd.readouterr().err) == bool(others)
        assert (node.get_parameter("score_threshold").value == 0.77) == (not others)


def test_what_a_parameter_file_says_may_be_nested(tmp_path):
    file = tmp_path / "robot.yaml"
    file.write_text(yaml.safe_dump({"robot": {"planner": {"ros__parameters": {}}}}))
    found = files_for_others(["--params-file", str(file)], "/robot/detector")
    assert found == {str(file): ["/robot/planner"]}
    file.write_text(yaml.safe_dump({"/": {"detector": {"ros__parameters": {}}}}))
    assert files_for_others(["--params-file", str(file)], "/detector") == {}
    for content in ("- detector", "device: cpu", "{", ""):  # rcl says what is wrong with it
        file.write_text(content)
        assert files_for_others(["--params-file", str(file)], "/robot/detector") == {}
    assert files_for_others(["--params-file", "missing"], "/robot/detector") == {}
