# SPDX-License-Identifier: Apache-2.0
"""Promise: the pose at a time follows the odometry, where it covers the time."""

import math
import threading
import time

import numpy as np
import pytest

from asd_perception.errors import UserError
from asd_perception.geometry import interpolate_pose, transform_from
from asd_perception.ros.odometry import AT_ONCE_NS, OdometryBuffer, PoseWatch

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


@pytest.mark.parametrize("rate", [20, 50, 100])
def test_a_frame_does_not_wait_for_odometry_that_comes_regularly(rate):
    """Its reference is up to a period, and the delay of a link, newer than the newest pose."""
    buffer = OdometryBuffer()
    period = 1000 * MS // rate
    for step in range(rate):
        buffer.add(START + step * period, moving_pose(step / rate))
    newest = START + (rate - 1) * period
    waiting = threading.Thread(target=buffer.wait_for, args=(newest + 50 * MS, 60.0))
    waiting.start()
    waiting.join(30.0)
    assert not waiting.is_alive()
    began = time.monotonic()
    buffer.wait_for(newest + 60 * MS, 0.05)  # here the next pose is worth a little time
    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize("rate", [20, 50])
def test_extrapolation_keeps_its_bound_where_the_robot_brakes_and_begins_to_turn(rate):
    """At every phase of the odometry: a t (t + B) / 2, as AT_ONCE_NS says."""
    braking, turning = 5.0, 1.0

    def pose(t):
        s = max(0.0, t)  # from a constant twist into both
        position = [10 * t - braking * s**2 / 2, 0, 0]
        return transform_from(
            [math.cos(turning * s**2 / 4), 0, 0, math.sin(turning * s**2 / 4)], position
        )

    for newest_ms in range(-40, 160, 7):
        buffer = OdometryBuffer()
        for step in range(-20, 1):
            time_ms = newest_ms + step * 1000 // rate
            buffer.add(START + time_ms * MS, pose(time_ms / 1000))
        found = buffer.pose_at(START + newest_ms * MS + AT_ONCE_NS)
        truth = pose(newest_ms / 1000 + 0.05)
        bound = 0.05 * (0.05 + 0.05 + 1 / rate) / 2
        assert abs(found[0, 3] - truth[0, 3]) <= braking * bound + 1e-9
        difference = np.arctan2(*(truth[:2, :2].T @ found[:2, :2])[::-1, 0])
        assert abs(difference) <= turning * bound + 1e-9


def test_a_robot_that_trembles_where_it_stands_keeps_its_mountings_to_the_digit():
    """So that nothing is computed anew; a robot that creeps is followed."""
    mountings = {"front": transform_from([0.5, -0.5, 0.5, -0.5], [1.0, 0.0, 1.5])}
    stamps, rng = {"front": START + 5 * MS}, np.random.default_rng(0)
    for metres, radians, stands in ((3e-4, 2e-5, True), (0.1, 0.0, False), (0.0, 0.01, False)):
        for _ in range(20):
            buffer = OdometryBuffer()
            for step in range(3):
                yaw = radians * step if not stands else radians * rng.uniform(-1, 1)
                x = metres * step if not stands else metres * rng.uniform(-1, 1)
                quaternion = [math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)]
                buffer.add(START + step * 20 * MS, transform_from(quaternion, [x + 7, 3, 0]))
            moved = buffer.compensate(mountings, stamps, START + 40 * MS)
            assert np.array_equal(moved["front"], mountings["front"]) == stands


def test_odometry_whose_clock_steps_back_a_little_is_not_taken_for_motion(odometry):
    """By 0.3 s, while the robot goes on: between the poses of two times there is no motion."""
    for step in range(21, 41):
        odometry.add(START + step * 20 * MS - 300 * MS, moving_pose(step * 0.02))
    for time_ms in (300, 385, 495):
        pose = odometry.pose_at(START + time_ms * MS)
        expected = moving_pose(time_ms / 1000 + 0.3)
        np.testing.assert_allclose(pose[:3, 3], expected[:3, 3], atol=0.01)


@pytest.mark.parametrize("first", [50, 210, 385])
@pytest.mark.parametrize(
    ("metres", "degrees", "words"),
    [(5, 0, "5.[0-9] m and"), (0, 90, "and 9[0-9] degrees in 20 ms")],
)
def test_a_pose_that_is_set_anew_is_no_motion(first, metres, degrees, words):
    """As by a localisation that finds itself: a camera is not where it would be on a line between.

    At 200 ms. Frames before and after it are compensated as ever.
    """
    mountings = {"front": np.eye(4), "rear": np.eye(4)}
    buffer = OdometryBuffer()
    half = math.radians(degrees) / 2
    anew = transform_from([math.cos(half), 0, 0, math.sin(half)], [metres, 0, 0])
    for step in range(21):
        pose = moving_pose(step * 0.02)
        buffer.add(START + step * 20 * MS, pose if step < 10 else anew @ pose)
    stamps = {"front": START + first * MS, "rear": START + (first + 40) * MS}
    moved = buffer.compensate(mountings, stamps, stamps["rear"])
    assert np.linalg.norm(moved["front"][:3, 3]) == pytest.approx(0.4, abs=0.01)
    for middle in (165, 195):
        stamps = {"front": START + (middle - 20) * MS, "rear": START + (middle + 20) * MS}
        with pytest.raises(UserError, match=f"odometry jumps by .*{words}"):
            buffer.compensate(mountings, stamps, stamps["rear"])


def test_a_pose_that_does_not_go_with_its_twist_is_refused():
    """Else a robot that drives would be taken to stand still, and called compensated."""
    watch, parked = PoseWatch(), moving_pose(0.0)
    for step in range(250):  # 5 s at 50 Hz
        watch.see(START + step * 20 * MS, moving_pose(step * 0.02), 10.0)
        watch.see(START + step * 20 * MS, parked, 0.0)
    watch = PoseWatch()
    for step in range(100):
        watch.see(START + step * 20 * MS, parked, 8.3)  # some poses late
    with pytest.raises(UserError, match=r"stands still while its twist says 8.3 m/s; let it fill"):
        watch.see(START + 2001 * MS, parked, 8.3)
    watch.see(START, parked, 8.3)  # a bag that starts again
    for step in range(150):  # of a twist that is not known
        watch.see(START + step * 20 * MS, parked, math.nan)


def test_poses_that_are_stamped_late_are_no_jumps():
    """As of a driver that reads two poses at once: 20 ms of driving within 0.1 ms."""
    buffer = OdometryBuffer()
    for step in range(20):
        late = 0 if step % 4 else 19 * MS + 990_000  # up to the next one's stamp
        pose = transform_from([1, 0, 0, 0], [25.0 * step * 0.02, 0, 0])
        buffer.add(START + step * 20 * MS + late, pose)
    stamps = {"front": START + 220 * MS, "rear": START + 265 * MS}
    moved = buffer.compensate(dict.fromkeys(stamps, np.eye(4)), stamps, stamps["rear"])
    assert np.linalg.norm(moved["front"][:3, 3]) == pytest.approx(25 * 0.045, abs=0.5)
