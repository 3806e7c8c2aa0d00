# SPDX-License-Identifier: Apache-2.0
"""Replay a rosbag2 over ROS, byte for byte, at its true or a chosen rate."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Connection, QosReliability
from rosbags.rosbag2 import Reader
from rosgraph_msgs.msg import Clock
from tqdm import tqdm

from asd_perception.errors import UserError
from asd_perception.ros.messages.geometry import time_from_ns
from asd_training.bags.bag_files import is_latched, offered_qos, open_bag, read_messages
from asd_training.bags.live.ros import message_class

_DISCOVERY = 1.0  # s that subscribers get to find a new publisher
_CLOCK_PERIOD = 0.01  # s between two /clock messages at most
# Fast DDS asks reliable readers every 3 s what they lack; what a publisher has dropped from its
# queue by then is lost. Measured: beside LiDAR sweeps, 84 small messages per second lost one in
# twenty with a queue of 20, a few in 500 with 100, none with 300.
_QUEUE_TIME = 4.0  # s of messages that a publisher keeps


@dataclass(frozen=True)
class PlayReport:
    """What was sent: messages by topic, and how late in s against the schedule."""

    sent: dict[str, int]
    latest: float
    late_p99: float

    @property
    def frames(self) -> int:
        """Complete camera frames sent: the images on the camera topic that had fewest."""
        images = [count for topic, count in self.sent.items() if "/image_raw" in topic]
        return min(images, default=0)


def play(
    bag: str | Path,
    *,
    rate: float = 1.0,
    clock: bool = False,
    topics: Sequence[str] = ("*",),
    wait_for: Sequence[str] = (),
    wait_timeout: float = 30.0,
) -> PlayReport:
    """Publish a bag's messages at `rate` times real time, and return when all are delivered.

    `topics` and `wait_for` are shell patterns of topic names. Latched topics that begin the bag
    are published at once; the rest starts when every topic of `wait_for` has a subscriber. With
    `clock`, /clock shows the bag's time: before each message, and 100 times per second between.

    Raises UserError for a bag that cannot be read, a pattern without a topic, or topics still
    without a subscriber after `wait_timeout` seconds.
    """
    if not rate > 0:
        raise UserError(f"the rate must be positive, not {rate}")
    with open_bag(bag) as reader:
        connections = _matching(reader, topics)
        awaited = {item.topic for item in _matching(reader, wait_for)}
        if clock:
            connections = [item for item in connections if item.topic != "/clock"]
        if not awaited <= {item.topic for item in connections}:
            raise UserError("a topic to wait for is not among the topics to play")
        context = rclpy.Context()
        rclpy.init(args=[], context=context)
        node = rclpy.create_node("bag_player", context=context, enable_rosout=False)
        try:
            kept = min(1.0, _QUEUE_TIME * rate * 1e9 / max(reader.duration, 1))  # share of the bag
            profiles = {item.topic: _profile(item, kept) for item in connections}
            player = _Player(node, connections, profiles, rate, clock)
            return player.play(reader, awaited, wait_timeout)
        finally:
            node.destroy_node()
            rclpy.shutdown(context=context)


class _Player:
    def __init__(
        self,
        node: Node,
        connections: list[Connection],
        profiles: dict[str, QoSProfile],
        rate: float,
        clock: bool,
    ) -> None:
        self._connections = connections
        self._rate = rate
        self._publishers: dict[str, Publisher] = {}
        for item in connections:
            if item.topic not in self._publishers:
                self._publishers[item.topic] = node.create_publisher(
                    message_class(item.msgtype), item.topic, profiles[item.topic]
                )
        # Reliable serves both kinds of subscriber.
        self._clock = node.create_publisher(Clock, "/clock", QoSProfile(depth=1)) if clock else None

    def play(self, reader: Reader, awaited: set[str], timeout: float) -> PlayReport:
        sent: Counter[str] = Counter()
        late: list[float] = []
        start: tuple[float, int] | None = None  # (monotonic s, bag time in ns) of the same moment
        total = sum(item.msgcount for item in self._connections)
        with tqdm(total=total, desc="playing", unit="message") as progress:
            for connection, stamp, data in read_messages(reader, self._connections):
                if start is None and not is_latched(connection):
                    self._wait_for_subscribers(awaited, timeout)
                    start = time.monotonic(), stamp
                if start is not None:
                    late.append(self._sleep_until(stamp, *start))
                self._publishers[connection.topic].publish(data)
                sent[connection.topic] += 1
                progress.update()
        self._deliver_the_last()
        return PlayReport(
            sent=dict(sent),
            latest=max(late, default=0.0),
            late_p99=float(np.percentile(late, 99)) if late else 0.0,
        )

    def _wait_for_subscribers(self, awaited: set[str], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        missing = awaited
        while missing := {
            topic for topic in missing if not self._publishers[topic].get_subscription_count()
        }:
            if time.monotonic() > deadline:
                raise UserError(
                    f"no subscriber on {', '.join(sorted(missing))} after {timeout:g} s; is the "
                    "detector running and active, with the same ROS_DOMAIN_ID?"
                )
            time.sleep(0.02)
        # A match is seen here before it is on the other side, where messages would be ignored.
        time.sleep(_DISCOVERY)

    def _sleep_until(self, stamp: int, start: float, start_stamp: int) -> float:
        """Sleep until a bag time is due, ticking /clock; returns how late it is by now, in s."""
        due = start + (stamp - start_stamp) * 1e-9 / self._rate
        while (remaining := due - time.monotonic()) > 0:
            if remaining > _CLOCK_PERIOD:
                self._tick(stamp - round(remaining * self._rate * 1e9))
            time.sleep(min(remaining, _CLOCK_PERIOD))
        self._tick(stamp)
        return max(0.0, -remaining)

    def _tick(self, stamp: int) -> None:
        if self._clock is not None:
            self._clock.publish(Clock(clock=time_from_ns(stamp)))

    def _deliver_the_last(self) -> None:
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=5))
        time.sleep(0.2)  # best-effort readers acknowledge nothing


def _matching(reader: Reader, patterns: Sequence[str]) -> list[Connection]:
    """The bag's connections whose topic matches one of the patterns, each of which must match."""
    matching = set()
    for pattern in patterns:
        topics = {item.topic for item in reader.connections if fnmatchcase(item.topic, pattern)}
        if not topics:
            known = ", ".join(sorted({item.topic for item in reader.connections})) or "none"
            raise UserError(f"{reader.path} has no topic {pattern}; it has {known}")
        matching |= topics
    return [item for item in reader.connections if item.topic in matching]


def _profile(connection: Connection, kept: float) -> QoSProfile:
    """The quality of service that was offered when the bag was made, or ROS's default.

    The queue holds at least the share `kept` of the topic's messages, or all if it is latched, so
    that a late subscriber gets them as when they were live.
    """
    profiles = offered_qos(connection)
    best_effort = profiles and all(
        item.reliability == QosReliability.BEST_EFFORT for item in profiles
    )
    latched = is_latched(connection)
    queue = connection.msgcount if latched else math.ceil(connection.msgcount * kept)
    return QoSProfile(
        depth=max([10, queue, *(item.depth for item in profiles)]),
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
