# SPDX-License-Identifier: Apache-2.0
"""Parts of machines: paints, crawlers, cabins, booms, rams, buckets."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    CHROME,
    GLASS,
    LIT_SIGN,
    MATTE,
    PAINT,
    RUST,
    SOIL,
    Color,
    Mesh,
    beam,
    box,
    cylinder,
    loft,
    merge,
    pick,
    wedge,
)
from asd_training.synthetic.meshes.vehicle_parts.body import Finish
from asd_training.synthetic.meshes.vehicle_parts.fittings import AMBER, WINDOW

YELLOWS = (
    (0.92, 0.68, 0.08),
    (0.9, 0.72, 0.12),
    (0.88, 0.45, 0.08),
    (0.85, 0.78, 0.2),
)
OTHER_PAINTS = (
    (0.75, 0.15, 0.1),
    (0.25, 0.45, 0.25),
    (0.85, 0.85, 0.83),
    (0.2, 0.35, 0.6),
    (0.3, 0.3, 0.3),
)
STEEL = (0.3, 0.29, 0.28)


def machine_paint(rng: np.random.Generator) -> Color:
    return pick(rng, YELLOWS) if rng.random() < 0.75 else pick(rng, OTHER_PAINTS)


def iron(rng: np.random.Generator) -> Finish:
    """Buckets and blades: bare, dirty or rusty."""
    worn = rng.random() < 0.4
    return Finish((0.4, 0.27, 0.18) if worn else STEEL, RUST if worn else MATTE, 21)


def _track(x0: float, x1: float, y0: float, y1: float, high: float) -> Mesh:
    """A crawler: a rounded belt with rollers on its outer side."""
    radius = high / 2.0
    angles = np.linspace(np.pi / 2, 3 * np.pi / 2, 6)
    back = np.stack([x0 + radius + radius * np.cos(angles), radius + radius * np.sin(angles)], 1)
    ahead = np.stack([x1 - radius - radius * np.cos(angles), radius - radius * np.sin(angles)], 1)
    outline = np.concatenate([back, ahead])
    rings = np.stack([np.insert(outline, 1, y, axis=1) for y in (y0, y1)])
    parts = [loft(rings, (0.12, 0.115, 0.11), MATTE).patterned(22)]
    outer = y1 if abs(y1) > abs(y0) else y0
    reach = 0.02 * np.sign(outer)
    for x in np.linspace(x0 + radius, x1 - radius, 5):
        parts.append(
            cylinder(
                (x, outer - reach, radius),
                (x, outer + reach, radius),
                (0.55 * radius,) * 2,
                (0.3, 0.27, 0.22),
                sides=7,
            )
        )
    return merge(parts)


def tracks(rear: float, front: float, half: float, wide: float, high: float) -> Mesh:
    return merge(
        [
            _track(rear, front, half - wide, half, high),
            _track(rear, front, -half, -half + wide, high),
        ]
    )


def cabin(
    x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], color: Color
) -> Mesh:
    """A glazed driver's cabin with posts and a roof."""
    (x0, x1), (y0, y1), (z0, z1) = x, y, z
    waist = z0 + 0.35 * (z1 - z0)
    lean = 0.12 * (z1 - z0)
    parts = [
        box((x0, y0, z0), (x1, y1, waist), color, PAINT),
        wedge(
            (x0, x1),
            (x0 + 0.02, x1 - lean),
            y,
            (y0 + 0.04, y1 - 0.04),
            (waist, z1 - 0.06),
            WINDOW,
            GLASS,
        ),
        wedge(
            (x0 - 0.04, x1 - lean + 0.06),
            (x0, x1 - lean - 0.02),
            (y0, y1),
            (y0 + 0.08, y1 - 0.08),
            (z1 - 0.07, z1),
            color,
            PAINT,
        ),
    ]
    for at, top in ((x0 + 0.02, x0 + 0.03), (0.5 * (x0 + x1), 0.5 * (x0 + x1)), (x1, x1 - lean)):
        for side, upper in ((y0, y0 + 0.04), (y1, y1 - 0.04)):
            parts.append(beam((at, side, waist), (top, upper, z1 - 0.05), 0.07, color, PAINT))
    middle = 0.5 * (y0 + y1)
    parts.append(
        cylinder(
            (x0 + 0.2, middle, z1 - 0.01),
            (x0 + 0.2, middle, z1 + 0.14),
            (0.07, 0.06),
            AMBER,
            sides=6,
            material=LIT_SIGN,
        )
    )
    return merge(parts)


def bucket(
    x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], finish: Finish
) -> Mesh:
    """A shovel that opens ahead: back, floor, two cheeks; soil in it."""
    (x0, x1), (y0, y1), (z0, z1) = x, y, z
    deep = x1 - x0
    return merge(
        [
            wedge(
                (x0, x0 + 0.35 * deep),
                (x0 + 0.05, x0 + 0.15 * deep),
                y,
                y,
                z,
                finish.color,
                finish.material,
            ),
            wedge(
                (x0 + 0.1 * deep, x1),
                (x0 + 0.1 * deep, x0 + 0.4 * deep),
                y,
                y,
                (z0, z0 + 0.3 * (z1 - z0)),
                finish.color,
                finish.material,
            ),
            *(
                wedge(
                    (x0, x1 - 0.1 * deep),
                    (x0, x0 + 0.5 * deep),
                    (side, side + 0.05),
                    (side, side + 0.05),
                    z,
                    finish.color,
                    finish.material,
                )
                for side in (y0, y1 - 0.05)
            ),
            wedge(
                (x0 + 0.1 * deep, x1 - 0.2 * deep),
                (x0 + 0.2 * deep, x0 + 0.4 * deep),
                (y0 + 0.06, y1 - 0.06),
                (y0 + 0.3, y1 - 0.3),
                (z0 + 0.25 * (z1 - z0), z0 + 0.7 * (z1 - z0)),
                (0.4, 0.31, 0.22),
                SOIL,
            ),
        ]
    )


def boom(points: list[tuple[float, float]], y: float, thick: list[float], color: Color) -> Mesh:
    """A boom through points (x, z), its sections as high as `thick`, with its rams."""
    places = np.array(points)
    size = np.array(thick)
    along = np.gradient(places, axis=0)
    along /= np.linalg.norm(along, axis=1)[:, None]
    up = np.stack([-along[:, 1], along[:, 0]], axis=1) * size[:, None] / 2.0
    wide = 0.12 + 0.35 * size
    rings = np.stack(
        [
            np.stack(
                [*(places + sign * up).T[:1], y + side * wide / 2, (places + sign * up)[:, 1]], 1
            )
            for sign, side in ((1, 1), (1, -1), (-1, -1), (-1, 1))
        ],
        axis=1,
    )
    return loft(rings, color, PAINT)


def ram(start: tuple[float, float], end: tuple[float, float], y: float, thick: float) -> Mesh:
    """A hydraulic cylinder and its bright rod."""
    a, b = np.array([start[0], y, start[1]]), np.array([end[0], y, end[1]])
    middle = 0.55 * b + 0.45 * a
    return merge(
        [
            cylinder(a, middle, (thick, thick), (0.25, 0.25, 0.26), sides=6),
            cylinder(middle, b, (0.6 * thick,) * 2, (0.8,) * 3, sides=6, material=CHROME),
        ]
    )
