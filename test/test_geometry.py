# SPDX-License-Identifier: Apache-2.0
"""Promise: our transforms, boxes and projection agree with the nuScenes devkit's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from nuscenes.utils.data_classes import Box
from nuscenes.utils.geometry_utils import points_in_box as devkit_points_in_box
from nuscenes.utils.geometry_utils import view_points
from pyquaternion import Quaternion

from asd_perception.geometry import (
    box_corners,
    box_transform,
    interpolate_pose,
    inverse,
    points_in_box,
    project,
    quaternion_of,
    transform_from,
    transform_points,
    upright,
    wrap_angle,
    yaw_of,
)

angles = st.floats(-np.pi, np.pi)
coordinates = st.floats(-60, 60)
sizes = st.floats(0.2, 15)
boxes = st.tuples(coordinates, coordinates, coordinates, sizes, sizes, sizes, angles).map(np.array)
quaternions = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)


def devkit_box(box):
    x, y, z, length, width, height, yaw = box
    rotation = Quaternion(axis=[0, 0, 1], radians=yaw)
    return Box([x, y, z], [width, length, height], rotation)


@given(boxes)
def test_corners_are_the_devkits(box):
    np.testing.assert_allclose(box_corners(box)[0], devkit_box(box).corners().T, atol=1e-9)


@given(boxes, st.integers(0, 2**32 - 1))
def test_points_in_box_are_the_devkits(box, seed):
    points = box[:3] + np.random.default_rng(seed).normal(0, 5, (200, 3))
    expected = devkit_points_in_box(devkit_box(box), points.T)
    np.testing.assert_array_equal(points_in_box(points, box), expected)


@given(quaternions, st.tuples(coordinates, coordinates, coordinates))
def test_quaternion_and_transform_are_inverse_ways(quaternion, translation):
    transform = transform_from(quaternion, translation)
    expected = Quaternion(quaternion).normalised.rotation_matrix
    np.testing.assert_allclose(transform[:3, :3], expected, atol=1e-9)
    np.testing.assert_allclose(
        transform_from(quaternion_of(transform), translation), transform, atol=1e-9
    )
    np.testing.assert_allclose(inverse(transform) @ transform, np.eye(4), atol=1e-9)


@given(boxes, st.floats(1e-3, 0.5), angles)
def test_boxes_stand_along_the_given_vertical(box, tilt, direction):
    up = np.array(
        [np.sin(tilt) * np.cos(direction), np.sin(tilt) * np.sin(direction), np.cos(tilt)]
    )
    pose = box_transform(box, up)
    np.testing.assert_allclose(pose[:3, 2], up, atol=1e-12)
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
    turn = pose[:3, :3] @ box_transform(box)[:3, :3].T
    np.testing.assert_allclose(np.arccos((np.trace(turn) - 1) / 2), tilt, atol=1e-6)  # the least
    inside = transform_points(inverse(pose), box_corners(box, up)[0])
    np.testing.assert_allclose(np.abs(inside), np.tile(box[3:6] / 2, (8, 1)), atol=1e-9)


def test_boxes_of_a_level_vehicle_are_the_same_to_the_last_digit():
    box = np.array([12.3, -4.5, 0.7, 4.1, 1.9, 1.6, 0.37])
    up = [0.0, 0.0, 1.0]
    assert np.array_equal(box_corners(box, up), box_corners(box))
    assert np.array_equal(upright(up), np.eye(3))


@given(boxes)
def test_a_box_pose_gives_its_yaw_back(box):
    assert abs(wrap_angle(yaw_of(box_transform(box)) - box[6])) < 1e-9


@given(st.integers(0, 2**32 - 1))
def test_projection_is_the_devkits(seed):
    random = np.random.default_rng(seed)
    points = random.normal(0, 10, (50, 3)) + [0, 0, 40]
    intrinsics = np.array([[1266.4, 0, 816.3], [0, 1266.4, 491.5], [0, 0, 1]])
    pixels, depth = project(points, intrinsics)
    expected = view_points(points.T, intrinsics, normalize=True)[:2].T
    np.testing.assert_allclose(pixels, expected, atol=1e-6)
    np.testing.assert_array_equal(depth, points[:, 2])


@given(quaternions, quaternions, st.floats(-1, 2))
def test_interpolation_is_exact_at_both_ends_and_stays_rigid(first, second, fraction):
    pose_0, pose_1 = (
        transform_from(first, [0, 0, 0]),
        transform_from(second, [3, -2, 1]),
    )
    for time, expected in ((10.0, pose_0), (12.0, pose_1)):
        np.testing.assert_allclose(
            interpolate_pose(time, 10.0, pose_0, 12.0, pose_1), expected, atol=1e-9
        )
    between = interpolate_pose(10.0 + 2 * fraction, 10.0, pose_0, 12.0, pose_1)
    np.testing.assert_allclose(between[:3, :3] @ between[:3, :3].T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(between[:3, 3], fraction * np.array([3, -2, 1]), atol=1e-9)


@given(st.floats(-2, 2), st.floats(-0.5, 0.5))
def test_extrapolation_continues_a_constant_turn(start, rate):
    def pose(t):
        heading = start + rate * t
        return box_transform([5 * t, 0, 0, 1, 1, 1, heading])

    np.testing.assert_allclose(
        interpolate_pose(2.5, 0.0, pose(0), 1.0, pose(1)), pose(2.5), atol=1e-9
    )


def test_transform_points_moves_each_point():
    transform = transform_from([np.cos(np.pi / 4), 0, 0, np.sin(np.pi / 4)], [1, 2, 3])
    np.testing.assert_allclose(transform_points(transform, [[1, 0, 0]]), [[1, 3, 3]], atol=1e-12)
