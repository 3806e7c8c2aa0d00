# SPDX-License-Identifier: Apache-2.0
"""Start the detector and bring it up: configure, then activate; and RViz beside it if asked for.

ros2 launch asd_perception detector.launch.py image_transport:=compressed device:=cuda rviz:=true
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.events import matches_action
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

# share/asd_perception/launch/ in an install, launch/ in the source tree
_CONFIG = Path(__file__).resolve().parents[1] / "config"

_OVERRIDES = {
    "model": "model directory",
    "device": "auto, cpu, cuda or cuda:N",
    "image_transport": "raw, compressed or ffmpeg",
}
_LOG_LEVELS = ["debug", "info", "warn", "error", "fatal"]
_WORD = "[A-Za-z_][A-Za-z0-9_]*"
_TOPIC = rf"(\w+:)?(rostopic://|rosservice://)?(~?/)?{_WORD}(/{_WORD})*"
_RULE = "letters, digits and _, and no digit first"
_REFUSED = 2  # exit status of a node that cannot use what it was given


def generate_launch_description() -> LaunchDescription:
    def argument(
        name: str, default: str, description: str, choices: list[str] | None = None
    ) -> DeclareLaunchArgument:
        return DeclareLaunchArgument(
            name, default_value=default, description=description, choices=choices
        )

    return LaunchDescription(
        [
            argument("params_file", str(_CONFIG / "detector.yaml"), "Parameters of the node"),
            *(
                argument(name, "", f"{meaning}; empty: as the params_file says")
                for name, meaning in _OVERRIDES.items()
            ),
            argument("name", "detector", "Name of the node and of its own topics"),
            argument("namespace", "", "Namespace of the node and of its relative topics"),
            argument("remappings", "", "Topics, as FROM:=TO, with spaces between several"),
            argument("autostart", "true", "Configure and activate; false: a manager will"),
            argument("rviz", "false", "Show cameras, boxes and simulated points in RViz"),
            argument("use_sim_time", "false", "Take the time from /clock"),
            argument("log_level", "info", ", ".join(_LOG_LEVELS), _LOG_LEVELS),
            OpaqueFunction(function=_bring_up),
        ]
    )


def _bring_up(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, and the events that drive its lifecycle."""

    def value(argument: str) -> str:
        return LaunchConfiguration(argument).perform(context)

    _check_files(value("params_file"), value("model"))
    _check_names(value("name"), value("namespace"))
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
        )
    )
    # The handler comes before the events that it handles.
    configure = trigger(Transition.TRANSITION_CONFIGURE)
    return [activate_when_configured, detector, configure, *rviz]


def _is_true(value: str) -> bool:
    return value.lower() in ("true", "1")


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


def _end_where_refused(event: ProcessExited, context: LaunchContext) -> Shutdown | None:
    """Where the node has refused its parameters, which its log tells, nothing is waited for."""
    return Shutdown(reason="the detector cannot start") if event.returncode == _REFUSED else None
