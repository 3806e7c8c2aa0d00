# SPDX-License-Identifier: Apache-2.0
"""Buildings: x along the front from -width / 2, the front at y = 0 looking to -y, z up."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    BRICK,
    CONCRETE,
    FACADE,
    GLASS,
    LIT_SIGN,
    MATTE,
    PAINT,
    PLASTER,
    POSTER,
    SHEET,
    STONE,
    TARPAULIN,
    TILES,
    WOOD,
    Color,
    Mesh,
    beam,
    box,
    hexahedron,
    merge,
    pick,
    wedge,
)
from asd_training.synthetic.street.kinds import HALL, HOUSE, OFFICE, TERRACE, TOWER

BRICKS = ((0.5, 0.29, 0.22), (0.58, 0.36, 0.27), (0.42, 0.27, 0.22), (0.62, 0.5, 0.4))
PLASTERS = (
    (0.8, 0.78, 0.74), (0.75, 0.7, 0.5), (0.72, 0.66, 0.58), (0.85, 0.8, 0.7), (0.62, 0.66, 0.7),
    (0.78, 0.6, 0.5), (0.6, 0.68, 0.58), (0.9, 0.9, 0.88),
)  # fmt: skip
GREYS = ((0.5, 0.5, 0.52), (0.66, 0.65, 0.62), (0.38, 0.4, 0.43), (0.75, 0.74, 0.72))
COATS = (
    (0.62, 0.66, 0.7),
    (0.3, 0.4, 0.55),
    (0.75, 0.75, 0.74),
    (0.5, 0.3, 0.25),
    (0.4, 0.48, 0.4),
)
ROOFS = ((0.45, 0.22, 0.17), (0.28, 0.27, 0.28), (0.36, 0.26, 0.2), (0.35, 0.37, 0.4))
PANE, FRAME = (0.16, 0.19, 0.22), ((0.9, 0.9, 0.88), (0.2, 0.2, 0.22), (0.45, 0.33, 0.24))
VIVID = (
    (0.75, 0.12, 0.1), (0.1, 0.25, 0.6), (0.12, 0.45, 0.25), (0.9, 0.75, 0.15), (0.15, 0.15, 0.16),
    (0.9, 0.45, 0.1), (0.9, 0.9, 0.9), (0.45, 0.15, 0.45),
)  # fmt: skip
WALLS = {BRICK: BRICKS, PLASTER: PLASTERS, STONE: GREYS, CONCRETE: GREYS, FACADE: PLASTERS + BRICKS}


def building(
    rng: np.random.Generator, style: int, width: float, depth: float, height: float
) -> Mesh:
    """A building of a style of `kinds`; `height` is a wish."""
    build = {TERRACE: _terrace, HOUSE: _house, OFFICE: _office, TOWER: _tower, HALL: _hall}[style]
    return build(rng, width, depth, height)


def panels(
    x: np.ndarray, z: np.ndarray, size: tuple[float, float], y: float, color: Color, material: int
) -> Mesh:
    """Upright rectangles in the plane y with their lower left corners at x, z (N,)."""
    count = len(x)
    corners = np.empty((count, 4, 3), np.float32)
    corners[:, :, 0] = x[:, None] + np.array([0.0, size[0], size[0], 0.0])
    corners[:, :, 2] = z[:, None] + np.array([0.0, 0.0, size[1], size[1]])
    corners[:, :, 1] = y
    triangles = corners[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3, 3)
    albedo = np.array(color, np.float32) ** np.float32(2.2)
    return Mesh(
        triangles,
        np.full((2 * count, 3), albedo, np.float32),
        np.full(2 * count, material, np.uint8),
        np.repeat(np.arange(count, dtype=np.uint16), 2),
    )


def _windows(
    rng: np.random.Generator, width: float, low: float, high: float, storey: float
) -> Mesh:
    """Framed windows on a wall at y = 0 between x = 0 and `width`, from one height to another."""
    pitch = rng.uniform(1.8, 3.6)
    size = (pitch * rng.uniform(0.35, 0.75), storey * rng.uniform(0.4, 0.65))
    columns, rows = max(int((width - 0.6) / pitch), 1), max(int((high - low) / storey), 1)
    x = (width - columns * pitch) / 2.0 + (np.arange(columns) + 0.5) * pitch - size[0] / 2.0
    z = low + np.arange(rows) * storey + 0.28 * storey
    x, z = (v.ravel() for v in np.meshgrid(x, z))
    frame = pick(rng, FRAME)
    rim = rng.uniform(0.05, 0.14)
    parts = [
        panels(x - rim, z - rim, (size[0] + 2 * rim, size[1] + 2 * rim), -0.025, frame, PLASTER),
        panels(x, z, size, -0.05, PANE, GLASS),
    ]
    if rng.random() < 0.6:  # a bar across
        bars = (0.06, size[1])
        parts.append(panels(x + size[0] / 2 - 0.03, z, bars, -0.06, frame, PLASTER))
    return merge(parts)


def _openings(
    rng: np.random.Generator, width: float, depth: float, low: float, high: float, storey: float
) -> list[Mesh]:
    """Windows on the front and on both sides."""
    if high - low < 0.8 * storey:
        return []
    front = _windows(rng, width, low, high, storey)
    side = _windows(rng, depth, low, high, storey)
    return [
        front.moved(-width / 2.0, 0.0),
        side.moved(width / 2.0, 0.0, np.pi / 2),
        side.moved(-width / 2.0, depth, -np.pi / 2),
    ]


def _shops(rng: np.random.Generator, width: float, height: float) -> list[Mesh]:
    """A ground floor of shops at y = 0."""
    parts, x = [], -width / 2.0 + 0.4
    while x < width / 2.0 - 3.0:
        front = min(rng.uniform(3.5, 8.0), width / 2.0 - 0.4 - x)
        color, here = pick(rng, VIVID), np.array([x])
        parts.append(panels(here, np.array([0.0]), (front, height), -0.03, color, PAINT))
        panes = np.linspace(x + 0.15, x + front - 0.1, max(int(front / 1.8), 1) + 1)
        pane = (float(panes[1] - panes[0]) - 0.1, height - 1.25)
        parts.append(panels(panes[:-1], np.full(len(panes) - 1, 0.4), pane, -0.06, PANE, GLASS))
        lit = LIT_SIGN if rng.random() < 0.6 else POSTER
        sign = box((x, -0.22, height - 0.75), (x + front, 0.0, height), pick(rng, VIVID), lit)
        parts.append(sign.patterned(int(rng.integers(65536))))
        if rng.random() < 0.35:
            poster = panels(here + 0.3, np.array([0.6]), (1.0, 1.5), -0.08, (0.8, 0.8, 0.8), POSTER)
            parts.append(poster.patterned(int(rng.integers(65536))))
        if rng.random() < 0.35:
            ends = (x, x + front)
            parts.append(
                wedge(ends, ends, (-1.5, 0.0), (-0.1, 0.0), (height - 1.0, height - 0.4), color,
                      TARPAULIN)
            )  # fmt: skip
        if rng.random() < 0.2:  # a sign that juts out
            sign = box((x + 0.2, -1.1, height), (x + 0.35, -0.1, height + 0.9), color, LIT_SIGN)
            parts.append(sign.patterned(int(rng.integers(65536))))
        x += front + rng.uniform(0.2, 1.5)
    return parts


def _gable(width: float, depth: float, low: float, rise: float, color: Color, ridge: str) -> Mesh:
    """A pitched roof over a rectangle, the ridge along "x" or "y"."""
    x, y = (-width / 2.0 - 0.35, width / 2.0 + 0.35), (-0.45, depth + 0.35)
    tops = (x, (0.5 * depth - 0.05, 0.5 * depth + 0.05)) if ridge == "x" else ((-0.05, 0.05), y)
    return wedge(x, tops[0], y, tops[1], (low, low + rise), color, TILES)


def _terrace(rng: np.random.Generator, width: float, depth: float, height: float) -> Mesh:
    material = int(rng.choice([BRICK, PLASTER, STONE, FACADE], p=[0.4, 0.25, 0.1, 0.25]))
    wall = pick(rng, WALLS[material])
    storey = rng.uniform(2.8, 3.7)
    ground = rng.uniform(3.2, 4.2)
    high = ground + max(round((height - ground) / storey), 1) * storey
    x = (-width / 2.0, width / 2.0)
    shops = rng.random() < 0.55
    parts = [box((x[0], 0.0, 0.0), (x[1], depth, high), wall, material)]
    if material != FACADE:
        parts += _openings(rng, width, depth, ground, high, storey)
    if shops:
        parts += _shops(rng, width, ground - 0.2)
    elif material != FACADE:
        door = np.array([rng.uniform(x[0] + 0.5, x[1] - 2.0)])
        parts.append(panels(door, np.zeros(1), (1.2, 2.3), -0.05, pick(rng, VIVID), WOOD))
        parts += _openings(rng, width, depth, 0.4, ground, ground - 0.4)
    trim = tuple(np.clip(rng.uniform(0.7, 1.2) * np.array(wall), 0.0, 1.0))
    parts.append(
        box((x[0] - 0.15, -0.3, high), (x[1] + 0.15, depth + 0.1, high + 0.4), trim, STONE)
    )
    if rng.random() < 0.3:
        parts.append(box((x[0], -0.12, ground), (x[1], 0.0, ground + 0.25), trim, STONE))
    if rng.random() < 0.35:
        rise = rng.uniform(2.0, 4.0)
        parts.append(_gable(width, depth, high + 0.4, rise, pick(rng, ROOFS), "x"))
    if rng.random() < 0.25:
        parts += _balconies(rng, width, ground, high, storey)
    for _ in range(int(rng.integers(0, 3))):  # chimneys, lift houses, air conditioning
        cx, cy, size = (
            rng.uniform(x[0] + 1, x[1] - 1),
            rng.uniform(1.0, depth - 2.0),
            rng.uniform(0.5, 1.6),
        )
        top = high + rng.uniform(1.2, 4.0)
        parts.append(box((cx, cy, high), (cx + size, cy + size, top), wall, material))
    return merge(parts)


def _balconies(
    rng: np.random.Generator, width: float, low: float, high: float, storey: float
) -> list[Mesh]:
    parts, pitch = [], rng.uniform(3.5, 6.0)
    color = pick(rng, GREYS)
    material = GLASS if rng.random() < 0.3 else CONCRETE
    for x in np.arange(-width / 2.0 + 1.0, width / 2.0 - 2.8, pitch):
        for z in np.arange(low, high - 1.0, storey):
            parts.append(box((x, -1.2, z), (x + 2.4, 0.0, z + 0.15), color, CONCRETE))
            parts.append(box((x, -1.25, z), (x + 2.4, -1.17, z + 1.05), color, material))
    return parts


def _house(rng: np.random.Generator, width: float, depth: float, height: float) -> Mesh:
    material = int(rng.choice([BRICK, PLASTER, WOOD], p=[0.35, 0.4, 0.25]))
    wall = pick(rng, PLASTERS if material == WOOD else WALLS[material])
    width, depth = min(width, rng.uniform(8.0, 14.0)), min(depth, rng.uniform(7.0, 11.0))
    high = 2.9 * int(rng.integers(1, 3))
    x = (-width / 2.0, width / 2.0)
    ridge = str(rng.choice(["x", "y"]))
    rise = rng.uniform(0.25, 0.45) * (depth if ridge == "x" else width)
    parts = [
        box((x[0], 0.0, 0.0), (x[1], depth, high), wall, material),
        *_openings(rng, width, depth, 0.2, high, 2.8),
        _gable(width, depth, high, rise, pick(rng, ROOFS), ridge),
    ]
    door = rng.uniform(x[0] + 0.5, x[1] - 1.6)
    parts.append(panels(np.array([door]), np.zeros(1), (1.1, 2.2), -0.07, pick(rng, VIVID), WOOD))
    if rng.random() < 0.4:
        porch = box((door - 0.8, -1.6, 2.4), (door + 1.9, 0.0, 2.6), pick(rng, ROOFS), TILES)
        posts = [
            box((a, -1.55, 0), (a + 0.12, -1.43, 2.4), (0.9, 0.9, 0.88), WOOD)
            for a in (door - 0.75, door + 1.7)
        ]
        parts += [porch, *posts]
    if rng.random() < 0.4:
        side = box((x[1], 0.5, 0.0), (x[1] + 3.4, 6.5, 2.6), wall, material)
        gate = panels(
            np.array([x[1] + 0.4]), np.zeros(1), (2.6, 2.1), 0.45, pick(rng, GREYS), SHEET
        )
        parts += [side, gate]
    if rng.random() < 0.6:
        cx = rng.uniform(x[0] + 1.0, x[1] - 1.5)
        top = high + rise + rng.uniform(0.2, 0.8)
        parts.append(
            box((cx, 0.4 * depth, high), (cx + 0.7, 0.4 * depth + 0.7, top), BRICKS[0], BRICK)
        )
    return merge(parts)


def _office(rng: np.random.Generator, width: float, depth: float, height: float) -> Mesh:
    storey = rng.uniform(3.3, 4.2)
    floors = max(int(height / storey), 2)
    high = floors * storey
    x = (-width / 2.0, width / 2.0)
    material = int(rng.choice([CONCRETE, STONE, BRICK, PLASTER]))
    wall = pick(rng, WALLS[material])
    look = rng.random()
    recess = rng.uniform(1.5, 4.0) if rng.random() < 0.35 else 0.0  # the ground floor, on pillars
    low = 0.0 if recess == 0.0 else storey
    parts = []
    if look < 0.35:  # bands of glass
        parts.append(box((x[0], 0.0, low), (x[1], depth, high), wall, material))
        tall = storey * rng.uniform(0.4, 0.65)
        z = np.arange(1 if low else 0, floors) * storey + 0.3 * storey
        for band, place in ((width, (x[0], 0.0, 0.0)), (depth, (x[1], 0.0, np.pi / 2)),
                            (depth, (x[0], depth, -np.pi / 2))):  # fmt: skip
            glass = panels(np.full(len(z), 0.3), z, (band - 0.6, tall), -0.04, PANE, GLASS)
            parts.append(glass.moved(*place))
    elif look < 0.65:  # all glass, behind fins or bars
        tint = tuple(np.array(PANE) * rng.uniform(0.7, 2.2))
        parts.append(box((x[0], 0.0, low), (x[1], depth, high), tint, GLASS))
        bar = pick(rng, GREYS)
        for z in np.arange(low, high + 0.1, storey):
            parts.append(
                box((x[0] - 0.05, -0.08, z - 0.15), (x[1] + 0.05, depth, z + 0.1), bar, SHEET)
            )
        pitch = rng.uniform(1.5, 3.5)
        columns = np.arange(0.0, width, pitch)
        parts.append(
            panels(x[0] + columns, np.full(len(columns), low), (0.12, high - low), -0.1, bar, SHEET)
        )
    elif look < 0.8:
        parts.append(box((x[0], 0.0, low), (x[1], depth, high), pick(rng, PLASTERS), FACADE))
    else:
        parts.append(box((x[0], 0.0, low), (x[1], depth, high), wall, material))
        parts += _openings(rng, width, depth, max(low, 1.0), high, storey)
    if recess:
        back = (x[0] + 0.5, recess, 0.0), (x[1] - 0.5, depth, low)
        parts.append(box(*back, PANE if rng.random() < 0.6 else wall, GLASS))
        leaning = rng.uniform(1.0, 3.0) if rng.random() < 0.3 else 0.0
        for i, cx in enumerate(np.arange(x[0] + 0.8, x[1], rng.uniform(4.0, 7.0))):
            foot = cx + (leaning if i % 2 else -leaning)
            parts.append(
                beam((foot, 0.6, 0.0), (cx, 0.6, low), rng.uniform(0.4, 0.9), wall, material)
            )
    elif rng.random() < 0.5:
        parts += _shops(rng, width, min(storey, 3.6))
    if rng.random() < 0.4:  # its name
        a = rng.uniform(x[0], x[1] - 5.0)
        z = rng.choice([4.2, high - 1.6])
        board = box(
            (a, -0.25, z), (a + rng.uniform(3.0, 5.0), 0.0, z + 1.1), pick(rng, VIVID), LIT_SIGN
        )
        parts.append(board.patterned(int(rng.integers(65536))))
    parts.append(box((x[0], 0.0, high), (x[1], depth, high + 0.6), wall, material))
    parts.append(
        box(
            (x[0] + 2, 3.0, high),
            (x[0] + 2 + 0.4 * width, depth - 2, high + 2.8),
            pick(rng, GREYS),
            SHEET,
        )
    )
    return merge(parts)


def _tower(rng: np.random.Generator, width: float, depth: float, height: float) -> Mesh:
    height = max(height, rng.uniform(35.0, 110.0))
    base = _office(rng, width, depth, rng.uniform(8.0, 16.0))
    parts = [base]
    glass = rng.random() < 0.4
    tint = tuple(np.array(PANE) * rng.uniform(0.7, 2.5)) if glass else pick(rng, GREYS + PLASTERS)
    material = GLASS if glass else FACADE
    low, inset = 0.0, rng.uniform(0.3, 3.0)
    for _ in range(int(rng.integers(1, 4))):
        top = min(low + height * rng.uniform(0.4, 1.0), height)
        corner = (-width / 2.0 + inset, inset, low)
        parts.append(box(corner, (width / 2.0 - inset, depth - inset, top), tint, material))
        if glass:
            for z in np.arange(low + 3.6, top, 3.6):
                band = (width / 2.0 - inset + 0.03, depth - inset, z + 0.5)
                parts.append(
                    box((corner[0] - 0.03, inset - 0.04, z), band, (0.55, 0.56, 0.58), SHEET)
                )
        low, inset = top, inset + rng.uniform(0.5, 2.5)
    return merge(parts)


def _hall(rng: np.random.Generator, width: float, depth: float, height: float) -> Mesh:
    high = rng.uniform(5.0, 11.0)
    material = int(rng.choice([SHEET, BRICK, CONCRETE], p=[0.65, 0.2, 0.15]))
    wall = pick(rng, COATS if material == SHEET else WALLS[material])
    x = (-width / 2.0, width / 2.0)
    parts = [box((x[0], 0.0, 0.0), (x[1], depth, high), wall, material)]
    if rng.random() < 0.5:
        parts.append(_gable(width, depth, high, rng.uniform(0.8, 2.0), pick(rng, ROOFS), "x"))
    gates = np.arange(x[0] + 1.0, x[1] - 4.5, rng.uniform(5.0, 9.0))
    size = (rng.uniform(3.0, 4.2), rng.uniform(3.2, min(4.6, high - 0.5)))
    parts.append(panels(gates, np.zeros(len(gates)), size, -0.05, pick(rng, COATS + VIVID), SHEET))
    ribbon = panels(
        np.array([x[0] + 0.5]), np.array([high - 1.2]), (width - 1.0, 0.8), -0.04, PANE, GLASS
    )
    parts.append(ribbon)
    if rng.random() < 0.6:
        a = rng.uniform(x[0], x[1] - 6.0)
        board = box((a, -0.2, high - 2.6), (a + 5.0, 0.0, high - 1.4), pick(rng, VIVID), LIT_SIGN)
        parts.append(board.patterned(int(rng.integers(65536))))
    if rng.random() < 0.4:  # silos
        radius = rng.uniform(1.2, 2.2)
        for i in range(int(rng.integers(1, 4))):
            cx = x[0] + radius + 2.2 * radius * i
            corners = [
                (cx + a * radius, depth + b * radius, z)
                for z in (0.0, high + 4.0) for b in (-0.7, 0.7) for a in (-0.7, 0.7)
            ]  # fmt: skip
            parts.append(hexahedron(np.array(corners), pick(rng, GREYS), SHEET))
    if rng.random() < 0.25:
        top = high + rng.uniform(5.0, 20.0)
        parts.append(
            beam((x[1] - 2, depth - 2, 0), (x[1] - 2, depth - 2, top), 1.2, BRICKS[0], MATTE)
        )
    return merge(parts)
