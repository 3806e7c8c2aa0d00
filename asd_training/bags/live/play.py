# SPDX-License-Identifier: Apache-2.0
"""Replay a rosbag2 over ROS, byte for byte, at its true or a chosen rate."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType

import numpy as np
import rclpy
from rclpy.duration import Duration
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Connection, QosReliability
from rosgraph_msgs.msg import Clock
from tqdm import tqdm

from asd_perception.errors import UserError
from asd_perception.ros.messages.geometry import time_from_ns
from asd_training.bags.bag_files import is_latched, offered_qos, open_bag, read_messages
from asd_training.bags.live.ros import message_class
from asd_training.bags.storage.bag import Bag

_DISCOVERY = 1.0  # s that subscribers get to find a new publisher
_JUMP = 3600 * 10**9  # ns between two messages from which on nobody waits for the second
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
    loop: bool = False,
    start: float = 0.0,
    topics: Sequence[str] = ("*",),
    remap: Mapping[str, str] = MappingProxyType({}),
    wait_for: Sequence[str] = (),
    wait_timeout: float = 30.0,
    stop: threading.Event | None = None,
) -> PlayReport:
    """Publish a bag's messages at `rate` times real time, and return when all are delivered.

    `topics` and `wait_for` are shell patterns of the bag's topic names; `remap` gives some of them
    other names. A topic that cannot be published, because of its type or its name, is left out,
    with a line. Where the bag's time jumps by more than an hour, the rest is played at once, with a
    line. Latched topics that begin the bag are published at once; the rest starts when
    every topic of `wait_for` has a subscriber. `start`: seconds into the bag from which on it is
    played; what was latched before comes all the same. `loop`: again and again, until `stop`. With
    `clock`, /clock shows the bag's time: before each message, and 100 times per second between.

    Raises UserError for a bag that cannot be read, a pattern without a topic, a start beyond its
    end, topics still without a subscriber after `wait_timeout` seconds, and where nothing is left.
    """
    if not (rate > 0 and math.isfinite(rate)):
        raise UserError(f"the rate must be positive, not {rate}")
    with open_bag(bag) as reader:
        if not 0 <= start <= reader.duration_ns * 1e-9:
            raise UserError(
                f"the start must lie within the bag's {reader.duration_ns * 1e-9:.1f} s, not at "
                f"{start:g} s"
            )
        connections = _matching(reader, topics)
        awaited = {item.topic for item in _matching(reader, wait_for)}
        for name in remap:
            _matching(reader, [name])
        if clock:
            connections = [item for item in connections if item.topic != "/clock"]
        if not awaited <= {item.topic for item in connections}:
            raise UserError("a topic to wait for is not among the topics to play")
        context = rclpy.Context()
        rclpy.init(args=[], context=context)
        node = rclpy.create_node("bag_player", context=context, enable_rosout=False)
        try:
            seconds = max(reader.duration_ns * 1e-9, 1e-9)
            kept = min(1.0, _QUEUE_TIME * rate / seconds)  # share of the bag
            publishers = _publishers(node, connections, remap, kept)
            connections = [item for item in connections if item.id in publishers]
            if not connections:
                raise UserError(f"{reader.path} has no message to play")
            if lost := awaited - {item.topic for item in connections}:
                raise UserError(f"{', '.join(sorted(lost))} is left out and cannot be waited for")
            player = _Player(node, connections, publishers, rate, clock, stop or threading.Event())
            begin = reader.start_ns + round(start * 1e9)
            return player.play(reader, awaited, wait_timeout, begin, loop)
        finally:
            node.destroy_node()
            rclpy.shutdown(context=context)


def _publishers(
    node: Node, connections: list[Connection], remap: Mapping[str, str], kept: float
) -> dict[int, Publisher]:
    """By the connections' ids; without those, named on stderr, that cannot be published."""
    publishers: dict[int, Publisher] = {}
    types: dict[str, str] = {}
    for item in connections:
        name = remap.get(item.topic, item.topic)
        try:
            if types.setdefault(name, item.msgtype) != item.msgtype:
                raise UserError(f"its type is {item.msgtype}, beside {types[name]} on {name}")
            publishers[item.id] = node.create_publisher(
                message_class(item.msgtype), name, _profile(item, kept)
            )
        except (UserError, InvalidTopicNameException, ValueError) as error:
            reason = str(error).splitlines()[0].rstrip(": ") if str(error) else "it is refused"
            print(f"{item.topic} is left out: {reason}", file=sys.stderr)
    return publishers


