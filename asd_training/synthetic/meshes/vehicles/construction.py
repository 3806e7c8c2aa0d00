# SPDX-License-Identifier: Apache-2.0
"""Construction vehicles of every kind."""

from __future__ import annotations

import itertools

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    CHROME,
    MATTE,
    PAINT,
    SOIL,
    Mesh,
    beam,
    cylinder,
    merge,
    pick,
    wedge,
)
from asd_training.synthetic.meshes.vehicle_parts.body import Finish
from asd_training.synthetic.meshes.vehicle_parts.fittings import (
    AMBER,
    GAP,
    HEAD,
    RIM,
    TAIL,
    TRIM,
    block,
    both_sides,
    painted,
    wheels,
)
from asd_training.synthetic.meshes.vehicle_parts.machinery import (
    OTHER_PAINTS,
    YELLOWS,
    boom,
    cabin,
    iron,
    machine_paint,
    ram,
)
from asd_training.synthetic.meshes.vehicles.earthmovers import backhoe, dozer, excavator, loader
from asd_training.synthetic.meshes.vehicles.trucks import lorry


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


def roller(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """A road roller with one drum or two, with a cabin or a roof on posts."""
    color = machine_paint(rng)
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
            cabin((x0, x1), (-0.7 * half, 0.7 * half), (0.5 * height, height - 0.12), color)
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
    color = machine_paint(rng)
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
            cabin(
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


def crane(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """A mobile crane, its telescopic boom laid down over the cab."""
    color = machine_paint(rng)
    rear, front, half = -length / 2.0, length / 2.0, width / 2.0
    radius = min(0.17 * height, 0.55)
    deck = 2.2 * radius
    parts = [
        block(
            (rear + 0.05, -half + 0.03, 0.9 * radius),
            (front - 0.1, half - 0.03, deck),
            painted(color),
        ),
        cabin(
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
        cabin(
            (-0.02 * length, 0.15 * length), (0.35 * half, half - 0.1), (deck, 0.85 * height), color
        ),
        ram((0.02 * length, 0.5 * height), (0.2 * length, 0.78 * height), 0.0, 0.12),
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
    color = machine_paint(rng)
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
            cabin(
                (-0.14 * length, 0.16 * length), (0.05, half - 0.08), (radius, 0.97 * height), color
            ),
            boom(
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
                iron(rng),
            ),
            both_sides((mast, 0.25, 0.03), (front, 0.37, 0.09), iron(rng)),
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
    color = pick(rng, (*YELLOWS, *OTHER_PAINTS[:3]))
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
