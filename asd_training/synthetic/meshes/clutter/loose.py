# SPDX-License-Identifier: Apache-2.0
"""What people put down or left; x ahead, in metres, on the ground."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.clutter.parts import (
    BLACK,
    BLUE,
    BROWN,
    COLORS,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    RED,
    STEEL,
    WHITE,
    YELLOW,
    castors,
    prism,
    turned,
)
from asd_training.synthetic.meshes.mesh import (
    BARK,
    CHROME,
    CLOTH,
    CONCRETE,
    PAINT,
    PLASTIC,
    POSTER,
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
    merge,
    pick,
    tube,
)


def wheeled_bins(rng: np.random.Generator) -> Mesh:
    """One to four household bins, or one big container."""
    if rng.random() < 0.3:
        color, long = pick(rng, COLORS), rng.uniform(1.1, 1.8)
        return merge(
            [
                prism((0.45, long / 2), (0.55, long / 2), (0.15, 1.15), color, PLASTIC),
                prism((0.58, long / 2 + 0.03), (0.3, long / 2), (1.15, 1.35), color, PLASTIC),
                *castors(0.4, long / 2 - 0.1),
            ]
        )
    parts = []
    for i in range(int(rng.integers(1, 5))):
        body = pick(rng, COLORS)
        lid = body if rng.random() < 0.5 else pick(rng, COLORS)
        bin_ = merge(
            [
                prism((0.22, 0.2), (0.28, 0.26), (0.06, 0.95), body, PLASTIC),
                prism((0.31, 0.28), (0.28, 0.26), (0.95, 1.03), lid, PLASTIC),
                cylinder((-0.24, -0.26, 0.1), (-0.24, 0.26, 0.1), (0.1, 0.1), BLACK, 8, RUBBER),
                beam((-0.33, -0.22, 0.98), (-0.33, 0.22, 0.98), 0.04, body, PLASTIC),
            ]
        )
        parts.append(bin_.moved(rng.uniform(-0.1, 0.1), 0.68 * i, rng.normal(0.0, 0.15)))
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


def parasol(rng: np.random.Generator) -> Mesh:
    """A parasol, open or folded, over a table with chairs."""
    height, cloth = rng.uniform(2.1, 2.7), pick(rng, (RED, WHITE, GREEN, YELLOW, BLUE, PALE, BLACK))
    parts = [cylinder((0, 0, 0), (0, 0, height), (0.025, 0.025), PALE, 6, WOOD)]
    if rng.random() < 0.75:
        reach = rng.uniform(1.0, 1.6)
        roof = [(height - 0.55, reach), (height - 0.5, 0.98 * reach), (height, 0.05)]
        parts.append(turned(roof, cloth, CLOTH, 8))
    else:
        parts.append(turned([(1.0, 0.08), (1.2, 0.17), (height, 0.04)], cloth, CLOTH, 8))
    top = pick(rng, (WHITE, BROWN, STEEL))
    parts += [
        cylinder((0.0, 0, 0.7), (0.0, 0, 0.73), (0.4, 0.4), top, 10, WOOD),
        turned([(0.0, 0.25), (0.08, 0.25), (0.1, 0.05)], GREY, CONCRETE),
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
        return turned(levels, pick(rng, COLORS), int(rng.choice([SHEET, RUST, PLASTIC])))
    if kind == 2:
        count = int(rng.integers(2, 6))
        levels = [
            (0.2 * i + z, r)
            for i in range(count)
            for z, r in ((0.0, 0.25), (0.03, 0.3), (0.17, 0.3), (0.19, 0.25))
        ]
        return turned(levels, BLACK, RUBBER)
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
        prism((0.3, 0.2), (0.42, 0.27), (0.45, 0.9), color, int(rng.choice([SHEET, CLOTH]))),
        pick(rng, COLORS),
    )
    parts = [
        tub,
        beam((-0.4, -0.25, 0.9), (-0.6, -0.25, 1.05), 0.03, BLACK),
        beam((-0.4, 0.25, 0.9), (-0.6, 0.25, 1.05), 0.03, BLACK),
    ]
    parts.append(beam((-0.6, -0.26, 1.05), (-0.6, 0.26, 1.05), 0.04, BLACK))
    parts += castors(0.3, 0.2)
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
    cloth = prism((0.005, wide / 2), (0.005, wide / 3), (bottom, height), pick(rng, COLORS), POSTER)
    return merge(
        [
            cylinder((0, 0, 0), (0, 0, height), (0.02, 0.02), STEEL, 6, CHROME),
            turned([(0.0, 0.22), (0.08, 0.2), (0.12, 0.03)], BLACK, CONCRETE),
            cloth.moved(0.0, wide / 2),
        ]
    )


def stump(rng: np.random.Generator) -> Mesh:
    """A tree's stump, a boulder or a heap of earth."""
    radius = rng.uniform(0.2, 0.6)
    kind = rng.integers(3)
    if kind == 0:
        return turned(
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
