# SPDX-License-Identifier: Apache-2.0
"""Meshes of motorcycles, ridden or left: x forward, y left, z up, in metres."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.cycles.parts import (
    AMBER_LAMP,
    GREYS,
    RED_LAMP,
    WHITE_LAMP,
    arc,
    leant,
    mudguard,
)
from asd_training.synthetic.meshes.mesh import (
    CHROME,
    GLASS,
    HEADLAMP,
    LAMP,
    MATTE,
    PAINT,
    PLASTIC,
    POSTER,
    RETRO,
    RUBBER,
    TAIL_LAMP,
    TARPAULIN,
    Color,
    Mesh,
    beam,
    box,
    cylinder,
    ellipsoid,
    merge,
    pick,
    tube,
    wedge,
)
from asd_training.synthetic.meshes.people import cloth_color
from asd_training.synthetic.meshes.people import rider as _person_on
from asd_training.synthetic.meshes.vehicle_parts.fittings import (
    DARK,
    RIM,
    TIRE,
    paint_color,
    vivid_color,
)


def _thick_wheel(radius: float, half: float, rim: Color) -> Mesh:
    wheel = arc(0.0, radius, radius - half, 0.0, 2.0 * np.pi, 14)
    spokes = arc(0.0, radius, radius - 1.8 * half, 0.3, 0.3 + np.pi, 4)[:-1]
    hub, inner = np.array([0.0, 0.0, radius]), 0.42 * (radius - 2.0 * half)
    return merge(
        [
            tube(wheel, [half] * 14, TIRE, RUBBER, 6),
            cylinder(hub - [0, 0.02, 0], hub + [0, 0.02, 0], (inner, inner), rim, 9, CHROME),
            *(beam(end, 2.0 * hub - end, 0.035, rim, CHROME) for end in spokes),
        ]
    )


def motorcycle(
    rng: np.random.Generator, length: float, width: float, height: float, rider: bool = False
) -> Mesh:
    """A scooter, sports or touring machine or a chopper, as high as it and its rider."""
    length = float(np.clip(length, 1.75, 2.45))
    kind = str(
        rng.choice(
            ["scooter", "naked", "sports", "tourer", "chopper"], p=[0.4, 0.25, 0.12, 0.12, 0.11]
        )
    )
    if not rider and rng.random() < 0.05:
        return _covered(rng, length, height)
    color = paint_color(rng)
    if kind == "scooter":
        parts, seat, bar, feet = _scooter(rng, color, length, width)
    else:
        parts, seat, bar, feet = _machine(rng, kind, color, length, width)
    parts += _mirrors(rng, bar)
    if rng.random() < (0.35 if kind == "scooter" else 0.2):  # a top case, or a courier's box
        half = rng.uniform(0.16, 0.27)
        x, low = -length / 2.0 + 0.12 + half, seat[1] + 0.05
        tint = DARK if rng.random() < 0.5 else vivid_color(rng)
        material = PLASTIC if rng.random() < 0.6 else POSTER
        parts.append(
            wedge(
                (x - half, x + half),
                (x - 0.85 * half, x + 0.85 * half),
                (-half, half),
                (-0.85 * half, 0.85 * half),
                (low, low + 1.6 * half),
                tint,
                material,
            )
        )
    if not rider:
        return leant(merge(parts), rng.choice([-1.0, 1.0]) * rng.uniform(0.05, 0.16))
    stature = float(np.clip(rng.normal(1.72, 0.07), 1.58, 1.9))
    reach = (bar[0], bar[1] - 0.05, bar[2] + 0.03)
    helmet = paint_color(rng)
    parts.append(_person_on(rng, stature, seat, reach, feet, helmet))
    if rng.random() < 0.12:  # somebody behind
        behind = (seat[0] - 0.33, seat[1] + 0.05)
        hands = (seat[0] - 0.05, 0.16, seat[1] + 0.3)
        pegs = tuple((x - 0.25, y, z + 0.1) for x, y, z in feet)
        parts.append(
            _person_on(rng, 0.95 * stature, behind, hands, (pegs[0], pegs[1]), paint_color(rng))
        )
    return merge(parts).patterned(int(rng.integers(65536)))


_Place = tuple[float, float, float]
_Seats = tuple[list[Mesh], tuple[float, float], _Place, tuple[_Place, _Place]]


def _mirrors(rng: np.random.Generator, bar: _Place) -> list[Mesh]:
    if rng.random() < 0.1:
        return []
    parts = []
    for side in (-1.0, 1.0):
        foot = np.array([bar[0] + 0.02, side * 0.6 * bar[1], bar[2]])
        head = foot + [0.03, side * 0.12, 0.16]
        parts.append(beam(foot, head, 0.015, DARK, CHROME))
        parts.append(ellipsoid(head, (0.02, 0.06, 0.04), DARK, PLASTIC, 6))
    return parts


def _rear_end(rng: np.random.Generator, x: float, z: float) -> list[Mesh]:
    """Tail lamp, indicators and number plate, facing backward."""
    plate = pick(rng, ((0.9, 0.9, 0.88), (0.9, 0.8, 0.2), (0.1, 0.1, 0.1)))
    parts = [
        box((x - 0.03, -0.07, z), (x, 0.07, z + 0.06), RED_LAMP, TAIL_LAMP),
        box((x - 0.05, -0.1, z - 0.2), (x - 0.04, 0.1, z - 0.06), plate, RETRO),
        box((x - 0.04, -0.02, z - 0.12), (x, 0.02, z), DARK, PLASTIC),
    ]
    parts += [
        box((x - 0.02, y - 0.03, z - 0.02), (x + 0.02, y + 0.03, z + 0.03), AMBER_LAMP, LAMP)
        for y in (-0.16, 0.16)
    ]
    return parts


def _scooter(rng: np.random.Generator, color: Color, length: float, width: float) -> _Seats:
    radius, half = 0.125 * length, width / 2.0
    rear, front = -length / 2.0 + radius + 0.03, length / 2.0 - radius - 0.02
    seat, bar_x, bar_z = rng.uniform(0.74, 0.8), front - 0.28, rng.uniform(0.98, 1.08)
    floor = radius + 0.06
    tail = rear - radius + 0.05
    seat_color = pick(rng, (DARK, DARK, (0.4, 0.25, 0.15)))
    parts = [
        _thick_wheel(radius, 0.055, pick(rng, GREYS)).moved(rear, 0.0),
        _thick_wheel(radius, 0.05, pick(rng, GREYS)).moved(front, 0.0),
        # Body under the seat, footboard, leg shield, front mudguard.
        tube(
            [(tail, 0, seat - 0.12), (rear, 0, 0.55), (rear + 0.3, 0, 0.5), (rear + 0.5, 0, 0.45)],
            [(0.08, 0.05), (0.2, 0.2), (0.19, 0.24), (0.13, 0.2)],
            color,
            PAINT,
            8,
        ),
        box((rear + 0.3, -0.17, floor), (front - 0.3, 0.17, floor + 0.07), DARK, PLASTIC),
        tube(
            [
                (front - 0.36, 0, floor),
                (front - 0.24, 0, 0.55),
                (front - 0.27, 0, 0.85),
                (bar_x, 0, bar_z),
            ],
            [(0.18, 0.06), (0.22, 0.09), (0.17, 0.08), (0.1, 0.06)],
            color,
            PAINT,
            8,
        ),
        tube(
            arc(front, radius, radius + 0.03, 0.05 * np.pi, 0.85 * np.pi, 6),
            [(0.05, 0.01), (0.075, 0.02), (0.08, 0.03), (0.08, 0.03), (0.075, 0.02), (0.05, 0.01)],
            color,
            PAINT,
            6,
        ),
        beam((front, 0.07, radius), (front - 0.2, 0.05, 0.6), 0.05, RIM, CHROME),
        beam((front, -0.07, radius), (front - 0.2, -0.05, 0.6), 0.05, RIM, CHROME),
        tube(
            [(rear - 0.2, 0, seat), (rear + 0.05, 0, seat + 0.02), (rear + 0.5, 0, seat - 0.02)],
            [(0.1, 0.04), (0.15, 0.06), (0.09, 0.05)],
            seat_color,
            PLASTIC,
            7,
        ),
        tube(
            [(bar_x + 0.06, 0, bar_z - 0.06), (bar_x, 0, bar_z), (bar_x - 0.06, 0, bar_z + 0.02)],
            [(0.07, 0.05), (0.12, 0.09), (0.06, 0.04)],
            color,
            PAINT,
            7,
        ),
        ellipsoid((bar_x + 0.09, 0, bar_z - 0.02), (0.05, 0.07, 0.06), WHITE_LAMP, HEADLAMP, 6),
        tube([(rear - 0.25, -0.16, 0.3), (rear + 0.2, -0.17, 0.27)], [0.06, 0.05], DARK, CHROME),
        *_rear_end(rng, tail + 0.02, seat - 0.14),
    ]
    for side in (-1.0, 1.0):
        parts.append(
            beam(
                (bar_x, side * 0.1, bar_z),
                (bar_x - 0.08, side * half, bar_z + 0.02),
                0.04,
                DARK,
                RUBBER,
            )
        )
        parts.append(
            box(
                (front - 0.2, side * 0.15 - 0.03, 0.75),
                (front - 0.17, side * 0.15 + 0.03, 0.8),
                AMBER_LAMP,
                LAMP,
            )
        )
    if rng.random() < 0.3:  # a windscreen
        parts.append(
            wedge(
                (bar_x + 0.08, bar_x + 0.1),
                (bar_x - 0.08, bar_x - 0.06),
                (-0.2, 0.2),
                (-0.15, 0.15),
                (bar_z, bar_z + 0.35),
                (0.5, 0.55, 0.6),
                GLASS,
            )
        )
    feet = tuple((bar_x - 0.16, side * 0.13, floor + 0.14) for side in (-1.0, 1.0))
    return (
        parts,
        (max(rear + 0.22, bar_x - 0.7), seat + 0.02),
        (bar_x - 0.07, half - 0.02, bar_z),
        (feet[0], feet[1]),
    )


def _machine(
    rng: np.random.Generator, kind: str, color: Color, length: float, width: float
) -> _Seats:
    radius, half = 0.15 * length, width / 2.0
    rear, front = -length / 2.0 + radius + 0.02, length / 2.0 - radius
    seat = {"naked": 0.8, "sports": 0.82, "tourer": 0.8, "chopper": 0.68}[kind]
    bar_z = {"naked": 1.03, "sports": 0.9, "tourer": 1.08, "chopper": 1.15}[kind]
    bar_x = front - {"naked": 0.42, "sports": 0.38, "tourer": 0.46, "chopper": 0.62}[kind]
    tall = 0.95 if kind != "chopper" else 0.86
    rim = pick(rng, GREYS)
    tail = rear - 0.2
    metal = pick(rng, ((0.2, 0.2, 0.21), (0.55, 0.55, 0.56), (0.1, 0.1, 0.1)))
    parts = [
        _thick_wheel(radius, 0.08, rim).moved(rear, 0.0),
        _thick_wheel(radius, 0.06, rim).moved(front, 0.0),
        box((-0.26, -0.16, 0.26), (0.3, 0.16, 0.5), metal, CHROME),
        tube([(0.0, 0, 0.45), (0.12, 0, 0.72)], [(0.14, 0.14), (0.13, 0.12)], metal, MATTE, 7),
        tube([(0.2, 0, 0.45), (0.32, 0, 0.66)], [(0.13, 0.11), (0.12, 0.1)], DARK, CHROME, 6),
        tube(  # the tank
            [(-0.16, 0, 0.8), (0.0, 0, tall - 0.07), (0.25, 0, tall - 0.05), (0.42, 0, 0.82)],
            [(0.1, 0.06), (0.16, 0.11), (0.17, 0.12), (0.06, 0.05)],
            color,
            PAINT,
            8,
        ),
        tube(
            [
                (tail, 0, seat + 0.05),
                (rear + 0.1, 0, seat),
                (-0.2, 0, seat - 0.04),
                (-0.05, 0, seat),
            ],
            [(0.06, 0.03), (0.13, 0.05), (0.15, 0.06), (0.1, 0.05)],
            DARK,
            PLASTIC,
            7,
        ),
        tube(
            [(tail - 0.02, 0, seat), (rear + 0.15, 0, seat - 0.1), (-0.1, 0, seat - 0.15)],
            [(0.05, 0.03), (0.13, 0.07), (0.15, 0.08)],
            color,
            PAINT,
            7,
        ),
        tube([(-0.2, -0.2, 0.32), (rear - 0.25, -0.22, 0.42)], [0.045, 0.065], RIM, CHROME, 7),
        beam((rear, 0.12, radius), (-0.2, 0.1, 0.45), 0.07, metal, CHROME),
        beam((rear, -0.12, radius), (-0.2, -0.1, 0.45), 0.07, metal, CHROME),
        beam((0.4, 0, 0.84), (0.28, 0, 0.35), 0.06, metal, PAINT),
        mudguard(front, radius, 0.15 * np.pi, 0.8 * np.pi, color),
        mudguard(rear, radius, 0.3 * np.pi, 0.85 * np.pi, DARK),
        *_rear_end(rng, tail, seat - 0.04),
    ]
    for side in (-1.0, 1.0):
        top = (bar_x + 0.05, 0.1 * side, bar_z - 0.06)
        parts.append(beam((front, 0.1 * side, radius), top, 0.055, RIM, CHROME))
        parts.append(
            beam((bar_x, 0.1 * side, bar_z), (bar_x - 0.08, side * half, bar_z), 0.04, DARK, RUBBER)
        )
        parts.append(
            box(
                (bar_x + 0.1, side * 0.2 - 0.03, bar_z - 0.16),
                (bar_x + 0.14, side * 0.2 + 0.03, bar_z - 0.1),
                AMBER_LAMP,
                LAMP,
            )
        )
    lamp_x = bar_x + 0.16
    parts.append(ellipsoid((lamp_x, 0, bar_z - 0.14), (0.07, 0.1, 0.1), WHITE_LAMP, HEADLAMP, 8))
    parts.append(
        cylinder(
            (lamp_x - 0.1, 0, bar_z - 0.14),
            (lamp_x, 0, bar_z - 0.14),
            (0.07, 0.105),
            color,
            8,
            PAINT,
        )
    )
    if kind in ("sports", "tourer"):  # a fairing with a screen
        parts.append(
            tube(
                [
                    (0.2, 0, 0.5),
                    (0.4, 0, 0.62),
                    (bar_x + 0.14, 0, bar_z - 0.16),
                    (lamp_x + 0.02, 0, bar_z - 0.16),
                ],
                [(0.18, 0.2), (0.2, 0.24), (0.2, 0.17), (0.13, 0.1)],
                color,
                PAINT,
                8,
            )
        )
        rise = 0.34 if kind == "tourer" else 0.16
        parts.append(
            wedge(
                (lamp_x - 0.06, lamp_x - 0.04),
                (lamp_x - 0.22, lamp_x - 0.2),
                (-0.16, 0.16),
                (-0.1, 0.1),
                (bar_z - 0.04, bar_z + rise),
                (0.3, 0.34, 0.38),
                GLASS,
            )
        )
    if kind == "tourer" or (kind == "chopper" and rng.random() < 0.4):
        tint = color if rng.random() < 0.5 else DARK
        parts += [
            box((rear - 0.25, y - 0.1, 0.42), (rear + 0.25, y + 0.1, 0.74), tint, PLASTIC)
            for y in (-0.25, 0.25)
        ]
    ahead = 0.35 if kind == "chopper" else -0.12
    feet = tuple((ahead, side * 0.2, 0.42) for side in (-1.0, 1.0))
    return parts, (-0.26, seat + 0.02), (bar_x - 0.06, half - 0.02, bar_z), (feet[0], feet[1])


def _covered(rng: np.random.Generator, length: float, height: float) -> Mesh:
    """A motorcycle under a sheet."""
    half, color = length / 2.0, cloth_color(rng, 0.7)
    ways = np.array([-1.0, -0.85, -0.3, 0.2, 0.4, 0.8, 1.0]) * half
    tops = np.array([0.45, 0.7, 0.75, 0.85, 1.0, 0.6, 0.4]) * height
    points = np.column_stack([ways, np.zeros(7), tops / 2.0 + 0.03])
    radii = [
        (wide, top / 2.0)
        for wide, top in zip((0.12, 0.2, 0.3, 0.35, 0.38, 0.22, 0.1), tops, strict=True)
    ]
    sheet = tube(points, radii, color, TARPAULIN, 9)
    wheels = [_thick_wheel(0.28, 0.065, RIM).moved(x * half, 0.0) for x in (-0.72, 0.72)]
    return merge([sheet, *wheels])
