# SPDX-License-Identifier: Apache-2.0
"""Construction vehicles: excavators, loaders, rollers, dumpers, cranes, dozers, lifts."""

from __future__ import annotations

import itertools

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
    wedge,
)
from asd_training.synthetic.meshes.vehicles.body import Finish
from asd_training.synthetic.meshes.vehicles.parts import (
    AMBER,
    DARK,
    GAP,
    GREY_TRIM,
    HEAD,
    RIM,
    TAIL,
    TRIM,
    WINDOW,
    block,
    both_sides,
    painted,
    pick,
    wheels,
)
from asd_training.synthetic.meshes.vehicles.trucks import lorry

_YELLOWS = (
    (0.92, 0.68, 0.08),
    (0.9, 0.72, 0.12),
    (0.88, 0.45, 0.08),
    (0.85, 0.78, 0.2),
)
_OTHERS = ((0.75, 0.15, 0.1), (0.25, 0.45, 0.25), (0.85, 0.85, 0.83), (0.2, 0.35, 0.6), (0.3,) * 3)
_STEEL = (0.3, 0.29, 0.28)


def construction_vehicle(
    rng: np.random.Generator, length: float, width: float, height: float
) -> Mesh:
    """A machine of any kind."""
    kinds, share = zip(
        ("excavator", 0.3),
        ("loader", 0.15),
        ("backhoe", 0.11),
        ("roller", 0.08),
        ("dumper", 0.07),
        ("dozer", 0.07),
        ("crane", 0.07),
        ("telehandler", 0.06),
        ("mixer", 0.05),
        ("lift", 0.04),
        strict=True,
    )
    return MACHINES[str(rng.choice(kinds, p=share))](rng, length, width, height)


def _paint(rng: np.random.Generator) -> Color:
    return pick(rng, _YELLOWS) if rng.random() < 0.75 else pick(rng, _OTHERS)


def _iron(rng: np.random.Generator) -> Finish:
    """Buckets and blades: bare, dirty or rusty."""
    worn = rng.random() < 0.4
    return Finish((0.4, 0.27, 0.18) if worn else _STEEL, RUST if worn else MATTE, 21)


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


def _tracks(rear: float, front: float, half: float, wide: float, high: float) -> Mesh:
    return merge(
        [
            _track(rear, front, half - wide, half, high),
            _track(rear, front, -half, -half + wide, high),
        ]
    )


