# SPDX-License-Identifier: Apache-2.0
"""`detector` without an option: the node, until a signal ends it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import NoReturn

from rclpy.exceptions import NameValidationException

from asd_perception.commands.ros import in_one_line, ros_running
from asd_perception.errors import UserError
from asd_perception.ros.node import ConfigureStopped, DetectorNode

try:  # it takes a tenth of the other one's processor time per message
    from rclpy.experimental import EventsExecutor as Executor
except ImportError:  # before ROS 2 Jazzy
    from rclpy.executors import SingleThreadedExecutor as Executor


def run_node() -> None:
    """Run the node until SIGINT or SIGTERM, which end this process."""
    stop = threading.Event()
    node: DetectorNode | None = None

    def on_signal(*_: object) -> None:
        stop.set()
        if node is not None and node.configuring:
            raise ConfigureStopped

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    with ros_running():
        try:
            node = DetectorNode()
        except NameValidationException as error:
            raise UserError(in_one_line(error)) from error
        executor = Executor()
        executor.add_node(node)
        if node.get_parameter("autostart").value and not node.start() and not stop.is_set():
            raise SystemExit(2)  # the node has logged the reason
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
        if not node.shut_down:
            node.trigger_shutdown()
        executor.shutdown()
        node.destroy_node()
    _leave()


def _leave() -> NoReturn:
    """End with 0, without Python's own end, which first frees each object that PyTorch has made.

    That takes a second, and ten on a busy machine, where launch kills after ten.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
