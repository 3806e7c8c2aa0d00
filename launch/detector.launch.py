# SPDX-License-Identifier: Apache-2.0
"""Start the detector and bring it up: configure, then activate; and RViz beside it if asked for.

ros2 launch asd_perception detector.launch.py image_transport:=compressed device:=cuda rviz:=true
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.events import matches_action
from launch.events.process import ProcessExited
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.ros_adapters import get_ros_node
from lifecycle_msgs.msg import Transition
from rclpy.node import Node as RclpyNode
from rclpy.node import NodeNameNonExistentError

# share/asd_perception/launch/ in an install, launch/ in the source tree
_CONFIG = Path(__file__).resolve().parents[1] / "config"

_OVERRIDES = {
    "model": "Model directory",
    "device": "auto, cpu, cuda or cuda:N",
    "image_transport": "raw, compressed or ffmpeg",
}
_LOG_LEVELS = ["debug", "info", "warn", "error", "fatal"]
_ARGUMENTS = {  # name: default and meaning
    "params_file": (str(_CONFIG / "detector.yaml"), "Parameters of the node"),
    **{
        name: ("", f"{meaning}; empty: as the params_file says")
        for name, meaning in _OVERRIDES.items()
    },
    "name": ("detector", "Name of the node and of its own topics"),
    "namespace": ("", "Namespace of the node and of its relative topics"),
    "remappings": ("", "Topics, as FROM:=TO, with spaces between several"),
    "autostart": ("true", "Configure and activate; false: a manager will"),
    "rviz": ("false", "Show cameras, boxes and simulated points in RViz"),
    "use_sim_time": ("false", "Take the time from /clock"),
    "log_level": ("info", ", ".join(_LOG_LEVELS)),
}
_WORD = "[A-Za-z_][A-Za-z0-9_]*"
_TOPIC = rf"(\w+:)?(rostopic://|rosservice://)?(~?/)?{_WORD}(/{_WORD})*"
_RULE = "letters, digits and _, and no digit first"
_NEAR = 0.75  # of difflib's measure: other launch files have arguments of their own
_LOOK_PERIOD = 0.1  # s between two looks whether the node is there
_REFUSED = 2  # exit status of a node that cannot use what it was given


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=meaning)
                for name, (default, meaning) in _ARGUMENTS.items()
            ),
            OpaqueFunction(function=_bring_up),
        ]
    )


def _bring_up(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, and the events that drive its lifecycle."""

    def value(argument: str) -> str:
        return LaunchConfiguration(argument).perform(context)

    _check_files(value("params_file"), value("model"))
    _check_names(value("name"), value("namespace"))
    _check_words(value)
    _warn_of_misspelt(context.launch_configurations)
    node: dict[str, Any] = {
        "package": "asd_perception",
        "executable": "detector",
        "namespace": value("namespace"),
        "output": "screen",
        "remappings": _remappings(value("remappings")),
    }
    # As arguments: for `parameters` of its own, launch leaves files behind in /tmp.
    parameters = ["--ros-args", "--params-file", value("params_file")]
    for name in _OVERRIDES:
        if value(name):  # quoted, or a model named 7 would be a number
            parameters += ["-p", f"{name}:={json.dumps(value(name))}"]
    # The node's own autostart is off: the events below bring it up.
    simulated = str(_is_true(value("use_sim_time"))).lower()
    parameters += ["-p", f"use_sim_time:={simulated}", "-p", "autostart:=false"]
    detector = LifecycleNode(
        **node,
        name=value("name"),
        arguments=[*parameters, "--log-level", value("log_level")],
        on_exit=_end_where_refused,
    )
    rviz = []
    if _is_true(value("rviz")):  # with a view of the same parameters
        view_of = ["--rviz", *parameters, "-r", f"__node:={value('name')}"]
        rviz = [Node(**node, arguments=view_of)]
    if not _is_true(value("autostart")):
        return [detector, *rviz]

    def trigger(transition: int) -> EmitEvent:
        return EmitEvent(
            event=ChangeState(
                lifecycle_node_matcher=matches_action(detector), transition_id=transition
            )
        )

    activate_when_configured = RegisterEventHandler(
        OnStateTransition(
            target_lifecycle_node=detector,
            start_state="configuring",
            goal_state="inactive",
            entities=[trigger(Transition.TRANSITION_ACTIVATE)],
            handle_once=True,  # who configures it again by hand wants no more than that
        )
    )

    def configure_soon() -> TimerAction:
        return TimerAction(period=_LOOK_PERIOD, actions=[OpaqueFunction(function=configure)])

    def configure(context: LaunchContext) -> list[LaunchDescriptionEntity]:
        """Once the node is up: launch fails where it ends while launch itself waits for it."""
        up = _is_up(get_ros_node(context), detector.node_name)
        return [trigger(Transition.TRANSITION_CONFIGURE) if up else configure_soon()]

    # The handler comes before the events that it handles.
    return [activate_when_configured, detector, configure_soon(), *rviz]


