# SPDX-License-Identifier: Apache-2.0
"""What stands along the street and is not annotated: buildings, trees, poles, signs, heaps."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    FACADE,
    FOLIAGE,
    GROUND,
    LAMP,
    MATTE,
    PAINT,
    RETRO,
    Color,
    Mesh,
    beam,
    box,
    cylinder,
    ellipsoid,
    merge,
    wedge,
)
from asd_training.synthetic.meshes.vehicles import pick
from asd_training.synthetic.world.road import BUILDING, PARK, PARKING, PLOT_DEPTH, SITE, Road

WALLS = (
    (0.72, 0.66, 0.58),
    (0.6, 0.36, 0.28),
    (0.8, 0.78, 0.74),
    (0.5, 0.5, 0.52),
    (0.68, 0.58, 0.42),
    (0.4, 0.42, 0.46),
    (0.75, 0.7, 0.5),
)
LEAVES = ((0.25, 0.42, 0.16), (0.33, 0.5, 0.2), (0.2, 0.35, 0.17), (0.45, 0.48, 0.18))
BARK, STEEL, EARTH = (0.35, 0.27, 0.2), (0.5, 0.5, 0.52), (0.5, 0.4, 0.3)
GROUND_HALF_SIZE = 600.0  # m


def ground(road: Road) -> Mesh:
    """The flat ground, coloured by shading from the plan of the road."""
    x, y = (float(v) for v in road.to_global(sum(road.s_range) / 2.0, 0.0))
    size = GROUND_HALF_SIZE
    plane = box((x - size, y - size, -1.0), (x + size, y + size, 0.0), (0.3, 0.3, 0.3), GROUND)
    top = plane.triangles[:, :, 2].min(axis=1) == 0.0
    return Mesh(plane.triangles[top], plane.albedo[top], plane.materials[top], plane.patterns[top])


def tree(rng: np.random.Generator, height: float) -> Mesh:
    leaves = pick(rng, LEAVES)
    trunk = 0.35 * height
    parts = [cylinder((0, 0, 0), (0, 0, trunk * 1.3), (0.16, 0.1), BARK, sides=6)]
    for _ in range(3):
        x, y = rng.uniform(-0.15, 0.15, 2) * height
        radius = rng.uniform(0.18, 0.27) * height
        z = rng.uniform(trunk + 0.8 * radius, height - radius)
        shade = tuple(np.array(leaves) * rng.uniform(0.85, 1.1))
        parts.append(ellipsoid((x, y, z), (radius, radius, 0.9 * radius), shade, FOLIAGE, sides=10))
    return merge(parts)


def bush(rng: np.random.Generator) -> Mesh:
    size = rng.uniform(0.5, 1.1)
    return ellipsoid((0, 0, 0.7 * size), (size, size, 0.75 * size), pick(rng, LEAVES), FOLIAGE)


def street_lamp(rng: np.random.Generator) -> Mesh:
    height = rng.uniform(6.0, 8.5)
    return merge(
        [
            cylinder((0, 0, 0), (0, 0, height), (0.1, 0.07), STEEL, sides=6),
            beam((0, 0, height), (1.6, 0, height + 0.2), 0.08, STEEL),
            box((1.1, -0.12, height + 0.12), (1.8, 0.12, height + 0.22), (0.85, 0.85, 0.8), LAMP),
        ]
    )


def sign(rng: np.random.Generator) -> Mesh:
    face = pick(rng, ((0.75, 0.1, 0.1), (0.1, 0.25, 0.6), (0.9, 0.8, 0.1), (0.9, 0.9, 0.9)))
    return merge(
        [
            cylinder((0, 0, 0), (0, 0, 2.7), (0.04, 0.04), STEEL, sides=5),
            cylinder((-0.02, 0, 2.4), (0.03, 0, 2.4), (0.35, 0.35), face, material=RETRO),
        ]
    )


def traffic_light(green: bool) -> Mesh:
    """Signals facing -x, on a pole at the right of the lane."""
    parts = [
        cylinder((0, 0, 0), (0, 0, 5.4), (0.09, 0.07), (0.3, 0.3, 0.3), sides=6),
        beam((0, 0, 5.3), (0, 3.2, 5.4), 0.1, (0.3, 0.3, 0.3)),
    ]
    for y, z in ((0.0, 2.6), (3.0, 4.9)):
        parts.append(box((-0.3, y - 0.16, z), (-0.1, y + 0.16, z + 0.95), (0.12, 0.12, 0.12)))
        lamps = (
            ((0.1, 0.9, 0.4), green),
            ((0.95, 0.65, 0.1), False),
            ((0.95, 0.1, 0.08), not green),
        )
        for i, (color, on) in enumerate(lamps):
            low = z + 0.06 + 0.3 * i
            parts.append(
                box(
                    (-0.33, y - 0.1, low),
                    (-0.2, y + 0.1, low + 0.2),
                    color if on else tuple(0.25 * np.array(color)),
                    LAMP if on else MATTE,
                )
            )
    return merge(parts)


def building(
    rng: np.random.Generator, width: float, depth: float, height: float, wall: Color
) -> Mesh:
    """A block with its front at y = 0 looking to -y, x from -width / 2 to width / 2."""
    x = (-width / 2.0, width / 2.0)
    parts = [
        box((x[0], 0.0, 0.0), (x[1], depth, height), wall, FACADE),
        box(
            (x[0] - 0.15, -0.15, height),
            (x[1] + 0.15, depth + 0.15, height + 0.35),
            tuple(0.7 * np.array(wall)),
        ),
    ]
    if height < 9.0 and rng.random() < 0.6:  # pitched roof
        parts.append(
            wedge(
                x,
                x,
                (-0.3, depth + 0.3),
                (0.45 * depth, 0.55 * depth),
                (height + 0.35, height + 0.35 + 0.25 * depth),
                (0.45, 0.22, 0.17),
            )
        )
    if rng.random() < 0.5:  # awning over a shop
        a, b = sorted(rng.uniform(x[0] + 0.5, x[1] - 0.5, 2))
        if b - a > 2.0:
            parts.append(
                wedge((a, b), (a, b), (-1.2, 0.0), (-0.1, 0.0), (2.7, 3.3), pick(rng, WALLS))
            )
    return merge(parts)


class _Stage:
    """Collects the scenery that has been placed."""

    def __init__(self, road: Road, occupied: np.ndarray):
        self.road, self.occupied = road, occupied
        self.parts = [ground(road)]

    def place(
        self, mesh: Mesh, s: float, d: float, facing: float = 0.0, clearance: float = 0.0
    ) -> None:
        """Put a mesh at road coordinates unless a standing object is within `clearance` m."""
        x, y = (float(v) for v in self.road.to_global(s, d))
        distances = np.hypot(self.occupied[:, 0] - x, self.occupied[:, 1] - y)
        if not (distances < clearance).any():
            self.parts.append(mesh.moved(x, y, float(self.road.heading_at(s)) + facing))


def scenery(rng: np.random.Generator, road: Road, occupied: np.ndarray, red_light: bool) -> Mesh:
    """All scenery of a street, in global coordinates.

    `occupied` (N, 2) holds the global positions of standing objects: no tree or pole grows there.
    """
    stage = _Stage(road, occupied)
    place = stage.place

    def at_crossing(s: float, margin: float) -> bool:
        return any(abs(s - c) < road.crossing_half_width + margin for c in road.crossings)

    start, end = road.s_range
    for side in (-1.0, 1.0):
        facing = 0.0 if side > 0 else np.pi
        row = int(side > 0)
        trees = rng.random() < 0.65
        spacing = rng.uniform(8.0, 16.0)
        for i, s in enumerate(np.arange(start, end, spacing)):
            s = s + rng.uniform(-1.0, 1.0)
            if at_crossing(s, 5.0):
                continue
            d = side * (road.half_width + 0.5)
            if i % 3 == 0:
                place(street_lamp(rng), s, d, facing - np.pi / 2, 1.5)
            elif trees:
                place(tree(rng, rng.uniform(4.5, 8.0)), s, d, 0.0, 1.8)
            elif rng.random() < 0.3:
                place(sign(rng), s, d, facing, 1.5)
        for low, high, use in road.plots(row):
            for a, b in _cut(low, high, road):
                _furnish(rng, stage, side, a, b, use)
        # A second row of larger buildings closes the view.
        s = start
        while s < end:
            width = rng.uniform(16.0, 34.0)
            middle = s + width / 2
            if not at_crossing(middle, width / 2 + 1.0) and rng.random() < 0.8:
                block = building(rng, width - 1.0, 14.0, rng.uniform(7.0, 26.0), pick(rng, WALLS))
                place(block, middle, side * (road.frontage + PLOT_DEPTH + 2.0), facing)
            s += width
    for crossing in road.crossings:
        half = road.crossing_half_width
        for side in (-1.0, 1.0):
            for d in np.arange(road.frontage + 10.0, 70.0, 13.0):  # trees along the side street
                for s in (crossing - half - 1.5, crossing + half + 1.5):
                    if rng.random() < 0.5:
                        place(tree(rng, rng.uniform(4.0, 7.0)), s, side * d, 0.0, 3.0)
            light = traffic_light(green=not (red_light and crossing == road.crossings[0]))
            place(
                light,
                crossing - side * -(half + 1.2),
                side * (road.half_width + 0.6),
                0.0 if side < 0 else np.pi,
                0.8,
            )
    return merge(stage.parts)


def _cut(low: float, high: float, road: Road) -> list[tuple[float, float]]:
    """The parts of [low, high] that side streets leave free."""
    pieces = [(low, high)]
    for crossing in road.crossings:
        a, b = crossing - road.crossing_half_width - 2.5, crossing + road.crossing_half_width + 2.5
        pieces = [
            piece
            for start, end in pieces
            for piece in ((start, min(end, a)), (max(start, b), end))
            if piece[1] > piece[0]
        ]
    return [piece for piece in pieces if piece[1] - piece[0] > 5.0]


def _furnish(
    rng: np.random.Generator, stage: _Stage, side: float, low: float, high: float, use: int
) -> None:
    """What stands on one plot."""
    road, place = stage.road, stage.place
    front, width, middle = road.frontage, high - low, (low + high) / 2
    facing = 0.0 if side > 0 else np.pi
    if use == BUILDING:
        setback = float(rng.choice([0.2, 3.0], p=[0.7, 0.3]))
        block = building(
            rng,
            width - rng.uniform(0.3, 2.5),
            rng.uniform(9.0, 14.0),
            rng.uniform(4.0, 18.0),
            pick(rng, WALLS),
        )
        place(block, middle, side * (front + setback), facing)
        if setback > 1.0:
            for s in np.arange(low + 1.5, high - 1.0, 2.4):
                place(bush(rng), s, side * (front + 1.2), 0.0, 2.0)
    elif use == PARK:
        for _ in range(int(width * 0.4)):
            plant = tree(rng, rng.uniform(4.0, 10.0)) if rng.random() < 0.6 else bush(rng)
            place(
                plant,
                rng.uniform(low + 1.0, high - 1.0),
                side * (front + rng.uniform(2.0, PLOT_DEPTH)),
                0.0,
                2.5,
            )
    elif use == PARKING:
        hedge = box(
            (-width / 2 + 0.5, 0.0, 0.0), (width / 2 - 0.5, 0.8, 1.2), pick(rng, LEAVES), FOLIAGE
        )
        place(hedge, middle, side * (front + PLOT_DEPTH - 1.0), facing)
    elif use == SITE:
        for _ in range(3):
            size = rng.uniform(1.0, 2.5)
            heap = cylinder(
                (0, 0, 0),
                (0, 0, 0.55 * size),
                (size, 0.15 * size),
                pick(rng, (EARTH, (0.6, 0.58, 0.55))),
            )
            place(
                heap,
                rng.uniform(low + 2.0, high - 2.0),
                side * (front + rng.uniform(15.0, 21.0)),
                0.0,
                5.0,
            )
        if rng.random() < 0.5:
            place(
                box((-3.0, 0.0, 0.0), (3.0, 2.4, 2.6), pick(rng, WALLS), PAINT),
                middle,
                side * (front + 20.0),
                facing,
                5.0,
            )
