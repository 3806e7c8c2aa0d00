# SPDX-License-Identifier: Apache-2.0
"""The quality of service that a bag says the publishers of a topic offered.

It is a text in YAML, and no two recorders write the same: numbers in Humble, names in Jazzy, some
policies alone in bags of other tools, or no YAML at all. No message is lost for it.
"""

from __future__ import annotations

from typing import Any

import yaml
from rosbags.interfaces import (
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
    Qos,
)
from rosbags.rosbag2.metadata import parse_qos

_POLICIES = ("history", "reliability", "durability", "liveliness")
_TIMES = ("deadline", "lifespan", "liveliness_lease_duration")

NO_DEFINITION = MessageDefinition(MessageDefinitionFormat.NONE, "")


def as_offered(
    topic: str, serialization: str, text: str | None, warnings: list[str]
) -> ConnectionExtRosbag2:
    """How a topic's messages are serialized, and the profiles in a text; where these cannot be
    read, none and a line in `warnings`."""
    profiles = stored_profiles(text)
    if profiles is None:
        warnings.append(
            f"{topic}: the quality of service that was offered cannot be read; ROS's "
            "default is taken"
        )
    return ConnectionExtRosbag2(serialization, profiles or [])


def stored_profiles(text: str | None) -> list[Qos] | None:
    """The profiles in a text; none in an empty one; None where it cannot be read."""
    try:
        items = yaml.safe_load(text or "") or []
        return parse_qos([_whole(i) for i in ([items] if isinstance(items, dict) else items)])
    except (yaml.YAMLError, TypeError, ValueError, AttributeError):
        return None


def _whole(item: dict[str, Any]) -> Any:
    """A profile with what it lacks filled in."""
    depth = item.get("depth")
    return {
        **{policy: _policy(item.get(policy)) for policy in _POLICIES},
        **{name: _time(item.get(name)) for name in _TIMES},
        "depth": depth if isinstance(depth, int) and depth > 0 else 0,
        "avoid_ros_namespace_conventions": bool(item.get("avoid_ros_namespace_conventions")),
    }


def _policy(value: Any) -> int | str:
    return value if isinstance(value, str) else int(value or 0)


def _time(value: Any) -> dict[str, int]:
    parts = value if isinstance(value, dict) else {}
    sec, nsec = parts.get("sec"), parts.get("nsec")
    if isinstance(sec, int) and isinstance(nsec, int):
        return {"sec": sec, "nsec": nsec}
    return {"sec": 0, "nsec": 0}
