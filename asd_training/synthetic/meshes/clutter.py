# SPDX-License-Identifier: Apache-2.0
"""Things of the street that are no object of any class, though some look like one.

They are never annotated: what a detector has to leave alone. Every builder takes the random
generator and gives a mesh whose origin is on the ground, x ahead, in metres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    BARK,
    CHROME,
    CLOTH,
    CONCRETE,
    FOLIAGE,
    PAINT,
    PLASTIC,
    POSTER,
    RETRO,
    RUBBER,
    RUST,
    SHEET,
    SOIL,
    STONE,
    TARPAULIN,
    WOOD,
    Color,
    Mesh,
    beam,
    box,
    cylinder,
    ellipsoid,
    hexahedron,
    loft,
    merge,
    tube,
)
from asd_training.synthetic.meshes.people import person
from asd_training.synthetic.meshes.vehicles import pick

BLACK, GREY, STEEL, PALE = (
    (0.1, 0.1, 0.11),
    (0.45, 0.45, 0.46),
    (0.6, 0.61, 0.62),
    (0.8, 0.79, 0.76),
)
GREEN, RED, BLUE, YELLOW = (
    (0.14, 0.3, 0.2),
    (0.66, 0.12, 0.1),
    (0.14, 0.26, 0.5),
    (0.85, 0.68, 0.14),
)
BROWN, WHITE, ORANGE = (0.34, 0.24, 0.16), (0.88, 0.88, 0.86), (0.85, 0.4, 0.12)
COLORS = (BLACK, GREY, STEEL, PALE, GREEN, RED, BLUE, YELLOW, BROWN, WHITE, ORANGE)
LEAVES = ((0.24, 0.34, 0.14), (0.16, 0.28, 0.12), (0.4, 0.42, 0.2), (0.5, 0.2, 0.25))


def _turned(
    levels: list[tuple[float, float]], color: Color, material: int, sides: int = 10
) -> Mesh:
    """Round solid about the z axis through (height, radius) levels."""
    return tube([(0.0, 0.0, z) for z, _ in levels], [r for _, r in levels], color, material, sides)


def litter_bin(rng: np.random.Generator) -> Mesh:
    color, height = pick(rng, COLORS), rng.uniform(0.75, 1.15)
    kind = rng.integers(4)
    if kind == 0:  # round, with a hood
        radius = rng.uniform(0.2, 0.32)
        levels = [(0.0, 0.9), (0.75, 1.0), (0.76, 1.06), (0.82, 1.06), (0.95, 0.7), (1.0, 0.2)]
        return _turned([(z * height, r * radius) for z, r in levels], color, SHEET)
    if kind == 1:  # on a post
        return merge(
            [
                cylinder((0, 0, 0), (0, 0, height), (0.03, 0.03), GREY, 6, SHEET),
                tube(
                    [(0.2, 0, 0.5 * height), (0.2, 0, 0.92 * height), (0.2, 0, height)],
                    [0.14, 0.19, 0.15],
                    color,
                    PLASTIC,
                    8,
                ),
            ]
        )
    half = rng.uniform(0.2, 0.4)
    top = pick(rng, COLORS)
    parts = [
        box((-half, -half, 0.04), (half, half, 0.8 * height), color, SHEET),
        box((-half, -half, 0.92 * height), (half, half, height), top, SHEET),
        box((-0.8 * half, -half, 0.8 * height), (-0.9 * half, half, 0.92 * height), BLACK, SHEET),
    ]
    if kind == 3:
        parts.append(
            box((half, -0.8 * half, 0.2), (half + 0.01, 0.8 * half, 0.7 * height), WHITE, POSTER)
        )
    return merge(parts)


def wheeled_bins(rng: np.random.Generator) -> Mesh:
    """One to four household bins, or one big container."""
    if rng.random() < 0.3:
        color, long = pick(rng, COLORS), rng.uniform(1.1, 1.8)
        return merge(
            [
                _prism((0.45, long / 2), (0.55, long / 2), (0.15, 1.15), color, PLASTIC),
                _prism((0.58, long / 2 + 0.03), (0.3, long / 2), (1.15, 1.35), color, PLASTIC),
                *_castors(0.4, long / 2 - 0.1),
            ]
        )
    parts = []
    for i in range(int(rng.integers(1, 5))):
        body = pick(rng, COLORS)
        lid = body if rng.random() < 0.5 else pick(rng, COLORS)
        bin_ = merge(
            [
                _prism((0.22, 0.2), (0.28, 0.26), (0.06, 0.95), body, PLASTIC),
                _prism((0.31, 0.28), (0.28, 0.26), (0.95, 1.03), lid, PLASTIC),
                cylinder((-0.24, -0.26, 0.1), (-0.24, 0.26, 0.1), (0.1, 0.1), BLACK, 8, RUBBER),
                beam((-0.33, -0.22, 0.98), (-0.33, 0.22, 0.98), 0.04, body, PLASTIC),
            ]
        )
        parts.append(bin_.moved(rng.uniform(-0.1, 0.1), 0.68 * i, rng.normal(0.0, 0.15)))
    return merge(parts)


def _prism(
    low: tuple[float, float],
    high: tuple[float, float],
    z: tuple[float, float],
    color: Color,
    material: int,
) -> Mesh:
    """Upright body, tapered: half sizes in x and y at either height."""
    rings = np.array(
        [
            [(sx * x, sy * y, level) for sx, sy in ((1, 1), (-1, 1), (-1, -1), (1, -1))]
            for (x, y), level in ((low, z[0]), (high, z[1]))
        ]
    )
    return loft(rings, color, material)


def _castors(x: float, y: float) -> list[Mesh]:
    return [
        cylinder((a, b - 0.03, 0.09), (a, b + 0.03, 0.09), (0.09, 0.09), BLACK, 6, RUBBER)
        for a in (-x, x)
        for b in (-y, y)
    ]


def hydrant(rng: np.random.Generator) -> Mesh:
    color, height = pick(rng, (RED, YELLOW, BLUE, STEEL, GREEN)), rng.uniform(0.55, 0.85)
    levels = [
        (0.0, 0.15),
        (0.08, 0.15),
        (0.09, 0.1),
        (0.7, 0.1),
        (0.72, 0.14),
        (0.88, 0.12),
        (1.0, 0.03),
    ]
    arm = 0.6 * height
    return merge(
        [
            _turned([(z * height, r) for z, r in levels], color, PAINT, 8),
            cylinder((0, -0.19, arm), (0, 0.19, arm), (0.055, 0.055), color, 6, PAINT),
            cylinder((0, 0, arm - 0.06), (0.18, 0, arm - 0.06), (0.07, 0.07), color, 6, PAINT),
        ]
    )


def bollards(rng: np.random.Generator) -> Mesh:
    """One bollard, or a row of them along y."""
    height, radius = rng.uniform(0.6, 1.15), rng.uniform(0.04, 0.16)
    color = pick(rng, (BLACK, GREY, STEEL, PALE, BROWN, YELLOW, WHITE, GREEN))
    material = int(rng.choice([SHEET, CONCRETE, CHROME, WOOD, STONE]))
    kind = rng.integers(4)
    if kind == 0:
        levels = [
            (0.0, 1.3),
            (0.1, 1.25),
            (0.12, 1.0),
            (0.8, 0.85),
            (0.82, 1.1),
            (0.86, 1.1),
            (0.96, 0.8),
            (1.0, 0.2),
        ]
    elif kind == 1:
        levels = [(0.0, 1.0), (0.97, 1.0), (1.0, 0.8)]
    elif kind == 2:  # a ball
        height = 2.0 * (radius := 2.0 * radius + 0.1)
        levels = [(0.0, 0.5), (0.15, 0.8), (0.5, 1.0), (0.85, 0.75), (1.0, 0.1)]
    else:
        levels = [(0.0, 1.1), (0.85, 0.7), (0.9, 1.0), (1.0, 0.1)]
    one = [_turned([(z * height, r * radius) for z, r in levels], color, material, 8)]
    if kind == 1 and rng.random() < 0.5:
        band = pick(rng, (WHITE, RED, YELLOW, BLACK))
        one.append(
            cylinder(
                (0, 0, 0.75 * height), (0, 0, 0.88 * height), (radius + 0.005,) * 2, band, 8, RETRO
            )
        )
    bollard = merge(one)
    count = 1 if rng.random() < 0.4 else int(rng.integers(2, 6))
    gap = rng.uniform(1.0, 1.8)
    return merge(bollard.moved(0.0, gap * (i - (count - 1) / 2.0)) for i in range(count))


def post(rng: np.random.Generator) -> Mesh:
    """A slender post of a person's height or more, bare or with a small plate or a lamp."""
    height, radius = rng.uniform(1.4, 3.2), rng.uniform(0.025, 0.08)
    color = pick(rng, (GREY, STEEL, BLACK, WHITE, GREEN, BROWN))
    parts = [cylinder((0, 0, 0), (0, 0, height), (radius, radius), color, 6, SHEET)]
    if rng.random() < 0.7:
        half, tall = rng.uniform(0.1, 0.3), rng.uniform(0.15, 0.5)
        plate = pick(rng, COLORS)
        parts.append(
            box((radius, -half, height - tall), (radius + 0.02, half, height), plate, POSTER)
        )
    if rng.random() < 0.4:
        parts.append(_turned([(0.0, 0.2), (0.25, 0.16), (0.3, 0.05)], color, CONCRETE, 8))
    return merge(parts)


