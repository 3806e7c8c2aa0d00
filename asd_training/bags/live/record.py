# SPDX-License-Identifier: Apache-2.0
"""Record live ROS topics into a rosbag2, byte for byte, at the times they were received."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.exceptions import InvalidTopicNameException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.validate_full_topic_name import validate_full_topic_name
from rosbags.interfaces import Qos, QosDurability, QosReliability
from tqdm import tqdm

from asd_perception.errors import UserError
from asd_training.bags.bag_files import BagWriter, qos, record_bag
from asd_training.bags.live.ros import message_class

_QUEUE = 1000  # messages a topic may wait for the disk
_TELLS_RECEIPT = hasattr(Subscription, "CallbackType")  # of a message; rclpy does from Iron on
_FLUSH_PERIOD = 1.0  # s of messages that a process which is killed loses at most


def record(
    output: str | Path,
    topics: Sequence[str],
    *,
    duration: float | None = None,
    until_idle: float | None = None,
    stop: threading.Event | None = None,
    ready: threading.Event | None = None,
) -> dict[str, int]:
    """Record topics until `stop` is set; returns the number of messages by topic.

    Types and quality of service are taken from the publishers, so a topic is subscribed to when
    its first publisher appears; `ready` is set once all are connected. A topic whose type is not
    installed here is left out, with a line. Also stops `duration` seconds after the start, or once
    a first message came and then none for `until_idle` seconds. Whatever stops it, the bag keeps
    what came before. Raises UserError for a name that no topic can have, and if no message came at
    all: then there is no bag.
    """
    stop = stop or threading.Event()
    ready = ready or threading.Event()
    for option, seconds in (("duration", duration), ("until-idle", until_idle)):
        if seconds is not None and not 0 < seconds < math.inf:
            raise UserError(f"--{option} must be some seconds above 0, not {seconds:g}")
    topics = [topic if topic.startswith("/") else f"/{topic}" for topic in dict.fromkeys(topics)]
    for topic in topics:
        try:
            validate_full_topic_name(topic)
        except InvalidTopicNameException as error:
            reason = str(error).splitlines()[0].rstrip(":")
            raise UserError(f"{topic} cannot be recorded. {reason}") from error
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node("bag_recorder", context=context, enable_rosout=False)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        # No bar outside of a terminal: launch would print all of it as one line.
        bar = tqdm(desc="recording", unit="message", disable=None)
        with record_bag(output) as bag, bar as progress:
            recorder = _Recorder(node, bag, topics, progress)
            deadline = None if duration is None else time.monotonic() + duration
            flushed = time.monotonic()
            while not stop.is_set():
                if not ready.is_set() and recorder.connect():
                    ready.set()
                executor.spin_once(timeout_sec=0.05)
                now = time.monotonic()
                if now - flushed > _FLUSH_PERIOD:
                    bag.flush()
                    flushed = now
                if deadline is not None and now >= deadline:
                    break
                if until_idle is not None and recorder.idle_for(now) > until_idle:
                    break
            recorder.drain(executor)
            if recorder.silent_topics() == topics:
                raise UserError(
                    f"no message came on {', '.join(topics)}; are the publishers running, "
                    "with the same ROS_DOMAIN_ID?"
                )
            for topic in recorder.silent_topics():
                if topic not in recorder.left_out:
                    progress.write(f"no message came on {topic}", file=sys.stderr)
            return bag.counts
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)


class _Recorder:
    """Subscriptions that append what they receive to a bag."""

    def __init__(self, node: Node, bag: BagWriter, topics: list[str], progress: tqdm) -> None:
        self._node = node
        self._bag = bag
        self._topics = topics
        self._progress = progress
        self._subscriptions: list[Subscription] = []
        self._received = 0
        self._last_time: float | None = None  # monotonic, of the last message
        self.left_out: set[str] = set()
        """Topics whose type is not installed."""

    def connect(self) -> bool:
        """Subscribe to the topics that have a publisher by now; True when all are connected."""
        for topic in self._topics:
            if topic in self._bag.counts or topic in self.left_out:
                continue
            publishers = self._node.get_publishers_info_by_topic(topic)
            if not publishers:
                continue
            offered = [_offered(publisher.qos_profile) for publisher in publishers]
            try:
                kind = message_class(publishers[0].topic_type)
                self._bag.add_topic(topic, publishers[0].topic_type, offered)
            except UserError as error:
                self.left_out.add(topic)
                self._progress.write(f"{topic} is left out: {error}", file=sys.stderr)
            else:
                self._subscribe(topic, publishers[0].topic_type, kind, offered)
        connected = [item for item in self._subscriptions if item.get_publisher_count()]
        return len(connected) + len(self.left_out) == len(self._topics)

    def idle_for(self, now: float) -> float:
        """Seconds since the last message; 0 before the first."""
        return 0.0 if self._last_time is None else now - self._last_time

    def silent_topics(self) -> list[str]:
        """The topics to record on which nothing came."""
        return [topic for topic in self._topics if not self._bag.counts.get(topic)]

    def drain(self, executor: SingleThreadedExecutor) -> None:
        """Take what has already arrived."""
        deadline = time.monotonic() + 2.0
        received = -1
        while received != self._received and time.monotonic() < deadline:
            received = self._received
            executor.spin_once(timeout_sec=0.1)

    def _subscribe(self, topic: str, type_name: str, kind: type, offered: list[Qos]) -> None:
        def write(data: bytes, stamp_ns: int) -> None:
            self._bag.write(topic, stamp_ns, data)
            self._received += 1
            self._last_time = time.monotonic()
            self._progress.update()

        def write_received(data: bytes, info: Any) -> None:
            write(data, info["received_timestamp"])

        def write_now(data: bytes) -> None:
            write(data, time.time_ns())

        # Jazzy's rclpy does not declare the second argument.
        callback: Callable[..., None] = write_received if _TELLS_RECEIPT else write_now
        self._subscriptions.append(
            self._node.create_subscription(kind, topic, callback, _requested(offered), raw=True)
        )
        self._progress.write(f"recording {topic} ({type_name})", file=sys.stderr)


def _offered(profile: QoSProfile) -> Qos:
    """What a publisher offers; discovery does not tell its queue depth."""
    latched = profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    reliable = profile.reliability == ReliabilityPolicy.RELIABLE
    return qos(depth=10, latched=latched)._replace(
        reliability=QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT
    )


def _requested(offered: list[Qos]) -> QoSProfile:
    """The strictest quality of service that every publisher can serve."""
    reliable = all(item.reliability == QosReliability.RELIABLE for item in offered)
    latched = all(item.durability == QosDurability.TRANSIENT_LOCAL for item in offered)
    return QoSProfile(
        depth=_QUEUE,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
