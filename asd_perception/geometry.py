# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms, boxes and projection, in NumPy.

A transform is a 4x4 float64 matrix named after its frames, `target_from_source`, so that
`p_target = target_from_source @ p_source`. Quaternions are (w, x, y, z) as in nuScenes;
`ros/messages/geometry.py` is where ROS's (x, y, z, w) appears.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation, Slerp

Array = NDArray[np.float64]

MAX_METRES = 1e8
"""Nothing is farther away in any frame, the Earth's own among them: what says so is a defect."""


def transform_from(rotation_wxyz: ArrayLike, translation: ArrayLike) -> Array:
    """The 4x4 transform of a quaternion (w, x, y, z), of any norm but 0, and a translation in m."""
    w, x, y, z = np.asarray(rotation_wxyz, dtype=np.float64)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
    matrix[:3, 3] = translation
    return matrix


def quaternion_of(transform: ArrayLike) -> Array:
    """The unit quaternion (w, x, y, z), w >= 0, of a transform's rotation. Shape (4,)."""
    x, y, z, w = Rotation.from_matrix(np.asarray(transform)[:3, :3]).as_quat()
    quaternion = np.array([w, x, y, z])
    return -quaternion if w < 0 else quaternion


def rotation_angle(rotation: Array) -> Array:
    """By how much rotations (..., 3, 3) turn, in rad from 0 to pi. Shape (...)."""
    cosine = (np.trace(rotation, axis1=-2, axis2=-1) - 1) / 2
    return np.asarray(np.arccos(np.clip(cosine, -1.0, 1.0)))


def inverse(transform: ArrayLike) -> Array:
    """The inverse of rigid transforms. Shape (..., 4, 4) to (..., 4, 4)."""
    transform = np.asarray(transform, dtype=np.float64)
    rotation_t = np.swapaxes(transform[..., :3, :3], -1, -2)
    result = np.zeros_like(transform)
    result[..., :3, :3] = rotation_t
    result[..., :3, 3] = -(rotation_t @ transform[..., :3, 3:])[..., 0]
    result[..., 3, 3] = 1.0
    return result


def transform_points(transform: ArrayLike, points: ArrayLike) -> Array:
    """Points (..., 3) moved by one 4x4 transform. Shape (..., 3)."""
    transform = np.asarray(transform, dtype=np.float64)
    return np.asarray(points) @ transform[:3, :3].T + transform[:3, 3]


def interpolate_pose(
    time: float, time_0: float, pose_0: Array, time_1: float, pose_1: Array
) -> Array:
    """The pose at `time` on the constant-twist path through two poses (4, 4).

    Times share any one unit; outside [time_0, time_1] the motion is extrapolated.
    """
    if time_0 == time_1:
        return pose_0
    fraction = (time - time_0) / (time_1 - time_0)
    result = np.eye(4)
    result[:3, 3] = (1 - fraction) * pose_0[:3, 3] + fraction * pose_1[:3, 3]
    if 0 <= fraction <= 1:
        slerp = Slerp([0, 1], Rotation.from_matrix([pose_0[:3, :3], pose_1[:3, :3]]))
        result[:3, :3] = slerp(fraction).as_matrix()
    else:
        start = Rotation.from_matrix(pose_0[:3, :3])
        turn = (start.inv() * Rotation.from_matrix(pose_1[:3, :3])).as_rotvec()
        result[:3, :3] = (start * Rotation.from_rotvec(fraction * turn)).as_matrix()
    return result


def yaw_of(transform: ArrayLike) -> float:
    """Rotation about +z of a transform in rad: the heading of its x axis in the x-y plane."""
    x_axis = np.asarray(transform)[:3, 0]
    return float(np.arctan2(x_axis[1], x_axis[0]))


def wrap_angle(angle: ArrayLike) -> Array:
    """Angles in rad brought into [-pi, pi)."""
    return (np.asarray(angle) + np.pi) % (2 * np.pi) - np.pi


def upright(up: ArrayLike) -> Array:
    """The shortest rotation (3, 3) of +z to the direction `up` (3,), of unit length.

    Objects stand along gravity, which in base_link is +z only while the vehicle does not tilt.
    """
    x, y, z = np.asarray(up, dtype=np.float64)
    cross = np.array([[0.0, 0.0, x], [0.0, 0.0, y], [-x, -y, 0.0]])
    return np.eye(3) + cross + cross @ cross / (1 + z)