def letter_box(rng: np.random.Generator) -> Mesh:
    color, height = pick(rng, (RED, BLUE, YELLOW, GREEN)), rng.uniform(1.1, 1.6)
    if rng.random() < 0.4:  # a pillar
        levels = [
            (0.0, 1.1),
            (0.08, 1.1),
            (0.1, 1.0),
            (0.82, 1.0),
            (0.84, 1.12),
            (0.92, 1.1),
            (1.0, 0.3),
        ]
        body = _turned([(z * height, 0.25 * r) for z, r in levels], color, PAINT)
        slot = box((0.24, -0.12, 0.74 * height), (0.27, 0.12, 0.77 * height), BLACK)
        return merge([body, slot])
    half, deep = rng.uniform(0.2, 0.35), rng.uniform(0.2, 0.3)
    parts = [
        box((-deep, -half, 0.3), (deep, half, 0.85 * height), color, PAINT),
        tube([(0, -half, 0.85 * height), (0, half, 0.85 * height)], [deep, deep], color, PAINT, 10),
        box((deep, -0.7 * half, 0.75 * height), (deep + 0.02, 0.7 * half, 0.8 * height), BLACK),
        box(
            (deep, -0.6 * half, 0.45 * height),
            (deep + 0.01, 0.6 * half, 0.65 * height),
            WHITE,
            POSTER,
        ),
    ]
    parts += [
        box((x - 0.03, y - 0.03, 0.0), (x + 0.03, y + 0.03, 0.3), BLACK)
        for x in (-deep + 0.04, deep - 0.04)
        for y in (-half + 0.04, half - 0.04)
    ]
    return merge(parts)


