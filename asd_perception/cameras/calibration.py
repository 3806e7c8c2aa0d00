# SPDX-License-Identifier: Apache-2.0
"""One camera's calibration, and the cameras that a network was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from asd_perception.configuration import configuration
from asd_perception.geometry import Array

DISTORTION_LENGTHS = (4, 5, 8, 12, 14)
"""How many coefficients OpenCV's distortion may have: k1 k2 p1 p2, k3, k4 k5 k6, s1 s2 s3 s4, and
the tilt tx ty of the sensor, in this order."""


Polygons = tuple[tuple[tuple[float, float], ...], ...]
"""Each by its corners (u, v) in pixels, from the upper left corner of an image."""


@dataclass(frozen=True, eq=False)
class CameraCalibration:
    """A camera as ROS and OpenCV describe it. Equal ones compare equal, and have one hash.

    matrix (3, 3): pinhole matrix in pixels, pixel centres at integers. size: (width, height).
    distortion: OpenCV's coefficients, of one of DISTORTION_LENGTHS, zeros for a rectified image.
    equidistant: a fisheye lens instead, with OpenCV's k1 k2 k3 k4 first in `distortion`.
    ego_mask: where its images show the vehicle itself, which the network is not to see.
    """

    matrix: Array
    size: tuple[int, int]
    distortion: Array
    equidistant: bool = False
    ego_mask: Polygons = ()

    @property
    def is_distorted(self) -> bool:
        """Whether straight lines are not straight in its images."""
        return self.equidistant or bool(np.any(self.distortion))

    def _key(self) -> tuple[object, ...]:
        arrays = self.matrix.tobytes(), self.distortion.tobytes()
        return *arrays, self.size, self.equidistant, self.ego_mask

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CameraCalibration) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


def implausible(matrix: Array, size: tuple[int, int]) -> str | None:
    """What no camera has of a pinhole matrix (3, 3) in pixels, for images of (width, height)."""
    focal = matrix[0, 0], matrix[1, 1]
    shares = focal[0] / size[0], focal[1] / size[1]
    if min(shares) < 0.05 or max(shares) > 50:  # 169 degrees, and 1 degree
        lengths = f"{focal[0]:g} and {focal[1]:g} pixels"
        return f"the focal lengths {lengths} for a {size[0]}x{size[1]} image"
    if abs(matrix[0, 1]) > focal[0]:
        return f"the skew {matrix[0, 1]:g}, more than its focal length"
    centre = matrix[0, 2], matrix[1, 2]
    if not all(-1 < at / length < 2 for at, length in zip(centre, size, strict=True)):
        return (
            f"the principal point ({centre[0]:g}, {centre[1]:g}), far outside of the "
            f"{size[0]}x{size[1]} image"
        )
    return None


@configuration
class TrainedCamera:
    """A camera that a network was trained with: how it was mounted, and how its input shows it."""

    heading: float
    """Of the optical axis, in degrees from straight ahead, to the left."""
    pitch: float
    """Of the optical axis above the horizontal, in degrees."""
    roll: float
    """How far its right side hangs down, in degrees."""
    focal: Annotated[float, Field(gt=0)]
    """Focal length, in widths of the image."""
    centre: float
    """Principal point from the left edge, in widths of the image."""
    above_edge: float
    """Principal point above the lower edge, in widths of the image."""
    height: Annotated[float, Field(gt=0)] = 1.5
    """Of the optical centre above the ground, in m."""

    def intrinsics(self, input_size: tuple[int, int]) -> Array:
        """The pinhole matrix (3, 3) of the network's input (rows, columns)."""
        rows, columns = input_size
        focal = self.focal * columns
        centre = self.centre * columns - 0.5, rows - 0.5 - self.above_edge * columns
        return np.array([[focal, 0.0, centre[0]], [0.0, focal, centre[1]], [0.0, 0.0, 1.0]])


NUSCENES_CAMERA_NAMES: tuple[str, ...] = (
    "CAM_FRONT_LEFT",
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_LEFT",
    "CAM_BACK",
    "CAM_BACK_RIGHT",
)

NUSCENES_CAMERAS = (
    TrainedCamera(55.2, 0.14, 0.12, 0.7954, 0.5169, 0.2623, 1.51),
    TrainedCamera(0.3, -0.32, -0.05, 0.7915, 0.5105, 0.2550, 1.51),
    TrainedCamera(-56.4, -0.78, 0.52, 0.7880, 0.5053, 0.2526, 1.50),
    TrainedCamera(108.6, -0.92, -0.22, 0.7855, 0.4954, 0.2542, 1.59),
    TrainedCamera(179.9, 0.96, 0.23, 0.5058, 0.5186, 0.2611, 1.58),
    TrainedCamera(-110.8, -0.93, 0.62, 0.7872, 0.5048, 0.2489, 1.56),
)
"""Those of one nuScenes keyframe, in this order, which the synthetic test scenes have, too."""
