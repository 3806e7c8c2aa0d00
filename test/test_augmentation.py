# SPDX-License-Identifier: Apache-2.0
"""Promise: after any augmentation every box stands on the same pixels of its object."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from asd_perception.geometry import (
    box_corners,
    inverse,
    points_in_box,
    project,
    transform_from,
    transform_points,
)
from asd_training.datasets.augmentation import jitter_colour, mirror, rotate
from asd_training.datasets.nuscenes import Annotations

INTRINSICS = np.array([[[280.0, 0, 170], [0, 280, 40], [0, 0, 1]]])
# A camera on the vehicle's left that looks forward and left.
EGO_FROM_CAMERA = transform_from([0.6757, -0.6736, 0.2121, -0.2112], [1.52, 0.49, 1.5])[None]


def one_object(x, y, yaw):
    box = np.array([[x, y, 0.8, 4.5, 1.9, 1.6, yaw]])
    one = np.zeros(1, np.int64)
    return Annotations(box, np.array([[3.0, 1.0]]), one, one, ("t",), one + 1)


def pixels(boxes, intrinsics, ego_from_camera):
    corners = transform_points(inverse(ego_from_camera[0]), box_corners(boxes)[0])
    return project(corners, intrinsics[0])


objects = st.builds(one_object, st.floats(10, 40), st.floats(10, 40), st.floats(-np.pi, np.pi))


@given(objects, st.floats(-np.pi, np.pi))
def test_rotation_keeps_pixels_and_points(objects, angle):
    points = np.random.default_rng(0).normal(objects.boxes[0, :3], 2, (100, 3))
    before, depth = pixels(objects.boxes, INTRINSICS, EGO_FROM_CAMERA)
    cameras, turned, moved = rotate(EGO_FROM_CAMERA, objects, points, angle)
    after, depth_after = pixels(turned.boxes, INTRINSICS, cameras)
    np.testing.assert_allclose(after, before, atol=1e-6)
    np.testing.assert_allclose(depth_after, depth, atol=1e-9)
    inside = points_in_box(points, objects.boxes[0])
    assert (points_in_box(moved, turned.boxes[0]) == inside).mean() > 0.97
    heading = objects.velocities[0] @ [
        np.cos(objects.boxes[0, 6]),
        np.sin(objects.boxes[0, 6]),
    ]
    heading_after = turned.velocities[0] @ [
        np.cos(turned.boxes[0, 6]),
        np.sin(turned.boxes[0, 6]),
    ]
    assert abs(heading - heading_after) < 1e-9


@settings(deadline=None)
@given(objects)
def test_mirror_moves_pixels_with_the_image(objects):
    images = np.random.default_rng(0).integers(0, 255, (1, 96, 340, 3), dtype=np.uint8)
    points = np.random.default_rng(0).normal(objects.boxes[0, :3], 2, (100, 3))
    before, depth = pixels(objects.boxes, INTRINSICS, EGO_FROM_CAMERA)
    flipped, intrinsics, cameras, mirrored, moved = mirror(
        images, INTRINSICS, EGO_FROM_CAMERA, objects, points
    )
    after, depth_after = pixels(mirrored.boxes, intrinsics, cameras)
    expected = before * [-1, 1] + [images.shape[2] - 1, 0]
    # The mirrored box has the same corners under other indices: left and right swap.
    swap = [1, 0, 3, 2, 5, 4, 7, 6]
    np.testing.assert_allclose(after, expected[swap], atol=1e-6)
    np.testing.assert_allclose(depth_after, depth[swap], atol=1e-9)
    np.testing.assert_array_equal(flipped[0, :, 0], images[0, :, -1])
    assert np.isclose(np.linalg.det(cameras[0]), 1.0)  # still a rotation
    inside = points_in_box(points, objects.boxes[0])
    assert (points_in_box(moved, mirrored.boxes[0]) == inside).mean() > 0.97


def test_mirroring_twice_changes_nothing():
    images = np.random.default_rng(0).integers(0, 255, (1, 96, 340, 3), dtype=np.uint8)
    start = (
        images,
        INTRINSICS,
        EGO_FROM_CAMERA,
        one_object(20, 15, 0.3),
        np.ones((5, 3)),
    )
    twice = mirror(*mirror(*start))
    np.testing.assert_array_equal(twice[0], images)
    np.testing.assert_allclose(twice[1], INTRINSICS)
    np.testing.assert_allclose(twice[2], EGO_FROM_CAMERA)
    np.testing.assert_allclose(twice[3].boxes, start[3].boxes)


def test_colour_jitter_clips_instead_of_wrapping():
    images = np.array([0, 100, 250], np.uint8)[:, None, None, None].repeat(3, 3)
    result = jitter_colour(images, np.array([1.5, 1.0, 0.5]), 10.0)
    np.testing.assert_array_equal(result[:, 0, 0], [[10, 10, 10], [160, 110, 60], [255, 255, 135]])