def cabinet(rng: np.random.Generator) -> Mesh:
    """Switch cabinets, ticket machines, newspaper boxes, phone booths: upright boxes."""
    half, deep = rng.uniform(0.25, 0.8), rng.uniform(0.15, 0.45)
    height = rng.uniform(0.9, 2.2)
    color, material = pick(rng, COLORS), int(rng.choice([SHEET, PLASTIC, CONCRETE, SHEET]))
    parts = [
        box((-deep, -half, 0.08), (deep, half, height), color, material),
        box((-deep - 0.02, -half - 0.02, 0.0), (deep + 0.02, half + 0.02, 0.1), PALE, CONCRETE),
        box(
            (-deep - 0.03, -half - 0.03, height),
            (deep + 0.03, half + 0.03, height + 0.04),
            color,
            material,
        ),
        box((deep, -0.01, 0.15), (deep + 0.004, 0.01, height - 0.05), BLACK),
    ]
    if rng.random() < 0.5:
        low = rng.uniform(0.3, 0.6) * height
        parts.append(
            box((deep, -0.8 * half, low), (deep + 0.01, 0.8 * half, 0.9 * height), WHITE, POSTER)
        )
    return merge(parts)


def bench(rng: np.random.Generator) -> Mesh:
    """Seat towards +x, along y."""
    half = rng.uniform(0.7, 1.1)
    color = pick(rng, (BROWN, BROWN, GREY, GREEN, BLACK))
    material = int(rng.choice([WOOD, WOOD, SHEET, STONE]))
    parts = [
        box((-0.2 + x, -half, 0.42), (-0.11 + x, half, 0.46), color, material)
        for x in (0.0, 0.11, 0.22, 0.33)
    ]
    if rng.random() < 0.7:
        parts += [
            box(
                (-0.27 - 0.12 * z, -half, 0.5 + z),
                (-0.24 - 0.12 * z, half, 0.6 + z),
                color,
                material,
            )
            for z in (0.05, 0.2)
        ]
        parts += [
            beam((-0.2, y, 0.42), (-0.3, y, 0.82), 0.05, BLACK) for y in (-half + 0.2, half - 0.2)
        ]
    for y in (-half + 0.2, half - 0.2):
        parts += [beam((x, y, 0.0), (x, y, 0.43), 0.06, BLACK) for x in (-0.17, 0.18)]
    return merge(parts)


