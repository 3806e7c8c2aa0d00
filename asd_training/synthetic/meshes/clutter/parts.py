# SPDX-License-Identifier: Apache-2.0
"""Colours and solids that the clutter is made of."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    RUBBER,
    Color,
    Mesh,
    cylinder,
    loft,
    tube,
)

BLACK, GREY, STEEL, PALE = (
    (0.1, 0.1, 0.11),
    (0.45, 0.45, 0.46),
    (0.6, 0.61, 0.62),
    (0.8, 0.79, 0.76),
)
GREEN, RED, BLUE, YELLOW = (
    (0.14, 0.3, 0.2),
    (0.66, 0.12, 0.1),
    (0.14, 0.26, 0.5),
    (0.85, 0.68, 0.14),
)
BROWN, WHITE, ORANGE = (0.34, 0.24, 0.16), (0.88, 0.88, 0.86), (0.85, 0.4, 0.12)
COLORS = (BLACK, GREY, STEEL, PALE, GREEN, RED, BLUE, YELLOW, BROWN, WHITE, ORANGE)
LEAVES = ((0.24, 0.34, 0.14), (0.16, 0.28, 0.12), (0.4, 0.42, 0.2), (0.5, 0.2, 0.25))


def turned(levels: list[tuple[float, float]], color: Color, material: int, sides: int = 10) -> Mesh:
    """Round solid about the z axis through (height, radius) levels."""
    return tube([(0.0, 0.0, z) for z, _ in levels], [r for _, r in levels], color, material, sides)


def prism(
    low: tuple[float, float],
    high: tuple[float, float],
    z: tuple[float, float],
    color: Color,
    material: int,
) -> Mesh:
    """Upright body, tapered: half sizes in x and y at either height."""
    rings = np.array(
        [
            [(sx * x, sy * y, level) for sx, sy in ((1, 1), (-1, 1), (-1, -1), (1, -1))]
            for (x, y), level in ((low, z[0]), (high, z[1]))
        ]
    )
    return loft(rings, color, material)


def castors(x: float, y: float) -> list[Mesh]:
    return [
        cylinder((a, b - 0.03, 0.09), (a, b + 0.03, 0.09), (0.09, 0.09), BLACK, 6, RUBBER)
        for a in (-x, x)
        for b in (-y, y)
    ]