def _is_up(observer: RclpyNode, full_name: str) -> bool:
    """Whether the detector has taken its parameters: from then on it tells how it is."""
    namespace, _, name = full_name.rpartition("/")
    try:
        topics = observer.get_publisher_names_and_types_by_node(name, namespace or "/")
    except NodeNameNonExistentError:
        return False
    return any("diagnostic_msgs/msg/DiagnosticArray" in types for _, types in topics)


def _is_true(value: str) -> bool:
    return value.lower() in ("true", "1")


def _check_words(value: Callable[[str], str]) -> None:
    """Refuse what is none of an argument's few words."""
    if value("log_level").lower() not in _LOG_LEVELS:
        raise RuntimeError(f"log_level: {value('log_level')!r} is not {' or '.join(_LOG_LEVELS)}")
    for name in ("autostart", "rviz", "use_sim_time"):
        if value(name).lower() not in ("true", "1", "false", "0"):
            raise RuntimeError(f"{name}: {value(name)!r} is not true or false")


def _warn_of_misspelt(names: Iterable[str]) -> None:
    """launch takes an argument of any name, and leaves the default of the meant one silently."""
    for name in names:
        near = difflib.get_close_matches(name, _ARGUMENTS, n=1, cutoff=_NEAR)
        if near and name not in _ARGUMENTS:
            get_logger("detector.launch").warning(
                f"there is no launch argument {name}; did you mean {near[0]}?"
            )


def _check_files(params_file: str, model: str) -> None:
    """Refuse at once what the node would refuse after its long start, or silently start without."""
    if not Path(params_file).is_file():
        raise RuntimeError(f"params_file: there is no file {params_file}")
    if model and not Path(model, "config.yaml").expanduser().is_file():
        raise RuntimeError(f"model: {model} has no config.yaml; is it a model directory?")


def _check_names(name: str, namespace: str) -> None:
    """Refuse what rcl would refuse when launch has begun to wait for the node."""
    if not re.fullmatch(_WORD, name):
        raise RuntimeError(f"name: {name!r} is no name of a node: {_RULE}")
    if not re.fullmatch(f"/?({_WORD}(/{_WORD})*)?", namespace):
        raise RuntimeError(f"namespace: {namespace!r} is no namespace: {_RULE}, and / between")


def _remappings(text: str) -> list[tuple[str, str]]:
    """The pairs in FROM:=TO FROM:=TO."""
    pairs = [tuple(rule.split(":=")) for rule in text.split()]
    for pair in pairs:
        if len(pair) != 2 or not all(re.fullmatch(_TOPIC, topic) for topic in pair):
            raise RuntimeError(f"remappings: {':='.join(pair)!r} is not FROM:=TO of topics' names")
    return pairs


def _end_where_refused(event: ProcessExited, context: LaunchContext) -> None:
    """Where the node has refused its parameters, which its log tells, nothing is waited for.

    An error, so that launch, too, ends with an exit status that says so.
    """
    if event.returncode == _REFUSED:
        raise RuntimeError("the detector cannot start: see its error above")
