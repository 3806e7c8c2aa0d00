# SPDX-License-Identifier: Apache-2.0
"""`detector --rviz` and `--foxglove`: what the node publishes, shown by its own parameters."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rclpy.node import Node

from asd_perception.commands.ros import node_of_parameters
from asd_perception.errors import UserError
from asd_perception.ros.overlay import overlay_topic
from asd_perception.viewing.layouts import ShownTopics, foxglove_layout, rviz_view


def print_foxglove_layout() -> None:
    """The layout on stdout. Raises UserError for parameters that the node would refuse."""
    with node_of_parameters() as node:
        print(foxglove_layout(_shown(node), node.get_parameter("base_frame").value))


def run_rviz() -> None:
    """RViz until it ends, with a view that goes when it does; exits with RViz's own status.

    Raises UserError where there is no RViz, and for parameters that the node would refuse.
    """
    with node_of_parameters() as node:
        base_frame: str = node.get_parameter("base_frame").value
        compressed = node.get_parameter("image_transport").value != "raw"
        view = rviz_view(_shown(node), base_frame, compressed)
        simulated = str(node.get_parameter("use_sim_time").value).lower()
    received: list[int] = []  # signals that come before RViz is there to get them
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: received.append(number))
    with TemporaryDirectory(prefix="asd_perception_") as folder:
        file = Path(folder, "detector.rviz")
        file.write_text(view)
        command = ["rviz2", "-d", str(file), "--ros-args", "-p", f"use_sim_time:={simulated}"]
        try:
            process = subprocess.Popen(command)
        except OSError as error:
            raise UserError(
                f"rviz2 does not start ({error.strerror}): sudo apt install ros-$ROS_DISTRO-rviz2"
            ) from error
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: process.send_signal(number))
        for early in received:
            process.send_signal(early)
        status = process.wait()
    sys.exit(status if status >= 0 else 128 - status)


def _shown(node: Node) -> ShownTopics:
    """The topics of a detector of this node's name, parameters and remappings."""
    return ShownTopics(
        markers=node.resolve_topic_name("~/markers"),
        simulated_points=node.resolve_topic_name("~/simulated_points"),
        diagnostics=node.resolve_topic_name("/diagnostics"),
        overlays={
            camera: node.resolve_topic_name(overlay_topic(camera))
            for camera in node.get_parameter("cameras").value
        },
    )
