# SPDX-License-Identifier: Apache-2.0
"""What sensors recorded, as nuScenes stores it: rectified images, LiDAR points of five columns."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from asd_perception.cameras.calibration import CameraCalibration
from asd_perception.cameras.image_decoding import (
    check_encoded,
    decode_camera_image,
    decode_raw,
    encoded_format,
    encoded_size,
)
from asd_perception.cameras.view import view_of
from asd_perception.errors import UserError

JPEG_QUALITY = 95
"""Of images that do not stay as they were sent."""

_SUFFIXES = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}
# PointField's codes; the numbers of the types are those of sensor_msgs/msg/PointField.
_DATATYPES = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 8: "<f8"}
_INTENSITIES, _RINGS = ("intensity", "i", "reflectivity"), ("ring", "channel", "line", "laser_id")
MAX_COORDINATE = 10_000.0  # m from the sensor
_RINGS_OF_NUSCENES = 256


def image_file(message: Any, calibration: CameraCalibration) -> tuple[bytes, str]:
    """An image message as a rectified image file, and its suffix.

    A JPEG, PNG or WebP image without distortion keeps its bytes. Raises UserError for an image that
    cannot be decoded or is not of the calibration's size.
    """
    compressed = hasattr(message, "format")
    if compressed:
        data = np.frombuffer(message.data, np.uint8)
        check_encoded(data, message.format)
        of_mosaic = message.format.partition(";")[0].strip().startswith("bayer")
        if not calibration.is_distorted and not of_mosaic:
            if encoded_size(data) != calibration.size:
                raise _of_another_size(encoded_size(data), calibration)
            return data.tobytes(), _SUFFIXES[encoded_format(data)]
        width, height = calibration.size
        image = decode_camera_image(data, calibration.size, (height, width), message.format)
    else:
        image = decode_raw(message)
    return rectified_jpeg(image, calibration), ".jpg"


def rectified_jpeg(image: NDArray[np.uint8], calibration: CameraCalibration) -> bytes:
    """An image (height, width, 3) uint8 RGB without its lens's distortion, as the node takes it
    out. Raises UserError for another size than the calibration's."""
    if image.shape[1::-1] != calibration.size:
        raise _of_another_size(image.shape[1::-1], calibration)
    if calibration.is_distorted:
        width, height = calibration.size
        image = view_of(calibration, None, (), (height, width)).apply(image)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), quality)[1].tobytes()


def _of_another_size(size: tuple[int, ...], calibration: CameraCalibration) -> UserError:
    width, height = calibration.size
    return UserError(f"the image is {size[0]}x{size[1]}, its camera_info says {width}x{height}")


def lidar_points(cloud: Any) -> NDArray[np.float32]:
    """The points (P, 5) of a PointCloud2: x, y, z in m, intensity, ring; 0 where it has neither.

    Points that are not finite, and beyond 10 km, are left out. Raises UserError for a cloud without
    x, y, z, or one that does not hold the points that it promises.
    """
    fields = {f.name: (f.offset, _DATATYPES.get(f.datatype)) for f in cloud.fields}
    chosen = {}
    for name, names in (
        *((axis, (axis,)) for axis in "xyz"),
        ("intensity", _INTENSITIES),
        ("ring", _RINGS),
    ):
        found = [fields[n] for n in names if n in fields and fields[n][1]]
        if found:
            chosen[name] = found[0]
    if not {"x", "y", "z"} <= chosen.keys():
        raise UserError(f"the cloud has no x, y and z, but {', '.join(fields) or 'nothing'}")
    width, height = int(cloud.width), int(cloud.height)
    if not width * height:
        return np.zeros((0, 5), np.float32)
    ends = [offset + np.dtype(kind).itemsize for offset, kind in chosen.values()]
    row_step = int(cloud.row_step) or width * int(cloud.point_step)
    if max(ends) > cloud.point_step or row_step < width * cloud.point_step:
        raise UserError("the cloud's fields lie outside of its points")
    if len(cloud.data) < row_step * height:
        raise UserError(f"the cloud has {len(cloud.data)} bytes of {row_step * height}")
    layout = np.dtype(
        {
            "names": list(chosen),
            "formats": [kind for _, kind in chosen.values()],
            "offsets": [offset for offset, _ in chosen.values()],
            "itemsize": cloud.point_step,
        }
    )
    if cloud.is_bigendian:
        layout = layout.newbyteorder(">")
    rows = np.frombuffer(cloud.data, np.uint8)[: row_step * height].reshape(height, row_step)
    stored = np.ascontiguousarray(rows[:, : width * cloud.point_step]).view(layout).ravel()
    points = np.zeros((len(stored), 5), np.float32)
    for column, name in enumerate(("x", "y", "z", "intensity", "ring")):
        if name in chosen:
            points[:, column] = stored[name]
    points[:, 4] %= _RINGS_OF_NUSCENES
    points[:, 4] = np.floor(points[:, 4])
    usable = np.isfinite(points).all(axis=1)
    usable &= (np.abs(points[:, :3]) <= MAX_COORDINATE).all(axis=1)
    return points[usable]
