# SPDX-License-Identifier: Apache-2.0
"""Meshes of trailers, excavators and wheel loaders: x forward, y left, z up, in metres."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    GLASS,
    LAMP,
    MATTE,
    PAINT,
    RETRO,
    Mesh,
    beam,
    box,
    cylinder,
    merge,
    wedge,
)
from asd_training.synthetic.meshes.vehicles import (
    AMBER_LAMP,
    CARGO_COLORS,
    DARK,
    RED_LAMP,
    RIM,
    WINDOW,
    pick,
    wheels,
)


def trailer(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    rear, front = -length / 2.0, length / 2.0
    half, cargo = width / 2.0, pick(rng, CARGO_COLORS)
    floor = min(1.2, 0.34 * height)
    kind = rng.choice(["container", "tank", "flatbed"], p=[0.6, 0.2, 0.2])
    parts = [box((rear + 0.1, -0.5, floor - 0.3), (front - 0.3, 0.5, floor), DARK)]
    if kind == "container":
        parts.append(box((rear, -half, floor), (front, half, height), cargo))
        rib = tuple(0.8 * np.array(cargo))
        for x in np.linspace(rear + 0.1, front - 0.25, max(3, int(length / 1.5))):
            parts.append(
                box((x, -half - 0.012, floor), (x + 0.12, half + 0.012, height - 0.05), rib)
            )
        for y in (-0.6, -0.03, 0.6):
            parts.append(box((rear - 0.015, y, floor + 0.1), (rear, y + 0.06, height - 0.1), DARK))
    elif kind == "tank":
        radius = (height - floor) / 2.0
        parts.append(
            cylinder(
                (rear, 0.0, floor + radius),
                (front, 0.0, floor + radius),
                (radius, radius),
                (0.82, 0.83, 0.85),
                sides=12,
                material=PAINT,
            )
        )
        parts.append(
            box((rear + 0.3, -half, floor - 0.08), (front - 0.3, half, floor + 0.02), cargo)
        )
    else:
        parts.append(
            box((rear, -half, floor - 0.05), (front, half, floor + 0.15), (0.38, 0.3, 0.22))
        )
        parts.append(box((front - 0.15, -half, floor), (front, half, height), cargo))
        for z in np.linspace(floor + 0.2, height - 0.7, 2):
            parts.append(
                box(
                    (rear + 0.4, -half + 0.3, z),
                    (front - 0.8, half - 0.3, z + 0.4),
                    pick(rng, CARGO_COLORS),
                )
            )
    for side in (-1.0, 1.0):  # landing legs and side guards
        parts.append(
            box(
                (front - 2.6, side * 0.8 - 0.06, 0.02),
                (front - 2.45, side * 0.8 + 0.06, floor),
                RIM,
            )
        )
        parts.append(
            box(
                (rear + 0.3 * length, side * (half - 0.06) - 0.02, 0.45),
                (front - 3.0, side * (half - 0.06) + 0.02, 0.75),
                (0.85, 0.85, 0.85),
            )
        )
        a, b = sorted((side * (half - 0.5), side * (half - 0.05)))
        parts.append(
            box((rear - 0.02, a, floor - 0.28), (rear + 0.03, b, floor - 0.08), RED_LAMP, LAMP)
        )
    parts.append(
        box(
            (rear - 0.01, -half + 0.1, 0.45),
            (rear + 0.06, half - 0.1, 0.6),
            (0.95, 0.3, 0.1),
            RETRO,
        )
    )
    parts += wheels(tuple(rear + x for x in (1.0, 2.15, 3.3)), width - 0.04, 0.48)
    return merge(parts)


def construction_vehicle(
    rng: np.random.Generator, length: float, width: float, height: float
) -> Mesh:
    yellow = pick(rng, ((0.92, 0.68, 0.08), (0.9, 0.5, 0.08), (0.85, 0.75, 0.15)))
    rear, front = -length / 2.0, length / 2.0
    half = width / 2.0
    if rng.random() < 0.55:  # excavator
        track = 0.28 * height
        body_front = rear + 0.5 * length
        parts = [
            *(
                wedge(
                    (rear + 0.3, body_front + 0.3),
                    (rear + 0.05, body_front + 0.55),
                    y,
                    y,
                    (0.0, track),
                    DARK,
                )
                for y in ((-half, -half + 0.55), (half - 0.55, half))
            ),
            box((rear + 0.3, -half + 0.5, 0.35), (body_front, half - 0.5, track), (0.3, 0.3, 0.3)),
            box(
                (rear, -half + 0.1, track + 0.08),
                (body_front, half - 0.1, 0.62 * height),
                yellow,
                PAINT,
            ),
            box(
                (rear - 0.01, -half + 0.15, track + 0.15),
                (rear + 0.3, half - 0.15, 0.5 * height),
                DARK,
            ),
            box(
                (body_front - 1.5, 0.1, 0.62 * height),
                (body_front - 0.05, half - 0.15, 0.92 * height),
                WINDOW,
                GLASS,
            ),
            box(
                (body_front - 1.55, 0.05, 0.92 * height),
                (body_front, half - 0.1, 0.96 * height),
                yellow,
                PAINT,
            ),
            beam(
                (body_front - 0.2, -0.35, 0.55 * height),
                (0.72 * front, -0.35, height - 0.2),
                0.38,
                yellow,
                PAINT,
            ),
            beam(
                (0.72 * front, -0.35, height - 0.2),
                (front - 0.35, -0.35, 0.28 * height),
                0.3,
                yellow,
                PAINT,
            ),
            wedge(
                (front - 0.9, front - 0.3),
                (front - 0.7, front),
                (-0.9, 0.2),
                (-0.9, 0.2),
                (0.05, 0.32 * height),
                DARK,
            ),
            beam(
                (body_front + 0.1, -0.35, 0.5 * height),
                (0.55 * front, -0.35, 0.8 * height),
                0.14,
                RIM,
            ),
        ]
        return merge(parts)
    radius = 0.24 * height  # wheel loader
    parts = [
        box((rear, -half + 0.3, radius), (0.05 * length, half - 0.3, 0.58 * height), yellow, PAINT),
        box(
            (rear - 0.01, -half + 0.5, radius + 0.1), (rear + 0.2, half - 0.5, 0.52 * height), DARK
        ),
        box((0.0, -half + 0.45, radius), (0.3 * length, half - 0.45, 0.45 * height), yellow, PAINT),
        wedge(
            (-0.16 * length, 0.1 * length),
            (-0.14 * length, 0.06 * length),
            (-0.75, 0.75),
            (-0.65, 0.65),
            (0.58 * height, 0.95 * height),
            WINDOW,
            GLASS,
        ),
        box((-0.18 * length, -0.8, 0.95 * height), (0.09 * length, 0.8, height), yellow, PAINT),
        wedge(
            (front - 1.0, front),
            (front - 0.9, front - 0.3),
            (-half, half),
            (-half, half),
            (0.05, 0.4 * height),
            (0.35, 0.33, 0.3),
        ),
        cylinder(
            (-0.1 * length, 0.5, height),
            (-0.1 * length, 0.5, 1.06 * height),
            (0.1, 0.08),
            AMBER_LAMP,
            sides=6,
            material=LAMP,
        ),
    ]
    for side in (-0.55, 0.55):
        parts.append(
            beam(
                (0.1 * length, side, 0.45 * height),
                (front - 0.8, side, 0.3 * height),
                0.25,
                yellow,
                MATTE,
            )
        )
    parts += wheels((rear + 0.22 * length, 0.22 * length), width - 0.2, radius)
    return merge(parts)
