# SPDX-License-Identifier: Apache-2.0
"""Publishers and subscriptions elsewhere to which no message goes, for their quality of service."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks


class QosMismatches:
    """Knows a node's topics, and which other ends of them do not fit.

    The middleware's own events come once, if at all; who looks at the graph misses none.
    warn(kind, text) is called once for each, as long as it is there.
    """

    def __init__(self, node: Node, warn: Callable[[str, str], None]) -> None:
        self._node = node
        self._warn = warn
        self._told: set[str] = set()
        self._topics: dict[tuple[str, bool], QoSProfile] = {}  # by name, and whether published

    def of_subscription(
        self, topic: str, qos: QoSProfile, lost: Callable[[int], None] | None = None
    ) -> SubscriptionEventCallbacks:
        """The event callbacks of a subscription; lost(n) is told of messages lost on the way."""
        self._topics[self._node.resolve_topic_name(topic), False] = qos
        before = 0

        def on_lost(event: Any) -> None:
            nonlocal before
            new, before = event.total_count - before, event.total_count
            if lost is not None and new > 0:
                lost(new)

        return SubscriptionEventCallbacks(
            incompatible_qos=_told_elsewhere,
            message_lost=None if lost is None else on_lost,
        )

    def of_publisher(self, topic: str, qos: QoSProfile) -> PublisherEventCallbacks:
        """The event callbacks of a publisher."""
        self._topics[self._node.resolve_topic_name(topic), True] = qos
        return PublisherEventCallbacks(incompatible_qos=_told_elsewhere)

    def forget_subscription(self, topic: str) -> None:
        """A subscription that is no more."""
        self._topics.pop((self._node.resolve_topic_name(topic), False), None)

    def clear(self) -> None:
        """Forget all, with the node's topics."""
        self._topics.clear()
        self._told.clear()

    def look(self) -> dict[str, list[str]]:
        """Those that are there now, each with the remedy, by topic."""
        found: dict[str, list[str]] = {}
        for (topic, published), qos in list(self._topics.items()):
            if published:
                others = self._node.get_subscriptions_info_by_topic(topic)
            else:
                others = self._node.get_publishers_info_by_topic(topic)
            for other in others:
                offered, asked = (qos, other.qos_profile) if published else (other.qos_profile, qos)
                name = f"{other.node_namespace.rstrip('/')}/{other.node_name}"
                line = self._mismatch(topic, name, published, offered, asked)
                if line is not None:
                    found.setdefault(topic, []).append(line)
        lines = set(chain.from_iterable(found.values()))
        for line in sorted(lines - self._told):
            self._warn(f"qos {line}", line)
        self._told = lines
        return found

    def _mismatch(
        self, topic: str, other: str, published: bool, offered: QoSProfile, asked: QoSProfile
    ) -> str | None:
        """Why nothing comes from what is offered to who asks, with the remedy; None if it does."""
        parameter = f"qos_overrides.{topic}.{'publisher' if published else 'subscription'}"
        parameter += ".reliability"
        if (
            offered.reliability == ReliabilityPolicy.BEST_EFFORT
            and asked.reliability == ReliabilityPolicy.RELIABLE
        ):
            policies = "best effort", "reliable"
            remedies = ["subscribe best effort", "publish reliable"]
            if self._node.has_parameter(parameter):
                remedies[0] += f", or set {parameter} to reliable"
                remedies[1] += f", or set {parameter} to best_effort"
        elif (
            offered.durability == DurabilityPolicy.VOLATILE
            and asked.durability == DurabilityPolicy.TRANSIENT_LOCAL
        ):
            policies = "volatile", "transient local"
            remedies = ["subscribe volatile", "publish transient local"]
        else:
            return None
        if published:
            return (
                f"{topic} is published {policies[0]}, and {other} asks for {policies[1]}: nothing "
                f"reaches it; let it {remedies[0]}"
            )
        return (
            f"{other} publishes {topic} {policies[0]}, and {policies[1]} is asked for: nothing of "
            f"it arrives; let it {remedies[1]}"
        )


def _told_elsewhere(_: Any) -> None:
    """In place of rclpy's own warning, which names neither the other end nor a remedy."""