def planter(rng: np.random.Generator) -> Mesh:
    height, half = rng.uniform(0.35, 0.9), rng.uniform(0.25, 0.7)
    color = pick(rng, (PALE, GREY, BROWN, BLACK, WHITE, (0.6, 0.33, 0.22)))
    material = int(rng.choice([CONCRETE, STONE, WOOD, PLASTIC]))
    wide = half * rng.uniform(0.8, 2.5)
    if rng.random() < 0.5:
        pot = _turned(
            [(0.0, 0.7 * half), (height, half), (height + 0.01, 0.9 * half)], color, material
        )
        wide = half
    else:
        pot = box((-half, -wide, 0.0), (half, wide, height), color, material)
    leaves, bush = pick(rng, LEAVES), rng.uniform(0.15, 0.8)
    parts = [
        pot,
        cylinder((0, 0, height), (0, 0, height + 0.02), (0.8 * half,) * 2, BROWN, 8, SOIL),
    ]
    for _ in range(int(rng.integers(2, 7))):
        size = np.array([0.7 * half, 0.5 * wide, bush]) * rng.uniform(0.5, 1.0)
        place = (rng.uniform(-0.3, 0.3) * half, rng.uniform(-0.6, 0.6) * wide, height + 0.4 * bush)
        parts.append(ellipsoid(place, size, leaves, FOLIAGE))
    return merge(parts)


