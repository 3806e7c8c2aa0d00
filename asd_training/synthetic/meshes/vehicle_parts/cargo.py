# SPDX-License-Identifier: Apache-2.0
"""What trucks and trailers carry: boxes, tanks, tippers, beds with their loads, drums.

Each stands on the chassis between `rear` and `front` from height `floor` to `top`.
"""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    CHROME,
    GRAVEL,
    MATTE,
    PAINT,
    SHEET,
    SOIL,
    TARPAULIN,
    WOOD,
    Mesh,
    beam,
    box,
    cylinder,
    loft,
    merge,
    pick,
    wedge,
)
from asd_training.synthetic.meshes.vehicle_parts.body import Finish
from asd_training.synthetic.meshes.vehicle_parts.boxes import (
    cargo_color,
    container,
    curtain,
    dry_box,
    worn,
)
from asd_training.synthetic.meshes.vehicle_parts.fittings import (
    BRIGHT,
    CARGO_COLORS,
    CARGO_PATTERN,
    DARK,
    GAP,
    GREY_TRIM,
    INDICATOR,
    TRIM,
    block,
    both_sides,
    vivid_color,
)


def tank(
    rng: np.random.Generator, rear: float, front: float, half: float, floor: float, top: float
) -> Mesh:
    """An oval tank with domed ends, a walkway and manholes."""
    color = pick(rng, ((0.85, 0.86, 0.88), (0.92, 0.92, 0.9), (0.75, 0.2, 0.15), (0.2, 0.4, 0.6)))
    shine = CHROME if rng.random() < 0.4 else PAINT
    angles = 2.0 * np.pi * np.arange(18) / 18
    middle, radius = (floor + top - 0.1) / 2.0, (top - 0.1 - floor) / 2.0
    ends = [(0.0, 0.55), (0.08, 0.82), (0.22, 0.97), (0.5, 1.0)]
    places = [(rear + dx, share) for dx, share in ends]
    places += [(front - dx, share) for dx, share in reversed(ends)]
    rings = np.array(
        [
            np.stack(
                [
                    np.full(18, x),
                    share * (half - 0.01) * np.cos(angles),
                    middle + share * radius * np.sin(angles),
                ],
                axis=1,
            )
            for x, share in places
        ]
    )
    parts = [loft(rings, color, shine).patterned(CARGO_PATTERN)]
    stripe = Finish(vivid_color(rng), PAINT, 16)
    for share in rng.uniform(0.15, 0.85, 2):
        x = rear + share * (front - rear)
        band = rings[3:5].copy()
        band[:, :, 1:] = (band[:, :, 1:] - [0.0, middle]) * 1.006 + [0.0, middle]
        band[0, :, 0], band[1, :, 0] = x, x + 0.12
        parts.append(loft(band, stripe.color, stripe.material))
    if rng.random() < 0.6:
        parts.append(
            both_sides((rear + 0.7, half - 0.03, middle - 0.15),
                       (front - 0.7, half + 0.005, middle + 0.2), stripe)
        )  # fmt: skip
    parts.append(both_sides((rear + 0.6, 0.25, top - 0.12), (front - 0.6, 0.3, top), GREY_TRIM))
    for x in np.linspace(rear + 1.0, front - 1.0, 3):
        parts.append(cylinder((x, 0, top - 0.15), (x, 0, top - 0.02), (0.22, 0.22), DARK))
    parts.append(block((rear + 0.3, -0.5, floor - 0.1), (front - 0.3, 0.5, floor + 0.15), TRIM))
    parts.append(both_sides((rear + 0.02, 0.25, floor), (rear + 0.06, 0.3, top - 0.1), BRIGHT))
    return merge(parts)


