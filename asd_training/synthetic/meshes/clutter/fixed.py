# SPDX-License-Identifier: Apache-2.0
"""Street furniture: what stands where it was built; x ahead, in metres, on the ground."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from asd_training.synthetic.meshes.clutter.parts import (
    BLACK,
    BLUE,
    BROWN,
    COLORS,
    GREEN,
    GREY,
    LEAVES,
    ORANGE,
    PALE,
    RED,
    STEEL,
    WHITE,
    YELLOW,
    prism,
    turned,
)
from asd_training.synthetic.meshes.mesh import (
    CHROME,
    CONCRETE,
    FOLIAGE,
    PAINT,
    PLASTIC,
    POSTER,
    RETRO,
    SHEET,
    SOIL,
    STONE,
    WOOD,
    Mesh,
    beam,
    box,
    cylinder,
    ellipsoid,
    merge,
    pick,
    tube,
)


def litter_bin(rng: np.random.Generator) -> Mesh:
    color, height = pick(rng, COLORS), rng.uniform(0.75, 1.15)
    kind = rng.integers(4)
    if kind == 0:  # round, with a hood
        radius = rng.uniform(0.2, 0.32)
        levels = [(0.0, 0.9), (0.75, 1.0), (0.76, 1.06), (0.82, 1.06), (0.95, 0.7), (1.0, 0.2)]
        return turned([(z * height, r * radius) for z, r in levels], color, SHEET)
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
            turned([(z * height, r) for z, r in levels], color, PAINT, 8),
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
    one = [turned([(z * height, r * radius) for z, r in levels], color, material, 8)]
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
        parts.append(turned([(0.0, 0.2), (0.25, 0.16), (0.3, 0.05)], color, CONCRETE, 8))
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
        body = turned([(z * height, 0.25 * r) for z, r in levels], color, PAINT)
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
        pot = turned(
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
            prism((0.57, 0.57), (0.4, 0.4), (2.0, 2.25), WHITE, PLASTIC),
            box((-0.6, -0.6, 0.0), (0.6, 0.6, 0.06), BLACK, WOOD),
        ]
    )
