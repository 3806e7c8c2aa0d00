# SPDX-License-Identifier: Apache-2.0
"""What a lens sees, in angles, and what a rig of cameras covers all around."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from asd_perception.cameras.calibration import CameraCalibration
from asd_perception.cameras.lens import distance_of, limit_angle
from asd_perception.cameras.view import View
from asd_perception.geometry import Array, camera_angles


@dataclass(frozen=True)
class FieldOfView:
    """Angles in rad from the optical axis to the middle of each edge of the image."""

    left: float
    right: float
    up: float
    down: float

    @property
    def horizontal(self) -> float:
        return self.left + self.right

    @property
    def vertical(self) -> float:
        return self.up + self.down


def field_of_view(calibration: CameraCalibration) -> FieldOfView:
    """What a camera's lens sees, with its distortion."""
    width, height = calibration.size
    fx, fy = calibration.matrix[0, 0], calibration.matrix[1, 1]
    cx, cy = calibration.matrix[0, 2] + 0.5, calibration.matrix[1, 2] + 0.5
    edges = np.array([cx / fx, (width - cx) / fx, cy / fy, (height - cy) / fy])
    # A lens is inverted by a table, as far as it is known.
    widest = np.pi if calibration.equidistant else np.deg2rad(89.5)
    angle = np.linspace(0.0, min(limit_angle(calibration), widest), 2000, endpoint=False)
    angles = np.sign(edges) * np.interp(np.abs(edges), distance_of(calibration, angle), angle)
    return FieldOfView(*angles.tolist())


def shown_sector(view: View, ego_from_camera: Array) -> tuple[float, float]:
    """The headings in rad, from right to left, between which the network is shown what is there.

    ego_from_camera (4, 4): the mounting. The second is the larger one; both may lie beyond ±pi.
    Equal ones where the lens sees nothing of the network's view.
    """
    columns = np.arange(view.input_size[1])
    if view.seen is not None:
        columns = np.flatnonzero(view.seen.any(axis=0))
    axis_heading = float(camera_angles(view.pose(ego_from_camera))[0])
    if not len(columns):
        return axis_heading, axis_heading
    focal, centre = view.intrinsics[0, 0], view.intrinsics[0, 2]
    left = np.arctan((centre - columns[0] + 0.5) / focal)
    right = np.arctan((columns[-1] + 0.5 - centre) / focal)
    return axis_heading - float(right), axis_heading + float(left)


def covered(sectors: Iterable[tuple[float, float]], times: int = 1) -> float:
    """How much of the full circle lies in at least `times` sectors, in rad.

    sectors: from right to left, in rad.
    """
    steps = 3600
    seen = np.zeros(steps, dtype=np.int64)
    for start, end in sectors:
        first, last = (round(angle / (2 * np.pi) * steps) for angle in (start, end))
        seen[np.arange(first, min(last, first + steps)) % steps] += 1
    return float(2 * np.pi * np.mean(seen >= times))
