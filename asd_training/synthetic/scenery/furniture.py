# SPDX-License-Identifier: Apache-2.0
"""Street furniture: lamps, signals, signs, stops, billboards, masts. Origin on the ground."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    CHROME,
    CONCRETE,
    GLASS,
    LAMP,
    LIT_SIGN,
    MATTE,
    PAINT,
    PLASTIC,
    POSTER,
    RETRO,
    SHEET,
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
from asd_training.synthetic.scenery.buildings import GREYS, VIVID

POLES = (
    (0.5, 0.5, 0.52),
    (0.12, 0.13, 0.13),
    (0.62, 0.63, 0.62),
    (0.16, 0.24, 0.2),
    (0.4, 0.3, 0.22),
)
LIGHT = (0.9, 0.9, 0.85)
SIGN_FACES = (
    (0.75, 0.1, 0.1), (0.1, 0.25, 0.6), (0.9, 0.8, 0.1), (0.9, 0.9, 0.9), (0.1, 0.4, 0.25),
    (0.92, 0.45, 0.1),
)  # fmt: skip


class Lamps:
    """The lamp posts of one street, all alike, and where their lights are."""

    def __init__(self, rng: np.random.Generator):
        height, reach = rng.uniform(4.0, 11.0), rng.uniform(0.8, 2.8)
        color, style = pick(rng, POLES), rng.random()
        pole = tube(
            [(0, 0, 0), (0, 0, 0.9), (0, 0, 1.0), (0, 0, height)],
            (0.13, 0.13, 0.08, 0.06),
            color,
            PAINT,
        )
        self.light = np.array([0.0, 0.0, height + 0.2])  # in the post's frame
        if style < 0.3 and height < 6.5:  # a globe or a lantern on top
            head = ellipsoid((0, 0, height + 0.2), (0.24, 0.24, 0.28), LIGHT, LAMP, sides=6)
            self.mesh = merge([pole, head])
            return
        arms = (1.0, -1.0) if style > 0.85 else (1.0,)
        parts = [pole]
        for x in arms:
            tip = height + rng.uniform(0.0, 0.6)
            bend = [(0, 0, height), (0.6 * x * reach, 0, tip), (x * reach, 0, tip + 0.05)]
            parts.append(tube(bend, (0.06, 0.05, 0.04), color, PAINT, sides=5))
            ends = sorted((x * reach, x * (reach + 0.7)))
            parts.append(box((ends[0], -0.14, tip), (ends[1], 0.14, tip + 0.14), color, PAINT))
            parts.append(box((ends[0], -0.11, tip - 0.03), (ends[1], 0.11, tip), LIGHT, LAMP))
        self.light = np.array([reach + 0.35, 0.0, height])
        self.mesh = merge(parts)
        if rng.random() < 0.15:  # a flag of advertisement
            flag = box(
                (0.15, -0.02, 0.5 * height),
                (0.85, 0.02, 0.5 * height + 1.6),
                pick(rng, VIVID),
                POSTER,
            )
            self.mesh = merge([self.mesh, flag])


def sign(rng: np.random.Generator) -> Mesh:
    """One to three traffic signs on a pole, facing -x."""
    color = pick(rng, POLES)
    top = rng.uniform(2.3, 3.2)
    parts = [cylinder((0, 0, 0), (0, 0, top), (0.04, 0.04), color, sides=5, material=CHROME)]
    z = top
    for _ in range(int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))):
        size = rng.uniform(0.25, 0.4)
        z -= size
        face = pick(rng, SIGN_FACES)
        sides = int(rng.choice([3, 4, 8, 12]))
        plate = cylinder((-0.03, 0, z), (-0.06, 0, z), (size, size), face, sides, RETRO)
        inner = tuple(np.clip(1.1 - np.array(face), 0.05, 0.95)) if rng.random() < 0.4 else LIGHT
        mark = cylinder((-0.06, 0, z), (-0.07, 0, z), (0.6 * size,) * 2, inner, sides, RETRO)
        parts += [plate, mark]
        z -= size + 0.05
    return merge(parts)


def board_sign(rng: np.random.Generator) -> Mesh:
    """A rectangular sign on one or two posts, facing -x."""
    width, height, low = rng.uniform(0.5, 2.2), rng.uniform(0.4, 1.3), rng.uniform(1.0, 2.4)
    color = pick(rng, SIGN_FACES + VIVID)
    face = box((-0.05, -width / 2, low), (0.0, width / 2, low + height), color, POSTER)
    posts = (0.0,) if width < 1.0 else (-0.4 * width, 0.4 * width)
    poles = [
        cylinder((0.04, y, 0), (0.04, y, low + height), (0.04, 0.04), POLES[0], 5, CHROME)
        for y in posts
    ]
    return merge([face.patterned(int(rng.integers(65536))), *poles])


def signal_head(x: float, y: float, z: float, green: bool, color: tuple[float, ...]) -> list[Mesh]:
    """Three lights that face -x, the lowest at `z`."""
    parts = [
        box((x - 0.2, y - 0.17, z), (x, y + 0.17, z + 0.98), color, PLASTIC),
        box((x - 0.02, y - 0.28, z - 0.12), (x, y + 0.28, z + 1.1), (0.06, 0.06, 0.06), PLASTIC),
    ]
    lamps = (((0.1, 0.9, 0.4), green), ((0.95, 0.65, 0.1), False), ((0.95, 0.1, 0.08), not green))
    for i, (light, on) in enumerate(lamps):
        shown = light if on else tuple(0.25 * np.array(light))
        center = z + 0.18 + 0.31 * i
        material = LIT_SIGN if on else MATTE
        parts.append(
            cylinder((x - 0.2, y, center), (x - 0.24, y, center), (0.11, 0.11), shown, 8, material)
        )
    return parts


def signal(rng: np.random.Generator, green: bool, reach: float) -> Mesh:
    """A signal on a pole at the side of the lane, facing -x; over the lanes, too, with an arm of
    `reach` m to +y."""
    color = pick(rng, POLES)
    case = ((0.1, 0.1, 0.1), (0.75, 0.6, 0.1))[int(rng.random() < 0.3)]
    parts = signal_head(-0.1, 0.0, 2.4, green, case)
    if rng.random() < 0.6:
        top = rng.uniform(5.3, 6.3)
        parts.append(tube([(0, 0, 0), (0, 0, top)], (0.13, 0.09), color, PAINT))
        parts.append(
            tube([(0, 0, top), (0, reach, top + 0.2)], (0.08, 0.05), color, PAINT, sides=5)
        )
        for y in np.arange(reach, 1.0, -3.3):
            parts += signal_head(-0.1, float(y), top - 0.7, green, case)
    else:
        parts.append(tube([(0, 0, 0), (0, 0, 3.6)], (0.08, 0.07), color, PAINT))
    if rng.random() < 0.5:  # for pedestrians, to the side
        parts.append(box((0.0, 0.1, 2.2), (0.3, 0.3, 2.9), case, PLASTIC))
        parts.append(box((0.05, 0.3, 2.3), (0.25, 0.31, 2.5), (0.9, 0.5, 0.2), LIT_SIGN))
    return merge(parts)


def gantry(rng: np.random.Generator, half: float) -> Mesh:
    """Signs over the road, facing -x, on a frame that spans y = -half to half."""
    high, color = rng.uniform(5.6, 7.0), pick(rng, GREYS)
    parts = [
        box((-0.2, y - 0.2, 0), (0.2, y + 0.2, high + 0.6), color, SHEET) for y in (-half, half)
    ]
    for z in (high, high + 1.2):
        parts.append(box((-0.15, -half, z), (0.15, half, z + 0.2), color, SHEET))
    y = -half + 1.0
    while y < half - 3.0:
        width = rng.uniform(2.5, 5.0)
        face = pick(rng, ((0.05, 0.35, 0.2), (0.08, 0.2, 0.5), (0.1, 0.1, 0.1)))
        board = box((-0.3, y, high - 0.5), (-0.2, min(y + width, half), high + 1.6), face, POSTER)
        parts.append(board.patterned(int(rng.integers(65536))))
        y += width + rng.uniform(0.3, 4.0)
    return merge(parts)


def bus_stop(rng: np.random.Generator) -> Mesh:
    """A shelter along x, open to -y."""
    length, color = rng.uniform(3.0, 6.0), pick(rng, POLES)
    parts = [box((0, -0.2, 2.4), (length, 1.4, 2.55), color, PAINT)]
    parts.append(box((0.1, 1.25, 0.3), (length - 0.1, 1.3, 2.3), (0.4, 0.5, 0.5), GLASS))
    for x in (0.05, length - 0.05):
        parts.append(box((x - 0.05, 1.2, 0), (x + 0.05, 1.3, 2.4), color, PAINT))
    picture = box((-0.08, 0.1, 0.3), (0.08, 1.3, 2.2), (0.8, 0.8, 0.8), POSTER)
    parts.append(picture.patterned(int(rng.integers(65536))))
    parts.append(box((0.6, 0.85, 0.42), (length - 0.6, 1.2, 0.5), (0.45, 0.33, 0.2), WOOD))
    parts.append(
        cylinder((length + 0.8, 0, 0), (length + 0.8, 0, 2.9), (0.04, 0.04), color, 5, CHROME)
    )
    flag = box((length + 0.8, -0.02, 2.3), (length + 1.3, 0.02, 2.9), pick(rng, VIVID), RETRO)
    return merge([*parts, flag])


def billboard(rng: np.random.Generator) -> Mesh:
    """A large picture that faces -y, x from -width / 2."""
    width, height, low = rng.uniform(2.5, 9.0), rng.uniform(2.0, 4.0), rng.uniform(0.6, 5.0)
    face = box((-width / 2, 0, low), (width / 2, 0.15, low + height), pick(rng, VIVID), POSTER)
    legs = [
        box((x - 0.12, 0.15, 0), (x + 0.12, 0.4, low + height), POLES[0], SHEET)
        for x in (-0.3 * width, 0.3 * width)
    ]
    return merge([face.patterned(int(rng.integers(65536))), *legs])


def utility_pole(rng: np.random.Generator) -> Mesh:
    """A pole with cross arms along y, 8.5 m high, and a transformer."""
    color = (0.36, 0.29, 0.22)
    parts = [tube([(0, 0, 0), (0, 0, 8.5)], (0.16, 0.1), color, WOOD)]
    for z in (8.2, 7.4):
        parts.append(box((-0.06, -1.1, z), (0.06, 1.1, z + 0.12), color, WOOD))
    if rng.random() < 0.3:
        parts.append(cylinder((0.3, 0, 5.8), (0.3, 0, 6.9), (0.28, 0.28), GREYS[0], material=SHEET))
    return merge(parts)


def overpass(rng: np.random.Generator, half: float, wide: float) -> Mesh:
    """A bridge over the road, along y, `wide` m wide, with pillars at y = -half and half."""
    low = rng.uniform(4.9, 6.5)
    deck = low + rng.uniform(1.0, 1.8)
    color = pick(rng, GREYS)
    parts = [box((-wide / 2, -75.0, low), (wide / 2, 75.0, deck), color, CONCRETE)]
    for x in (-wide / 2, wide / 2 - 0.25):
        parts.append(box((x, -75.0, deck), (x + 0.25, 75.0, deck + 1.0), color, CONCRETE))
    for y in (-half - 18.0, -half, half, half + 18.0):
        for x in np.arange(-wide / 2 + 1.0, wide / 2, 5.0):
            parts.append(cylinder((x, y, 0), (x, y, low), (0.7, 0.7), color, 8, CONCRETE))
    return merge(parts)


def crane(rng: np.random.Generator) -> Mesh:
    """A tower crane."""
    color = pick(rng, ((0.85, 0.65, 0.1), (0.75, 0.15, 0.1), (0.85, 0.85, 0.85)))
    high, reach, turn = rng.uniform(25.0, 55.0), rng.uniform(22.0, 40.0), rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(turn), np.sin(turn), 0.0])
    parts = []
    for x in (-0.8, 0.8):
        for y in (-0.8, 0.8):
            parts.append(beam((x, y, 0), (x, y, high), 0.22, color, PAINT))
    for z in np.arange(1.0, high - 2.0, 2.4):
        parts.append(beam((-0.8, -0.8, z), (0.8, 0.8, z + 2.0), 0.14, color, PAINT))
    top = np.array([0.0, 0.0, high])
    for rise in (0.0, 1.4):
        start, end = top - 10.0 * along + [0, 0, rise], top + reach * along + [0, 0, 0.7 * rise]
        parts.append(beam(start, end, 0.35, color, PAINT))
    weight = top - 9.5 * along
    parts.append(box(weight - 1.2, weight + 1.2, GREYS[0], CONCRETE))
    parts.append(box((-1.0, -1.0, high - 2.2), (1.0, 1.0, high), (0.85, 0.85, 0.85), PAINT))
    return merge(parts)


def containers(rng: np.random.Generator) -> Mesh:
    """Some shipping containers or site huts, along x."""
    parts = []
    for i in range(int(rng.integers(1, 4))):
        for level in range(int(rng.integers(1, 4))):
            low = (rng.normal(0.0, 0.1), 2.7 * i, 2.6 * level)
            high = (low[0] + float(rng.choice([6.0, 12.0])), low[1] + 2.44, low[2] + 2.59)
            parts.append(box(low, high, pick(rng, VIVID + GREYS), SHEET))
    return merge(parts)