def goods(rng: np.random.Generator) -> Mesh:
    """A heap of boxes, crates or sacks, on a pallet or not."""
    parts = []
    kind = rng.integers(4)
    if kind == 0:  # rubbish sacks
        color = pick(rng, (BLACK, BLACK, BLUE, WHITE, GREEN))
        for _ in range(int(rng.integers(2, 8))):
            x, y, size = *rng.normal(0.0, 0.35, 2), rng.uniform(0.22, 0.4)
            sack = [(x, y, 0.0), (x, y, 0.5 * size), (x, y, 1.3 * size), (x, y, 1.7 * size)]
            parts.append(tube(sack, [0.8 * size, size, 0.6 * size, 0.1], color, TARPAULIN, 7))
        return merge(parts)
    if rng.random() < 0.5:
        parts.append(box((-0.6, -0.5, 0.0), (0.6, 0.5, 0.14), BROWN, WOOD))
    color = pick(rng, ((0.62, 0.48, 0.33), (0.7, 0.58, 0.4), PALE, GREEN, BLUE, RED, BLACK))
    material = (CONCRETE, WOOD, PLASTIC)[kind - 1]
    z = 0.14 * len(parts)
    for _ in range(int(rng.integers(1, 5))):
        tall = rng.uniform(0.2, 0.5)
        for x in (-0.28, 0.28):
            if rng.random() < 0.8:
                deep, wide = rng.uniform(0.15, 0.27), rng.uniform(0.25, 0.5)
                parts.append(box((x - deep, -wide, z), (x + deep, wide, z + tall), color, material))
        z += tall
    parts.append(box((-0.3, -0.3, 0.0), (0.2, 0.3, 0.3), color, material))
    return merge(parts)


def board(rng: np.random.Generator) -> Mesh:
    """A folding board or poster stand, some with a picture of a person on it."""
    half, height = rng.uniform(0.25, 0.6), rng.uniform(0.8, 1.9)
    lean = 0.0 if height > 1.3 else 0.18
    frame = pick(rng, COLORS)
    parts = []
    for side in (-1.0, 1.0):
        corners = np.array(
            [
                (side * (lean * (1.0 - z) + 0.02 + 0.02 * layer), sign * half, z * height)
                for z in (0.06, 1.0)
                for sign in (-1.0, 1.0)
                for layer in (0.0, 1.0)
            ]
        )
        parts.append(hexahedron(corners, PALE, POSTER if rng.random() < 0.7 else SHEET))
        parts.append(beam(corners[0], corners[4], 0.05, frame))
        parts.append(beam(corners[2], corners[6], 0.05, frame))
    if rng.random() < 0.35 and lean == 0.0:
        parts.append(_flat(_figure(rng, 0.9 * height)).moved(0.045, 0.0, 0.0, 0.05))
    return merge(parts)


def _figure(rng: np.random.Generator, height: float) -> Mesh:
    return person(rng, height, posture="standing")


def _flat(mesh: Mesh) -> Mesh:
    """The picture of a mesh, seen from ahead, 1 mm thick."""
    return replace(mesh, triangles=mesh.triangles * np.array([0.003, 1.0, 1.0], np.float32))


def standee(rng: np.random.Generator) -> Mesh:
    """A person cut out of cardboard, or printed on a panel taller than people."""
    height = rng.uniform(0.5, 2.2)
    figure = _flat(_figure(rng, height))
    if height < 1.9 and rng.random() < 0.5:
        return merge([figure, box((-0.2, -0.25, 0.0), (0.02, 0.25, 0.03), PALE)])
    half, top, low = rng.uniform(0.45, 1.0), height + 0.25, rng.uniform(0.1, 0.5)
    panel = box((-0.1, -half, low), (-0.01, half, low + top), pick(rng, COLORS), SHEET)
    feet = [
        box((-0.08, y - 0.03, 0.0), (-0.03, y + 0.03, low), GREY) for y in (-0.8 * half, 0.8 * half)
    ]
    return merge([figure.moved(0.0, 0.0, 0.0, low + 0.1), panel, *feet])


