# SPDX-License-Identifier: Apache-2.0
"""Start the detector and bring it up: configure, then activate; and RViz beside it if asked for.

ros2 launch asd_perception detector.launch.py image_transport:=compressed device:=cuda rviz:=true
"""

import tempfile
from pathlib import Path

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

# share/asd_perception/launch/ in an install, launch/ in the source tree
_CONFIG = Path(__file__).resolve().parents[1] / "config"

_OVERRIDES = {
    "model": "model directory",
    "device": "auto, cpu, cuda or cuda:N",
    "image_transport": "raw, compressed or ffmpeg",
}


def generate_launch_description() -> LaunchDescription:
    def argument(name: str, default: str, description: str) -> DeclareLaunchArgument:
        return DeclareLaunchArgument(name, default_value=default, description=description)

    return LaunchDescription(
        [
            argument("params_file", str(_CONFIG / "detector.yaml"), "Parameters of the node"),
            *(
                argument(name, "", f"{meaning}; empty: as the params_file says")
                for name, meaning in _OVERRIDES.items()
            ),
            argument("namespace", "", "Namespace of the node and of its relative topics"),
            argument("autostart", "true", "Configure and activate; false: a manager will"),
            argument("rviz", "false", "Show cameras, boxes and simulated points in RViz"),
            argument("use_sim_time", "false", "Take the time from /clock"),
            argument("log_level", "info", "debug, info, warn, error or fatal"),
            OpaqueFunction(function=_bring_up),
        ]
    )


def _bring_up(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, and the events that drive its lifecycle."""

    def value(argument: str) -> str:
        return LaunchConfiguration(argument).perform(context)

    overrides = {
        name: ParameterValue(value(name), value_type=str) for name in _OVERRIDES if value(name)
    }
    detector = LifecycleNode(
        package="asd_perception",
        executable="detector",
        name="detector",
        namespace=value("namespace"),
        output="screen",
        # The node's own autostart is off: the events below bring it up.
        parameters=[
            value("params_file"),
            {**overrides, "autostart": False, "use_sim_time": _is_true(value("use_sim_time"))},
        ],
        arguments=["--ros-args", "--log-level", value("log_level")],
    )
    rviz = [_rviz(value("namespace"), value("image_transport"))] if _is_true(value("rviz")) else []
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


def _rviz(namespace: str, transport: str) -> Node:
    """RViz with the package's view of the detector in this namespace."""
    view = (_CONFIG / "detector.rviz").read_text()
    prefix = f"/{namespace.strip('/')}" if namespace.strip("/") else ""
    view = view.replace("/detector/", f"{prefix}/detector/").replace("/CAM_", f"{prefix}/CAM_")
    if transport in ("compressed", "ffmpeg"):
        view = view.replace("/image_raw", f"/image_raw/{transport}")
    with tempfile.NamedTemporaryFile("w", suffix=".rviz", delete=False) as file:
        file.write(view)
    return Node(package="rviz2", executable="rviz2", arguments=["-d", file.name])
