# SPDX-License-Identifier: Apache-2.0
"""The graph that /tf_static describes; its messages may be rclpy's or rosbags'."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from asd_perception.errors import UserError
from asd_perception.geometry import Array, inverse
from asd_perception.ros.messages.geometry import matrix_from_transform

if TYPE_CHECKING:
    from geometry_msgs.msg import TransformStamped

MAX_FRAMES = 10_000  # in one graph: more come from a publisher that has gone wrong


class StaticTransforms:
    """The graph of static transforms; a child's newest parent replaces an older one.

    contradictions: of each child whose last transform gave it another parent, what to do.
    """

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, Array]] = {}  # child: (parent, parent_from_child)
        self.contradictions: dict[str, str] = {}

    def add(self, message: TransformStamped) -> None:
        """Take in one transform of /tf_static. Raises UserError for one that is none."""
        parent = message.header.frame_id.lstrip("/")
        child = message.child_frame_id.lstrip("/")
        if not parent or not child or parent == child:
            raise UserError(f"/tf_static has a transform from {child!r} to {parent!r}")
        if child not in self._parents and len(self._parents) >= MAX_FRAMES:
            raise UserError(f"/tf_static has more than {MAX_FRAMES} frames; {child} is ignored")
        before = self._parents.get(child, (parent,))[0]
        try:
            self._parents[child] = (parent, matrix_from_transform(message.transform))
        except UserError as error:
            raise UserError(f"/tf_static, {parent} to {child}: {error}") from error
        self.contradictions.pop(child, None)
        if before != parent:
            self.contradictions[child] = (
                f"/tf_static gives {child} the parent {parent}, before it was {before}; "
                "the newest is used: stop one of the two publishers"
            )

    def lookup(self, target: str, source: str) -> Array:
        """The 4x4 target_from_source. Raises UserError if no chain connects the two frames."""
        of_target, of_source = self._ancestors(target), self._ancestors(source)
        for ancestor, ancestor_from_source in of_source.items():
            if ancestor in of_target:
                return inverse(of_target[ancestor]) @ ancestor_from_source
        raise UserError(
            f"/tf_static does not connect {source} to {target}; publish the missing static "
            "transform (robot_state_publisher or static_transform_publisher)"
        )

    def _ancestors(self, frame: str) -> dict[str, Array]:
        """ancestor_from_frame of the frame itself and of each ancestor, nearest first."""
        ancestor_from_frame = np.eye(4)
        result = {frame: ancestor_from_frame}
        while frame in self._parents:
            frame, parent_from_child = self._parents[frame]
            if frame in result:
                raise UserError(f"/tf_static has a loop through {frame}")
            ancestor_from_frame = parent_from_child @ ancestor_from_frame
            result[frame] = ancestor_from_frame
        return result