def tipper(
    rng: np.random.Generator, rear: float, front: float, half: float, floor: float, top: float
) -> Mesh:
    """An open tipping body with ribs, and its load."""
    color = cargo_color(rng)
    steel = worn(rng, PAINT if rng.random() < 0.6 else SHEET)
    wall = floor + rng.uniform(0.5, 0.95) * (top - floor)
    parts = [
        wedge(
            (rear + 0.35, front - 0.05),
            (rear, front),
            (-half + 0.2, half - 0.2),
            (-half + 0.04, half - 0.04),
            (floor, wall),
            color,
            steel,
        ).patterned(CARGO_PATTERN),
        box((front - 0.1, -half + 0.04, wall), (front + 0.25, half - 0.04, top), color, PAINT),
    ]
    for x in np.linspace(rear + 0.5, front - 0.2, max(4, int((front - rear) / 0.7))):
        for side in (-1.0, 1.0):
            parts.append(
                beam(
                    (x, side * (half - 0.18), floor),
                    (x, side * (half - 0.03), wall),
                    0.08,
                    tuple(0.85 * value for value in color),
                    steel,
                )
            )
    load = SOIL if rng.random() < 0.5 else GRAVEL
    heap = (0.42, 0.32, 0.22) if load == SOIL else (0.5, 0.49, 0.47)
    parts.append(
        wedge(
            (rear + 0.1, front - 0.1),
            (rear + 0.35 * (front - rear), front - 0.3 * (front - rear)),
            (-half + 0.1, half - 0.1),
            (-0.3 * half, 0.3 * half),
            (wall - 0.02, max(wall, top - 0.05)),
            heap,
            load,
        )
    )
    return merge(parts)


def flatbed(
    rng: np.random.Generator, rear: float, front: float, half: float, floor: float, top: float
) -> Mesh:
    """An open bed with a head board and crates, pipes, planks, sacks or nothing on it."""
    bed = Finish((0.4, 0.31, 0.22), WOOD, CARGO_PATTERN)
    board = Finish(cargo_color(rng), SHEET if rng.random() < 0.5 else PAINT, CARGO_PATTERN)
    parts = [
        block((rear, -half, floor), (front, half, floor + 0.12), bed),
        block((front - 0.08, -half, floor), (front, half, top), board),
    ]
    if rng.random() < 0.5:  # side boards
        high = floor + 0.12 + rng.uniform(0.25, 0.5)
        parts.append(both_sides((rear, half - 0.04, floor), (front, half, high), board))
        parts.append(block((rear, -half, floor), (rear + 0.04, half, high), board))
    space, base = top - floor - 0.15, floor + 0.12
    kind = rng.choice(
        ["crates", "pipes", "planks", "sheet", "empty"], p=[0.3, 0.2, 0.2, 0.15, 0.15]
    )
    if kind == "crates":
        x = rear + 0.15
        while x < front - 1.0:
            size = rng.uniform(0.7, 1.2)
            stuff = Finish(
                pick(
                    rng, ((0.6, 0.45, 0.28), (0.75, 0.7, 0.6), (0.3, 0.4, 0.6), (0.55, 0.3, 0.22))
                ),
                int(rng.choice([WOOD, TARPAULIN, MATTE])),
                int(rng.integers(1000, 60000)),
            )
            high = base + rng.uniform(0.3, 0.95) * space
            parts.append(block((x, -half + 0.2, base), (x + size, -0.05, high), stuff))
            high = base + rng.uniform(0.3, 0.95) * space
            parts.append(block((x, 0.05, base), (x + size, half - 0.2, high), stuff))
            x += size + rng.uniform(0.05, 0.4)
    elif kind == "pipes":
        radius = min(0.22, 0.25 * space)
        color = pick(rng, ((0.55, 0.55, 0.56), (0.85, 0.45, 0.2), (0.15, 0.16, 0.17)))
        for row in range(2):
            for y in np.arange(
                -half + 0.25 + radius + 0.5 * row * radius, half - 0.3, 2.05 * radius
            ):
                z = base + radius + 1.8 * row * radius
                parts.append(
                    cylinder((rear + 0.3, y, z), (front - 0.3, y, z), (radius, radius), color)
                )
    elif kind == "planks":
        for low in (0.0, 0.36):
            parts.append(
                box(
                    (rear + 0.2, -half + 0.25, base + low * space),
                    (front - 0.4, half - 0.25, base + (low + 0.28) * space),
                    (0.7, 0.55, 0.35),
                    WOOD,
                ).patterned(int(rng.integers(1000, 60000)))
            )
    elif kind == "sheet":
        cover = Finish(vivid_color(rng), TARPAULIN, CARGO_PATTERN)
        parts.append(
            wedge(
                (rear + 0.1, front - 0.15),
                (rear + 0.4, front - 0.5),
                (-half + 0.1, half - 0.1),
                (-0.5 * half, 0.5 * half),
                (base, base + 0.85 * space),
                cover.color,
                cover.material,
            )
        )
    return merge(parts)


