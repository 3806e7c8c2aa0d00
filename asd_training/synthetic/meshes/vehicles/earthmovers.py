# SPDX-License-Identifier: Apache-2.0
"""Machines that move earth: excavators, wheel loaders, backhoes, bulldozers."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    MATTE,
    PAINT,
    Mesh,
    beam,
    cylinder,
    merge,
    wedge,
)
from asd_training.synthetic.meshes.vehicle_parts.fittings import (
    DARK,
    GAP,
    GREY_TRIM,
    HEAD,
    TAIL,
    TRIM,
    block,
    both_sides,
    painted,
    wheels,
)
from asd_training.synthetic.meshes.vehicle_parts.machinery import (
    STEEL,
    boom,
    bucket,
    cabin,
    iron,
    machine_paint,
    ram,
    tracks,
)


def excavator(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """On crawlers or wheels, its upper carriage turned at times."""
    color, metal = machine_paint(rng), iron(rng)
    rear, front, half = -length / 2.0, length / 2.0, width / 2.0
    foot = 0.3 * height
    back = rear + 0.52 * length
    parts = []
    if rng.random() < 0.75:
        parts.append(tracks(rear + 0.05, back + 0.3, half, min(0.6, 0.26 * width), 0.27 * height))
    else:
        radius = 0.17 * height
        parts.append(
            wheels(rng, (rear + 0.25 * length, back + 0.1), half, radius, 0.35, heavy=True)
        )
        parts.append(
            block((rear + 0.2, -half + 0.4, radius), (back + 0.3, half - 0.4, foot), GREY_TRIM)
        )
    parts += [
        block((rear + 0.4, -half + 0.55, 0.12 * height), (back, half - 0.55, foot), TRIM),
        # Counterweight, engine's hood, vents.
        wedge(
            (rear + 0.02, rear + 0.4 * length),
            (rear + 0.12, rear + 0.4 * length),
            (-half + 0.06, half - 0.06),
            (-half + 0.12, half - 0.12),
            (foot + 0.05, 0.6 * height),
            color,
            PAINT,
        ),
        block((rear, -half + 0.1, foot + 0.05), (rear + 0.3, half - 0.1, foot + 0.3), TRIM),
        block(
            (rear + 0.4 * length, -half + 0.08, foot + 0.05),
            (back, half - 0.08, foot + 0.4),
            painted(color),
        ),
        both_sides(
            (rear + 0.35, half - 0.12, foot + 0.35),
            (rear + 0.3 * length, half - 0.07, 0.52 * height),
            GAP,
        ),
        cylinder(
            (rear + 0.5, -0.3 * half, 0.6 * height),
            (rear + 0.5, -0.3 * half, 0.72 * height),
            (0.06, 0.06),
            DARK,
            sides=6,
        ),
        cabin((back - 0.26 * length, back), (0.06, half - 0.1), (foot + 0.1, 0.97 * height), color),
    ]
    y = -0.28 * half
    knee = (rng.uniform(0.35, 0.6) * front, height - 0.08)
    elbow = (front - rng.uniform(0.15, 0.4) * 0.3 * length, rng.uniform(0.55, 0.7) * height)
    hand = (elbow[0] - rng.uniform(0.0, 0.12) * length, 0.3 * height)
    base = (back - 0.15 * length, 0.5 * height)
    size = 0.14 * height
    middle = (0.5 * (base[0] + knee[0]) - 0.02 * length, 0.5 * (base[1] + knee[1]) + 0.04 * height)
    parts += [
        boom([base, middle, knee, elbow], y, [size, 1.3 * size, 1.1 * size, 0.6 * size], color),
        boom(
            [(elbow[0] + 0.05, elbow[1] + 0.25 * size), elbow, hand],
            y,
            [0.8 * size, 1.0 * size, 0.6 * size],
            color,
        ),
        ram(
            (back - 0.05, 0.42 * height),
            (0.5 * (middle[0] + knee[0]), 0.72 * height),
            y + 0.2,
            0.09,
        ),
        ram(middle, (elbow[0], elbow[1] + 0.5 * size), y, 0.08),
    ]
    if rng.random() < 0.8:
        parts.append(
            bucket(
                (hand[0] - 0.1 * length, front), (y - 0.5, y + 0.5), (0.03, 0.34 * height), metal
            )
        )
    else:  # breaker
        parts.append(beam((hand[0], y, hand[1] + 0.1), (front - 0.15, y, 0.3), 0.32, STEEL))
        parts.append(beam((front - 0.25, y, 0.4), (front - 0.06, y, 0.02), 0.1, STEEL))
    return merge(parts)


def loader(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """An articulated wheel loader."""
    color = machine_paint(rng)
    rear, front, half = -length / 2.0, length / 2.0, width / 2.0
    radius = min(0.24 * height, 0.8)
    axle = rear + 0.25 * length
    ahead = rear + 0.62 * length
    return merge(
        [
            wedge(
                (rear + 0.02, axle + 0.15 * length),
                (rear + 0.15, axle + 0.15 * length),
                (-half + 0.35, half - 0.35),
                (-half + 0.5, half - 0.5),
                (0.8 * radius, 0.57 * height),
                color,
                PAINT,
            ),
            block(
                (rear, -half + 0.25, 0.9 * radius), (rear + 0.3, half - 0.25, 1.7 * radius), TRIM
            ),
            both_sides(
                (rear + 0.01, half - 0.6, 1.75 * radius),
                (rear + 0.06, half - 0.4, 1.75 * radius + 0.15),
                TAIL,
            ),
            block(
                (rear - 0.01, -0.35 * half, 1.75 * radius),
                (rear + 0.1, 0.35 * half, 0.5 * height),
                GAP,
            ),
            both_sides(
                (axle - 1.1 * radius, half - 0.5, 2.0 * radius),
                (axle + 1.1 * radius, half - 0.05, 2.0 * radius + 0.08),
                painted(color),
            ),
            cabin(
                (axle + 0.1 * length, axle + 0.29 * length),
                (-0.42 * width, 0.42 * width),
                (1.4 * radius, 0.96 * height),
                color,
            ),
            block(
                (axle + 0.2 * length, -0.5, 0.8 * radius), (ahead + 0.2, 0.5, 1.8 * radius), TRIM
            ),
            *(
                boom(
                    [
                        (ahead - 0.3, 1.9 * radius),
                        (ahead + 0.12 * length, 1.6 * radius),
                        (front - 0.16 * length, 0.28 * height),
                    ],
                    y,
                    [0.35, 0.4, 0.3],
                    color,
                )
                for y in (-0.35 * half, 0.35 * half)
            ),
            ram((ahead - 0.1, 1.3 * radius), (front - 0.2 * length, 0.35 * height), 0.0, 0.09),
            both_sides(
                (ahead + 0.05, half - 0.5, 1.9 * radius),
                (ahead + 0.12, half - 0.3, 2.1 * radius),
                HEAD,
            ),
            bucket((front - 0.19 * length, front), (-half, half), (0.02, 0.4 * height), iron(rng)),
            wheels(rng, (axle, ahead + 0.03 * length), half - 0.02, radius, 0.55, heavy=True),
        ]
    )


def backhoe(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """A tractor with a shovel ahead and a folded digging arm behind."""
    color, metal = machine_paint(rng), iron(rng)
    rear, front, half = -length / 2.0, length / 2.0, width / 2.0
    big, small = 0.26 * height, 0.18 * height
    axle = rear + 0.35 * length
    return merge(
        [
            cabin(
                (axle - 0.1 * length, axle + 0.16 * length),
                (-half + 0.35, half - 0.35),
                (0.3 * height, 0.93 * height),
                color,
            ),
            wedge(
                (axle + 0.16 * length, front - 0.2 * length),
                (axle + 0.16 * length, front - 0.24 * length),
                (-half + 0.55, half - 0.55),
                (-half + 0.65, half - 0.65),
                (0.25 * height, 0.52 * height),
                color,
                PAINT,
            ),
            block(
                (front - 0.2 * length, -half + 0.7, 0.28 * height),
                (front - 0.195 * length, half - 0.7, 0.48 * height),
                GAP,
            ),
            both_sides(
                (axle - 1.1 * big, half - 0.5, 2.0 * big),
                (axle + big, half - 0.1, 2.0 * big + 0.07),
                painted(color),
            ),
            block(
                (axle - 0.1 * length, -0.4, big), (front - 0.2 * length, 0.4, 0.3 * height), TRIM
            ),
            boom(
                [
                    (axle - 0.12 * length, 0.35 * height),
                    (rear + 0.07 * length, 0.97 * height),
                    (rear + 0.03 * length, 0.75 * height),
                ],
                0.0,
                [0.4, 0.35, 0.3],
                color,
            ),
            boom(
                [(rear + 0.05 * length, 0.9 * height), (rear + 0.06 * length, 0.35 * height)],
                0.0,
                [0.3, 0.25],
                color,
            ),
            bucket(
                (rear, rear + 0.11 * length), (-0.35, 0.35), (0.1 * height, 0.36 * height), metal
            ),
            both_sides(
                (axle - 0.15 * length, half - 0.25, 0.05),
                (axle - 0.12 * length, half - 0.1, 0.45 * height),
                painted(color),
            ),
            *(
                boom(
                    [
                        (axle + 0.2 * length, 0.45 * height),
                        (front - 0.22 * length, 0.4 * height),
                        (front - 0.12 * length, 0.15 * height),
                    ],
                    y,
                    [0.25, 0.28, 0.22],
                    color,
                )
                for y in (-0.4 * half, 0.4 * half)
            ),
            bucket((front - 0.14 * length, front), (-half, half), (0.02, 0.32 * height), metal),
            wheels(rng, (axle,), half - 0.02, big, 0.45, heavy=True),
            wheels(rng, (front - 0.28 * length,), half - 0.12, small, 0.32, heavy=True),
        ]
    )


def dozer(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """A bulldozer."""
    color = machine_paint(rng)
    rear, front, half = -length / 2.0, length / 2.0, width / 2.0
    high = 0.34 * height
    return merge(
        [
            tracks(rear + 0.1 * length, front - 0.16 * length, 0.88 * half, 0.5, high),
            wedge(
                (-0.02 * length, front - 0.2 * length),
                (-0.02 * length, front - 0.23 * length),
                (-0.45 * half, 0.45 * half),
                (-0.38 * half, 0.38 * half),
                (0.2 * height, 0.62 * height),
                color,
                PAINT,
            ),
            block(
                (front - 0.2 * length, -0.35 * half, 0.25 * height),
                (front - 0.195 * length, 0.35 * half, 0.58 * height),
                GAP,
            ),
            block(
                (rear + 0.14 * length, -0.6 * half, high),
                (0.0, 0.6 * half, 0.5 * height),
                painted(color),
            ),
            cabin(
                (rear + 0.18 * length, 0.03 * length),
                (-0.5 * half, 0.5 * half),
                (0.45 * height, 0.95 * height),
                color,
            ),
            wedge(
                (front - 0.09 * length, front),
                (front - 0.08 * length, front - 0.04 * length),
                (-half, half),
                (-half, half),
                (0.0, 0.4 * height),
                iron(rng).color,
                MATTE,
            ),
            both_sides(
                (0.1 * length, 0.9 * half, 0.15 * height),
                (front - 0.07 * length, half, 0.25 * height),
                painted(color),
            ),
            beam(
                (rear + 0.14 * length, 0, 0.5 * height),
                (rear + 0.04 * length, 0, 0.06 * height),
                0.25,
                STEEL,
            ),
            block((rear, -0.2, 0.0), (rear + 0.1 * length, 0.2, 0.2 * height), iron(rng)),
            cylinder(
                (0.1 * length, 0.2, 0.6 * height),
                (0.1 * length, 0.2, 0.85 * height),
                (0.05, 0.05),
                DARK,
                sides=6,
            ),
        ]
    )
