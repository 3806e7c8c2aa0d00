# SPDX-License-Identifier: Apache-2.0
"""Semi-trailers: boxes, curtains, containers, tanks, tippers, flat and low beds, car carriers."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import RETRO, WOOD, Mesh, beam, cylinder, merge
from asd_training.synthetic.meshes.vehicle_parts.body import Finish
from asd_training.synthetic.meshes.vehicle_parts.boxes import cargo_color
from asd_training.synthetic.meshes.vehicle_parts.cargo import LOADS
from asd_training.synthetic.meshes.vehicle_parts.fittings import (
    GREY_TRIM,
    INDICATOR,
    TRIM,
    block,
    both_sides,
    painted,
    wheels,
)
from asd_training.synthetic.meshes.vehicles.car_styles import STYLES
from asd_training.synthetic.meshes.vehicles.cars import shell
from asd_training.synthetic.meshes.vehicles.earthmovers import excavator
from asd_training.synthetic.meshes.vehicles.trucks import chassis


def trailer(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """A trailer as drawn by a truck; its front end rests on the truck."""
    kinds, share = zip(
        ("box", 0.3), ("curtain", 0.17), ("container", 0.19), ("tank", 0.09), ("tipper", 0.06),
        ("flatbed", 0.1), ("low", 0.04), ("cars", 0.02), ("logs", 0.03),
        strict=True,
    )  # fmt: skip
    return trailer_of(rng, length, width, height, str(rng.choice(kinds, p=share)))


def trailer_of(
    rng: np.random.Generator, length: float, width: float, height: float, kind: str
) -> Mesh:
    """A trailer; `kind` is one of the loads, or low, cars or logs."""
    rear, front, half = -length / 2.0, length / 2.0, width / 2.0 - 0.01
    radius = 0.48 if kind != "low" else 0.38
    floor = min(1.22, 0.36 * height) if kind != "low" else 0.8
    count = 3 if length > 9.5 else 2
    behind = rear + rng.uniform(0.9, 2.2)
    axles = [behind + k * (2.0 * radius + 0.3) for k in range(count)]
    parts = [
        chassis(rng, rear, front - 0.4, half, floor, axles, radius),
        wheels(rng, axles, half - 0.01, radius, 0.35, heavy=True),
        both_sides((front - 2.6, 0.75, 0.02), (front - 2.45, 0.9, floor), GREY_TRIM),
        both_sides((front - 2.7, 0.7, 0.0), (front - 2.35, 0.95, 0.05), GREY_TRIM),
    ]
    for x in np.linspace(rear + 1.0, front - 1.0, 6):
        parts.append(
            both_sides((x, half - 0.02, floor - 0.12), (x + 0.1, half, floor - 0.06), INDICATOR)
        )
    if kind in LOADS:
        parts.append(LOADS[kind](rng, rear + 0.02, front, half, floor, height))
    elif kind == "low":
        parts.append(_low_bed(rng, rear, front, half, floor, height))
    elif kind == "cars":
        parts.append(_car_carrier(rng, rear, front, half, height))
    else:
        parts.append(_logs(rng, rear, front, half, floor, height))
    if rng.random() < 0.5:  # marked edges of the back
        tape = Finish((0.9, 0.2, 0.15), RETRO, 17)
        parts.append(block((rear - 0.012, -half, floor - 0.05), (rear, half, floor + 0.03), tape))
    return merge(parts)


def _low_bed(
    rng: np.random.Generator, rear: float, front: float, half: float, floor: float, top: float
) -> Mesh:
    """A low loader with its goose neck, and an excavator on it."""
    steel = painted(cargo_color(rng))
    neck = front - 3.0
    digger = excavator(rng, min(6.5, 0.62 * (front - rear)), 1.7 * half, top - floor - 0.05)
    return merge(
        [
            block(
                (rear, -half, floor - 0.12), (neck, half, floor), Finish((0.35, 0.27, 0.2), WOOD)
            ),
            both_sides((rear, half - 0.1, floor - 0.2), (neck, half, floor + 0.02), steel),
            block((neck, -0.8 * half, floor), (front, 0.8 * half, 1.35), steel),
            beam((neck - 0.4, 0, floor), (neck + 0.4, 0, 1.3), 0.5, steel.color, steel.material),
            digger.moved(0.5 * (rear + neck), 0.0, float(rng.choice([0.0, np.pi])), floor),
        ]
    )


def _car_carrier(
    rng: np.random.Generator, rear: float, front: float, half: float, top: float
) -> Mesh:
    """Two decks with cars."""
    steel = painted(cargo_color(rng))
    length = front - rear
    low, high = 0.75, 0.75 + 0.5 * (top - 0.75)
    parts = [
        both_sides((rear, 0.3 * half, low - 0.1), (front - 0.5, half, low), steel),
        both_sides((rear, 0.3 * half, high - 0.1), (front, half, high), steel),
    ]
    for x in np.linspace(rear + 0.1, front - 0.2, 5):
        parts.append(both_sides((x, half - 0.08, low), (x + 0.1, half, high + 0.4), steel))
    size = min(4.5, 0.46 * length)
    names = ("saloon", "hatchback", "crossover")
    for level, places in ((low, (0.27, 0.73)), (high, (0.25, 0.72))):
        for place in places:
            name = str(rng.choice(names))
            one = shell(
                rng, STYLES[name], size, min(1.85, 1.8 * half), top - high - 0.02, name, "private"
            )
            parts.append(one.moved(rear + place * length, 0.0, 0.0, level))
    return merge(parts)


def _logs(
    rng: np.random.Generator, rear: float, front: float, half: float, floor: float, top: float
) -> Mesh:
    """Stanchions and trunks."""
    parts = [both_sides((rear, half - 0.4, floor - 0.1), (front, half - 0.2, floor), TRIM)]
    for x in np.linspace(rear + 0.4, front - 0.4, 5):
        parts.append(both_sides((x, half - 0.1, floor - 0.1), (x + 0.1, half, top), TRIM))
    z = floor + 0.22
    while z < top - 0.2:
        for y in np.linspace(-half + 0.35, half - 0.35, 5):
            radius = rng.uniform(0.15, 0.24)
            shade = rng.uniform(0.75, 1.1)
            parts.append(
                cylinder(
                    (rear + rng.uniform(0.05, 0.5), y, z),
                    (front - rng.uniform(0.05, 0.5), y, z),
                    (radius, 0.9 * radius),
                    tuple(shade * np.array([0.42, 0.32, 0.22])),
                    sides=7,
                    material=WOOD,
                )
            )
        z += 0.4
    return merge(parts)