def statue(rng: np.random.Generator) -> Mesh:
    """A person of bronze or stone, mostly on a plinth."""
    figure = _figure(rng, rng.uniform(1.4, 2.6))
    color = np.array(pick(rng, ((0.24, 0.3, 0.27), (0.26, 0.2, 0.15), PALE, GREY))) ** 2.2
    material = int(rng.choice([STONE, CHROME, CONCRETE]))
    figure = replace(
        figure,
        albedo=np.broadcast_to(color.astype(np.float32), figure.albedo.shape),
        materials=np.full(len(figure), material, np.uint8),
    )
    base = rng.uniform(0.1, 1.6)
    plinth = [
        box((-0.5, -0.5, 0.0), (0.5, 0.5, 0.25 * base), PALE, STONE),
        box((-0.4, -0.4, 0.25 * base), (0.4, 0.4, base), PALE, STONE),
    ]
    return merge([figure.moved(0.0, 0.0, 0.0, base), *plinth])


def parasol(rng: np.random.Generator) -> Mesh:
    """A parasol, open or folded, over a table with chairs."""
    height, cloth = rng.uniform(2.1, 2.7), pick(rng, (RED, WHITE, GREEN, YELLOW, BLUE, PALE, BLACK))
    parts = [cylinder((0, 0, 0), (0, 0, height), (0.025, 0.025), PALE, 6, WOOD)]
    if rng.random() < 0.75:
        reach = rng.uniform(1.0, 1.6)
        roof = [(height - 0.55, reach), (height - 0.5, 0.98 * reach), (height, 0.05)]
        parts.append(_turned(roof, cloth, CLOTH, 8))
    else:
        parts.append(_turned([(1.0, 0.08), (1.2, 0.17), (height, 0.04)], cloth, CLOTH, 8))
    top = pick(rng, (WHITE, BROWN, STEEL))
    parts += [
        cylinder((0.0, 0, 0.7), (0.0, 0, 0.73), (0.4, 0.4), top, 10, WOOD),
        _turned([(0.0, 0.25), (0.08, 0.25), (0.1, 0.05)], GREY, CONCRETE),
    ]
    for angle in rng.uniform(0.0, 1.0) + np.arange(int(rng.integers(0, 5))) * np.pi / 2:
        x, y = 0.75 * np.cos(angle), 0.75 * np.sin(angle)
        parts.append(_chair(top).moved(x, y, angle + np.pi))
    return merge(parts)


def _chair(color: Color) -> Mesh:
    """Seat towards +x."""
    legs = [
        box((x - 0.015, y - 0.015, 0.0), (x + 0.015, y + 0.015, 0.44 if x > 0 else 0.85), BLACK)
        for x in (-0.2, 0.2)
        for y in (-0.2, 0.2)
    ]
    seat = box((-0.21, -0.21, 0.43), (0.21, 0.21, 0.46), color, PLASTIC)
    return merge([*legs, seat, box((-0.22, -0.21, 0.6), (-0.19, 0.21, 0.85), color, PLASTIC)])


def ladder(rng: np.random.Generator) -> Mesh:
    """A step ladder, opened."""
    height, half = rng.uniform(1.2, 2.6), rng.uniform(0.2, 0.3)
    color = pick(rng, (STEEL, YELLOW, ORANGE, BROWN))
    parts = [
        beam((side * 0.25 * height, y, 0.0), (0.0, 0.8 * y, height), 0.05, color, SHEET)
        for side in (-1.0, 1.0)
        for y in (-half, half)
    ]
    for z in np.arange(0.25, height, 0.3):
        x = 0.25 * (height - z)
        parts.append(beam((x, -0.9 * half, z), (x, 0.9 * half, z), 0.05, color, SHEET))
    return merge(parts)


