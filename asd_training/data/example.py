# SPDX-License-Identifier: Apache-2.0
"""Rigs and images, without a dataset: for benchmarks and the check of exports."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES
from asd_perception.cameras.rig import CameraRig
from asd_perception.geometry import box_corners, transform_from

WIDTH, HEIGHT = 1600, 900
"""Size in pixels of the cameras' images, as in nuScenes."""

JPEG_QUALITY = 75


def example_rig(cameras: int = 6) -> CameraRig:
    """Cameras around the robot: six roughly as in nuScenes, any other number evenly spread."""
    names, headings = NUSCENES_CAMERA_NAMES, np.array([55, 0, -55, 110, 180, -110])
    if cameras != len(NUSCENES_CAMERA_NAMES):
        names = tuple(f"camera{i}" for i in range(cameras))
        headings = np.arange(cameras) * 360 / cameras
    poses = []
    for heading in np.deg2rad(headings):
        body = transform_from([np.cos(heading / 2), 0, 0, np.sin(heading / 2)], [0.8, 0, 1.5])
        poses.append(body @ transform_from([0.5, -0.5, 0.5, -0.5], [0, 0, 0]))
    focal = 1260.0
    return CameraRig(
        names=names,
        intrinsics=np.repeat([[[focal, 0, 810], [0, focal, 492], [0, 0, 1]]], cameras, axis=0),
        ego_from_camera=np.stack(poses),
        image_sizes=np.repeat([[WIDTH, HEIGHT]], cameras, axis=0),
        distortion=np.zeros((cameras, 8)),
    )


def example_images(cameras: int = 6) -> list[Any]:
    """Images of soft blobs; as JPEG 0.16 MB each, similar to nuScenes' photographs."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (cameras, HEIGHT // 24, WIDTH // 24, 3), dtype=np.uint8)
    return [cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) for image in small]


def drawn_street(rig: CameraRig) -> list[Any]:
    """What a rig's cameras see of a street drawn with flat colours: boxes on grey ground.

    For comparisons that need objects which a network can find, without a dataset.
    """
    random = np.random.default_rng(0)
    places = [(x, y) for x in (-30.0, -18.0, -8.0, 8.0, 16.0, 28.0) for y in (-6.0, -2.5, 2.5, 6.0)]
    boxes = np.array([[x, y, 0.8, 4.4, 1.9, 1.6, 0.0] for x, y in places])
    colours = random.integers(0, 256, (len(boxes), 3))
    images = []
    for camera in range(len(rig)):
        width, height = (int(side) for side in rig.image_sizes[camera])
        image = np.full((height, width, 3), 150, np.uint8)
        image[: height // 2] = (170, 200, 240)
        centre = rig.ego_from_camera[camera, :2, 3]
        for i in np.argsort(-np.linalg.norm(boxes[:, :2] - centre, axis=1)):  # the nearest one last
            pixels, depths = rig.project(box_corners(boxes[i])[0], camera)
            if depths.min() > 1:
                hull = cv2.convexHull(np.clip(pixels, -9999, 9999).astype(np.int32))
                cv2.fillConvexPoly(image, hull, colours[i].tolist())
        images.append(image)
    return images
