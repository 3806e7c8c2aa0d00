# SPDX-License-Identifier: Apache-2.0
"""Augmentations that keep images, rig, boxes and points exactly consistent.

Each changes the world seen from base_link, so that the frame after it could have been recorded.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from asd_perception.geometry import Array, transform_from, transform_points, wrap_angle
from asd_training.datasets.nuscenes import Annotations

_MIRROR_EGO = np.diag([1.0, -1.0, 1.0, 1.0])  # left and right swap
_MIRROR_CAMERA = np.diag([-1.0, 1.0, 1.0, 1.0])


def mirror(
    images: NDArray[np.uint8],
    intrinsics: Array,
    ego_from_camera: Array,
    objects: Annotations,
    points: Array,
) -> tuple[NDArray[np.uint8], Array, Array, Annotations, Array]:
    """The world and the rig mirrored in the vehicle's vertical plane.

    images (N, H, W, 3), intrinsics (N, 3, 3), ego_from_camera (N, 4, 4), points (P, 3).
    Mirroring both base_link and the camera frames leaves every camera pose a proper rotation.
    """
    width = images.shape[2]
    intrinsics = intrinsics.copy()
    intrinsics[:, 0, 2] = width - 1 - intrinsics[:, 0, 2]
    intrinsics[:, 0, 1] *= -1
    boxes = objects.boxes * [1, -1, 1, 1, 1, 1, -1]
    mirrored = dataclasses.replace(objects, boxes=boxes, velocities=objects.velocities * [1, -1])
    return (
        np.ascontiguousarray(images[:, :, ::-1]),
        intrinsics,
        _MIRROR_EGO @ ego_from_camera @ _MIRROR_CAMERA,
        mirrored,
        points * [1, -1, 1],
    )


def rotate(
    ego_from_camera: Array, objects: Annotations, points: Array, angle: float
) -> tuple[Array, Annotations, Array]:
    """The vehicle turned under its cameras: everything in base_link rotates by `angle` about z."""
    turn = transform_from([np.cos(angle / 2), 0, 0, np.sin(angle / 2)], [0, 0, 0])
    boxes = objects.boxes.copy()
    boxes[:, :3] = transform_points(turn, boxes[:, :3])
    boxes[:, 6] = wrap_angle(boxes[:, 6] + angle)
    rotated = dataclasses.replace(
        objects, boxes=boxes, velocities=objects.velocities @ turn[:2, :2].T
    )
    return turn @ ego_from_camera, rotated, transform_points(turn, points)


def jitter_colour(
    images: NDArray[np.uint8], gain: NDArray[np.float64], offset: float
) -> NDArray[np.uint8]:
    """Images (N, H, W, 3) with another exposure: gain a colour channel (3,), one offset."""
    levels = np.arange(256)[:, None] * gain + offset
    table = np.clip(levels, 0, 255).astype(np.uint8)  # (256, 3)
    return table[images, np.arange(3)]
