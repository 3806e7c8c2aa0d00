# SPDX-License-Identifier: Apache-2.0
"""Meshes of bicycles, ridden or left: x forward, y left, z up, in metres."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from asd_training.synthetic.meshes.cycles.parts import (
    GREYS,
    RED_LAMP,
    WHITE_LAMP,
    arc,
    leant,
    mudguard,
)
from asd_training.synthetic.meshes.mesh import (
    CHROME,
    CLOTH,
    HEADLAMP,
    MATTE,
    PAINT,
    PLASTIC,
    RUBBER,
    TAIL_LAMP,
    TARPAULIN,
    Color,
    Mesh,
    beam,
    box,
    cylinder,
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


def _spoked_wheel(radius: float, tyre: float, rim: Color) -> Mesh:
    wheel = arc(0.0, radius, radius - tyre, 0.0, 2.0 * np.pi, 14)
    inner = arc(0.0, radius, radius - 2.3 * tyre, 0.0, 2.0 * np.pi, 14)
    spokes = arc(0.0, radius, radius - 2.0 * tyre, 0.2, 0.2 + np.pi, 7)[:-1]
    hub = np.array([0.0, 0.0, radius])
    return merge(
        [
            tube(wheel, [tyre] * 14, TIRE, RUBBER, 4),
            tube(inner, [0.3 * tyre] * 14, rim, MATTE, 3),
            cylinder(hub - [0, 0.05, 0], hub + [0, 0.05, 0], (0.03, 0.03), RIM, 5, CHROME),
            *(beam(end, 2.0 * hub - end, 0.006, RIM, MATTE) for end in spokes),
        ]
    )


def bicycle(
    rng: np.random.Generator, length: float, width: float, height: float, rider: bool = False
) -> Mesh:
    """A bicycle for the town, sports, races or to fold; the mesh is as high as it and its rider."""
    length = float(np.clip(length, 1.45, 1.95))
    kind = str(rng.choice(["city", "sport", "racing", "folding"], p=[0.45, 0.3, 0.12, 0.13]))
    color, trim = paint_color(rng), pick(rng, GREYS)
    radius = (0.135 if kind == "folding" else 0.195) * length
    tyre = {"city": 0.02, "sport": 0.027, "racing": 0.014, "folding": 0.02}[kind]
    rear, front = -length / 2.0 + radius, length / 2.0 - radius
    # The saddle is as high as its rider's legs are long, or a little lower.
    stature = float(np.clip(rng.normal(1.72, 0.09), 1.5, 1.92))
    seat = (rear + 0.25 * length, 0.2 + 0.41 * stature - rng.uniform(0.0, 0.1))
    bar_z = seat[1] + {"city": 0.14, "sport": 0.05, "racing": -0.02, "folding": 0.12}[kind]
    bar_x, head = front - 0.2, (front - 0.17, 0.62 + 0.3 * radius)
    crank = (rear + 0.27 * length, 0.29)
    step_through = kind in ("city", "folding") and rng.random() < 0.55
    parts = []
    rim = pick(rng, GREYS)
    wheel = _spoked_wheel(radius, tyre, rim)
    parts += [wheel.moved(rear, 0.0), wheel.moved(front, 0.0)]
    post = (seat[0] + 0.02, seat[1] - 0.18)
    joint = (0.6 * crank[0] + 0.4 * post[0], 0.6 * crank[1] + 0.4 * post[1])
    low_head = (head[0] + 0.03, head[1] - 0.13)
    tubes = [
        (crank, post, 0.034),
        (crank, low_head, 0.042),
        (joint, low_head, 0.036) if step_through else (post, head, 0.034),
        (low_head, (bar_x, bar_z - 0.03), 0.036),
    ]
    parts += [
        beam((a[0], 0.0, a[1]), (b[0], 0.0, b[1]), thick, color, PAINT) for a, b, thick in tubes
    ]
    for y in (-0.05, 0.05):
        parts.append(beam((rear, y, radius), (crank[0], 0.6 * y, crank[1]), 0.022, color, PAINT))
        parts.append(beam((rear, y, radius), (post[0], 0.4 * y, post[1]), 0.02, color, PAINT))
        parts.append(
            beam((front, y, radius), (low_head[0], 0.6 * y, low_head[1]), 0.026, color, PAINT)
        )
    parts += [
        beam((post[0], 0.0, post[1]), (seat[0], 0.0, seat[1]), 0.03, RIM, CHROME),
        wedge(
            (seat[0] - 0.13, seat[0] + 0.1),
            (seat[0] - 0.13, seat[0] + 0.14),
            (-0.06, 0.06),
            (-0.085, 0.085),
            (seat[1] - 0.03, seat[1] + 0.03),
            DARK,
            PLASTIC,
        ),
        cylinder(
            (crank[0], 0.05, crank[1]), (crank[0], 0.06, crank[1]), (0.09, 0.09), trim, 8, CHROME
        ),
    ]
    half, grip_x = width / 2.0, bar_x - (0.12 if kind == "city" else -0.03)
    parts.append(beam((bar_x, -0.6 * half, bar_z), (bar_x, 0.6 * half, bar_z), 0.028, trim, CHROME))
    for side in (-1.0, 1.0):
        parts.append(
            beam(
                (bar_x, 0.6 * side * half, bar_z), (grip_x, side * half, bar_z), 0.036, DARK, RUBBER
            )
        )
        if kind == "racing":
            drop = [(grip_x, bar_z), (grip_x + 0.06, bar_z - 0.06), (grip_x, bar_z - 0.14)]
            parts += [
                beam((a[0], side * half, a[1]), (b[0], side * half, b[1]), 0.032, DARK, RUBBER)
                for a, b in pairwise(drop)
            ]
    phase = rng.uniform(0.0, 2.0 * np.pi)
    feet = []
    for side, angle in ((-1.0, phase), (1.0, phase + np.pi)):
        x, z = crank[0] + 0.16 * np.cos(angle), crank[1] + 0.16 * np.sin(angle)
        y = 0.11 * side
        parts.append(
            beam((crank[0], 0.07 * side, crank[1]), (x, 0.09 * side, z), 0.022, trim, CHROME)
        )
        parts.append(box((x - 0.05, y - 0.05, z - 0.012), (x + 0.05, y + 0.05, z + 0.012), DARK))
        feet.append((x - 0.05, y, z + 0.09))
    parts += _bicycle_extras(rng, kind, color, radius, (rear, front), seat, (bar_x, bar_z))
    if not rider:
        return leant(merge(parts), rng.choice([-1.0, 1.0]) * rng.uniform(0.03, 0.14))
    helmet = vivid_color(rng) if rng.random() < 0.45 else None
    reach = (grip_x, 0.85 * half, bar_z + 0.03)
    parts.append(
        _person_on(rng, stature, (seat[0], seat[1] + 0.02), reach, (feet[0], feet[1]), helmet)
    )
    return merge(parts).patterned(int(rng.integers(65536)))


def _bicycle_extras(
    rng: np.random.Generator,
    kind: str,
    color: Color,
    radius: float,
    wheels: tuple[float, float],
    seat: tuple[float, float],
    bar: tuple[float, float],
) -> list[Mesh]:
    """Mudguards, carrier, basket, panniers, child's seat, lamps and reflectors."""
    rear, front = wheels
    parts = []
    guarded = kind == "city" or rng.random() < 0.35
    if guarded:
        tint = color if rng.random() < 0.6 else DARK
        parts.append(mudguard(rear, radius, 0.4 * np.pi, 1.15 * np.pi, tint))
        parts.append(mudguard(front, radius, 0.15 * np.pi, 0.9 * np.pi, tint))
    deck = 2.0 * radius + 0.07
    if guarded and rng.random() < 0.7:
        parts.append(box((rear - 0.2, -0.06, deck), (rear + 0.2, 0.06, deck + 0.02), DARK, CHROME))
        parts += [
            beam((rear, y, radius), (rear - 0.05, y, deck), 0.014, DARK, CHROME)
            for y in (-0.06, 0.06)
        ]
        draw = rng.random()
        if draw < 0.2:  # a box or a child's seat
            tall = rng.uniform(0.2, 0.4)
            tint = vivid_color(rng)
            parts.append(
                box(
                    (rear - 0.2, -0.16, deck + 0.02),
                    (rear + 0.14, 0.16, deck + tall),
                    tint,
                    PLASTIC,
                )
            )
        elif draw < 0.4:
            tint = cloth_color(rng)
            parts += [
                box(
                    (rear - 0.16, y - 0.06, deck - 0.34),
                    (rear + 0.14, y + 0.06, deck),
                    tint,
                    TARPAULIN,
                )
                for y in (-0.13, 0.13)
            ]
    if kind == "city" and rng.random() < 0.45:
        x, z = bar[0] + 0.1, bar[1] - 0.25
        tint = pick(rng, ((0.15, 0.15, 0.15), (0.5, 0.36, 0.22), (0.7, 0.7, 0.7)))
        parts.append(
            wedge(
                (x, x + 0.22),
                (x - 0.02, x + 0.27),
                (-0.13, 0.13),
                (-0.17, 0.17),
                (z, z + 0.22),
                tint,
                CLOTH,
            )
        )
    if rng.random() < 0.6:
        x, z = bar[0] + 0.07, bar[1] - 0.12
        parts.append(box((x, -0.03, z), (x + 0.05, 0.03, z + 0.06), WHITE_LAMP, HEADLAMP))
        lamp = (rear - 0.14, deck - 0.04) if guarded else (seat[0] - 0.05, seat[1] - 0.12)
        parts.append(
            box(
                (lamp[0] - 0.02, -0.03, lamp[1]),
                (lamp[0], 0.03, lamp[1] + 0.05),
                RED_LAMP,
                TAIL_LAMP,
            )
        )
    return parts
