# SPDX-License-Identifier: Apache-2.0
"""Meshes of pedestrians, two-wheelers, cones and barriers: x forward, y left, z up, in metres."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    LAMP,
    PAINT,
    Color,
    Mesh,
    beam,
    box,
    cylinder,
    ellipsoid,
    merge,
    ring,
    wedge,
)
from asd_training.synthetic.meshes.vehicles import (
    AMBER_LAMP,
    CAR_COLORS,
    DARK,
    RED_LAMP,
    RIM,
    TIRE,
    WHITE_LAMP,
    pick,
)

SKIN = ((0.9, 0.74, 0.62), (0.78, 0.58, 0.45), (0.5, 0.34, 0.25), (0.33, 0.22, 0.17))
HAIR = ((0.1, 0.08, 0.07), (0.3, 0.2, 0.12), (0.6, 0.48, 0.3), (0.6, 0.6, 0.6))
JACKETS = (
    (0.15, 0.16, 0.2),
    (0.7, 0.12, 0.12),
    (0.15, 0.25, 0.55),
    (0.85, 0.85, 0.85),
    (0.2, 0.4, 0.25),
    (0.75, 0.55, 0.2),
    (0.45, 0.45, 0.48),
    (0.6, 0.3, 0.5),
)
TROUSERS = ((0.12, 0.13, 0.16), (0.2, 0.25, 0.4), (0.45, 0.4, 0.32), (0.3, 0.3, 0.3))
ORANGE, WHITE = (0.95, 0.38, 0.08), (0.92, 0.92, 0.9)


def _rider(
    rng: np.random.Generator,
    hip: tuple[float, float],
    hands: tuple[float, float],
    foot: tuple[float, float],
    head: float,
    helmet: Color,
) -> list[Mesh]:
    """A rider in the x-z plane: hip, hands, feet as (x, z); top of the head at `head`."""
    jacket, trousers = pick(rng, JACKETS), pick(rng, TROUSERS)
    neck = (hip[0] + 0.22, head - 0.28)
    knee = (hip[0] + 0.35, (hip[1] + foot[1]) / 2.0 + 0.12)
    parts = [
        beam((hip[0], 0.0, hip[1]), (neck[0], 0.0, neck[1]), 0.3, jacket),
        ellipsoid((neck[0] + 0.07, 0.0, head - 0.16), (0.1, 0.09, 0.14), pick(rng, SKIN), sides=6),
        ellipsoid((neck[0] + 0.04, 0.0, head - 0.1), (0.13, 0.11, 0.1), helmet, PAINT, sides=6),
    ]
    for side in (-1.0, 1.0):
        y = side * 0.14
        parts.append(beam((hip[0], y, hip[1]), (knee[0], y, knee[1]), 0.15, trousers))
        parts.append(beam((knee[0], y, knee[1]), (foot[0], y, foot[1]), 0.12, trousers))
        parts.append(
            beam((neck[0], side * 0.2, neck[1]), (hands[0], side * 0.25, hands[1]), 0.09, jacket)
        )
    return parts


def bicycle(
    rng: np.random.Generator, length: float, width: float, height: float, rider: bool = False
) -> Mesh:
    frame = pick(rng, CAR_COLORS)
    radius = 0.2 * length
    rear, front = -length / 2.0 + radius, length / 2.0 - radius
    seat, bar = 2.6 * radius, 2.9 * radius
    pedal = (0.0, 0.95 * radius)
    parts = []
    for x in (rear, front):
        parts.append(ring((x, 0.02, radius), radius, 0.78 * radius, TIRE))
        parts.append(cylinder((x, -0.04, radius), (x, 0.04, radius), (0.05, 0.05), RIM, sides=5))
        parts.append(ring((x, -0.02, radius), radius, 0.78 * radius, TIRE))
    tubes = (
        ((rear, radius), pedal),
        (pedal, (rear + 0.35, seat - 0.1)),
        (pedal, (front - 0.12, 2.3 * radius)),
        ((rear + 0.33, seat - 0.2), (front - 0.15, 2.4 * radius)),
        ((front, radius), (front - 0.2, bar)),
        ((rear, radius), (rear + 0.33, seat - 0.15)),
    )
    parts += [beam((a[0], 0.0, a[1]), (b[0], 0.0, b[1]), 0.06, frame, PAINT) for a, b in tubes]
    parts.append(box((rear + 0.2, -0.09, seat - 0.06), (rear + 0.5, 0.09, seat), DARK))
    parts.append(
        box((front - 0.24, -width / 2.0, bar - 0.05), (front - 0.16, width / 2.0, bar), DARK)
    )
    parts.append(
        box((front - 0.2, -0.05, bar - 0.2), (front - 0.1, 0.05, bar - 0.1), WHITE_LAMP, LAMP)
    )
    parts.append(box((rear - 0.05, -0.05, seat - 0.3), (rear, 0.05, seat - 0.2), RED_LAMP, LAMP))
    if rider:
        parts += _rider(
            rng,
            (rear + 0.35, seat + 0.05),
            (front - 0.2, bar + 0.02),
            (0.05, 0.6 * radius),
            height,
            pick(rng, CAR_COLORS),
        )
    return merge(parts)


def motorcycle(
    rng: np.random.Generator, length: float, width: float, height: float, rider: bool = False
) -> Mesh:
    paint = pick(rng, CAR_COLORS)
    radius = 0.15 * length
    rear, front = -length / 2.0 + radius, length / 2.0 - radius
    seat, bar = 0.8, 1.08
    parts = [
        cylinder((x, -0.08, radius), (x, 0.08, radius), (radius, radius), TIRE)
        for x in (rear, front)
    ]
    parts += [
        cylinder((x, -0.09, radius), (x, 0.09, radius), (0.55 * radius,) * 2, RIM, sides=6)
        for x in (rear, front)
    ]
    parts += [
        box((-0.3, -0.17, 0.28), (0.3, 0.17, 0.6), (0.25, 0.25, 0.27)),
        wedge((-0.15, 0.5), (-0.05, 0.42), (-0.2, 0.2), (-0.14, 0.14), (0.6, 0.95), paint, PAINT),
        wedge(
            (rear - 0.1, -0.1),
            (rear - 0.25, -0.1),
            (-0.15, 0.15),
            (-0.13, 0.13),
            (0.55, seat),
            paint,
            PAINT,
        ),
        box((rear - 0.05, -0.13, seat), (0.0, 0.13, seat + 0.07), DARK),
        beam((front, 0.12, radius), (front - 0.3, 0.12, bar), 0.07, RIM),
        beam((front, -0.12, radius), (front - 0.3, -0.12, bar), 0.07, RIM),
        box((front - 0.4, -width / 2.0, bar - 0.05), (front - 0.32, width / 2.0, bar), DARK),
        box((front - 0.28, -0.13, bar - 0.26), (front - 0.12, 0.13, bar - 0.06), WHITE_LAMP, LAMP),
        box((rear - 0.3, -0.1, seat - 0.12), (rear - 0.22, 0.1, seat), RED_LAMP, LAMP),
        box((rear - 0.27, -0.16, seat - 0.22), (rear - 0.23, 0.16, seat - 0.14), AMBER_LAMP, LAMP),
        beam((rear - 0.1, -0.22, 0.32), (0.2, -0.2, 0.3), 0.11, RIM),
    ]
    if rider:
        parts += _rider(
            rng,
            (-0.25, seat + 0.12),
            (front - 0.36, bar + 0.03),
            (0.0, 0.3),
            height,
            pick(rng, CAR_COLORS),
        )
    return merge(parts)
