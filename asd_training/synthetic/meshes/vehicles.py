# SPDX-License-Identifier: Apache-2.0
"""Meshes of cars, trucks and buses: x forward, y left, z up, authored in metres from the ground."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    GLASS,
    LAMP,
    PAINT,
    RETRO,
    Color,
    Mesh,
    beam,
    box,
    cylinder,
    merge,
    wedge,
)

DARK, TIRE, RIM, WINDOW = (0.13,) * 3, (0.1,) * 3, (0.6,) * 3, (0.13, 0.16, 0.19)
WHITE_LAMP, RED_LAMP, AMBER_LAMP = (0.95, 0.95, 0.88), (0.78, 0.05, 0.05), (0.95, 0.55, 0.1)
CAR_COLORS = (
    (0.92, 0.92, 0.92),
    (0.75, 0.76, 0.78),
    (0.45, 0.46, 0.48),
    (0.12, 0.12, 0.13),
    (0.6, 0.08, 0.08),
    (0.1, 0.2, 0.5),
    (0.2, 0.35, 0.6),
    (0.5, 0.45, 0.35),
    (0.15, 0.33, 0.2),
    (0.85, 0.75, 0.2),
)
CARGO_COLORS = (
    (0.92, 0.92, 0.9),
    (0.8, 0.8, 0.82),
    (0.25, 0.35, 0.6),
    (0.65, 0.2, 0.15),
    (0.3, 0.5, 0.35),
    (0.85, 0.7, 0.2),
)


def pick(rng: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    """One of the colours, a little shifted."""
    base = np.array(colors[int(rng.integers(len(colors)))])
    return tuple(np.clip(base + rng.uniform(-0.04, 0.04, 3), 0.02, 1.0))


def wheels(axles: tuple[float, ...], width: float, radius: float) -> list[Mesh]:
    parts = []
    for x in axles:
        for side in (-1.0, 1.0):
            outer, inner = side * width / 2.0, side * (width / 2.0 - 0.24)
            parts.append(cylinder((x, inner, radius), (x, outer, radius), (radius, radius), TIRE))
            parts.append(
                cylinder(
                    (x, outer - side * 0.05, radius),
                    (x, outer + side * 0.012, radius),
                    (0.6 * radius, 0.55 * radius),
                    RIM,
                    sides=6,
                )
            )
    return parts


def _lamps(front: float, rear: float, half_width: float, z: float, size: float) -> list[Mesh]:
    """White lamps on the face x = front, red lamps on the face x = rear, amber at their sides."""
    parts = []
    for side in (-1.0, 1.0):
        a, b = sorted((side * (half_width - 1.6 * size), side * half_width * 0.98))
        parts.append(
            box((front - 0.05, a, z), (front + 0.02, b, z + 0.75 * size), WHITE_LAMP, LAMP)
        )
        parts.append(box((rear - 0.02, a, z), (rear + 0.05, b, z + size), RED_LAMP, LAMP))
    return parts


def car(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    paint = pick(rng, CAR_COLORS)
    rear, front = -length / 2.0, length / 2.0
    half = width / 2.0 - 0.02
    kind = rng.choice(["sedan", "hatch", "suv", "van"], p=[0.4, 0.25, 0.25, 0.1])
    belt = {"sedan": 0.6, "hatch": 0.58, "suv": 0.6, "van": 0.55}[kind] * height
    # Greenhouse along x as fractions of the length from the rear: bottom and roof.
    bottom, roof = {
        "sedan": ((0.1, 0.73), (0.26, 0.56)),
        "hatch": ((0.02, 0.74), (0.1, 0.56)),
        "suv": ((0.01, 0.76), (0.05, 0.62)),
        "van": ((0.01, 0.9), (0.02, 0.74)),
    }[kind]
    sill = 0.16 * height

    def at(fraction: float) -> float:
        return rear + fraction * length

    bottom_x, roof_x = (at(bottom[0]), at(bottom[1])), (at(roof[0]), at(roof[1]))
    inset = 0.13 * width
    hood = belt - (0.1 if kind != "van" else 0.02) * height
    parts = [
        # Body up to the bonnet's height, the rear deck, the bonnet sloping to the front.
        wedge(
            (rear + 0.04, front - 0.06),
            (rear, front - 0.02),
            (-half, half),
            (-half, half),
            (sill, hood),
            paint,
            PAINT,
        ),
        wedge(
            (rear, bottom_x[1]),
            (rear + 0.03, bottom_x[1] - 0.25),
            (-half, half),
            (-half + 0.04, half - 0.04),
            (hood, belt),
            paint,
            PAINT,
        ),
        wedge(
            (bottom_x[1] - 0.3, front - 0.02),
            (bottom_x[1] - 0.3, bottom_x[1] + 0.1),
            (-half, half),
            (-half + 0.05, half - 0.05),
            (hood, belt - 0.02),
            paint,
            PAINT,
        ),
        # Greenhouse, roof, pillars.
        wedge(
            bottom_x,
            roof_x,
            (-half + 0.05, half - 0.05),
            (-half + inset, half - inset),
            (belt, height - 0.05),
            WINDOW,
            GLASS,
        ),
        wedge(
            (roof_x[0] - 0.04, roof_x[1] + 0.06),
            (roof_x[0], roof_x[1]),
            (-half + inset - 0.03, half - inset + 0.03),
            (-half + inset + 0.05, half - inset - 0.05),
            (height - 0.07, height),
            paint,
            PAINT,
        ),
        # Bumpers, grille, plates.
        box((rear - 0.02, -half + 0.06, sill - 0.02), (rear + 0.1, half - 0.06, sill + 0.14), DARK),
        box((front - 0.12, -half + 0.06, sill - 0.02), (front, half - 0.06, sill + 0.12), DARK),
        box(
            (front - 0.1, -0.3 * width, hood - 0.28 * height + 0.12),
            (front + 0.004, 0.3 * width, hood - 0.1),
            DARK,
        ),
        box(
            (rear - 0.03, -0.26, hood - 0.3),
            (rear + 0.05, 0.26, hood - 0.18),
            (0.9, 0.9, 0.85),
            RETRO,
        ),
    ]
    middle = at((roof[0] + roof[1]) / 2.0)
    for side in (-1.0, 1.0):
        low, high = side * (half - 0.045), side * (half - inset - 0.005)
        for x0, x1 in ((bottom_x[0], roof_x[0]), (middle, middle), (bottom_x[1], roof_x[1])):
            parts.append(beam((x0, low, belt), (x1, high, height - 0.05), 0.09, paint, PAINT))
        mirror = bottom_x[1] - 0.25
        a, b = sorted((side * (half - 0.05), side * width / 2.0))
        parts.append(box((mirror - 0.08, a, belt), (mirror + 0.08, b, belt + 0.14), DARK))
    parts += _lamps(front, rear, half, hood - 0.17, 0.19)
    radius = min(0.36, 0.21 * height)
    parts += wheels((at(0.2), at(0.81)), width - 0.06, radius)
    return merge(parts)


def _cab(
    paint: Color, rear: float, front: float, width: float, low: float, top: float
) -> list[Mesh]:
    """Flat-nosed lorry cab."""
    half = width / 2.0
    belt = low + 0.45 * (top - low)
    return [
        box((rear, -half, low), (front, half, belt), paint, PAINT),
        wedge(
            (rear, front),
            (rear, front - 0.2),
            (-half, half),
            (-half + 0.06, half - 0.06),
            (belt, top),
            paint,
            PAINT,
        ),
        wedge(
            (front - 0.3, front + 0.012),
            (front - 0.4, front - 0.14),
            (-half + 0.12, half - 0.12),
            (-half + 0.16, half - 0.16),
            (belt + 0.02, top - 0.2),
            WINDOW,
            GLASS,
        ),
        wedge(
            (rear + 0.35, front - 0.35),
            (rear + 0.4, front - 0.4),
            (-half - 0.012, half + 0.012),
            (-half + 0.03, half - 0.03),
            (belt + 0.02, top - 0.25),
            WINDOW,
            GLASS,
        ),
        box(
            (front - 0.1, -half + 0.35, low + 0.12), (front + 0.015, half - 0.35, belt - 0.18), DARK
        ),
        box((front - 0.2, -half, low - 0.2), (front + 0.03, half, low + 0.08), (0.3, 0.3, 0.32)),
    ]


def truck(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    rear, front = -length / 2.0, length / 2.0
    half = width / 2.0
    paint, cargo = pick(rng, CAR_COLORS), pick(rng, CARGO_COLORS)
    if length < 6.0:
        return _pickup(rng, length, width, height)
    cab_rear = front - min(2.2, 0.32 * length)
    radius = min(0.5, 0.18 * height)
    floor = 2.0 * radius + 0.1
    kind = rng.choice(["box", "flatbed", "tipper"], p=[0.65, 0.15, 0.2])
    cab_top = height if kind != "box" else rng.uniform(0.72, 0.9) * height
    parts = _cab(paint, cab_rear, front - 0.03, width - 0.1, 0.5, cab_top)
    parts.append(box((rear + 0.2, -0.45, 0.55), (cab_rear, 0.45, floor - 0.02), DARK))
    bed = cab_rear - 0.15
    if kind == "box":
        parts.append(box((rear, -half, floor), (bed, half, height), cargo))
        parts.append(box((rear - 0.015, -0.03, floor + 0.1), (rear, 0.03, height - 0.1), DARK))
        stripe = pick(rng, CAR_COLORS)
        parts.append(
            box(
                (rear + 0.6, -half - 0.012, 0.45 * height + 0.3),
                (bed - 0.6, half + 0.012, 0.6 * height + 0.3),
                stripe,
            )
        )
    elif kind == "flatbed":
        parts.append(box((rear, -half, floor), (bed, half, floor + 0.18), (0.35, 0.27, 0.2)))
        for x in np.linspace(rear + 0.5, bed - 1.3, 3):
            size = rng.uniform(0.6, 1.1)
            parts.append(box((x, -0.7, floor + 0.18), (x + 0.9, 0.7, floor + 0.18 + size), cargo))
    else:
        parts.append(
            wedge(
                (rear + 0.3, bed),
                (rear, bed),
                (-half + 0.2, half - 0.2),
                (-half, half),
                (floor, 0.85 * height),
                cargo,
                PAINT,
            )
        )
        parts.append(
            wedge(
                (rear + 0.4, bed - 0.2),
                (rear + 1.2, bed - 1.0),
                (-half + 0.1, half - 0.1),
                (-half + 0.6, half - 0.6),
                (0.85 * height, 0.97 * height),
                (0.45, 0.38, 0.3),
            )
        )
    parts.append(
        box((rear + 0.02, -half + 0.1, 0.45), (rear + 0.1, half - 0.1, 0.6), (0.9, 0.2, 0.1), RETRO)
    )
    parts += _lamps(front, rear, half - 0.1, 0.62, 0.24)
    axles: tuple[float, ...] = (front - 1.2, rear + 0.24 * length)
    if length > 8.5:
        axles = (*axles, rear + 0.24 * length + 1.3)
    parts += wheels(axles, width - 0.02, radius)
    return merge(parts)


def _pickup(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    rear, front = -length / 2.0, length / 2.0
    half, paint = width / 2.0, pick(rng, CAR_COLORS)
    belt = 0.6 * height
    bed = rear + 0.36 * length
    parts = [
        box((bed, -half, 0.3), (front - 0.03, half, belt), paint, PAINT),
        box((rear, -half, 0.35), (bed, -half + 0.12, belt), paint, PAINT),
        box((rear, half - 0.12, 0.35), (bed, half, belt), paint, PAINT),
        box((rear, -half + 0.1, 0.35), (rear + 0.1, half - 0.1, belt), paint, PAINT),
        box((rear + 0.05, -half + 0.1, 0.4), (bed, half - 0.1, 0.35 * height), DARK),
        wedge(
            (bed, front - 0.24 * length),
            (bed + 0.15, front - 0.38 * length),
            (-half + 0.05, half - 0.05),
            (-half + 0.22, half - 0.22),
            (belt, height - 0.06),
            WINDOW,
            GLASS,
        ),
        box(
            (bed + 0.1, -half + 0.2, height - 0.08),
            (front - 0.38 * length, half - 0.2, height),
            paint,
            PAINT,
        ),
        box((front - 0.05, -half + 0.3, 0.45), (front + 0.01, half - 0.3, belt - 0.12), DARK),
        box((front - 0.1, -half, 0.25), (front, half, 0.42), RIM),
    ]
    parts += _lamps(front, rear, half, belt - 0.28, 0.22)
    parts += wheels((rear + 0.2 * length, front - 0.18 * length), width - 0.02, 0.21 * height)
    return merge(parts)


def bus(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    rear, front = -length / 2.0, length / 2.0
    half = width / 2.0 - 0.015
    paint, trim = pick(rng, CAR_COLORS), pick(rng, CARGO_COLORS)
    belt, top = 0.42 * height, 0.78 * height
    parts = [
        box((rear, -half, 0.3), (front, half, belt), trim, PAINT),
        wedge(
            (rear, front),
            (rear + 0.1, front - 0.12),
            (-half, half),
            (-half + 0.04, half - 0.04),
            (belt, height - 0.18),
            paint,
            PAINT,
        ),
        box(
            (rear + 0.8, -half + 0.35, height - 0.2),
            (rear + 0.35 * length, half - 0.35, height),
            (0.82, 0.82, 0.82),
        ),
        box(
            (front - 0.3 * length, -half + 0.4, height - 0.2),
            (front - 1.0, half - 0.4, height - 0.04),
            (0.82, 0.82, 0.82),
        ),
        # Windscreen, destination sign, rear window.
        wedge(
            (front - 0.2, front + 0.012),
            (front - 0.3, front - 0.06),
            (-half + 0.12, half - 0.12),
            (-half + 0.16, half - 0.16),
            (0.3 * height, top),
            WINDOW,
            GLASS,
        ),
        box((front - 0.2, -0.8, top + 0.04), (front - 0.03, 0.8, height - 0.22), AMBER_LAMP, LAMP),
        box(
            (rear - 0.01, -half + 0.3, 0.52 * height), (rear + 0.2, half - 0.3, top), WINDOW, GLASS
        ),
        box((front - 0.1, -half, 0.3), (front + 0.015, half, 0.46), DARK),
    ]
    count = int((length - 2.2) / 1.5)
    for x in np.linspace(rear + 0.7, front - 1.4 - 1.25, count):
        parts.append(
            box((x, -half - 0.012, belt + 0.08), (x + 1.25, half + 0.012, top), WINDOW, GLASS)
        )
    for x in (front - 1.45, front - 0.62 * length):  # doors, on the right
        parts.append(box((x, -half - 0.014, 0.35), (x + 1.1, -half + 0.05, top), WINDOW, GLASS))
    parts += _lamps(front, rear, half, 0.55, 0.3)
    parts += wheels((rear + 0.24 * length, front - 0.22 * length), width - 0.02, 0.48)
    return merge(parts)
