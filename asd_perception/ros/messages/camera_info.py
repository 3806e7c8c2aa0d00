# SPDX-License-Identifier: Apache-2.0
"""The calibration in sensor_msgs/CameraInfo; its messages may be rclpy's or rosbags'.

The message describes two images: K and D the raw one, P and R the one that image_proc rectifies.
It does not say which of the two a topic carries; the node's parameter `calibration` does. Both are
of the camera's full resolution, of which a driver may publish a region of interest, binned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from asd_perception.cameras.calibration import (
    DISTORTION_LENGTHS,
    CameraCalibration,
    implausible,
)
from asd_perception.cameras.ego_mask import EgoMask
from asd_perception.errors import UserError
from asd_perception.geometry import Array

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo

FISHEYE_MODELS = ("equidistant", "fisheye")
# image_geometry, too, tells these two apart by the number of their coefficients only.
PINHOLE_MODELS = ("plumb_bob", "rational_polynomial")
UNDISTORTED_MODELS = ("", "none", "pinhole")  # names that drivers give where D is zero


@dataclass(frozen=True, eq=False)
class CameraModel:
    """One camera's calibration, and how its image lies in its frame.

    frame_id: the optical frame. calibration: of the image as it is published. frame_from_image
    (3, 3): rotation from the image's axes to the optical frame; no identity in a rectified stereo
    image. whole: of the image before a region of interest is cut out of it and binned. rectified:
    whether both are of the rectified image. bends: whether the raw image is distorted.
    """

    frame_id: str
    calibration: CameraCalibration
    frame_from_image: Array
    whole: CameraCalibration
    rectified: bool
    bends: bool = False


def camera_model_from_msg(
    msg: CameraInfo, rectified: bool = False, ego_mask: EgoMask | None = None
) -> CameraModel:
    """The calibration of the raw image, or of the `rectified` one, with what is hidden in it.

    Raises UserError with a one-line reason for a message that describes no camera.
    """
    full_size = int(msg.width), int(msg.height)
    if 0 in full_size:
        raise UserError(f"camera_info has zero image size ({msg.width}x{msg.height})")
    frame_id = msg.header.frame_id.lstrip("/")
    if not frame_id:
        raise UserError("camera_info has no frame_id; set it to the camera's optical frame")
    distortion, equidistant = np.zeros(DISTORTION_LENGTHS[-1]), False
    frame_from_image = np.eye(3)
    bends = bool(np.any(msg.d)) or msg.distortion_model.lower() in FISHEYE_MODELS
    if rectified:  # Tx and Ty, where the other camera of a stereo pair is, do not matter here
        full = _pinhole_matrix("P", np.reshape(msg.p, (3, 4)), full_size)
        frame_from_image = _rectification(msg).T
    else:
        full = _pinhole_matrix("K", np.reshape(msg.k, (3, 3)), full_size)
        distortion, equidistant = _lens(msg)
    published_from_full, size = _window(msg)
    hidden = ego_mask.at(size) if ego_mask is not None else ()
    calibration = CameraCalibration(
        published_from_full @ full, size, distortion, equidistant, hidden
    )
    whole = CameraCalibration(full, full_size, distortion, equidistant)
    return CameraModel(frame_id, calibration, frame_from_image, whole, rectified, bends)


def wrongly_rectified(camera: str, image: str, model: CameraModel) -> str | None:
    """What looks wrong where an image topic's name and its calibration disagree, with the remedy.

    image: the topic.
    """
    if not model.bends:
        return None
    remedy = f"set camera.{camera}.calibration:"
    if not model.rectified and "image_rect" in image:
        return (
            f"{image} is rectified by its name, but its camera_info has distortion, which is taken "
            f"out of it a second time; {remedy} rectified"
        )
    if model.rectified and "image_raw" in image:
        return (
            f"{image} is a raw image by its name, and its camera_info has distortion, but "
            f"calibration says that it is rectified; {remedy} raw, unless it is"
        )
    return None


class CalibrationWatch:
    """Whether one camera's calibrations go back and forth, as those of two publishers do."""

    def __init__(self) -> None:
        self._last: CameraModel | None = None
        self._before: CameraModel | None = None  # the last one that was another than that
        self._returns = 0  # how often in a row one came back

    def see(self, model: CameraModel) -> str | None:
        """What is wrong once each of two calibrations has come back after the other.

        One alone does so where a driver's mode is changed for a while.
        """
        last, before = self._last, self._before
        if last is not None and _is_same(model, last):
            return None
        self._last, self._before = model, last
        came_back = before is not None and _is_same(model, before)
        self._returns = self._returns + 1 if came_back else 0
        if last is None or before is None or self._returns < 2:
            return None
        return (
            f"its camera_info goes back and forth between two calibrations, {_in_words(before)} "
            f"and {_in_words(last)}: two nodes seem to publish it; stop one of them"
        )


def _is_same(one: CameraModel, other: CameraModel) -> bool:
    return (
        one.frame_id == other.frame_id
        and one.calibration == other.calibration
        and np.array_equal(one.frame_from_image, other.frame_from_image)
    )


