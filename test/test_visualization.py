# SPDX-License-Identifier: Apache-2.0
"""Promise: pictures show each box where its object is, and videos can be played back."""

import cv2
import numpy as np
import pytest

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.cameras.calibration import CameraCalibration
from asd_perception.cameras.lens import pixels_of
from asd_perception.cameras.rig import CameraRig
from asd_perception.errors import UserError
from asd_perception.geometry import box_corners, transform_from
from asd_perception.palette import CLASS_COLOURS
from asd_perception.runtime.detections import Detections
from asd_perception.viewing.boxes import draw_boxes
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


LENSES = {
    "barrel": CameraCalibration(
        np.array([[300.0, 0, 200], [0, 300, 112], [0, 0, 1]]), (400, 225), np.array([-0.3, 0, 0, 0])
    ),
    "fisheye": CameraCalibration(
        np.array([[120.0, 0, 200], [0, 120, 112], [0, 0, 1]]), (400, 225), np.zeros(4), True
    ),
}


@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize("name", LENSES)
def test_a_box_is_drawn_as_the_lens_bends_it(name, reduction):
    """Long edges near a camera: their middle is not where a straight line would have it."""
    lens, pose = LENSES[name], transform_from([0.5, -0.5, 0.5, -0.5], [0.0, 0.0, 1.5])
    wall = np.array([[4.0, 0.0, 1.5, 0.1, 8.0, 2.4, 0.0]])
    black = np.zeros((-(-225 // reduction), 400 // reduction, 3), np.uint8)
    drawn = draw_boxes(black, lens, pose, box_corners(wall), np.zeros(1, np.int64))
    edge = np.stack([np.linspace(-3.9, 3.9, 9), np.full(9, -1.2), np.full(9, 3.95)], axis=-1)
    at, shown = pixels_of(lens, edge)
    at = (at + 0.5) / reduction - 0.5
    inside = shown & np.all((at > 1) & (at < np.array(black.shape[1::-1]) - 2), axis=-1)
    assert inside.sum() >= 5
    for u, v in at[inside].round().astype(int):
        assert drawn[v - 1 : v + 2, u - 1 : u + 2].max() > 100
    assert not black.any(), "the image itself is left as it is"


def test_a_fisheye_lens_shows_boxes_beside_the_camera():
    pose = transform_from([0.5, -0.5, 0.5, -0.5], [0.0, 0.0, 1.5])
    post = np.array([[-0.5, 4.0, 1.5, 0.3, 0.3, 1.0, 0.0]])  # 97 degrees to the left
    black = np.zeros((225, 400, 3), np.uint8)
    for name, seen in (("barrel", False), ("fisheye", True)):
        drawn = draw_boxes(black, LENSES[name], pose, box_corners(post), np.zeros(1, np.int64))
        assert drawn.any() == seen


PINHOLE = CameraCalibration(
    np.array([[300.0, 0, 200], [0, 300, 112], [0, 0, 1]]), (400, 225), np.zeros(4)
)


def test_a_box_without_a_corner_in_the_image_is_drawn_where_its_edges_cross_it():
    """A bus that passes right before the camera."""
    pose = transform_from([0.5, -0.5, 0.5, -0.5], [0.0, 0.0, 1.5])
    bus = np.array([[6.0, 0.0, 1.6, 2.0, 12.0, 3.2, 0.0]])
    black = np.zeros((225, 400, 3), np.uint8)
    drawn = draw_boxes(black, PINHOLE, pose, box_corners(bus), np.zeros(1, np.int64))
    for height, distance in ((3.2, 7.0), (0.0, 7.0)):  # the far side's upper and lower edge
        row = 112 + 300 * (1.5 - height) / distance
        assert drawn[round(row) - 1 : round(row) + 2].max(axis=(0, 2)).min() > 100


def test_the_edges_of_what_passes_close_by_have_their_true_slope():
    """They go on to where the camera is, thousands of pixels outside of the image."""
    pose = transform_from([0.5, -0.5, 0.5, -0.5], [0.0, 0.0, 1.5])
    lens = CameraCalibration(
        np.array([[1266.0, 0, 800], [0, 1266, 450], [0, 0, 1]]), (1600, 900), np.zeros(4)
    )
    lorry = np.array([[0.0, -3.0, 1.5, 20.0, 2.0, 3.0, 0.0]])
    black = np.zeros((900, 1600, 3), np.uint8)
    drawn = draw_boxes(black, lens, pose, box_corners(lorry), np.zeros(1, np.int64))
    for x in np.linspace(4.5, 9.5, 20):  # the lower edge of its near side
        u, v = round(800 + 1266 * 2.0 / x), round(450 + 1266 * 1.5 / x)
        assert drawn[v - 1 : v + 2, u - 1 : u + 2].max() > 100


def test_captions_name_class_and_score_and_bgr_memory_is_drawn_in_the_same_colours():
    rig = forward_rig()
    image = np.full((225, 400, 3), (10, 20, 30), np.uint8)
    view_of_bgr = np.ascontiguousarray(image[..., ::-1])[..., ::-1]
    corners, labels = box_corners(BOX), np.zeros(1, np.int64)
    camera = rig.calibration(0), rig.ego_from_camera[0], corners, labels
    plain, captioned = draw_boxes(image, *camera), draw_boxes(image, *camera, np.array([0.5]))
    assert len(coloured(captioned, 0)) > len(coloured(plain, 0))
    np.testing.assert_array_equal(draw_boxes(view_of_bgr, *camera), plain)
    np.testing.assert_array_equal(draw_boxes(image, *camera[:2], corners[:0], labels[:0]), image)
    with pytest.raises(UserError, match="image is 400x100, its calibration says 400x225"):
        draw_boxes(image[:100], *camera)


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
