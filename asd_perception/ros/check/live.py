# SPDX-License-Identifier: Apache-2.0
"""A running robot's rig, recorded for some seconds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from asd_perception.ros.check.faults import LOSS, lost_images
from asd_perception.ros.check.mismatches import QosMismatches
from asd_perception.ros.check.recording import RigRecording
from asd_perception.ros.messages.images import TRANSPORT_OF

DISCOVERY = 10.0  # s that the cameras have to be found ...
NO_PUBLISHER = 2.0  # ... and of them until a topic that nobody publishes is not waited for


class LiveRig:
    """Gives what a node hears to a recording, at the times of the node's clock.

    The rig's subscriptions are made by the caller, as the detector's own are.
    """

    def __init__(self, node: Node, recording: RigRecording, mismatches: QosMismatches) -> None:
        self._node = node
        self._mismatches = mismatches
        self._recording = recording
        self._heard: set[str] = set()  # cameras that have sent an image
        self._records = False
        self._lost: Counter[str] = Counter()  # images of each camera while it records
        self._received: Counter[str] = Counter()
        self._sizes = dict.fromkeys(recording.cameras, 0)  # bytes of its last image
        qos = QoSProfile(depth=100)
        events = mismatches.of_subscription(TFMessage, "/tf", qos)
        node.create_subscription(TFMessage, "/tf", self._on_transforms, qos, event_callbacks=events)

    def on_static_transforms(self, msg: TFMessage, /) -> None:
        self._recording.add_transforms(msg, static=True)

    def on_camera_info(self, camera: str, msg: CameraInfo, /) -> None:
        self._recording.add_camera_info(camera, msg)

    def on_image(self, camera: str, msg: Any, /) -> None:
        self._heard.add(camera)
        self._sizes[camera] = len(msg.data)
        if self._records:
            self._received[camera] += 1
            self._recording.add_image(camera, msg, self._node.get_clock().now().nanoseconds)

    def on_lost_images(self, camera: str, count: int, /) -> None:
        if self._records:
            self._lost[camera] += count

    def lost_images(self, seconds: float, transport: str) -> list[str]:
        """A line for each camera of whose images too many were lost on the way."""
        sizes = list(self._sizes.values())
        return [
            f"{camera}: {lost_images(lost, seconds, transport, self._sizes[camera], sizes)}"
            for camera, lost in self._lost.items()
            if lost > LOSS * (lost + self._received[camera])
        ]

    def _on_transforms(self, msg: TFMessage) -> None:
        self._recording.add_transforms(msg, static=False)

    def listen(
        self,
        seconds: float,
        every_second: Callable[[], None],
        stopped: Callable[[], bool],
    ) -> None:
        """Record images for so long, from when all cameras have sent one.

        DDS finds one publisher after the other: before, sweeps would lack images that were sent.
        A camera that does not send is waited for until DISCOVERY has passed.
        It ends early once stopped() holds.
        """
        executor = SingleThreadedExecutor(context=self._node.context)
        executor.add_node(self._node)
        self._node.create_timer(1.0, every_second, clock=Clock(clock_type=ClockType.STEADY_TIME))
        try:
            begin = time.monotonic()
            while not stopped() and self._waits(time.monotonic() - begin):
                executor.spin_once(timeout_sec=0.1)
            self._records = True
            end = time.monotonic() + seconds
            while not stopped() and time.monotonic() < end:
                executor.spin_once(timeout_sec=0.1)
        finally:
            executor.shutdown()
        self._recording.note_unheard(self._mismatches.look())
        self._recording.left_out = self._other_topics()
        self._recording.finish()

    def _waits(self, elapsed: float) -> bool:
        """Whether a camera may still be found."""
        topics = [
            record.topics.image
            for name, record in self._recording.cameras.items()
            if name not in self._heard
        ]
        if elapsed > NO_PUBLISHER:
            topics = [topic for topic in topics if self._node.count_publishers(topic)]
        return bool(topics) and elapsed < DISCOVERY

    def _other_topics(self) -> dict[str, str]:
        """The topics of images that nobody asked for, where a camera asked for lacks one."""
        if len(self._heard) == len(self._recording.cameras):
            return {}
        known = {record.topics.image for record in self._recording.cameras.values()}
        return {
            topic: "no camera's topic"
            for topic, types in sorted(self._node.get_topic_names_and_types())
            if topic not in known and not TRANSPORT_OF.keys().isdisjoint(types)
        }