def kick_scooters(rng: np.random.Generator) -> Mesh:
    """One to four scooters for hire, left on the pavement."""
    deck, accent = pick(rng, (BLACK, GREY, WHITE)), pick(rng, (GREEN, ORANGE, YELLOW, RED, BLUE))
    one = merge(
        [
            box((-0.45, -0.08, 0.1), (0.3, 0.08, 0.15), deck, PLASTIC),
            beam((0.42, 0.0, 0.12), (0.3, 0.0, 1.12), 0.06, accent, PAINT),
            beam((0.3, -0.24, 1.12), (0.3, 0.24, 1.12), 0.04, BLACK, RUBBER),
            beam((0.3, 0.0, 0.14), (0.4, 0.0, 0.3), 0.07, deck, PLASTIC),
            *(
                cylinder((x, -0.03, 0.1), (x, 0.03, 0.1), (0.1, 0.1), BLACK, 8, RUBBER)
                for x in (-0.48, 0.45)
            ),
        ]
    )
    return merge(
        one.moved(rng.uniform(-0.05, 0.05), 0.5 * i, rng.normal(0.0, 0.2))
        for i in range(int(rng.integers(1, 5)))
    )


def cycle_stand(rng: np.random.Generator) -> Mesh:
    """Empty hoops to lock bicycles to."""
    parts = []
    for i in range(int(rng.integers(1, 6))):
        y = 0.8 * i
        hoop = [
            (-0.35, y, 0.0),
            (-0.35, y, 0.7),
            (-0.2, y, 0.82),
            (0.2, y, 0.82),
            (0.35, y, 0.7),
            (0.35, y, 0.0),
        ]
        parts += [beam(a, b, 0.05, STEEL, CHROME) for a, b in pairwise(hoop)]
    return merge(parts)


def toilet(rng: np.random.Generator) -> Mesh:
    """A cabin of a building site."""
    color = pick(rng, (BLUE, GREEN, GREY, ORANGE))
    return merge(
        [
            box((-0.55, -0.55, 0.05), (0.55, 0.55, 2.0), color, PLASTIC),
            box((0.55, -0.35, 0.15), (0.57, 0.35, 1.9), pick(rng, (WHITE, color)), PLASTIC),
            _prism((0.57, 0.57), (0.4, 0.4), (2.0, 2.25), WHITE, PLASTIC),
            box((-0.6, -0.6, 0.0), (0.6, 0.6, 0.06), BLACK, WOOD),
        ]
    )


def drum(rng: np.random.Generator) -> Mesh:
    """A cable drum on its side, an oil barrel, a stack of tyres or of pipes."""
    kind = rng.integers(4)
    if kind == 0:
        radius, half = rng.uniform(0.4, 0.9), rng.uniform(0.25, 0.5)
        return merge(
            [
                *(
                    cylinder(
                        (0, y - 0.04, radius), (0, y + 0.04, radius), (radius,) * 2, BROWN, 14, WOOD
                    )
                    for y in (-half, half)
                ),
                cylinder(
                    (0, -half, radius), (0, half, radius), (0.6 * radius,) * 2, BLACK, 10, RUBBER
                ),
            ]
        )
    if kind == 1:
        levels = [
            (0.0, 0.29),
            (0.3, 0.29),
            (0.31, 0.3),
            (0.33, 0.29),
            (0.6, 0.29),
            (0.61, 0.3),
            (0.63, 0.29),
            (0.9, 0.29),
        ]
        return _turned(levels, pick(rng, COLORS), int(rng.choice([SHEET, RUST, PLASTIC])))
    if kind == 2:
        count = int(rng.integers(2, 6))
        levels = [
            (0.2 * i + z, r)
            for i in range(count)
            for z, r in ((0.0, 0.25), (0.03, 0.3), (0.17, 0.3), (0.19, 0.25))
        ]
        return _turned(levels, BLACK, RUBBER)
    radius, half = rng.uniform(0.08, 0.3), rng.uniform(0.8, 2.0)
    color, material = (
        pick(rng, (GREY, BLACK, PALE, ORANGE, BLUE)),
        int(rng.choice([PLASTIC, CONCRETE, RUST])),
    )
    return merge(
        cylinder(
            (x * radius, -half, z * radius),
            (x * radius, half, z * radius),
            (radius,) * 2,
            color,
            8,
            material,
        )
        for x, z in ((-2.0, 1.0), (0.0, 1.0), (2.0, 1.0), (-1.0, 2.7), (1.0, 2.7))
    )