class _Player:
    def __init__(
        self,
        node: Node,
        connections: list[Connection],
        publishers: dict[int, Publisher],
        rate: float,
        clock: bool,
        stop: threading.Event,
    ) -> None:
        self._stop = stop
        self._connections = connections
        self._publishers = publishers
        self._rate = rate
        # Reliable serves both kinds of subscriber.
        self._clock = node.create_publisher(Clock, "/clock", QoSProfile(depth=1)) if clock else None

    def play(
        self,
        reader: Bag,
        awaited: set[str],
        timeout: float,
        begin: int,
        loop: bool,
    ) -> PlayReport:
        """Publish all from the bag time `begin` on, until `stop`."""
        sent: Counter[str] = Counter()
        late: deque[float] = deque(maxlen=1_000_000)
        waited = False
        total = None if loop else sum(item.msgcount for item in self._connections)
        # No bar outside of a terminal: launch would print all of it as one line.
        with tqdm(total=total, desc="playing", unit="message", disable=None) as progress:
            while True:
                start: tuple[float, int] | None = None  # (monotonic s, bag time) of one moment
                before = 0  # bag time of the message before
                for connection, stamp, data in read_messages(reader, self._connections):
                    if self._stop.is_set():
                        break
                    latched = is_latched(connection)
                    progress.update()
                    if stamp < begin and not latched:
                        continue
                    if stamp >= begin and start is None and not latched:
                        if not waited:
                            self._wait_for_subscribers(awaited, timeout)
                        waited = True
                        start, before = (time.monotonic(), stamp), stamp
                    if start is not None and stamp - before > _JUMP:
                        progress.write(
                            f"{reader.path}: its time jumps by {(stamp - before) * 1e-9:.0f} s, as "
                            "where a clock was set; played on at once",
                            file=sys.stderr,
                        )
                        start = time.monotonic(), stamp
                    before = stamp
                    if start is not None:
                        late.append(self._sleep_until(stamp, *start))
                        if self._stop.is_set():
                            break
                    self._publishers[connection.id].publish(data)
                    sent[connection.topic] += 1
                if not loop or self._stop.is_set() or start is None:  # nothing that takes time
                    break
        self._deliver_the_last()
        return PlayReport(
            sent=dict(sent),
            latest=max(late, default=0.0),
            late_p99=float(np.percentile(late, 99)) if late else 0.0,
        )

    def _wait_for_subscribers(self, awaited: set[str], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while missing := {
            item.topic
            for item in self._connections
            if item.topic in awaited and not self._publishers[item.id].get_subscription_count()
        }:
            if time.monotonic() > deadline:
                raise UserError(
                    f"no subscriber on {', '.join(sorted(missing))} after {timeout:g} s; is the "
                    "detector running and active, with the same ROS_DOMAIN_ID?"
                )
            if self._stop.wait(0.02):
                return
        # A match is seen here before it is on the other side, where messages would be ignored.
        self._stop.wait(_DISCOVERY)

    def _sleep_until(self, stamp: int, start: float, start_stamp: int) -> float:
        """Sleep until a bag time is due, ticking /clock; returns how late it is by now, in s."""
        due = start + (stamp - start_stamp) * 1e-9 / self._rate
        while (remaining := due - time.monotonic()) > 0 and not self._stop.is_set():
            if remaining > _CLOCK_PERIOD:
                self._tick(stamp - round(remaining * self._rate * 1e9))
            self._stop.wait(min(remaining, _CLOCK_PERIOD))
        self._tick(stamp)
        return max(0.0, -remaining)

    def _tick(self, stamp: int) -> None:
        if self._clock is not None:
            self._clock.publish(Clock(clock=time_from_ns(stamp)))

    def _deliver_the_last(self) -> None:
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=5))
        time.sleep(0.2)  # best-effort readers acknowledge nothing


def _matching(reader: Bag, patterns: Sequence[str]) -> list[Connection]:
    """The bag's connections whose topic matches one of the patterns, each of which must match."""
    if not reader.connections:
        raise UserError(f"{reader.path} has no topic to play")
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
        depth=max([10, queue, *(min(item.depth, connection.msgcount) for item in profiles)]),
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
