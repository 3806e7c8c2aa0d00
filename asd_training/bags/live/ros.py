# SPDX-License-Identifier: Apache-2.0
"""What playing and recording need beyond rosbags: rclpy, and the classes of the message types."""

from __future__ import annotations

import importlib

from asd_perception.errors import UserError
from asd_training.bags.message_types import package_and_name


def check_ros() -> None:
    """Raises UserError where rclpy cannot be imported, with the remedy."""
    try:
        importlib.import_module("rclpy")
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"this needs rclpy ({reason}): source a ROS install, such as "
            "/opt/ros/jazzy/setup.bash, or use the .venv that `make setup` makes"
        ) from error


def message_class(type_name: str) -> type:
    """rclpy's class of a type such as "sensor_msgs/msg/Image". Raises UserError."""
    package, name = package_and_name(type_name)
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"message type {type_name} is not installed ({error})") from error
