# SPDX-License-Identifier: Apache-2.0
"""Meshes of cones and barriers: x forward, y left, z up, in metres.

`style` is a number that the kind and the colours are drawn from: things of one row share it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    CHROME,
    CLOTH,
    CONCRETE,
    LAMP,
    MATTE,
    PLASTIC,
    POSTER,
    RETRO,
    RUBBER,
    SHEET,
    TARPAULIN,
    WOOD,
    Color,
    Mesh,
    beam,
    box,
    cylinder,
    hexahedron,
    loft,
    merge,
    pick,
    tube,
)

BLACK, STEEL, WHITE = (0.13, 0.13, 0.13), (0.6, 0.61, 0.62), (0.88, 0.88, 0.86)
ORANGES = ((0.95, 0.38, 0.1), (0.9, 0.28, 0.1), (0.85, 0.4, 0.2), (0.8, 0.22, 0.14))
CONE_COLORS = (*ORANGES, *ORANGES, (0.75, 0.85, 0.2), (0.9, 0.75, 0.15), (0.2, 0.35, 0.6))
REDS = ((0.66, 0.27, 0.2), (0.72, 0.2, 0.14), (0.85, 0.38, 0.14), (0.58, 0.3, 0.24))
WHITES = ((0.86, 0.85, 0.82), (0.78, 0.76, 0.7), (0.72, 0.7, 0.64))


def _of_style(rng: np.random.Generator, style: int | None) -> np.random.Generator:
    return rng if style is None else np.random.default_rng(style)


def traffic_cone(
    rng: np.random.Generator,
    length: float,
    width: float,
    height: float,
    style: int | None = None,
) -> Mesh:
    common = _of_style(rng, style)
    kind = common.choice(["cone", "post", "panel"], p=[0.8, 0.14, 0.06])
    color, sides = pick(common, CONE_COLORS), int(common.choice([10, 12, 14]))
    base_color = color if common.random() < 0.45 else BLACK
    sleeves = int(common.choice([0, 1, 2, 3], p=[0.12, 0.3, 0.43, 0.15]))
    white, start = pick(common, (WHITE, WHITE, (0.75, 0.75, 0.75))), common.uniform(0.3, 0.55)
    ratio, tip, round_base = (
        common.uniform(0.62, 0.85),
        common.uniform(0.1, 0.22),
        common.random() < 0.2,
    )
    worn = float(rng.uniform(0.7, 1.0))  # dirt and sun
    color = tuple(worn * value + 0.1 * (1.0 - worn) for value in color)
    half, foot = min(length, width) / 2.0, 0.05 * height
    if kind == "panel":
        return merge([_base(half, foot, BLACK, round_base), *_panel(half, height, color, white)])
    if kind == "post":
        ratio, tip = 0.32, 0.85
    bottom, top = ratio * half, tip * ratio * half
    free = 1.0 - start
    edges = [
        0.0,
        *(start + free * (2 * i + k) / (2 * sleeves + 0.6) for i in range(sleeves) for k in (0, 1)),
        1.0,
    ]
    parts = [_base(half, foot, base_color, round_base)]
    for band, (low, high) in enumerate(pairwise(edges)):
        tint, material = (white, RETRO) if band % 2 else (color, PLASTIC)
        swell = 0.004 if band % 2 else 0.0
        parts.append(
            cylinder(
                (0.0, 0.0, foot + low * (height - foot)),
                (0.0, 0.0, foot + high * (height - foot)),
                (bottom + (top - bottom) * low + swell, bottom + (top - bottom) * high + swell),
                tint,
                sides,
                material,
            )
        )
    if kind == "cone" and rng.random() < 0.06:  # a disc, or a lamp, stuck on top
        disc = rng.random() < 0.5
        depth, radius = (0.015, 0.11) if disc else (0.06, 0.08)
        place = height + radius
        parts.append(
            cylinder(
                (-depth, 0.0, place),
                (depth, 0.0, place),
                (radius, radius),
                color if disc else (0.95, 0.65, 0.1),
                10,
                RETRO if disc else LAMP,
            )
        )
    return merge(parts).patterned(int(rng.integers(65536)))


def _base(half: float, height: float, color: Color, round_base: bool) -> Mesh:
    """The foot of a cone: a square with bevelled corners, or a disc."""
    if round_base:
        return cylinder((0, 0, 0), (0, 0, height), (half, 0.93 * half), color, 10, RUBBER)
    corners = np.array(
        [(1, 0.8), (0.8, 1), (-0.8, 1), (-1, 0.8), (-1, -0.8), (-0.8, -1), (0.8, -1), (1, -0.8)]
    )
    rings = [
        np.column_stack([corners * half * k, np.full(8, z)])
        for k, z in ((1.0, 0.0), (0.94, height))
    ]
    return loft(np.array(rings), color, RUBBER)


def _panel(half: float, height: float, color: Color, white: Color) -> list[Mesh]:
    """An upright panel with slanting stripes, seen from ahead and from behind."""
    low = 0.15 * height
    return [
        box((-0.03, -0.1, 0.0), (0.03, 0.1, low), BLACK, RUBBER),
        *_striped(0.02, (-0.75 * half, 0.75 * half), (low, height), 5, True, (color, white)),
    ]


def _striped(
    thick: float,
    across: tuple[float, float],
    z: tuple[float, float],
    count: int,
    upright: bool,
    colors: tuple[Color, Color],
) -> list[Mesh]:
    """A board of `count` slanting stripes, along z where upright, else along y."""
    (left, right), (low, high) = across, z
    parts = []
    if upright:
        step = (high - low) / count
        for i in range(count):
            ends = low + step * i, low + step * (i + 1)
            slant = 0.35 * step
            heights = [
                np.clip(end + side * slant, low, high) if low < end < high else end
                for end in ends
                for side in (-1.0, 1.0)
            ]
            corners = [
                (x, y, heights[2 * k + j])
                for k in (0, 1)
                for j, y in enumerate((left, right))
                for x in (-thick, thick)
            ]
            parts.append(hexahedron(np.array(corners), colors[i % 2], RETRO))
        return parts
    step = (right - left) / count
    slant = min(0.5 * (high - low), 0.5 * step)
    for i in range(count):
        ends = left + step * i, left + step * (i + 1)
        corners = [
            (x, end + (side * slant if left < end - 1e-6 and end < right - 1e-6 else 0.0), level)
            for level, side in ((low, -1.0), (high, 1.0))
            for end in ends
            for x in (-thick, thick)
        ]
        parts.append(hexahedron(np.array(corners), colors[i % 2], RETRO))
    return parts


def barrier(
    rng: np.random.Generator,
    length: float,
    width: float,
    height: float,
    style: int | None = None,
) -> Mesh:
    """Wide in y, thin in x, as nuScenes annotates barriers."""
    common = _of_style(rng, style)
    kind = common.choice(["plastic", "concrete", "fence", "boards"], p=[0.45, 0.25, 0.17, 0.13])
    half, thick = width / 2.0, length / 2.0
    if kind == "plastic":
        mesh = _plastic(rng, common, half, thick, height)
    elif kind == "concrete":
        mesh = _concrete(rng, common, half, thick, height)
    elif kind == "fence":
        mesh = _fence(rng, common, half, thick, height)
    else:
        mesh = _boards(common, half, thick, height)
    return mesh.patterned(int(rng.integers(65536)))


def _wall(
    profile: list[tuple[float, float]],
    stations: list[tuple[float, float]],
    color: Color,
    material: int,
) -> Mesh:
    """A wall along y: one side's profile (half depth, z), from the ground up, mirrored.

    Stations (y, dent): how much the inner heights of the profile are pressed in there.
    """
    half = np.array(profile)
    inner = np.zeros(len(half))
    inner[1:-2] = 1.0
    rings = []
    for y, dent in stations:
        x = half[:, 0] * (1.0 - dent * inner)
        outline = np.concatenate([x, -x[::-1]]), np.concatenate([half[:, 1], half[::-1, 1]])
        rings.append(np.column_stack([outline[0], np.full(2 * len(half), y), outline[1]]))
    return loft(np.array(rings), color, material)


def _plastic(
    rng: np.random.Generator, common: np.random.Generator, half: float, thick: float, height: float
) -> Mesh:
    """Water-filled: pressed with pockets, red, white or orange by turns."""
    pair = pick(common, REDS), pick(common, WHITES)
    if common.random() < 0.12:
        pair = pick(common, ((0.85, 0.7, 0.15), (0.2, 0.4, 0.3), (0.25, 0.35, 0.6))), pair[1]
    mixed = common.random() < 0.75
    color = pair[int(rng.random() < 0.5)] if mixed else pair[0]
    pockets, dent = int(common.integers(2, 7)), common.uniform(0.15, 0.45)
    knee, slim = common.uniform(0.3, 0.5), common.uniform(0.35, 0.7)
    profile = [
        (thick, 0.0),
        (0.97 * thick, 0.14 * height),
        ((slim + 0.12) * thick, knee * height),
        (slim * thick, 0.86 * height),
        ((slim + 0.06) * thick, 0.9 * height),
        ((slim + 0.02) * thick, height),
    ]
    edges = np.linspace(-0.94 * half, 0.94 * half, pockets + 1)
    lip = 0.12 * (edges[1] - edges[0])
    stations = [(-half, 0.08)]
    for low, high in pairwise(edges):
        stations += [
            (low + lip, 0.0),
            (low + 2 * lip, dent),
            (high - 2 * lip, dent),
            (high - lip, 0.0),
        ]
    parts = [_wall(profile, [*stations, (half, 0.08)], color, PLASTIC)]
    notch = 0.16 * half  # where a fork lifts it
    parts += [
        box((-1.01 * thick, y - notch, 0.0), (1.01 * thick, y + notch, 0.09 * height), BLACK)
        for y in (-0.45 * half, 0.45 * half)
    ]
    if rng.random() < 0.3:
        parts.append(_sandbag(rng, slim * thick, half, height))
    if rng.random() < 0.12:
        parts.append(
            box(
                (slim * thick, -0.6 * half, 0.6 * height),
                (slim * thick + 0.02, 0.6 * half, 0.75 * height),
                WHITE,
                RETRO,
            )
        )
    return merge(parts)


def _sandbag(rng: np.random.Generator, depth: float, half: float, height: float) -> Mesh:
    """A bag hung over one side."""
    side, y = float(rng.choice([-1.0, 1.0])), rng.uniform(-0.8, 0.8) * half
    color = pick(rng, ((0.82, 0.8, 0.74), (0.6, 0.57, 0.5), (0.3, 0.45, 0.65)))
    points = [
        (side * depth * k, y, z * height)
        for k, z in ((0.9, 0.98), (1.0, 0.75), (1.1, 0.55), (1.1, 0.42))
    ]
    radii = [(0.03, 0.03), (0.11, 0.05), (0.17, 0.08), (0.08, 0.05)]
    return tube(points, radii, color, CLOTH, 7)


def _concrete(
    rng: np.random.Generator, common: np.random.Generator, half: float, thick: float, height: float
) -> Mesh:
    grey = common.uniform(0.5, 0.78)
    shade = (grey, 0.98 * grey, common.uniform(0.88, 1.0) * grey)
    knee, slim = common.uniform(0.25, 0.45), common.uniform(0.3, 0.6)
    if common.random() < 0.25:  # a plain block
        profile = [(thick, 0.0), (thick, 0.93 * height), (0.94 * thick, height)]
    else:
        profile = [
            (thick, 0.0),
            (thick, 0.1 * height),
            ((slim + 0.1) * thick, knee * height),
            (slim * thick, 0.97 * height),
            (0.9 * slim * thick, height),
        ]
    parts = [_wall(profile, [(-half, 0.0), (half, 0.0)], shade, CONCRETE)]
    parts += [
        box((-1.01 * thick, y - 0.15, 0.0), (1.01 * thick, y + 0.15, 0.08 * height), BLACK)
        for y in (-0.5 * half, 0.5 * half)
    ]
    draw = common.random()
    for side in (-1.0, 1.0):
        x = side * (slim * thick + 0.025)
        if draw < 0.2:
            low, high = sorted((x, x + side * 0.02))
            colors = ((0.95, 0.75, 0.1), BLACK)
            parts += [
                part.moved((low + high) / 2.0, 0.0)
                for part in _striped(
                    0.01, (-0.9 * half, 0.9 * half), (0.6 * height, 0.8 * height), 8, False, colors
                )
            ]
        elif draw < 0.4:
            parts.append(
                box(
                    (min(x, x + 0.02 * side), -0.1, 0.7 * height),
                    (max(x, x + 0.02 * side), 0.1, 0.8 * height),
                    pick(common, ORANGES),
                    RETRO,
                )
            )
    return merge(parts)


def _fence(
    rng: np.random.Generator, common: np.random.Generator, half: float, thick: float, height: float
) -> Mesh:
    """A crowd fence: a frame of tubes with upright bars on two feet, some with a cloth."""
    color = pick(
        common, (STEEL, STEEL, STEEL, (0.75, 0.3, 0.15), (0.85, 0.7, 0.2), (0.2, 0.3, 0.55))
    )
    material = CHROME if color[0] - color[2] < 0.2 else SHEET
    low, high = 0.16 * height, 0.98 * height
    frame = [(0.0, -half, low), (0.0, -half, high), (0.0, half, high), (0.0, half, low)]
    parts = [beam(a, b, 0.042, color, material) for a, b in pairwise([*frame, frame[0]])]
    count = int(common.integers(9, 21))
    parts += [
        beam((0.0, y, low), (0.0, y, high), 0.018, color, material)
        for y in np.linspace(-half, half, count + 2)[1:-1]
    ]
    for y in (-0.72 * half, 0.72 * half):
        parts.append(beam((-thick, y, 0.03), (thick, y, 0.03), 0.05, color, material))
        parts.append(beam((0.0, y, 0.03), (0.0, y, low), 0.04, color, material))
    if common.random() < 0.3:
        cloth = pick(rng, (WHITE, (0.2, 0.35, 0.6), (0.7, 0.2, 0.15), (0.2, 0.4, 0.25)))
        parts.append(
            box(
                (0.012, -0.95 * half, 1.2 * low),
                (0.02, 0.95 * half, 0.95 * high),
                cloth,
                int(common.choice([POSTER, TARPAULIN])),
            )
        )
    return merge(parts)


def _boards(common: np.random.Generator, half: float, thick: float, height: float) -> Mesh:
    """Striped planks on trestles or on posts in rubber feet."""
    colors = (WHITE, pick(common, (*ORANGES, (0.75, 0.1, 0.1), (0.15, 0.15, 0.15))))
    planks, count = int(common.integers(1, 4)), int(common.integers(5, 12))
    trestle, wide = common.random() < 0.55, common.uniform(0.5, 0.85)
    step = 0.72 * height / planks
    parts = []
    for i in range(planks):
        top = height - step * i
        parts += _striped(
            0.02,
            (-half, half),
            (top - wide * step * (1.3 if planks > 1 else 0.5), top),
            count,
            False,
            colors,
        )
    for y in (-0.8 * half, 0.8 * half):
        if trestle:
            parts += [
                beam((x, y, 0.0), (0.03 * np.sign(x), y, 0.96 * height), 0.05, STEEL, SHEET)
                for x in (-thick, thick)
            ]
        else:
            parts.append(box((-thick, y - 0.14, 0.0), (thick, y + 0.14, 0.09), BLACK, RUBBER))
            parts.append(
                beam(
                    (-0.045, y, 0.05),
                    (-0.045, y, 0.98 * height),
                    0.05,
                    pick(common, (STEEL, WHITE)),
                    int(common.choice([SHEET, WOOD, MATTE])),
                )
            )
    if common.random() < 0.12:
        parts.append(
            cylinder(
                (-0.04, 0.75 * half, height + 0.07),
                (0.04, 0.75 * half, height + 0.07),
                (0.08, 0.08),
                (0.95, 0.65, 0.1),
                8,
                LAMP,
            )
        )
    return merge(parts)
