# SPDX-License-Identifier: Apache-2.0
"""Promise: pictures show each box where its object is, and videos can be played back."""

import cv2
import numpy as np
import pytest

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.cameras.rig import CameraRig
from asd_perception.geometry import transform_from
from asd_perception.palette import CLASS_COLOURS
from asd_perception.runtime.detections import Detections
from asd_training.evaluation.pictures import bev_picture, frame_picture, save_picture, save_video

BOX = np.array([[20.0, 0.0, 0.8, 4.5, 1.9, 1.6, 0.0]])


def forward_rig():
    """Six cameras that all look forward from 1.5 m above ground."""
    n = len(CAMERAS)
    pose = transform_from([0.5, -0.5, 0.5, -0.5], [0.0, 0.0, 1.5])
    return CameraRig(
        CAMERAS,
        np.repeat([[[300.0, 0, 200], [0, 300, 112], [0, 0, 1]]], n, axis=0),
        np.repeat(pose[None], n, axis=0),
        np.repeat([[400, 225]], n, axis=0),
        np.zeros((n, 8)),
    )


def detections(boxes):
    n = len(boxes)
    return Detections(
        boxes, np.ones(n), np.zeros(n, np.int64), np.zeros((n, 2)), np.zeros(n, np.int64)
    )


def coloured(image, label):
    """Pixels (row, column) near a class's colour."""
    return np.argwhere(np.abs(image.astype(int) - CLASS_COLOURS[label]).sum(-1) < 60)


UP = np.array([0.0, 0.0, 1.0])


def picture(boxes, lidar=None):
    images = [np.zeros((225, 400, 3), np.uint8)] * 6
    points = np.empty((0, 4)) if lidar is None else lidar
    return frame_picture(
        images, forward_rig(), detections(boxes), np.empty((0, 7)), points, UP, camera_width=400
    )


def test_a_box_is_drawn_around_its_projection():
    result = picture(BOX)
    assert result.shape == (450, 1200 + 450, 3)
    tile = coloured(result[30:225, :400], 0) + [30, 0]
    centre = (tile.min(0) + tile.max(0)) / 2
    expected = [112 + 300 * 0.7 / 20, 200]  # 0.7 m below the camera, 20 m ahead
    assert np.abs(centre - expected).max() < 3


def test_a_box_around_or_behind_the_camera_draws_without_harm():
    for x in (-20.0, -2.0, 0.0, 1.0):
        result = picture(BOX + [x - 20.0, 0, 0, 0, 0, 0, 0])
        assert result.shape == (450, 1650, 3)
    assert len(coloured(picture(BOX - [40.0, 0, 0, 0, 0, 0, 0])[30:225, :400], 0)) == 0


def test_the_scene_from_above_has_forward_up_and_left_left():
    image = bev_picture(
        BOX + [0, 10, 0, 0, 0, 0, 0], np.zeros(1, np.int64), np.empty((0, 7)), np.empty((0, 3)), 500
    )
    row, column = coloured(image[60:], 0).mean(0) + [60, 0]  # below the legend
    assert abs(row - (250 - 20 * 5)) < 3
    assert abs(column - (250 - 10 * 5)) < 3


def test_files_can_be_read_back(tmp_path):
    frames = [np.full((90, 160, 3), value, np.uint8) for value in (40, 120, 200)]
    save_picture(frames[1], tmp_path / "picture.png")
    assert cv2.imread(str(tmp_path / "picture.png")).mean() == pytest.approx(120)
    save_video(frames, tmp_path / "video.webm", rate=2.0)
    video = cv2.VideoCapture(str(tmp_path / "video.webm"))
    means = []
    while True:
        read, frame = video.read()
        if not read:
            break
        means.append(frame.mean())
    np.testing.assert_allclose(means, [40, 120, 200], atol=6)
