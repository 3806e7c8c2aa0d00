# SPDX-License-Identifier: Apache-2.0
"""Boxes that trucks and trailers carry: of panels, of curtains, of corrugated steel."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    CHROME,
    PAINT,
    POSTER,
    RUST,
    SHEET,
    TARPAULIN,
    Color,
    Mesh,
    merge,
    pick,
)
from asd_training.synthetic.meshes.vehicle_parts.body import Finish
from asd_training.synthetic.meshes.vehicle_parts.fittings import (
    BRIGHT,
    CARGO_COLORS,
    CARGO_PATTERN,
    GAP,
    GREY_TRIM,
    INDICATOR,
    TAIL,
    TRIM,
    block,
    both_sides,
    vivid_color,
)

_METAL = (0.72, 0.73, 0.75)


def cargo_color(rng: np.random.Generator) -> Color:
    share = rng.random()
    if share < 0.4:
        return pick(rng, CARGO_COLORS[:3])
    return pick(rng, CARGO_COLORS) if share < 0.8 else vivid_color(rng)


def worn(rng: np.random.Generator, material: int) -> int:
    """The material, or rust on some."""
    return RUST if rng.random() < 0.15 else material


def _frame(rear: float, front: float, half: float, floor: float, top: float) -> list[Mesh]:
    """Metal edges around a box."""
    edge, rim = 0.07, Finish(_METAL, CHROME, 15)
    parts = []
    for x in (rear - 0.006, front - edge + 0.006):
        parts.append(both_sides((x, half - edge, floor), (x + edge, half + 0.01, top), rim))
    for z in (floor - 0.01, top - edge):
        parts.append(both_sides((rear, half - edge, z), (front, half + 0.01, z + edge), rim))
        parts.append(block((rear - 0.012, -half, z), (rear, half, z + edge), rim))
    return parts


def _livery(
    rng: np.random.Generator, rear: float, front: float, half: float, floor: float, top: float
) -> list[Mesh]:
    """Stripes, a logo or a whole picture on the sides."""
    kind = rng.random()
    tall, color = top - floor, vivid_color(rng)
    if kind < 0.25:
        return []
    if kind < 0.5:
        low = floor + rng.uniform(0.08, 0.6) * tall
        high = low + rng.uniform(0.06, 0.3) * tall
        x0, x1 = rear + 0.1, front - 0.1
    elif kind < 0.75:
        low, high = floor + 0.35 * tall, floor + 0.35 * tall + rng.uniform(0.2, 0.4) * tall
        middle = rng.uniform(0.4, 0.6) * (rear + front)
        reach = rng.uniform(0.15, 0.35) * (front - rear)
        x0, x1 = max(rear + 0.1, middle - reach), min(front - 0.1, middle + reach)
    else:
        low, high, x0, x1 = floor + 0.1, top - 0.1, rear + 0.1, front - 0.1
    material = POSTER if rng.random() < 0.5 else PAINT
    finish = Finish(color, material, int(rng.integers(1000, 60000)))
    parts = [both_sides((x0, half, low), (x1, half + 0.006, min(high, top - 0.05)), finish)]
    if rng.random() < 0.5:  # on the back, too
        parts.append(
            block(
                (rear - 0.008, -0.7 * half, max(low, floor + 0.3 * tall)),
                (rear, 0.7 * half, max(min(high, top - 0.1), floor + 0.5 * tall)),
                finish,
            )
        )
    return parts


def _doors(
    rng: np.random.Generator, rear: float, half: float, floor: float, top: float
) -> list[Mesh]:
    """Back doors with their bars, or a roller door, or a tail lift."""
    parts = []
    kind = rng.choice(["doors", "roller", "lift"], p=[0.6, 0.2, 0.2])
    if kind == "doors":
        parts.append(block((rear - 0.01, -0.02, floor + 0.05), (rear, 0.02, top - 0.05), GAP))
        bar = BRIGHT if rng.random() < 0.6 else GREY_TRIM
        for y in (0.14 * half, 0.6 * half):
            parts.append(
                both_sides((rear - 0.04, y, floor + 0.05), (rear, y + 0.04, top - 0.08), bar)
            )
        for z in np.linspace(floor + 0.25, top - 0.25, 4):
            parts.append(both_sides((rear - 0.03, half - 0.18, z), (rear, half, z + 0.06), bar))
    elif kind == "roller":
        slats = Finish(pick(rng, ((0.75,) * 3, (0.85,) * 3, (0.4, 0.42, 0.45))), SHEET, 16)
        parts.append(
            block((rear - 0.01, -half + 0.12, floor + 0.05), (rear, half - 0.12, top - 0.2), slats)
        )
    else:
        lift = Finish((0.5, 0.51, 0.53), SHEET, 16)
        high = floor + 0.55 * (top - floor)
        parts.append(
            block((rear - 0.07, -half + 0.1, floor - 0.1), (rear - 0.02, half - 0.1, high), lift)
        )
        parts.append(both_sides((rear - 0.075, 0.3, floor), (rear - 0.07, 0.6, floor + 0.2), TAIL))
    return parts


def dry_box(
    rng: np.random.Generator, rear: float, front: float, half: float, floor: float, top: float
) -> Mesh:
    """A box of smooth panels."""
    color = cargo_color(rng) if rng.random() < 0.6 else pick(rng, CARGO_COLORS[:3])
    skin = Finish(color, SHEET if rng.random() < 0.25 else PAINT, CARGO_PATTERN)
    parts = [block((rear, -half + 0.01, floor), (front, half - 0.01, top), skin)]
    parts += _frame(rear, front, half - 0.01, floor, top)
    parts += _livery(rng, rear, front, half, floor, top)
    parts += _doors(rng, rear, half - 0.01, floor, top)
    if rng.random() < 0.3:  # cooler on the front wall
        parts.append(
            block((front, -0.6 * half, top - 1.0), (front + 0.35, 0.6 * half, top - 0.1), GREY_TRIM)
        )
    for y in (0.3 * half, 0.8 * half):
        parts.append(both_sides((rear - 0.015, y, top - 0.1), (rear, y + 0.12, top - 0.04), TAIL))
    x = np.linspace(rear + 0.4, front - 0.4, 4)
    for place in x:
        parts.append(
            both_sides((place, half, floor + 0.02), (place + 0.1, half + 0.012, floor + 0.06),
                       INDICATOR)
        )  # fmt: skip
    return merge(parts)


def curtain(
    rng: np.random.Generator, rear: float, front: float, half: float, floor: float, top: float
) -> Mesh:
    """Curtains of tarpaulin with their straps."""
    skin = Finish(cargo_color(rng), TARPAULIN, int(rng.integers(1000, 60000)))
    parts = [block((rear + 0.01, -half + 0.01, floor), (front - 0.01, half - 0.01, top), skin)]
    parts += _frame(rear, front, half - 0.01, floor, top)
    for x in np.arange(rear + 0.4, front - 0.3, 0.65):
        parts.append(
            both_sides((x, half - 0.01, floor), (x + 0.05, half + 0.008, floor + 0.3), TRIM)
        )
    if rng.random() < 0.6:
        parts += _livery(rng, rear, front, half, floor + 0.3, top)
    parts += _doors(rng, rear, half - 0.01, floor, top)
    return merge(parts)


def container(
    rng: np.random.Generator, rear: float, front: float, half: float, floor: float, top: float
) -> Mesh:
    """Corrugated steel."""
    color = cargo_color(rng)
    steel = Finish(color, worn(rng, SHEET), CARGO_PATTERN)
    edge = Finish(tuple(0.85 * value for value in color), PAINT, CARGO_PATTERN)
    count = int(np.clip((front - rear) / 0.45, 6, 28))
    # Trapezoid waves along the walls.
    phase = np.arange(4 * count + 1)
    x = rear + (front - rear) * phase / (4 * count)
    depth = np.where((phase % 4 == 1) | (phase % 4 == 2), 0.05, 0.0)
    y = half - 0.02 - depth
    walls = []
    for side in (-1.0, 1.0):
        low = np.stack([x, side * y, np.full_like(x, floor)], axis=1)
        high = low + np.array([0.0, 0.0, top - floor])
        walls.append(np.stack([low[:-1], low[1:], high[1:]], axis=1))
        walls.append(np.stack([low[:-1], high[1:], high[:-1]], axis=1))
    triangles = np.concatenate(walls).astype(np.float32)
    shape = len(triangles)
    albedo = np.broadcast_to(np.array(steel.color, np.float32) ** np.float32(2.2), (shape, 3))
    parts = [
        Mesh(
            triangles,
            albedo,
            np.full(shape, steel.material, np.uint8),
            np.full(shape, steel.pattern, np.uint16),
        ),
        block((rear + 0.04, -half + 0.1, floor), (front, half - 0.1, top - 0.02), steel),
    ]
    for x0 in (rear, front - 0.14):
        parts.append(both_sides((x0, half - 0.14, floor), (x0 + 0.14, half, top), edge))
        parts.append(block((x0, -half, top - 0.1), (x0 + 0.14, half, top), edge))
    for z in (floor, top - 0.09):
        parts.append(both_sides((rear, half - 0.09, z), (front, half, z + 0.09), edge))
    parts += _doors(rng, rear + 0.02, half - 0.1, floor, top - 0.1)[:5]
    if rng.random() < 0.5:
        logo = Finish(vivid_color(rng), POSTER, int(rng.integers(1000, 60000)))
        x0 = rng.uniform(rear + 0.3, 0.3 * rear + 0.7 * front - 1.0)
        z0 = 0.4 * floor + 0.6 * top
        parts.append(both_sides((x0, half - 0.02, z0), (x0 + 2.0, half - 0.012, top - 0.3), logo))
    return merge(parts)
