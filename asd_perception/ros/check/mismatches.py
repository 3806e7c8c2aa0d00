# SPDX-License-Identifier: Apache-2.0
"""Publishers and subscriptions elsewhere to which no message goes, for their type or quality of
service, and publishers that disturb each other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from asd_perception.ros.messages.images import TRANSPORT_OF, TRANSPORTS

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks


SHARED = "tf2_msgs/msg/TFMessage"  # many nodes publish /tf and /tf_static, whatever their names
UNKNOWN = "_NODE_NAME_UNKNOWN_"  # of a node that was only just found


class QosMismatches:
    """Knows a node's topics, and which other ends of them do not fit.

    rivals: a line for each topic that several nodes publish and one should, when last looked.

    The middleware's own events come once, if at all; who looks at the graph misses none.
    warn(kind, text) is called once for each, as long as it is there.
    """

    def __init__(self, node: Node, warn: Callable[[str, str], None]) -> None:
        self._node = node
        self._warn = warn
        self._told: set[str] = set()
        self._topics: dict[tuple[str, bool], QoSProfile] = {}  # by name, and whether published
        self._types: dict[str, str] = {}  # that are subscribed to, by name
        self.rivals: list[str] = []

    def of_subscription(
        self,
        message_type: type,
        topic: str,
        qos: QoSProfile,
        lost: Callable[[int], None] | None = None,
    ) -> SubscriptionEventCallbacks:
        """The event callbacks of a subscription; lost(n) is told of messages lost on the way."""
        name = self._node.resolve_topic_name(topic)
        self._topics[name, False] = qos
        self._types[name] = (
            f"{message_type.__module__.partition('.')[0]}/msg/{message_type.__name__}"
        )
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
        self.rivals = []
        for (topic, published), qos in list(self._topics.items()):
            if published:
                others = self._node.get_subscriptions_info_by_topic(topic)
            else:
                others = self._node.get_publishers_info_by_topic(topic)
                self._note_other_transport(topic, others, found)
                others = self._of_the_type(topic, others, found)
                self._note_rivals(topic, others)
            for other in others:
                offered, asked = (qos, other.qos_profile) if published else (other.qos_profile, qos)
                name = _name_of(other)
                line = self._mismatch(topic, name, published, offered, asked)
                if line is not None:
                    found.setdefault(topic, []).append(line)
        lines = {*chain.from_iterable(found.values()), *self.rivals}
        for line in sorted(lines - self._told):
            self._warn(f"qos {line}", line)
        self._told = lines
        return found

    def _of_the_type(
        self, topic: str, publishers: list[Any], found: dict[str, list[str]]
    ) -> list[Any]:
        """Those that publish what is asked for; the others are noted in `found`."""
        asked = self._types[topic]
        for other in publishers:
            if other.topic_type != asked:
                found.setdefault(topic, []).append(
                    f"{_name_of(other)} publishes {topic} as {other.topic_type}, and {asked} is "
                    f"asked for: nothing of it arrives; {_remedy_for(topic, other.topic_type)}"
                )
        return [other for other in publishers if other.topic_type == asked]

    def _note_other_transport(
        self, topic: str, publishers: list[Any], found: dict[str, list[str]]
    ) -> None:
        """Where nobody publishes a camera's images as they are asked for, but in another way."""
        asked = TRANSPORT_OF.get(self._types[topic])
        if publishers or asked is None:
            return
        base = topic.removesuffix(TRANSPORTS[asked])
        for transport, ending in TRANSPORTS.items():
            if transport != asked and self._node.count_publishers(base + ending):
                found.setdefault(topic, []).append(
                    f"nobody publishes {topic}, but {base + ending} is there; set image_transport "
                    f"to {transport}"
                )

    def _note_rivals(self, topic: str, publishers: list[Any]) -> None:
        names = {_name_of(other) for other in publishers if other.node_name != UNKNOWN}
        if len(names) > 1 and self._types[topic] != SHARED:
            self.rivals.append(
                f"{topic} is published by {' and '.join(sorted(names))}, and what they send is "
                "mixed; stop all but one"
            )

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


def _name_of(endpoint: Any) -> str:
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"


def _remedy_for(topic: str, published: str) -> str:
    """What to do where a topic has messages of another type."""
    transport = TRANSPORT_OF.get(published)
    if transport is None:
        return "give a topic of that type"
    ending = TRANSPORTS[transport]
    if not ending:
        return f"set image_transport to {transport}"
    if topic.endswith(ending):
        return f"set image_transport to {transport}, and the topic to {topic.removesuffix(ending)}"
    return f"set image_transport to {transport}, and remap {topic}{ending} to {topic}"


def _told_elsewhere(_: Any) -> None:
    """In place of rclpy's own warning, which names neither the other end nor a remedy."""
