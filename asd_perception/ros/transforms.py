# SPDX-License-Identifier: Apache-2.0
"""Transforms of cameras that move on the robot (pan-tilt, a cabin): /tf beside /tf_static.

tf2_ros does this in other nodes. It is not on PyPI, and its Python listener reads every transform
of the robot, while a detector needs the few links between its cameras and its base frame.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asd_perception.errors import UserError
from asd_perception.frames.synchronizer import CLOCK_JUMP_NS
from asd_perception.geometry import Array, interpolate_pose
from asd_perception.ros.messages.geometry import stamp_ns as ns_of
from asd_perception.ros.messages.transforms import MOVING, TransformGraph

if TYPE_CHECKING:
    from geometry_msgs.msg import TransformStamped
    from tf2_msgs.msg import TFMessage

LENGTH_NS = 10_000_000_000  # of what is kept of each link, as in tf2
MAX_SAMPLES = 5000  # of one link: 10 s at 500 Hz
MAX_AGE_NS = 2_000_000_000  # an older transform no longer says where a camera is


@dataclass
class _MovingLink:
    """One child's recent transforms to its parent, by stamp."""

    parent: str
    stamps: list[int] = field(default_factory=list)
    poses: list[Array] = field(default_factory=list)  # parent_from_child (4, 4)

    def add(self, stamp: int, pose: Array) -> None:
        if self.stamps and stamp < self.stamps[-1] - CLOCK_JUMP_NS:  # a bag that starts again
            self.stamps.clear()
            self.poses.clear()
        i = bisect_left(self.stamps, stamp)
        if i < len(self.stamps) and self.stamps[i] == stamp:
            self.poses[i] = pose
        else:
            self.stamps.insert(i, stamp)
            self.poses.insert(i, pose)
        old = bisect_left(self.stamps, self.stamps[-1] - LENGTH_NS)
        old = max(old, len(self.stamps) - MAX_SAMPLES)
        del self.stamps[:old], self.poses[:old]

    def at(self, child: str, stamp: int) -> Array:
        """Interpolated; beyond the newest, that one, for as long as MAX_AGE_NS."""
        i = bisect_left(self.stamps, stamp)
        if i == len(self.stamps):
            age = stamp - self.stamps[-1]
            if age > MAX_AGE_NS:
                raise UserError(
                    f"/tf has {child} last {age * 1e-9:.1f} s before the image; keep publishing "
                    "it, or publish a mounting that does not move on /tf_static"
                )
            return self.poses[-1]
        if self.stamps[i] == stamp:
            return self.poses[i]
        if i == 0:
            raise UserError(
                f"/tf has {child} from {(self.stamps[0] - stamp) * 1e-9:.1f} s after the image on; "
                "synchronise the clocks (PTP, NTP), if it stays so"
            )
        # Times relative to the stamp: nanoseconds since 1970 do not fit a float.
        before, after = self.stamps[i - 1] - stamp, self.stamps[i] - stamp
        return interpolate_pose(0, before, self.poses[i - 1], after, self.poses[i])


class TransformBuffer(TransformGraph):
    """Static transforms, and those of `followed` frames that move, of the last 10 s.

    Where a frame has both, the static one counts. Filled by one thread, asked by others, who see a
    message of /tf_static whole or not at all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.followed: frozenset[str] = frozenset()
        self._moving: dict[str, _MovingLink] = {}
        self._changed = threading.Condition()

    def add(self, message: TransformStamped, topic: str = "/tf_static") -> None:
        with self._changed:
            super().add(message, topic)

    def add_all(self, message: TFMessage) -> list[str]:
        """Take in a message of /tf_static; what is wrong in it: its other transforms are used."""
        faults = []
        with self._changed:
            for transform in message.transforms:
                try:
                    self.add(transform)
                except UserError as error:
                    faults.append(str(error))
        return faults

    def open_ends(self, target: str, source: str) -> set[str]:
        """The frames between two whose parents only /tf can tell, as far as these are known."""
        with self._changed:
            return {frame for frame in self.between(target, source) if frame not in self._links}

    def follow(self, frames: Iterable[str]) -> None:
        """From now on take in these frames' transforms only."""
        with self._changed:
            self.followed = frozenset(frames)
            for frame in self._moving.keys() - self.followed:
                del self._moving[frame]

    def add_moving(self, message: TransformStamped) -> bool:
        """Take in one transform of /tf; whether it gives a followed frame another parent.

        Raises UserError for a transform that is none.
        """
        if message.child_frame_id.lstrip("/") not in self.followed:
            return False
        with self._changed:
            parent, child, parent_from_child = self._link(message, MOVING)
            stamp = ns_of(message.header.stamp)
            self._note_parent(MOVING, child, parent)
            if is_new := self._parent(child) != parent:
                self._moving[child] = _MovingLink(parent)
            self._moving[child].add(stamp, parent_from_child)
            self._changed.notify_all()
        return is_new

    def wait_for(self, stamp_ns: int, timeout: float) -> None:
        """Wait at most `timeout` s until what moves is known at a stamp, if it still is sent."""

        def known() -> bool:
            ages = (stamp_ns - link.stamps[-1] for link in self._moving.values())
            return all(age <= 0 or age > MAX_AGE_NS for age in ages)

        with self._changed:
            self._changed.wait_for(known, timeout)

    def lookup(self, target: str, source: str, stamp_ns: int | None = None) -> Array:
        """As in TransformGraph; at a stamp interpolated, as in tf2.

        Raises UserError also where /tf says nothing about the time of the stamp.
        """
        with self._changed:
            return super().lookup(target, source, stamp_ns)

    def pose_in_base(self, base_frame: str, frame: str, stamp_ns: int | None = None) -> Array:
        with self._changed:
            return super().pose_in_base(base_frame, frame, stamp_ns)

    def _parent(self, child: str) -> str | None:
        static = super()._parent(child)
        if static is not None or child not in self._moving:
            return static
        return self._moving[child].parent

    def _parent_from(self, child: str, stamp_ns: int | None) -> Array:
        if child in self._links:
            return super()._parent_from(child, stamp_ns)
        link = self._moving[child]
        return link.poses[-1] if stamp_ns is None else link.at(child, stamp_ns)
