# SPDX-License-Identifier: Apache-2.0
"""Replay a bag to the detector, with RViz: what `asd-bag convert` or a robot has written.

ros2 launch asd_perception replay.launch.py bag:=bags/scene model:=runs/mine/model
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.substitutions import ExecutableInPackage

_DETECTOR = Path(__file__).resolve().parent / "detector.launch.py"


def generate_launch_description() -> LaunchDescription:
    def argument(name: str, default: str | None, description: str) -> DeclareLaunchArgument:
        return DeclareLaunchArgument(name, default_value=default, description=description)

    # The detector's other arguments (model, device, namespace, ...) pass through.
    detector = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(_DETECTOR)),
        launch_arguments={
            "image_transport": LaunchConfiguration("image_transport"),
            "rviz": LaunchConfiguration("rviz"),
            "use_sim_time": "true",
        }.items(),
    )
    return LaunchDescription(
        [
            argument("bag", None, "Folder of the bag"),
            argument("rate", "1.0", "Speed; 1 is real time"),
            argument("image_transport", "compressed", "raw, compressed or ffmpeg, as in the bag"),
            argument("rviz", "true", "Show cameras, boxes and simulated points in RViz"),
            detector,
            OpaqueFunction(function=_play),
        ]
    )


def _play(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The player, which waits for the detector to subscribe."""

    def value(argument: str) -> str:
        return LaunchConfiguration(argument).perform(context)

    transport = value("image_transport")
    images = "/image_raw" if transport == "raw" else f"/image_raw/{transport}"
    command = [ExecutableInPackage("asd-bag", "asd_perception"), "play", value("bag")]
    options = ["--clock", "--rate", value("rate"), "--wait-for", f"*{images}"]
    # Loading the model takes its time.
    command += [*options, "--wait-timeout", "300"]
    return [ExecuteProcess(cmd=command, output="screen", on_exit=_end_where_it_failed)]


def _end_where_it_failed(event: ProcessExited, context: LaunchContext) -> None:
    """Where there is no bag to be played, the detector does not wait for it."""
    if event.returncode and not context.is_shutdown:
        raise RuntimeError("the bag cannot be played: see its error above")
