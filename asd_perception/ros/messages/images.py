# SPDX-License-Identifier: Apache-2.0
"""Images and calibrations as arrays, and the place where bad ones are found.

Messages may be rclpy's or rosbags': the functions here look at their fields alone.
Every function here raises UserError with a one-line reason if the message does not hold what its
type promises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asd_perception.cameras.calibration import CameraCalibration
from asd_perception.cameras.image_decoding import (
    check_encoded,
    check_raw,
    decode_camera_image,
    decode_raw,
    encoding_warning,
    format_warning,
)
from asd_perception.errors import UserError

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image


def check_image(msg: Image | CompressedImage) -> None:
    """Raise UserError for a message that holds no image, as far as microseconds can tell."""
    if hasattr(msg, "format"):
        check_encoded(np.frombuffer(msg.data, np.uint8))
    else:
        check_raw(msg)


def image_warning(msg: Image | CompressedImage) -> str | None:
    """What may be wrong with the colours of an image that can be decoded, with the remedy."""
    if hasattr(msg, "format"):
        return format_warning(msg.format)
    return encoding_warning(msg.encoding)


def image_from_msg(msg: Image) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB of a raw image; a view of the message's data where it can be."""
    return decode_raw(msg)


def image_from_compressed(
    msg: CompressedImage, size: tuple[int, int], input_size: tuple[int, int]
) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB of a JPEG, PNG or WebP image: `decode_camera_image`."""
    return decode_camera_image(np.frombuffer(msg.data, np.uint8), size, input_size, msg.format)


@dataclass(frozen=True)
class CameraModel:
    """One camera's calibration and its optical frame."""

    frame_id: str
    calibration: CameraCalibration


def camera_model_from_msg(msg: CameraInfo) -> CameraModel:
    """The calibration in a CameraInfo message of a full image, rectified or not."""
    if msg.width == 0 or msg.height == 0:
        raise UserError(f"camera_info has zero image size ({msg.width}x{msg.height})")
    intrinsics = np.array(msg.k, dtype=np.float64).reshape(3, 3)
    coefficients = np.array(msg.d, dtype=np.float64)
    if not (np.isfinite(intrinsics).all() and np.isfinite(coefficients).all()):
        raise UserError("camera_info has a value in K or D that is not finite; calibrate again")
    if intrinsics[0, 0] <= 0 or intrinsics[1, 1] <= 0:
        raise UserError("camera_info has no focal length in K; is the camera calibrated?")
    focal_lengths = intrinsics[0, 0] / msg.width, intrinsics[1, 1] / msg.height
    if min(focal_lengths) < 0.05 or max(focal_lengths) > 50:  # 169 degrees, and 1 degree
        raise UserError(
            f"camera_info has the focal lengths {intrinsics[0, 0]:g} and {intrinsics[1, 1]:g} "
            f"pixels for a {msg.width}x{msg.height} image; calibrate again"
        )
    if np.abs(coefficients).max(initial=0.0) > 1e4:
        raise UserError("camera_info has a value in D beyond any lens; calibrate again")
    if intrinsics[1, 0] != 0 or tuple(intrinsics[2]) != (0, 0, 1):
        raise UserError(
            "camera_info has a K that is not fx s cx / 0 fy cy / 0 0 1; calibrate again"
        )
    share_x, share_y = intrinsics[0, 2] / msg.width, intrinsics[1, 2] / msg.height
    if not (-1 < share_x < 2 and -1 < share_y < 2):
        raise UserError(
            f"camera_info has its principal point at ({intrinsics[0, 2]:g}, {intrinsics[1, 2]:g}), "
            f"far outside of its {msg.width}x{msg.height} image; calibrate again"
        )
    roi = (msg.roi.width, msg.roi.height)
    if msg.binning_x > 1 or msg.binning_y > 1 or roi not in ((0, 0), (msg.width, msg.height)):
        raise UserError("camera_info has binning or a region of interest; publish the full image")
    # A fisheye lens is no pinhole camera even where its coefficients are 0.
    pinhole = msg.distortion_model in ("plumb_bob", "rational_polynomial")
    if msg.distortion_model == "equidistant" or (coefficients.any() and not pinhole):
        raise UserError(
            f"camera_info has distortion model {msg.distortion_model!r}; only plumb_bob and "
            "rational_polynomial are supported: publish rectified images"
        )
    if coefficients[8:].any():
        raise UserError("camera_info has thin prism distortion; publish rectified images")
    distortion = np.zeros(8)
    distortion[: len(coefficients[:8])] = coefficients[:8]
    frame_id = msg.header.frame_id.lstrip("/")
    if not frame_id:
        raise UserError("camera_info has no frame_id; set it to the camera's optical frame")
    size = int(msg.width), int(msg.height)
    return CameraModel(frame_id, CameraCalibration(intrinsics, size, distortion))
