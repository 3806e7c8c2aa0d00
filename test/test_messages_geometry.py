# SPDX-License-Identifier: Apache-2.0
"""Promise: stamps and poses turn into numbers without loss; a bad pose says why."""

import math

import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, Transform
from rclpy.serialization import deserialize_message, serialize_message

from asd_perception.errors import UserError
from asd_perception.ros.messages.geometry import (
    matrix_from_pose,
    matrix_from_transform,
    stamp_ns,
    time_from_ns,
)


def test_stamps_are_exact_to_the_nanosecond():
    for nanoseconds in (0, 1, 999_999_999, 1_532_402_927_647_423_001):
        stamp = deserialize_message(serialize_message(time_from_ns(nanoseconds)), Time)
        assert stamp_ns(stamp) == nanoseconds


def test_bad_poses_are_refused():
    with pytest.raises(UserError, match="unit quaternion"):
        transform = Transform()
        transform.rotation.w = 0.0
        matrix_from_transform(transform)
    with pytest.raises(UserError, match="not finite"):
        pose = Pose()
        pose.position.x = math.inf
        matrix_from_pose(pose)
    with pytest.raises(UserError, match=r"the pose is 1e\+300 m away"):
        transform = Transform()
        transform.translation.y = -1e300
        matrix_from_transform(transform)
