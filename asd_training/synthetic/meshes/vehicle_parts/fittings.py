# SPDX-License-Identifier: Apache-2.0
"""What most vehicles have: colours of paint and cargo, wheels, plates, lamps."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    CHROME,
    GLASS,
    HEADLAMP,
    LAMP,
    MATTE,
    PAINT,
    PLASTIC,
    RETRO,
    RUBBER,
    TAIL_LAMP,
    Color,
    Mesh,
    box,
    merge,
    pick,
)
from asd_training.synthetic.meshes.vehicle_parts.body import Finish, surface

DARK, TIRE, RIM, WINDOW = (0.13,) * 3, (0.1,) * 3, (0.6,) * 3, (0.13, 0.16, 0.19)
AMBER = (0.95, 0.55, 0.1)
GLAZING = Finish(WINDOW, GLASS, 1)
TRIM = Finish((0.11, 0.11, 0.12), PLASTIC, 2)
GREY_TRIM = Finish((0.3, 0.3, 0.31), PLASTIC, 2)
BRIGHT = Finish((0.75, 0.76, 0.78), CHROME, 3)
HEAD = Finish((0.82, 0.83, 0.82), HEADLAMP, 4)
TAIL = Finish((0.7, 0.05, 0.05), TAIL_LAMP, 4)
INDICATOR = Finish(AMBER, LAMP, 4)
GAP = Finish((0.05, 0.05, 0.055), MATTE, 5)
UNDERBODY = Finish((0.07, 0.07, 0.07), MATTE, 6)
PLATE = Finish((0.88, 0.88, 0.84), RETRO, 7)
# Pattern of the body's paint and of what it carries; the scene adds the object's own number.
BODY_PATTERN, CARGO_PATTERN = 8, 9

_GREYS = ((0.93, 0.93, 0.92), (0.1, 0.1, 0.11), (0.36, 0.37, 0.39), (0.72, 0.73, 0.75))
_HUES = (
    (0.1, 0.2, 0.45),
    (0.55, 0.07, 0.08),
    (0.22, 0.38, 0.62),
    (0.48, 0.42, 0.34),
    (0.14, 0.28, 0.19),
    (0.78, 0.74, 0.62),
    (0.85, 0.72, 0.15),
    (0.85, 0.4, 0.1),
)
CARGO_COLORS = (
    (0.93, 0.93, 0.91),
    (0.9, 0.9, 0.92),
    (0.78, 0.79, 0.8),
    (0.22, 0.33, 0.6),
    (0.65, 0.18, 0.14),
    (0.25, 0.45, 0.32),
    (0.85, 0.68, 0.18),
    (0.5, 0.3, 0.2),
    (0.35, 0.36, 0.38),
)


def paint_color(rng: np.random.Generator) -> Color:
    """As on real streets: mostly white, black, grey and silver; some of any hue."""
    share = rng.random()
    if share < 0.7:
        base = np.array(_GREYS[int(rng.choice(4, p=[0.33, 0.26, 0.22, 0.19]))])
        return tuple(np.clip(base + rng.uniform(-0.06, 0.04) + rng.uniform(-0.015, 0.015, 3), 0, 1))
    return pick(rng, _HUES, 0.06) if share < 0.9 else vivid_color(rng)


def vivid_color(rng: np.random.Generator) -> Color:
    """Any hue, as of liveries; red, orange, green and blue more than violet and pink."""
    hue = rng.random() if rng.random() < 0.3 else rng.choice([0.0, 0.04, 0.11, 0.36, 0.57, 0.62])
    hue = (hue + rng.normal(0.0, 0.02)) % 1.0
    return colorsys.hsv_to_rgb(hue, rng.uniform(0.3, 0.9), rng.uniform(0.25, 0.9))


def headlamp(rng: np.random.Generator) -> Finish:
    """Lamps in bright, grey or smoked housings."""
    shade = float(rng.choice([0.85, 0.68, 0.55, 0.42]))
    return Finish((shade, shade, 0.98 * shade), HEADLAMP, 4)


@lru_cache
def _unit_wheel(sides: int, spokes: int, rim: float, dish: float) -> tuple[np.ndarray, np.ndarray]:
    """Triangles and finish numbers (0 tyre, 1 rim, 2 gap) of a wheel of radius 1 and width 1.

    Its axle is y, its outer face lies at y = 0 and its inner one at y = -1.
    """
    angles = 2.0 * np.pi * np.arange(sides + 1) / sides
    # Rings from the axle outwards, then over the tread to the inner side.
    rings = [(0.0, dish), (rim, 0.6 * dish), (0.9, 0.0), (1.0, -0.12), (1.0, -1.0)]
    radius, y = np.array(rings).T
    points = np.stack(
        [
            np.outer(np.cos(angles), radius),
            np.broadcast_to(y, (sides + 1, len(rings))),
            np.outer(np.sin(angles), radius),
        ],
        axis=-1,
    )
    number = np.zeros((sides, len(rings) - 1), int)
    number[:, 0] = 1
    if spokes:
        number[(np.arange(sides) * spokes * 2 // sides) % 2 == 1, 0] = 2
    mesh = surface(points, number, [Finish((k / 2.0,) * 3) for k in range(3)])
    return mesh.triangles, np.rint(mesh.albedo[:, 0] ** (1 / 2.2) * 2).astype(int)


def wheels(
    rng: np.random.Generator,
    axles: Sequence[float],
    half: float,
    radius: float,
    thick: float = 0.23,
    heavy: bool = False,
) -> Mesh:
    """Two wheels an axle, their outer faces at y = +-half."""
    if heavy:
        spokes, share, dish = 0, 0.58, float(rng.choice([-0.35, 0.05]))
        rim = pick(
            rng, ((0.5,) * 3, (0.65,) * 3, (0.25,) * 3, (0.72, 0.72, 0.7), (0.45, 0.1, 0.08))
        )
    else:
        spokes = int(rng.choice([0, 5, 6, 7]))
        share, dish = float(rng.choice([0.62, 0.68, 0.74])), float(rng.choice([-0.25, -0.08]))
        rim = pick(rng, ((0.6,) * 3, (0.7,) * 3, (0.45,) * 3, (0.3,) * 3, (0.14,) * 3))
    shine = CHROME if rng.random() < 0.25 else PAINT
    sides = {0: 12, 5: 15, 6: 12, 7: 14}[spokes]
    triangles, number = _unit_wheel(sides, spokes, share, dish)
    finishes = (Finish(TIRE, RUBBER, 10), Finish(rim, shine, 11), Finish(DARK, MATTE))
    albedo = np.array([finish.color for finish in finishes], np.float32) ** np.float32(2.2)
    materials = np.array([finish.material for finish in finishes], np.uint8)
    patterns = np.array([finish.pattern for finish in finishes], np.uint16)
    unit = triangles * np.array([radius, thick, radius], np.float32)
    meshes = []
    for x in axles:
        for side in (1.0, -1.0):
            placed = unit * np.array([1.0, side, 1.0]) + np.array([x, side * half, radius])
            meshes.append(
                Mesh(placed.astype(np.float32), albedo[number], materials[number], patterns[number])
            )
    return merge(meshes)


def block(low: Sequence[float], high: Sequence[float], finish: Finish) -> Mesh:
    """A box with a finish."""
    return box(low, high, finish.color, finish.material).patterned(finish.pattern)


def both_sides(low: Sequence[float], high: Sequence[float], finish: Finish) -> Mesh:
    """A box on the left, and its image on the right."""
    right_low, right_high = (low[0], -high[1], low[2]), (high[0], -low[1], high[2])
    return merge([block(low, high, finish), block(right_low, right_high, finish)])


def painted(color: Color, material: int = PAINT) -> Finish:
    return Finish(color, material, BODY_PATTERN)
