# SPDX-License-Identifier: Apache-2.0
"""What bicycles and motorcycles have in common: x forward, y left, z up, in metres."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    PAINT,
    Color,
    Mesh,
    tube,
)

WHITE_LAMP, RED_LAMP, AMBER_LAMP = (0.95, 0.95, 0.88), (0.78, 0.05, 0.05), (0.95, 0.55, 0.1)
GREYS = ((0.1, 0.1, 0.1), (0.2, 0.2, 0.21), (0.5, 0.5, 0.52), (0.75, 0.75, 0.76))


def arc(x: float, z: float, radius: float, first: float, last: float, steps: int) -> np.ndarray:
    """Points (steps, 3) on a circle about (x, z), by angles from ahead upward, rad."""
    angles = np.linspace(first, last, steps)
    place = np.column_stack([np.cos(angles), np.zeros(steps), np.sin(angles)])
    return place * radius + [x, 0.0, z]


def mudguard(x: float, radius: float, first: float, last: float, color: Color) -> Mesh:
    """Over a wheel, from angle to angle; wide and thin."""
    points = arc(x, radius, radius + 0.03, first, last, 6)
    return tube(points, [(0.035, 0.008)] * 6, color, PAINT, 4)


def leant(mesh: Mesh, slope: float) -> Mesh:
    """Leant to the left by a slope, as a stand holds it."""
    shear = np.eye(3, dtype=np.float32)
    shear[2, 1] = slope
    return replace(mesh, triangles=mesh.triangles @ shear)
