# SPDX-License-Identifier: Apache-2.0
"""Promise: camera_info gives the calibration of the image that is published; a bad one says why."""

import math

import cv2
import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from asd_perception.errors import UserError
from asd_perception.ros.messages.camera_info import CalibrationWatch, camera_model_from_msg

K = np.array([[1266.0, 0.0, 816.0], [0.0, 1270.0, 491.0], [0.0, 0.0, 1.0]])
D = [-0.25, 0.08, 0.001, -0.0005, 0.01]
P = np.array([[1100.0, 0.0, 800.0, -132.0], [0.0, 1100.0, 450.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
R = Rotation.from_euler("xyz", [1.0, -2.0, 0.5], degrees=True).as_matrix()


def camera_info(**changes):
    values = {
        "header": Header(frame_id="optical"),
        "width": 1600,
        "height": 900,
        "k": K.ravel(),
        "distortion_model": "plumb_bob",
        "d": D,
        "r": R.ravel(),
        "p": P.ravel(),
        **changes,
    }
    return deserialize_message(serialize_message(CameraInfo(**values)), CameraInfo)


def roi(left, top, width, height):
    return RegionOfInterest(
        x_offset=left, y_offset=top, width=width, height=height, do_rectify=True
    )


def pixel_of(model, point):
    """Where an undistorted image with this model shows a point of the optical frame."""
    u, v, w = model.calibration.matrix @ model.frame_from_image.T @ point
    return np.array([u, v]) / w


def test_a_raw_image_has_k_and_d():
    model = camera_model_from_msg(camera_info())
    calibration = model.calibration
    assert (model.frame_id, calibration.size, calibration.equidistant) == (
        "optical",
        (1600, 900),
        False,
    )
    np.testing.assert_array_equal(calibration.matrix, K)
    np.testing.assert_array_equal(calibration.distortion, [*D, *np.zeros(9)])
    np.testing.assert_array_equal(model.frame_from_image, np.eye(3))


def test_a_rectified_image_has_p_turned_by_r_and_no_distortion():
    """Where OpenCV rectifies the raw image to, the right camera of a stereo pair included."""
    model = camera_model_from_msg(camera_info(), rectified=True)
    assert not model.calibration.is_distorted
    for point in ([0.0, 0.0, 10.0], [3.0, -1.0, 8.0], [-4.0, 1.5, 9.0]):
        raw, _ = cv2.projectPoints(np.array([point]), np.zeros(3), np.zeros(3), K, np.array(D))
        rectified = cv2.undistortPoints(raw, K, np.array(D), R=R, P=P).ravel()
        np.testing.assert_allclose(pixel_of(model, np.array(point)), rectified, atol=1e-3)


def test_the_rectified_calibration_is_that_of_the_rectified_images_own_camera_info():
    """Whatever the lens: the driver's camera_info, and one that describes the rectified image."""
    own = camera_info(k=P[:, :3].ravel(), d=[0.0] * 5, r=np.eye(3).ravel())
    expected = camera_model_from_msg(own).calibration
    for lens in ({}, {"distortion_model": "equidistant", "d": [0.01, -0.002, 0.0005, 0.0001]}):
        found = camera_model_from_msg(camera_info(**lens), rectified=True).calibration
        np.testing.assert_allclose(found.matrix, expected.matrix, rtol=0, atol=1e-9)
        assert found == expected


@pytest.mark.parametrize(
    ("model", "coefficients", "equidistant"),
    [
        ("plumb_bob", D[:4], False),
        ("plumb_bob", D, False),
        ("plumb_bob", [0.0], False),
        ("rational_polynomial", [0.1] * 8, False),
        ("rational_polynomial", [0.1] * 12, False),
        ("rational_polynomial", [0.1] * 14, False),
        ("equidistant", [0.1] * 4, True),
        ("fisheye", [0.0] * 4, True),
        ("equidistant", [0.1] * 4 + [0.0] * 10, True),
        ("plumb_bob", [-0.1, 0.1, 0.0, 0.0, 0.0, 0.0], False),
        ("plumb_bob", [-0.1, 0.1, 0.0, 0.0, 0.01, 0.0], False),
        ("", [], False),
        ("none", [], False),
        ("pinhole", [0.0] * 5, False),
    ],
)
def test_every_lens_of_ros_is_taken(model, coefficients, equidistant):
    info = camera_info(distortion_model=model, d=coefficients)
    calibration = camera_model_from_msg(info).calibration
    assert calibration.equidistant == equidistant
    padded = [*coefficients, *np.zeros(14)][:14]
    np.testing.assert_array_equal(calibration.distortion, padded)


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize(
    ("window", "bins"),
    [
        ((0, 0, 0, 0), (2, 3)),
        ((400, 120, 801, 602), (1, 1)),
        ((400, 120, 801, 602), (4, 2)),
        ((0, 0, 1600, 900), (0, 0)),
    ],
)
def test_a_region_of_interest_and_binning_are_those_of_the_published_image(window, bins, rectified):
    """A spot in the full image lies in the cropped and averaged one where the calibration says."""
    full = camera_model_from_msg(camera_info(d=[]), rectified)
    info = camera_info(d=[], roi=roi(*window), binning_x=bins[0], binning_y=bins[1])
    model = camera_model_from_msg(info, rectified)
    left, top, width, height = window if window[2] else (0, 0, 1600, 900)
    bin_x, bin_y = max(1, bins[0]), max(1, bins[1])
    size = width // bin_x, height // bin_y
    assert model.calibration.size == size
    assert model.whole == full.calibration and model.rectified == rectified
    point = np.array([0.4, -0.5, 9.0])
    rows, columns = np.indices((900, 1600))
    u, v = pixel_of(full, point)
    image = np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * 6.0**2))
    image = image[top : top + size[1] * bin_y, left : left + size[0] * bin_x]
    binned = image.reshape(size[1], bin_y, size[0], bin_x).mean(axis=(1, 3))
    rows, columns = np.indices(binned.shape)
    found = np.array([(binned * columns).sum(), (binned * rows).sum()]) / binned.sum()
    np.testing.assert_allclose(found, pixel_of(model, point), atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"k": [math.nan] * 9}, "value in K that is not finite"),
        ({"k": [0.0] * 9}, "no focal length in K"),
        ({"k": [-1266.0, 0.0, 816.0, 0.0, 1266.0, 491.0, 0.0, 0.0, 1.0]}, "of a mirrored image"),
        ({"width": 0}, "zero image size"),
        ({"distortion_model": "pinhole"}, "'pinhole', which is none"),
        ({"d": [math.inf] * 5}, "value in D that is not finite"),
        ({"k": [1266.0, 0.0, 816.0, 0.0, 1266.0, 491.0, 0.0, 0.0, 0.0]}, "0 0 1"),
        ({"k": [1266.0, 0.0, 1e9, 0.0, 1266.0, 491.0, 0.0, 0.0, 1.0]}, "far outside"),
        ({"k": [1e-300, 0.0, 816.0, 0.0, 1266.0, 491.0, 0.0, 0.0, 1.0]}, "focal lengths 1e-300"),
        ({"k": [1266.0, 0.0, 816.0, 0.0, 1e9, 491.0, 0.0, 0.0, 1.0]}, "focal lengths 1266 and"),
        ({"k": [1266.0, 2e3, 816.0, 0.0, 1266.0, 491.0, 0.0, 0.0, 1.0]}, "skew 2000, more than"),
        ({"d": [0.1, 1e30, 0.0, 0.0, 0.0]}, "beyond any lens"),
        ({"d": [0.1] * 3}, "3 values in D; plumb_bob has 4, 5, 8, 12, 14"),
        ({"d": [0.1] * 15}, "15 values in D"),
        ({"distortion_model": "equidistant"}, "5 values in D; equidistant has 4"),
        ({"distortion_model": "double_sphere", "d": [0.0] * 4}, "'double_sphere', which is none"),
        ({"distortion_model": "omni"}, "parameter calibration to rectified"),
        ({"distortion_model": ""}, "values in D, but no distortion_model; name the lens's: plumb"),
        ({"k": [1266.0, 0.0, 0.0, 0.0, 1266.0, 0.0, 0.0, 0.0, 1.0]}, "no principal point in K"),
        ({"roi": roi(1000, 0, 800, 900)}, r"800x900 at \(1000, 0\), which reaches beyond its 1600"),
        ({"binning_x": 2000}, "2000x1 binning of 1600x900"),
        ({"header": Header()}, "frame_id"),
    ],
)
def test_bad_camera_info_is_refused(changes, reason):
    with pytest.raises(UserError, match=reason) as caught:
        camera_model_from_msg(camera_info(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"p": np.zeros(12)}, "no focal length in P; calibrate the camera, or set the parameter"),
        ({"p": P.ravel() * math.nan}, "value in P that is not finite"),
        ({"r": np.zeros(9)}, "R that is no rotation"),
        ({"r": -np.eye(3).ravel()}, "R that is no rotation"),
        ({"r": [1e300] * 9}, "R that is no rotation"),
        ({"r": [math.nan] * 9}, "R that is no rotation"),
    ],
)
def test_camera_info_without_a_rectified_image_is_refused_where_it_is_asked_for(changes, reason):
    info = camera_info(**changes)
    with pytest.raises(UserError, match=reason):
        camera_model_from_msg(info, rectified=True)
    assert camera_model_from_msg(info).calibration.is_distorted, "the raw image is whole"


@pytest.mark.parametrize("model", ["Plumb_Bob", "RATIONAL_POLYNOMIAL", "None"])
def test_the_case_of_a_distortion_models_name_does_not_matter(model):
    found = camera_model_from_msg(camera_info(distortion_model=model, d=[0.0] * 5))
    assert not found.calibration.is_distorted


def test_two_calibrations_that_take_turns_are_those_of_two_publishers():
    one, other, third = (
        camera_model_from_msg(camera_info(k=(K * [[zoom], [zoom], [1.0]]).ravel()))
        for zoom in (1.0, 0.5, 0.6)
    )
    watch = CalibrationWatch()
    for model in (one, one, other, other, one, third):  # again, a while, a zoom
        assert watch.see(model) is None
    for model in (other, other, third, third):
        assert watch.see(model) is None
    assert "fx 633.0 fy 635.0 cx 408.0 cy 245.5 and 1600x900 in optical with fx 759.6" in watch.see(
        other
    )
    assert watch.see(other) is None
    assert "two nodes seem to publish it; stop one" in watch.see(third)
