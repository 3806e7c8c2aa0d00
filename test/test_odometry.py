# SPDX-License-Identifier: Apache-2.0
"""Promise: the pose at a time follows the odometry, where it covers the time."""

import math

import numpy as np
import pytest

from asd_perception.geometry import interpolate_pose, transform_from
from asd_perception.ros.odometry import OdometryBuffer

MS = 1_000_000
START = 1_532_402_927_000_000_000


def moving_pose(time_s):
    """A constant twist: 10 m/s forward while turning by 0.5 rad/s."""
    yaw = 0.5 * time_s
    position = [20 * math.sin(yaw), 20 * (1 - math.cos(yaw)), 0]
    return transform_from([math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)], position)


@pytest.fixture
def odometry():
    buffer = OdometryBuffer()
    for step in range(21):  # 50 Hz for 0.4 s
        buffer.add(START + step * 20 * MS, moving_pose(step * 0.02))
    return buffer


def test_the_pose_is_exact_at_the_stamp_of_a_message(odometry):
    np.testing.assert_array_equal(odometry.pose_at(START + 100 * MS), moving_pose(0.1))


@pytest.mark.parametrize("time_ms", [-90, 7, 250, 399, 480])
def test_the_pose_between_and_shortly_beyond_messages_follows_the_motion(odometry, time_ms):
    pose = odometry.pose_at(START + time_ms * MS)
    expected = moving_pose(time_ms / 1000)
    np.testing.assert_allclose(pose[:3, :3], expected[:3, :3], atol=1e-9)
    np.testing.assert_allclose(pose[:3, 3], expected[:3, 3], atol=0.04)


def test_interpolation_is_that_of_the_geometry_module(odometry):
    """The offline evaluation interpolates by the same function."""
    expected = interpolate_pose(0.25, 0, moving_pose(0.1), 1, moving_pose(0.12))
    pose = odometry.pose_at(START + 105 * MS)
    np.testing.assert_allclose(pose, expected, atol=1e-12)


def test_odometry_says_nothing_about_times_that_it_does_not_cover(odometry):
    assert OdometryBuffer().pose_at(START) is None
    assert odometry.pose_at(START + 600 * MS) is None
    odometry.add(START + 5000 * MS, moving_pose(5))
    assert odometry.pose_at(START + 2500 * MS) is None, "a hole of 4.6 s"


def test_odometry_in_any_order_and_from_the_start_again(odometry):
    shuffled = OdometryBuffer()
    for step in np.random.default_rng(0).permutation(21):
        shuffled.add(START + int(step) * 20 * MS, moving_pose(step * 0.02))
    for time_ms in (-50, 130, 450):
        np.testing.assert_array_equal(
            shuffled.pose_at(START + time_ms * MS), odometry.pose_at(START + time_ms * MS)
        )
    shuffled.add(START - 9000 * MS, np.eye(4))
    assert len(shuffled) == 1, "the clock jumped back, the old poses are of no use"


def test_odometry_whose_clock_steps_back_a_little_is_not_taken_for_motion(odometry):
    """By 0.3 s, while the robot goes on: between the poses of two times there is no motion."""
    for step in range(21, 41):
        odometry.add(START + step * 20 * MS - 300 * MS, moving_pose(step * 0.02))
    for time_ms in (300, 385, 495):
        pose = odometry.pose_at(START + time_ms * MS)
        expected = moving_pose(time_ms / 1000 + 0.3)
        np.testing.assert_allclose(pose[:3, 3], expected[:3, 3], atol=0.01)