def _cabin(
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


def _bucket(
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


def _arm(points: list[tuple[float, float]], y: float, thick: list[float], color: Color) -> Mesh:
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


def _ram(start: tuple[float, float], end: tuple[float, float], y: float, thick: float) -> Mesh:
    """A hydraulic cylinder and its bright rod."""
    a, b = np.array([start[0], y, start[1]]), np.array([end[0], y, end[1]])
    middle = 0.55 * b + 0.45 * a
    return merge(
        [
            cylinder(a, middle, (thick, thick), (0.25, 0.25, 0.26), sides=6),
            cylinder(middle, b, (0.6 * thick,) * 2, (0.8,) * 3, sides=6, material=CHROME),
        ]
    )


def excavator(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """On crawlers or wheels, its upper carriage turned at times."""
    color, iron = _paint(rng), _iron(rng)
    rear, front, half = -length / 2.0, length / 2.0, width / 2.0
    foot = 0.3 * height
    back = rear + 0.52 * length
    parts = []
    if rng.random() < 0.75:
        parts.append(_tracks(rear + 0.05, back + 0.3, half, min(0.6, 0.26 * width), 0.27 * height))
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
        _cabin(
            (back - 0.26 * length, back), (0.06, half - 0.1), (foot + 0.1, 0.97 * height), color
        ),
    ]
    y = -0.28 * half
    knee = (rng.uniform(0.35, 0.6) * front, height - 0.08)
    elbow = (front - rng.uniform(0.15, 0.4) * 0.3 * length, rng.uniform(0.55, 0.7) * height)
    hand = (elbow[0] - rng.uniform(0.0, 0.12) * length, 0.3 * height)
    base = (back - 0.15 * length, 0.5 * height)
    size = 0.14 * height
    middle = (0.5 * (base[0] + knee[0]) - 0.02 * length, 0.5 * (base[1] + knee[1]) + 0.04 * height)
    parts += [
        _arm([base, middle, knee, elbow], y, [size, 1.3 * size, 1.1 * size, 0.6 * size], color),
        _arm(
            [(elbow[0] + 0.05, elbow[1] + 0.25 * size), elbow, hand],
            y,
            [0.8 * size, 1.0 * size, 0.6 * size],
            color,
        ),
        _ram(
            (back - 0.05, 0.42 * height),
            (0.5 * (middle[0] + knee[0]), 0.72 * height),
            y + 0.2,
            0.09,
        ),
        _ram(middle, (elbow[0], elbow[1] + 0.5 * size), y, 0.08),
    ]
    if rng.random() < 0.8:
        parts.append(
            _bucket(
                (hand[0] - 0.1 * length, front), (y - 0.5, y + 0.5), (0.03, 0.34 * height), iron
            )
        )
    else:  # breaker
        parts.append(beam((hand[0], y, hand[1] + 0.1), (front - 0.15, y, 0.3), 0.32, _STEEL))
        parts.append(beam((front - 0.25, y, 0.4), (front - 0.06, y, 0.02), 0.1, _STEEL))
    return merge(parts)


def loader(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """An articulated wheel loader."""
    color = _paint(rng)
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
            _cabin(
                (axle + 0.1 * length, axle + 0.29 * length),
                (-0.42 * width, 0.42 * width),
                (1.4 * radius, 0.96 * height),
                color,
            ),
            block(
                (axle + 0.2 * length, -0.5, 0.8 * radius), (ahead + 0.2, 0.5, 1.8 * radius), TRIM
            ),
            *(
                _arm(
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
            _ram((ahead - 0.1, 1.3 * radius), (front - 0.2 * length, 0.35 * height), 0.0, 0.09),
            both_sides(
                (ahead + 0.05, half - 0.5, 1.9 * radius),
                (ahead + 0.12, half - 0.3, 2.1 * radius),
                HEAD,
            ),
            _bucket(
                (front - 0.19 * length, front), (-half, half), (0.02, 0.4 * height), _iron(rng)
            ),
            wheels(rng, (axle, ahead + 0.03 * length), half - 0.02, radius, 0.55, heavy=True),
        ]
    )


def backhoe(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """A tractor with a shovel ahead and a folded digging arm behind."""
    color, iron = _paint(rng), _iron(rng)
    rear, front, half = -length / 2.0, length / 2.0, width / 2.0
    big, small = 0.26 * height, 0.18 * height
    axle = rear + 0.35 * length
    return merge(
        [
            _cabin(
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
            _arm(
                [
                    (axle - 0.12 * length, 0.35 * height),
                    (rear + 0.07 * length, 0.97 * height),
                    (rear + 0.03 * length, 0.75 * height),
                ],
                0.0,
                [0.4, 0.35, 0.3],
                color,
            ),
            _arm(
                [(rear + 0.05 * length, 0.9 * height), (rear + 0.06 * length, 0.35 * height)],
                0.0,
                [0.3, 0.25],
                color,
            ),
            _bucket(
                (rear, rear + 0.11 * length), (-0.35, 0.35), (0.1 * height, 0.36 * height), iron
            ),
            both_sides(
                (axle - 0.15 * length, half - 0.25, 0.05),
                (axle - 0.12 * length, half - 0.1, 0.45 * height),
                painted(color),
            ),
            *(
                _arm(
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
            _bucket((front - 0.14 * length, front), (-half, half), (0.02, 0.32 * height), iron),
            wheels(rng, (axle,), half - 0.02, big, 0.45, heavy=True),
            wheels(rng, (front - 0.28 * length,), half - 0.12, small, 0.32, heavy=True),
        ]
    )


def roller(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """A road roller with one drum or two, with a cabin or a roof on posts."""
    color = _paint(rng)
    rear, front, half = -length / 2.0, length / 2.0, width / 2.0
    radius = 0.25 * height
    ahead = front - radius - 0.05
    steel = (0.5, 0.48, 0.46)
    parts = [
        cylinder(
            (ahead, -half + 0.08, radius),
            (ahead, half - 0.08, radius),
            (radius, radius),
            steel,
            sides=18,
            material=CHROME,
        ),
        both_sides(
            (ahead - 1.15 * radius, half - 0.07, 0.7 * radius),
            (front, half, 1.15 * radius),
            painted(color),
        ),
        block(
            (ahead - 1.2 * radius, -half, 1.05 * radius),
            (ahead - radius, half, 1.6 * radius),
            painted(color),
        ),
        wedge(
            (rear + 0.05, 0.1 * length),
            (rear + 0.2, 0.1 * length),
            (-half + 0.3, half - 0.3),
            (-half + 0.4, half - 0.4),
            (0.9 * radius, 0.55 * height),
            color,
            PAINT,
        ),
        block((rear + 0.02, -0.4 * half, radius), (rear + 0.1, 0.4 * half, 0.48 * height), GAP),
        both_sides(
            (rear + 0.04, 0.55 * half, 0.42 * height),
            (rear + 0.1, 0.65 * half, 0.47 * height),
            TAIL,
        ),
        block((0.0, -0.4, 0.8 * radius), (ahead - radius, 0.4, 1.5 * radius), TRIM),
    ]
    if rng.random() < 0.5:
        behind = rear + radius + 0.05
        parts.append(
            cylinder(
                (behind, -half + 0.08, radius),
                (behind, half - 0.08, radius),
                (radius, radius),
                steel,
                sides=18,
                material=CHROME,
            )
        )
    else:
        parts.append(wheels(rng, (rear + 0.26 * length,), half - 0.05, radius, 0.5, heavy=True))
    x0, x1 = -0.1 * length, 0.13 * length
    if rng.random() < 0.5:
        parts.append(
            _cabin((x0, x1), (-0.7 * half, 0.7 * half), (0.5 * height, height - 0.12), color)
        )
    else:
        parts.append(
            block(
                (x0 - 0.1, -0.75 * half, height - 0.1),
                (x1 + 0.1, 0.75 * half, height),
                painted(color),
            )
        )
        for x in (x0, x1):
            parts.append(
                both_sides((x, 0.65 * half, 0.5 * height), (x + 0.06, 0.7 * half, height), TRIM)
            )
        parts.append(block((x0, -0.3, 0.5 * height), (x0 + 0.5, 0.3, 0.68 * height), TRIM))
    return merge(parts)


def dumper(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """A rigid or articulated hauler with its skip full of earth."""
    color = _paint(rng)
    rear, front, half = -length / 2.0, length / 2.0, width / 2.0
    radius = min(0.24 * height, 0.85)
    bed = rear + 0.6 * length
    wall = rng.uniform(0.72, 0.9) * height
    return merge(
        [
            wedge(
                (rear + 0.5, bed),
                (rear, bed + 0.1),
                (-half + 0.35, half - 0.35),
                (-half, half),
                (1.5 * radius, wall),
                color,
                PAINT,
            ),
            wedge(
                (rear + 0.1, bed),
                (rear + 0.9, bed - 0.5),
                (-half + 0.1, half - 0.1),
                (-0.3, 0.3),
                (wall - 0.01, min(height, wall + 0.3)),
                (0.42, 0.32, 0.22),
                SOIL,
            ),
            block((rear + 0.8, -0.5, 0.8 * radius), (front - 0.6, 0.5, 1.5 * radius), TRIM),
            _cabin(
                (bed + 0.15, bed + 0.22 * length),
                (-half + 0.35, half - 0.35),
                (1.5 * radius, height),
                color,
            ),
            wedge(
                (bed + 0.2 * length, front),
                (bed + 0.22 * length, front - 0.25),
                (-half + 0.4, half - 0.4),
                (-half + 0.5, half - 0.5),
                (radius, 0.56 * height),
                color,
                PAINT,
            ),
            block(
                (front - 0.04, -half + 0.6, radius + 0.1),
                (front + 0.01, half - 0.6, 0.48 * height),
                GAP,
            ),
            both_sides(
                (front - 0.06, half - 0.62, 0.42 * height),
                (front + 0.01, half - 0.45, 0.5 * height),
                HEAD,
            ),
            both_sides(
                (rear + 0.45, half - 0.5, 1.5 * radius),
                (rear + 0.5, half - 0.35, 1.5 * radius + 0.15),
                TAIL,
            ),
            wheels(
                rng,
                (rear + 0.25 * length, front - 0.24 * length),
                half - 0.04,
                radius,
                0.5,
                heavy=True,
            ),
        ]
    )


def dozer(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """A bulldozer."""
    color = _paint(rng)
    rear, front, half = -length / 2.0, length / 2.0, width / 2.0
    high = 0.34 * height
    return merge(
        [
            _tracks(rear + 0.1 * length, front - 0.16 * length, 0.88 * half, 0.5, high),
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
            _cabin(
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
                _iron(rng).color,
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
                _STEEL,
            ),
            block((rear, -0.2, 0.0), (rear + 0.1 * length, 0.2, 0.2 * height), _iron(rng)),
            cylinder(
                (0.1 * length, 0.2, 0.6 * height),
                (0.1 * length, 0.2, 0.85 * height),
                (0.05, 0.05),
                DARK,
                sides=6,
            ),
        ]
    )


def crane(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """A mobile crane, its telescopic boom laid down over the cab."""
    color = _paint(rng)
    rear, front, half = -length / 2.0, length / 2.0, width / 2.0
    radius = min(0.17 * height, 0.55)
    deck = 2.2 * radius
    parts = [
        block(
            (rear + 0.05, -half + 0.03, 0.9 * radius),
            (front - 0.1, half - 0.03, deck),
            painted(color),
        ),
        _cabin(
            (front - 0.2 * length, front - 0.03),
            (-half + 0.08, 0.25 * half),
            (1.0 * radius, 0.68 * height),
            color,
        ),
        wedge(
            (rear + 0.02, 0.0),
            (rear + 0.2, -0.05 * length),
            (-half + 0.1, half - 0.1),
            (-half + 0.2, half - 0.2),
            (deck + 0.1, 0.62 * height),
            color,
            PAINT,
        ),
        _cabin(
            (-0.02 * length, 0.15 * length), (0.35 * half, half - 0.1), (deck, 0.85 * height), color
        ),
        _ram((0.02 * length, 0.5 * height), (0.2 * length, 0.78 * height), 0.0, 0.12),
        cylinder(
            (front - 0.12, 0, 0.72 * height),
            (front - 0.12, 0, 0.5 * height),
            (0.1, 0.12),
            AMBER,
            sides=6,
        ),
        both_sides(
            (front - 0.08, half - 0.35, 1.1 * radius), (front, half - 0.1, 1.1 * radius + 0.2), HEAD
        ),
        both_sides(
            (rear, half - 0.35, 1.1 * radius), (rear + 0.06, half - 0.08, 1.1 * radius + 0.2), TAIL
        ),
    ]
    for start, end, thick in ((rear + 0.1, 0.75, 0.5), (0.0, 0.9, 0.4), (0.3 * front, 1.0, 0.3)):
        x1 = end * front - 0.03
        slope = (0.9 * height - 0.25, 0.9 * height - 0.12)
        parts.append(beam((start, 0, slope[0]), (x1, 0, slope[1]), thick, color, PAINT))
    parts.append(block((rear + 0.3, -0.3, height - 0.1), (rear + 1.0, 0.3, height), TRIM))
    for x in (rear + 0.4, front - 0.3 * length):
        parts.append(both_sides((x, half - 0.05, 0.7 * radius), (x + 0.3, half, deck), TRIM))
    axles = np.linspace(rear + 0.2 * length, front - 0.2 * length, 3 if length < 7.5 else 4)
    parts.append(wheels(rng, axles.tolist(), half - 0.03, radius, 0.4, heavy=True))
    return merge(parts)


def telehandler(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """A telescopic handler with forks."""
    color = _paint(rng)
    rear, front, half = -length / 2.0, length / 2.0, width / 2.0
    radius = 0.21 * height
    mast = front - 0.22 * length
    return merge(
        [
            block(
                (rear + 0.05, -half + 0.3, 0.8 * radius),
                (mast - 0.2, half - 0.3, 1.9 * radius),
                painted(color),
            ),
            wedge(
                (rear + 0.05, 0.1 * length),
                (rear + 0.15, 0.1 * length),
                (-half + 0.05, -0.1),
                (-half + 0.1, -0.2),
                (radius, 0.55 * height),
                color,
                PAINT,
            ),
            _cabin(
                (-0.14 * length, 0.16 * length), (0.05, half - 0.08), (radius, 0.97 * height), color
            ),
            _arm(
                [
                    (rear + 0.05 * length, 0.72 * height),
                    (0.25 * length, 0.52 * height),
                    (mast, 0.22 * height),
                ],
                -0.1,
                [0.4, 0.36, 0.3],
                color,
            ),
            block(
                (mast, -half + 0.3, 0.06 * height),
                (mast + 0.1, half - 0.3, 0.36 * height),
                _iron(rng),
            ),
            both_sides((mast, 0.25, 0.03), (front, 0.37, 0.09), _iron(rng)),
            both_sides(
                (mast - 0.3, half - 0.5, 1.9 * radius),
                (mast - 0.2, half - 0.35, 1.9 * radius + 0.15),
                HEAD,
            ),
            both_sides(
                (rear, half - 0.5, 1.4 * radius),
                (rear + 0.06, half - 0.35, 1.4 * radius + 0.15),
                TAIL,
            ),
            wheels(
                rng,
                (rear + 0.19 * length, mast - 0.12 * length),
                half - 0.02,
                radius,
                0.4,
                heavy=True,
            ),
        ]
    )


def mixer(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """A concrete mixer, or the lorry of a building site where it is too short for one."""
    return lorry(rng, length, width, height, "drum" if length > 5.5 else "tipper")


def lift(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """A scissor lift: chassis, folded shears, platform with rails."""
    color = pick(rng, (*_YELLOWS, *_OTHERS[:3]))
    rear, front, half = -length / 2.0, length / 2.0, width / 2.0
    low, deck = 0.16 * height, 0.6 * height
    rail = painted(color)
    parts = [
        block((rear + 0.05, -half + 0.1, 0.5 * low), (front - 0.05, half - 0.1, 1.4 * low), rail),
        block((rear, -half, deck - 0.12), (front, half, deck), Finish((0.45, 0.45, 0.46), MATTE)),
        block((rear + 0.3, -0.3, deck), (rear + 0.8, 0.3, deck + 0.35), TRIM),
        wheels(rng, (rear + 0.2 * length, front - 0.2 * length), half - 0.02, low, 0.3, heavy=True),
    ]
    levels = np.linspace(1.4 * low, deck - 0.12, 4)
    for bottom, top in itertools.pairwise(levels):
        for y in (-0.6 * half, 0.6 * half):
            for x0, x1 in ((rear + 0.3, front - 0.3), (front - 0.3, rear + 0.3)):
                parts.append(beam((x0, y, bottom), (x1, y, top), 0.12, RIM, PAINT))
    for z in (0.78 * height, height - 0.04):
        parts.append(both_sides((rear, half - 0.05, z), (front, half, z + 0.04), rail))
        for x in (rear, front - 0.05):
            parts.append(block((x, -half, z), (x + 0.05, half, z + 0.04), rail))
    for x in np.linspace(rear, front - 0.05, 4):
        parts.append(both_sides((x, half - 0.05, deck), (x + 0.05, half, height), rail))
    return merge(parts)


MACHINES = {
    "excavator": excavator,
    "loader": loader,
    "backhoe": backhoe,
    "roller": roller,
    "dumper": dumper,
    "dozer": dozer,
    "crane": crane,
    "telehandler": telehandler,
    "mixer": mixer,
    "lift": lift,
}