def box_transform(box: ArrayLike, up: ArrayLike = (0.0, 0.0, 1.0)) -> Array:
    """The 4x4 pose of a box (x, y, z, length, width, height, yaw) in its frame.

    up (3,): what it stands along there (`upright`).
    """
    x, y, z, _, _, _, yaw = np.asarray(box, dtype=np.float64)
    pose = transform_from([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)], [x, y, z])
    pose[:3, :3] = upright(up) @ pose[:3, :3]
    return pose


# Corner signs along (length, width, height): the first four make the front face.
_CORNERS = 0.5 * np.array(
    [
        (1, 1, 1),
        (1, -1, 1),
        (1, -1, -1),
        (1, 1, -1),
        (-1, 1, 1),
        (-1, -1, 1),
        (-1, -1, -1),
        (-1, 1, -1),
    ]
)


def box_corners(boxes: ArrayLike, up: ArrayLike = (0.0, 0.0, 1.0)) -> Array:
    """Corners (M, 8, 3) of boxes (M, 7); corners 0-3 are the front face, in the devkit's order.

    up (3,): what the boxes stand along in their frame (`upright`).
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 7)
    cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    local = _CORNERS[None] * boxes[:, None, 3:6]
    corners = np.empty_like(local)
    corners[..., 0] = cos[:, None] * local[..., 0] - sin[:, None] * local[..., 1]
    corners[..., 1] = sin[:, None] * local[..., 0] + cos[:, None] * local[..., 1]
    corners[..., 2] = local[..., 2]
    return corners @ upright(up).T + boxes[:, None, :3]


def points_in_box(points: ArrayLike, box: ArrayLike) -> NDArray[np.bool_]:
    """Which points (P, 3) lie in a box (7,), faces included. Shape (P,)."""
    x, y, z, length, width, height, yaw = np.asarray(box, dtype=np.float64)
    ahead, left, up = (np.asarray(points) - (x, y, z)).T
    cos, sin = np.cos(yaw), np.sin(yaw)
    return (
        (np.abs(cos * ahead + sin * left) <= length / 2)
        & (np.abs(cos * left - sin * ahead) <= width / 2)
        & (np.abs(up) <= height / 2)
    )


def project(points: ArrayLike, intrinsics: ArrayLike) -> tuple[Array, Array]:
    """Pinhole projection of points in a camera's optical frame.

    points (..., 3) in m, intrinsics (3, 3) in pixels, pixel centres at integer coordinates.
    Returns pixels (..., 2) as (u, v) and depths (...) along z; pixels mean nothing at depth <= 0.
    """
    points = np.asarray(points, dtype=np.float64)
    homogeneous = points @ np.asarray(intrinsics, dtype=np.float64).T
    depth = points[..., 2]
    safe = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
    return homogeneous[..., :2] / safe[..., None], depth


def camera_angles(ego_from_camera: ArrayLike) -> Array:
    """Heading, pitch and roll (3,) in rad of a camera's optical frame, from its pose (4, 4).

    heading: of the optical axis, counter-clockwise from +x. pitch: of the optical axis above the
    horizontal. roll: how far the right side of the image hangs down.
    """
    rotation = np.asarray(ego_from_camera, dtype=np.float64)[:3, :3]
    axis = rotation[:, 2]
    heading = np.arctan2(axis[1], axis[0])
    pitch = np.arcsin(np.clip(axis[2], -1.0, 1.0))
    level = level_camera(heading, pitch, 0.0).T @ rotation  # a turn about the optical axis
    return np.array([heading, pitch, np.arctan2(level[1, 0], level[0, 0])])


def level_camera(heading: float, pitch: float, roll: float) -> Array:
    """The rotation (3, 3) ego_from_camera of a camera with these `camera_angles`."""
    cos_h, sin_h = np.cos(heading), np.sin(heading)
    cos_p, sin_p, cos_r, sin_r = np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    # Columns: the camera's x (right), y (down) and z (optical axis)
    level = np.array([[sin_h, 0.0, cos_h], [-cos_h, 0.0, sin_h], [0.0, -1.0, 0.0]])
    tilt = np.array([[1.0, 0.0, 0.0], [0.0, cos_p, -sin_p], [0.0, sin_p, cos_p]])
    turn = np.array([[cos_r, -sin_r, 0.0], [sin_r, cos_r, 0.0], [0.0, 0.0, 1.0]])
    return level @ tilt @ turn
