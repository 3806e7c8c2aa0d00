# SPDX-License-Identifier: Apache-2.0
"""rclpy, from its start to its end, for a command that ends by signals of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.exceptions import NameValidationException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from asd_perception.errors import UserError
from asd_perception.ros.parameters.declaration import declare_parameters


def in_one_line(error: Exception) -> str:
    """What ROS says, without the places in its sources."""
    return re.sub(r", at \S+:\d+", "", " ".join(str(error).split()))


@contextmanager
def ros_running() -> Iterator[None]:
    """Within the body rclpy runs; it leaves signals to the caller.

    Raises UserError for an argument or a parameter file that rcl cannot read.
    """
    try:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        raise UserError(in_one_line(error)) from error
    try:
        yield
    finally:
        rclpy.shutdown()


@contextmanager
def node_of_parameters() -> Iterator[Node]:
    """Within the body rclpy runs, with a node of the detector's name and parameters, but no more.

    Raises UserError also for parameters that the detector would refuse.
    """
    with ros_running():
        try:
            node = rclpy.create_node("detector")
            declare_parameters(node)
        except NameValidationException as error:
            raise UserError(in_one_line(error)) from error
        yield node
