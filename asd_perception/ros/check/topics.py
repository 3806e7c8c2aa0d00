# SPDX-License-Identifier: Apache-2.0
"""The topics of a rig's cameras: each camera needs its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from asd_perception.cameras.ego_mask import EgoMask
from asd_perception.errors import UserError


@dataclass(frozen=True)
class CameraTopics:
    """Where one camera's messages come from, and what they show.

    rectified: whether P and R describe its images. ego_mask: where the vehicle itself is in them.
    """

    image: str
    camera_info: str
    rectified: bool = False
    ego_mask: EgoMask | None = None


def check_together(cameras: Mapping[str, CameraTopics], min_cameras: int) -> None:
    """Raise UserError if two cameras, by their names, have one topic, or fewer are needed."""
    if min_cameras > len(cameras):
        raise UserError(
            f"sync.min_cameras is {min_cameras}, but cameras has {len(cameras)}; lower it"
        )
    for key, what in (("image", "image"), ("camera_info", "camera_info")):
        first: dict[str, str] = {}
        for camera, topics in cameras.items():
            topic = getattr(topics, key)
            other = first.setdefault(topic, camera)
            if other != camera:
                raise UserError(
                    f"cameras {other} and {camera} have the same {what} topic {topic}; "
                    f"set camera.{camera}.{key}"
                )