def _in_words(model: CameraModel) -> str:
    (fx, fy), (cx, cy) = np.diag(model.calibration.matrix)[:2], model.calibration.matrix[:2, 2]
    width, height = model.calibration.size
    return (
        f"{width}x{height} in {model.frame_id} with fx {fx:.1f} fy {fy:.1f} cx {cx:.1f} cy {cy:.1f}"
    )


def _pinhole_matrix(name: str, values: Array, size: tuple[int, int]) -> Array:
    """The 3x3 matrix in K or P, of an image of `size`."""
    advice = "calibrate again"
    if name == "P":
        advice = "calibrate the camera, or set the parameter calibration to raw for a raw image"
    if not np.isfinite(values).all():
        raise UserError(f"camera_info has a value in {name} that is not finite; {advice}")
    matrix = np.array(values[:, :3], dtype=np.float64)
    centre = matrix[:2, 2]
    focal = matrix[0, 0], matrix[1, 1]
    if min(focal) < 0:
        raise UserError(
            f"camera_info has a negative focal length in {name}, as of a mirrored image; publish "
            "the image as the lens shows it, with its own calibration"
        )
    if min(focal) == 0:
        raise UserError(f"camera_info has no focal length in {name}; {advice}")
    if matrix[1, 0] != 0 or tuple(matrix[2]) != (0, 0, 1):
        raise UserError(f"camera_info has a {name} that is not fx s cx / 0 fy cy / 0 0 1; {advice}")
    if not centre.any():
        raise UserError(f"camera_info has no principal point in {name}: cx and cy are 0; {advice}")
    if fault := implausible(matrix, size):
        raise UserError(f"camera_info has {fault} in {name}; {advice}")
    return matrix


def _rectification(msg: CameraInfo) -> Array:
    """R (3, 3), from the optical frame's axes to those of the rectified image."""
    rotation = np.array(msg.r, dtype=np.float64).reshape(3, 3)
    if not (
        np.abs(rotation).max() < 2  # beyond it, products may overflow
        and np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)
        and np.linalg.det(rotation) > 0
    ):
        raise UserError(
            "camera_info has an R that is no rotation; calibrate again (a single camera's is the "
            "identity)"
        )
    return rotation


def _lens(msg: CameraInfo) -> tuple[Array, bool]:
    """The raw image's distortion as CameraCalibration has it, and whether it is equidistant.

    A fisheye lens is no pinhole camera even where its coefficients are 0.
    """
    model, coefficients = msg.distortion_model.lower(), np.array(msg.d, dtype=np.float64)
    if not np.isfinite(coefficients).all():
        raise UserError("camera_info has a value in D that is not finite; calibrate again")
    if np.abs(coefficients).max(initial=0.0) > 1e4:
        raise UserError("camera_info has a value in D beyond any lens; calibrate again")
    equidistant = model in FISHEYE_MODELS
    undistorted = model in UNDISTORTED_MODELS and not coefficients.any()
    if not (equidistant or undistorted or model in PINHOLE_MODELS):
        if model == "":
            raise UserError(
                "camera_info has values in D, but no distortion_model; name the lens's: plumb_bob, "
                "rational_polynomial or equidistant"
            )
        raise UserError(
            f"camera_info has the distortion model {msg.distortion_model!r}, which is none of "
            "plumb_bob, rational_polynomial and equidistant; publish the rectified image and set "
            "the parameter calibration to rectified"
        )
    lengths = (4,) if equidistant else DISTORTION_LENGTHS
    # Some drivers fill an array of one length for every model: zeros at its end are none of it.
    needed = len(np.trim_zeros(coefficients, "b"))
    known = [n for n in (0, *lengths) if needed <= n <= len(coefficients)]
    if not known:
        raise UserError(
            f"camera_info has {len(coefficients)} values in D; {model} has "
            f"{', '.join(map(str, lengths))}: calibrate again"
        )
    distortion = np.zeros(DISTORTION_LENGTHS[-1])
    distortion[: known[0]] = coefficients[: known[0]]
    return distortion, equidistant


def _window(msg: CameraInfo) -> tuple[Array, tuple[int, int]]:
    """The published part of the full image: its pixels from those (3, 3), and its size.

    Of a rectified image it is the same window as of the raw one, as in image_proc, whatever
    `do_rectify` says. Pixel centres are at integers, so the middle of b binned pixels
    lies (b - 1) / 2 behind the first one's.
    """
    roi = msg.roi
    left, top = int(roi.x_offset), int(roi.y_offset)
    width, height = int(roi.width) or int(msg.width), int(roi.height) or int(msg.height)
    if left + width > msg.width or top + height > msg.height:
        raise UserError(
            f"camera_info has a region of interest of {width}x{height} at ({left}, {top}), which "
            f"reaches beyond its {msg.width}x{msg.height} image; mend the driver"
        )
    bin_x, bin_y = max(1, int(msg.binning_x)), max(1, int(msg.binning_y))
    if bin_x > width or bin_y > height:
        raise UserError(
            f"camera_info has {bin_x}x{bin_y} binning of {width}x{height} pixels; mend the driver"
        )
    published_from_full = np.array(
        [
            [1 / bin_x, 0.0, (0.5 - left) / bin_x - 0.5],
            [0.0, 1 / bin_y, (0.5 - top) / bin_y - 0.5],
            [0.0, 0.0, 1.0],
        ]
    )
    return published_from_full, (width // bin_x, height // bin_y)
