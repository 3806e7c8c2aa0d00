# SPDX-License-Identifier: Apache-2.0
"""Stamps and poses of messages, rclpy's or rosbags': ns and 4x4 matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from asd_perception.errors import UserError
from asd_perception.geometry import MAX_METRES, Array, transform_from

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time
    from geometry_msgs.msg import Pose, Transform


def stamp_ns(stamp: Time) -> int:
    """A message's stamp in ns."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def time_from_ns(nanoseconds: int) -> Time:
    """The stamp of a time in ns, as a message of rclpy's."""
    from builtin_interfaces.msg import Time

    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return Time(sec=seconds, nanosec=rest)


def matrix_from_transform(transform: Transform) -> Array:
    """The 4x4 parent_from_child of a transform."""
    return _matrix(transform.rotation, transform.translation)


def matrix_from_pose(pose: Pose) -> Array:
    """The 4x4 frame_from_body of a pose."""
    return _matrix(pose.orientation, pose.position)


def _matrix(q: object, p: object) -> Array:
    rotation = np.array([q.w, q.x, q.y, q.z])  # type: ignore[attr-defined]
    translation = np.array([p.x, p.y, p.z])  # type: ignore[attr-defined]
    if not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
        raise UserError("the pose has a value that is not finite")
    if (away := np.abs(translation).max()) > MAX_METRES:
        raise UserError(f"the pose is {away:.3g} m away")
    if abs(np.linalg.norm(rotation) - 1) > 0.01:
        raise UserError(f"the rotation {rotation.tolist()} (w x y z) is no unit quaternion")
    return transform_from(rotation, translation)
