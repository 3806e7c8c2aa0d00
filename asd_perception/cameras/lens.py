# SPDX-License-Identifier: Apache-2.0
"""How a lens bends rays, up to which angle that is known, and where it shows points."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from asd_perception.cameras.calibration import CameraCalibration
from asd_perception.geometry import Array


def pixels_of(calibration: CameraCalibration, points: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Pixels (..., 2) at which a camera shows points (..., 3) of its optical frame in m, inside its
    image or not; and which of them (...) its lens can show. Of others the pixels mean nothing."""
    if not points.size:  # OpenCV refuses none
        return np.zeros((*points.shape[:-1], 2)), np.zeros(points.shape[:-1], bool)
    across = np.hypot(points[..., 0], points[..., 1])
    angle = np.arctan2(across, points[..., 2])
    if calibration.equidistant:
        direction = points[..., :2] / np.maximum(across, 1e-12)[..., None]
        at = direction * distance_of(calibration, angle)[..., None]
    else:
        flat = np.ascontiguousarray(points, np.float64).reshape(-1, 3)
        no_motion, unit = np.zeros(3), np.eye(3)
        at, _ = cv2.projectPoints(flat, no_motion, no_motion, unit, calibration.distortion)
        at = at.reshape(*points.shape[:-1], 2)
    matrix = calibration.matrix
    return at @ matrix[:2, :2].T + matrix[:2, 2], angle < limit_angle(calibration)


def distance_of(calibration: CameraCalibration, angle: Array) -> Array:
    """How far from the principal point, in focal lengths, the lens shows what lies at these angles
    (rad, any shape) from its optical axis."""
    above, below = _radial(calibration)
    radius = angle if calibration.equidistant else np.tan(angle)
    return radius * above(radius**2) / below(radius**2)


def limit_angle(calibration: CameraCalibration) -> float:
    """The angle from the optical axis, in rad, up to which the lens shows more the farther it looks
    from its middle; at most pi / 2, of a fisheye lens pi.

    Beyond it the distortion's polynomial turns round, and would show a second time what lies
    inside.
    """
    above, below = _radial(calibration)
    square = Polynomial([0, 1])
    turns = above * below + 2 * square * (above.deriv() * below - above * below.deriv())
    first = min(_first_root(turns), _first_root(below))
    if calibration.equidistant:
        return float(min(first, np.pi))
    return float(np.arctan(first))


def _radial(calibration: CameraCalibration) -> tuple[Polynomial, Polynomial]:
    """What the radius is multiplied and divided by, of its square. The radius is the tangent of
    the angle from the optical axis, of a fisheye lens the angle itself."""
    coefficients = calibration.distortion
    if calibration.equidistant:
        return Polynomial([1, *coefficients[:4]]), Polynomial([1])
    k1, k2, _, _, k3, k4, k5, k6 = np.pad(coefficients, (0, 8))[:8]
    return Polynomial([1, k1, k2, k3]), Polynomial([1, k4, k5, k6])


def _first_root(of_square: Polynomial) -> float:
    """The smallest positive radius at which a polynomial of its square is 0; inf: none."""
    # Its constant is 1, so that the roots of the inverse square are well defined.
    inverse = np.roots(of_square.coef)
    largest = inverse[np.isreal(inverse)].real.max(initial=0.0)
    return float(1 / np.sqrt(largest)) if largest > 0 else np.inf
