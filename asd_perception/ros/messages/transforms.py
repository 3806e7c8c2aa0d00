# SPDX-License-Identifier: Apache-2.0
"""The graph that transforms describe; their messages may be rclpy's or rosbags'."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from asd_perception.errors import UserError, did_you_mean
from asd_perception.geometry import Array, inverse, rotation_angle
from asd_perception.ros.messages.geometry import matrix_from_transform, stamp_ns

if TYPE_CHECKING:
    from geometry_msgs.msg import TransformStamped

MOVING = "/tf"
MAX_FRAMES = 10_000  # in one graph: more come from a publisher that has gone wrong
SAME_M, SAME_DEGREES = 0.005, 0.2  # digits of two descriptions of one mounting differ by less


class _UnconnectedError(UserError):
    """No chain of transforms connects two frames."""


class TransformGraph:
    """The graph of transforms as last heard of; a child's newest parent replaces an older one.

    contradictions: of each child whose last transform gave it another parent, what to do.
    refused: of each child whose last transform was none, why.
    unheard: publishers of transforms of which nothing arrives, each with the remedy.
    """

    def __init__(self) -> None:
        self._links: dict[str, tuple[str, Array]] = {}  # child: (parent, parent_from_child)
        self.contradictions: dict[str, str] = {}
        self._changes: dict[str, str] = {}  # by child: on /tf_static, to another pose
        self.refused: dict[str, str] = {}
        self.unheard: list[str] = []

    def add(self, message: TransformStamped, topic: str = "/tf_static") -> None:
        """Take in one transform of a topic. Raises UserError for one that is none."""
        parent, child, parent_from_child = self._link(message, topic)
        if child not in self._links and len(self._links) >= MAX_FRAMES:
            raise UserError(f"{topic} has more than {MAX_FRAMES} frames; {child} is ignored")
        self._note_parent(topic, child, parent)
        if topic != MOVING:
            self._note_change(topic, child, parent, parent_from_child)
        self._links[child] = parent, parent_from_child

    def lookup(self, target: str, source: str, stamp_ns: int | None = None) -> Array:
        """The 4x4 target_from_source. Raises UserError if no chain connects the two frames.

        stamp_ns: at which time, for what moves; None: as last heard of.
        """
        up_target, up_source = self.ancestors(target), self.ancestors(source)
        meeting = next((frame for frame in up_target if frame in up_source), None)
        if meeting is None:
            fault = f"no transform connects {source} to {target}"
            ends = (up_source[-1], up_target[-1])
            for end in ends:
                if (parent := self._parent(end)) is not None:
                    raise UserError(
                        f"the transforms have a loop through {parent}; stop the publisher that "
                        "gives one of its frames a wrong parent, and configure the node again"
                    )
            if refused := [self.refused[end] for end in ends if end in self.refused]:
                raise UserError(f"{fault}: {'; '.join(refused)}")
            others = f": {'; '.join(self.unheard)}, or" if self.unheard else ";"
            raise _UnconnectedError(
                f"{fault}{others} publish the one that is missing (static_transform_publisher or "
                "robot_state_publisher)"
            )
        return inverse(self._climb(up_target, meeting, stamp_ns)) @ self._climb(
            up_source, meeting, stamp_ns
        )

    def ancestors(self, frame: str) -> list[str]:
        """The frame itself and each ancestor, nearest first; a loop is gone through once.

        A wrong transform that closes one does no harm to who finds its way before that.
        """
        result = [frame]
        while (parent := self._parent(result[-1])) is not None and parent not in result:
            result.append(parent)
        return result

    def pose_in_base(self, base_frame: str, frame: str, stamp_ns: int | None = None) -> Array:
        """`lookup` of a camera's pose in the base frame; its error tells of names that are none."""
        try:
            return self.lookup(base_frame, frame, stamp_ns)
        except _UnconnectedError as error:
            names = set(self._links) | {parent for parent, _ in list(self._links.values())}
            hint, above = "", self.ancestors(frame)[1:]
            if names and frame not in names:
                near = _near(frame, frozenset(names)) or "is it the camera_info's true frame_id?"
                hint = f"; /tf_static names no {frame}: {near}"
            elif names and base_frame not in names and above:
                hint = f"; /tf_static names no {base_frame}: should base_frame be "
                hint += f"{' or '.join(above[-3:])}?"
            raise UserError(f"{error}{hint}") from error

    def changes_between(self, target: str, sources: Iterable[str]) -> list[str]:
        """How static transforms on the way from some frames to one have changed, each told once.

        One that two nodes publish is that of whoever came last, and nothing else shows it.
        """
        if not self._changes:
            return []
        frames = {frame for source in sources for frame in self.between(target, source)}
        return [self._changes.pop(frame) for frame in sorted(frames & self._changes.keys())]

    def between(self, target: str, source: str) -> set[str]:
        """The frames whose transforms lie between two: below where they meet, or all."""
        return set(self.ancestors(target)) ^ set(self.ancestors(source))

    def _climb(self, frames: list[str], ancestor: str, stamp_ns: int | None) -> Array:
        """ancestor_from_frame (4, 4) of the first of the frames."""
        ancestor_from_frame = np.eye(4)
        for frame in frames[: frames.index(ancestor)]:
            ancestor_from_frame = self._parent_from(frame, stamp_ns) @ ancestor_from_frame
        return ancestor_from_frame

    def _link(self, message: TransformStamped, topic: str) -> tuple[str, str, Array]:
        """As link_from_msg; what it refuses is kept for who misses it."""
        child = message.child_frame_id.lstrip("/")
        self.refused.pop(child, None)
        try:
            return link_from_msg(message, topic)
        except UserError as error:
            if len(self.refused) < MAX_FRAMES:
                self.refused[child] = str(error)
            raise

    def _note_parent(self, topic: str, child: str, parent: str) -> None:
        before = self._parent(child)
        self.contradictions.pop(child, None)
        if before not in (None, parent):
            self.contradictions[child] = (
                f"{topic} gives {child} the parent {parent}, before it was {before}; "
                "the newest is used: stop one of the two publishers"
            )

    def _note_change(self, topic: str, child: str, parent: str, parent_from_child: Array) -> None:
        parent_before, before = self._links.get(child, (parent, parent_from_child))
        if parent_before != parent:  # a contradiction
            return
        relative = inverse(before) @ parent_from_child
        apart = float(np.linalg.norm(relative[:3, 3]))
        turned = float(np.rad2deg(rotation_angle(relative[:3, :3])))
        if apart > SAME_M or turned > SAME_DEGREES:
            self._changes[child] = (
                f"{topic} gives {parent} to {child} anew, {apart:.2f} m and {turned:.1f} degrees "
                "from before; the newest is used: unless it was meant to change, stop one of two "
                "publishers"
            )

    def _parent(self, child: str) -> str | None:
        return self._links[child][0] if child in self._links else None

    def _parent_from(self, child: str, stamp_ns: int | None) -> Array:
        """parent_from_child (4, 4)."""
        return self._links[child][1]


@lru_cache(maxsize=16)
def _near(frame: str, names: frozenset[str]) -> str | None:
    """As did_you_mean, which takes 0.1 s for 200 names and is asked for every image."""
    return did_you_mean(frame, sorted(names))


def unheard_transforms(lines: Mapping[str, list[str]]) -> list[str]:
    """Of lines by topic, those of transforms."""
    return [*lines.get("/tf_static", []), *lines.get("/tf", [])]


def link_from_msg(message: TransformStamped, topic: str) -> tuple[str, str, Array]:
    """Parent, child and parent_from_child (4, 4). Raises UserError for a transform that is none."""
    parent = message.header.frame_id.lstrip("/")
    child = message.child_frame_id.lstrip("/")
    if not parent or not child or parent == child:
        raise UserError(f"{topic} has a transform from {child!r} to {parent!r}")
    if topic == MOVING and stamp_ns(message.header.stamp) == 0:
        raise UserError(
            f"{topic}, {parent} to {child}: no stamp; fill in header.stamp, or publish a mounting "
            "that does not move on /tf_static"
        )
    try:
        return parent, child, matrix_from_transform(message.transform)
    except UserError as error:
        raise UserError(f"{topic}, {parent} to {child}: {error}") from error