def trolley(rng: np.random.Generator) -> Mesh:
    """A wheeled basket of a shop, a barrow or a pram that stands alone."""
    color = pick(rng, COLORS)
    tub, cloth = (
        _prism((0.3, 0.2), (0.42, 0.27), (0.45, 0.9), color, int(rng.choice([SHEET, CLOTH]))),
        pick(rng, COLORS),
    )
    parts = [
        tub,
        beam((-0.4, -0.25, 0.9), (-0.6, -0.25, 1.05), 0.03, BLACK),
        beam((-0.4, 0.25, 0.9), (-0.6, 0.25, 1.05), 0.03, BLACK),
    ]
    parts.append(beam((-0.6, -0.26, 1.05), (-0.6, 0.26, 1.05), 0.04, BLACK))
    parts += _castors(0.3, 0.2)
    parts += [
        beam((x, y, 0.1), (-x, y, 0.5), 0.03, STEEL) for x in (-0.3, 0.3) for y in (-0.2, 0.2)
    ]
    if rng.random() < 0.5:  # a pram's hood
        parts.append(ellipsoid((-0.1, 0.0, 0.85), (0.32, 0.26, 0.33), cloth, CLOTH))
    return merge(parts)


def banner(rng: np.random.Generator) -> Mesh:
    """A flag of an advertiser on a pole."""
    height, wide = rng.uniform(2.0, 4.0), rng.uniform(0.4, 0.8)
    bottom = rng.uniform(0.3, 1.0)
    cloth = _prism(
        (0.005, wide / 2), (0.005, wide / 3), (bottom, height), pick(rng, COLORS), POSTER
    )
    return merge(
        [
            cylinder((0, 0, 0), (0, 0, height), (0.02, 0.02), STEEL, 6, CHROME),
            _turned([(0.0, 0.22), (0.08, 0.2), (0.12, 0.03)], BLACK, CONCRETE),
            cloth.moved(0.0, wide / 2),
        ]
    )


def stump(rng: np.random.Generator) -> Mesh:
    """A tree's stump, a boulder or a heap of earth."""
    radius = rng.uniform(0.2, 0.6)
    kind = rng.integers(3)
    if kind == 0:
        return _turned(
            [(0.0, 1.4 * radius), (0.1, radius), (1.2 * radius, 0.9 * radius)], BROWN, BARK
        )
    color, material = ((GREY, STONE), (BROWN, SOIL))[kind - 1]
    return merge(
        ellipsoid(
            (*rng.normal(0.0, 0.4 * radius, 2), 0.2 * radius),
            radius * rng.uniform(0.5, 1.2, 3),
            pick(rng, (color,)),
            material,
            sides=6,
        )
        for _ in range(int(rng.integers(1, 4)))
    )


_SHARES: dict[Callable[[np.random.Generator], Mesh], float] = {
    litter_bin: 10,
    wheeled_bins: 6,
    hydrant: 6,
    bollards: 10,
    post: 12,
    letter_box: 4,
    cabinet: 8,
    bench: 5,
    planter: 7,
    goods: 6,
    board: 6,
    standee: 4,
    statue: 3,
    parasol: 4,
    ladder: 1,
    kick_scooters: 4,
    cycle_stand: 2,
    toilet: 2,
    drum: 3,
    trolley: 3,
    banner: 3,
    stump: 2,
}
_BUILDERS = tuple(_SHARES)
_CHANCES = np.array(list(_SHARES.values()), float) / sum(_SHARES.values())


def clutter(rng: np.random.Generator) -> Mesh:
    """One of all these things, its size, colours and texture drawn."""
    mesh = _BUILDERS[int(rng.choice(len(_BUILDERS), p=_CHANCES))](rng)
    return mesh.patterned(int(rng.integers(65536)))