def drum(
    rng: np.random.Generator, rear: float, front: float, half: float, floor: float, top: float
) -> Mesh:
    """A concrete mixer's drum, its hopper and chute."""
    color, stripe = pick(rng, CARGO_COLORS[:3]), vivid_color(rng)
    length, radius = front - rear, min(half - 0.06, 0.46 * (top - floor))
    profile = ((0.06, 0.4), (0.3, 0.85), (0.5, 1.0), (0.66, 1.0), (0.9, 0.62), (0.97, 0.4))
    angles = 2.0 * np.pi * np.arange(16) / 16
    rings = np.array(
        [
            np.stack(
                [
                    np.full(16, rear + along * length),
                    share * radius * np.cos(angles),
                    top - radius - 0.05 - 0.12 * length * (along - 0.35)
                    + share * radius * np.sin(angles),
                ],
                axis=1,
            )
            for along, share in profile
        ]
    )  # fmt: skip
    parts = [
        loft(rings[:3], color, PAINT),
        loft(rings[2:4], stripe, PAINT),
        loft(rings[3:], color, PAINT),
        wedge(
            (rear + 0.1, rear + 0.5), (rear, rear + 0.7), (-0.3, 0.3), (-0.6, 0.6),
            (top - 0.7, top), color, PAINT,
        ),
        beam((rear + 0.3, 0, top - 0.9), (rear + 0.02, 0.2, floor), 0.35, GREY_TRIM.color),
        block((front - 0.35, -half + 0.1, floor), (front - 0.1, half - 0.1, floor + 0.9), TRIM),
        both_sides((rear + 0.3, 0.3, floor - 0.1), (rear + 0.5, 0.45, top - 0.7), TRIM),
    ]  # fmt: skip
    return merge(parts)


def compactor(
    rng: np.random.Generator, rear: float, front: float, half: float, floor: float, top: float
) -> Mesh:
    """A refuse truck's body with its dark mouth at the back."""
    color = pick(rng, ((0.9, 0.9, 0.88), (0.9, 0.5, 0.1), (0.2, 0.5, 0.25), (0.25, 0.35, 0.6)))
    shell = Finish(color, PAINT, CARGO_PATTERN)
    mouth = rear + 0.28 * (front - rear)
    parts = [
        block((mouth, -half + 0.04, floor), (front, half - 0.04, top - 0.05), shell),
        wedge(
            (rear + 0.15, mouth), (rear + 0.7, mouth), (-half, half), (-half + 0.05, half - 0.05),
            (floor + 0.45 * (top - floor), top), tuple(0.92 * c for c in color), PAINT,
        ),
        block((rear + 0.25, -half + 0.12, floor - 0.4), (mouth, half - 0.12, top - 0.4), GAP),
        both_sides((rear + 0.05, half - 0.14, floor - 0.4), (mouth, half, top - 0.5), shell),
        block((rear, -half, floor - 0.45), (rear + 0.5, half, floor - 0.1), shell),
        block((rear + 0.5, -half + 0.2, top - 0.06), (rear + 0.6, half - 0.2, top), INDICATOR),
    ]  # fmt: skip
    for x in np.linspace(mouth + 0.3, front - 0.3, 4):
        parts.append(both_sides((x, half - 0.05, floor), (x + 0.09, half, top - 0.1), shell))
    return merge(parts)


LOADS = {
    "box": dry_box,
    "curtain": curtain,
    "container": container,
    "tank": tank,
    "tipper": tipper,
    "flatbed": flatbed,
    "drum": drum,
    "compactor": compactor,
}
