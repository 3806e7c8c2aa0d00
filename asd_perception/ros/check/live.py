# SPDX-License-Identifier: Apache-2.0
"""A running robot's rig, recorded for some seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from asd_perception.ros.check.recording import RigRecording

STATIC = "/tf_static"


class LiveRig:
    """Gives what a node hears to a recording, at the times of the node's clock.

    The rig's subscriptions are made by the caller, as the detector's own are.
    """

    def __init__(self, node: Node, recording: RigRecording) -> None:
        self._node = node
        self._recording = recording
        self._images = 0
        node.create_subscription(TFMessage, "/tf", self._on_transforms, QoSProfile(depth=100))

    def on_static_transforms(self, msg: TFMessage, /) -> None:
        self._recording.add_transforms(msg, static=True)

    def on_camera_info(self, camera: str, msg: CameraInfo, /) -> None:
        self._recording.add_camera_info(camera, msg)

    def on_image(self, camera: str, msg: Any, /) -> None:
        self._images += 1
        self._recording.add_image(camera, msg, self._node.get_clock().now().nanoseconds)

    def _on_transforms(self, msg: TFMessage) -> None:
        self._recording.add_transforms(msg, static=False)

    def listen(self, seconds: float, every_second: Callable[[], None]) -> None:
        """Until so long after the first image, or until so long without any."""
        executor = SingleThreadedExecutor(context=self._node.context)
        executor.add_node(self._node)
        self._node.create_timer(1.0, every_second, clock=Clock(clock_type=ClockType.STEADY_TIME))
        try:
            end = time.monotonic() + seconds
            while not self._images and time.monotonic() < end:
                executor.spin_once(timeout_sec=0.1)
            end = time.monotonic() + (seconds if self._images else 0.0)
            while time.monotonic() < end:
                executor.spin_once(timeout_sec=0.1)
        finally:
            executor.shutdown()
        for publisher in self._node.get_publishers_info_by_topic(STATIC):
            if publisher.qos_profile.durability == DurabilityPolicy.VOLATILE:
                self._recording.bad_transforms[
                    f"{publisher.node_name} publishes {STATIC} volatile, so the detector does not "
                    "hear it; publish it latched (transient local)"
                ] += 1
        self._recording.finish()
