# SPDX-License-Identifier: Apache-2.0
"""What accompanies a road for a stretch: kerbs, walls, fences, rails, parapets, hedges, wires."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    BRICK,
    CHROME,
    CONCRETE,
    FOLIAGE,
    MATTE,
    PAINT,
    SHEET,
    STONE,
    WOOD,
    Color,
    Mesh,
    box,
    loft,
    merge,
    pick,
)
from asd_training.synthetic.scenery.buildings import BRICKS, COATS, GREYS, PLASTERS, panels
from asd_training.synthetic.scenery.furniture import POLES
from asd_training.synthetic.scenery.vegetation import LEAVES
from asd_training.synthetic.street.road import Road

STEP = 5.0  # m between the corners of what follows a bend


def ribbon(
    road: Road,
    span: tuple[float, float],
    d: tuple[float, float],
    z: tuple[float, float],
    color: Color,
    material: int,
) -> Mesh:
    """A solid along the road over `span` of s, of rectangular section d by z."""
    count = 2 if road.curvature == 0.0 else max(int((span[1] - span[0]) / STEP), 1) + 1
    s = np.linspace(*span, count)[:, None]
    x, y = road.to_global(s, np.array([d[0], d[1], d[1], d[0]]))
    height = np.broadcast_to(np.array([z[0], z[0], z[1], z[1]]), x.shape)
    return loft(np.stack([x, y, height], axis=-1), color, material)


def _posts(
    road: Road, span: tuple[float, float], d: float, spacing: float, post: Mesh
) -> list[Mesh]:
    """Copies of a post, as one mesh."""
    s = np.arange(span[0], span[1], spacing)
    x, y = road.to_global(s, d)
    offsets = np.stack([x, y, 0.0 * x], axis=1).astype(np.float32)
    count = len(s)
    return [
        Mesh(
            (post.triangles[None] + offsets[:, None, None]).reshape(-1, 3, 3),
            np.tile(post.albedo, (count, 1)),
            np.tile(post.materials, count),
            np.tile(post.patterns, count),
        )
    ]


def _rails(
    road: Road,
    span: tuple[float, float],
    d: float,
    heights: tuple[float, ...],
    color: Color,
    spacing: float,
    material: int = PAINT,
) -> Mesh:
    """Posts with bars between them at some heights."""
    top = max(heights)
    post = box((-0.03, -0.03, 0.0), (0.03, 0.03, top), color, material)
    parts = _posts(road, span, d, spacing, post)
    parts += [
        ribbon(road, span, (d - 0.025, d + 0.025), (z - 0.025, z + 0.025), color, material)
        for z in heights
    ]
    return merge(parts)


def _bars(
    road: Road, span: tuple[float, float], d: float, z: tuple[float, float], color: Color
) -> Mesh:
    """Thin upright bars close together, as flat strips, askew so that they show from all sides."""
    bar = panels(np.array([-0.018]), np.array([z[0]]), (0.036, z[1] - z[0]), 0.0, color, PAINT)
    turned = bar.moved(0.0, 0.0, float(road.heading_at(sum(span) / 2.0)) + 0.6)
    return merge(_posts(road, span, d, 0.17, turned))


def fence(rng: np.random.Generator, road: Road, span: tuple[float, float], d: float) -> Mesh:
    """A wall, fence, railing or hedge at `d`."""
    style = int(rng.integers(7))
    color = pick(rng, POLES)
    if style == 0:
        material = int(rng.choice([BRICK, STONE, CONCRETE]))
        height = rng.uniform(0.5, 2.4)
        wall = pick(rng, BRICKS if material == BRICK else GREYS + PLASTERS)
        cap = ribbon(road, span, (d - 0.17, d + 0.17), (height, height + 0.08), GREYS[1], STONE)
        return merge([ribbon(road, span, (d - 0.12, d + 0.12), (0.0, height), wall, material), cap])
    if style == 1:
        height = rng.uniform(0.8, 1.9)
        return ribbon(road, span, (d - 0.3, d + 0.3), (0.0, height), pick(rng, LEAVES), FOLIAGE)
    if style == 2:
        return merge(
            [
                _bars(road, span, d, (0.1, 1.15), color),
                _rails(road, span, d, (0.12, 1.15), color, 2.4),
            ]
        )
    if style == 3:  # boards
        height = rng.uniform(1.2, 2.0)
        shade = pick(rng, ((0.45, 0.35, 0.25), (0.6, 0.5, 0.38), (0.85, 0.85, 0.82)))
        return ribbon(road, span, (d - 0.03, d + 0.03), (0.05, height), shade, WOOD)
    if style == 4:  # wire mesh: too fine to be seen, but for its posts
        return _rails(road, span, d, (0.1, 1.0, 1.9), POLES[2], 2.5, CHROME)
    if style == 5:
        return _rails(road, span, d, (0.45, 0.8, 1.1), color, 1.8)
    return crash_barrier(road, span, d)


def crash_barrier(road: Road, span: tuple[float, float], d: float) -> Mesh:
    post = box((-0.05, -0.05, 0.0), (0.05, 0.05, 0.6), GREYS[0], CHROME)
    inner = d - 0.08 * np.sign(d)
    band = ribbon(road, span, (inner - 0.04, inner + 0.04), (0.45, 0.75), GREYS[3], CHROME)
    return merge([*_posts(road, span, d, 2.0, post), band])


def hoarding(rng: np.random.Generator, road: Road, span: tuple[float, float], d: float) -> Mesh:
    """The closed fence around a building site."""
    height, color = rng.uniform(1.9, 2.6), pick(rng, COATS + PLASTERS)
    return ribbon(road, span, (d - 0.04, d + 0.04), (0.0, height), color, SHEET)


def parapet(rng: np.random.Generator, road: Road, span: tuple[float, float], d: float) -> Mesh:
    """The edge of a bridge or a quay: a low wall with a railing on it, or only one of the two."""
    style = rng.random()
    color, wall = pick(rng, POLES), pick(rng, GREYS)
    parts = []
    low = 0.0
    if style < 0.7:
        low = rng.uniform(0.4, 1.0)
        parts.append(ribbon(road, span, (d - 0.2, d + 0.2), (0.0, low), wall, CONCRETE))
    if style > 0.3:
        parts.append(_rails(road, span, d, (low + 0.2, max(low + 0.5, 1.15)), color, 1.5))
        parts.append(_bars(road, span, d, (low, max(low + 0.5, 1.15)), color))
    return merge(parts)


def jersey_wall(rng: np.random.Generator, road: Road, span: tuple[float, float], d: float) -> Mesh:
    """A wall of concrete between the directions."""
    color = pick(rng, GREYS)
    foot = ribbon(road, span, (d - 0.3, d + 0.3), (0.0, 0.25), color, CONCRETE)
    return merge([foot, ribbon(road, span, (d - 0.12, d + 0.12), (0.2, 0.85), color, CONCRETE)])


def kerb(road: Road, span: tuple[float, float], d: float) -> Mesh:
    """The step from the carriageway to the footway."""
    edges = sorted((d, d + np.sign(d) * 0.18))
    color = (0.62, 0.61, 0.59)
    return ribbon(road, span, (edges[0], edges[1]), (0.0, 0.12), color, STONE)


def wires(road: Road, places: np.ndarray, d: float, heights: tuple[float, ...]) -> Mesh:
    """Wires that sag between poles at `places` (N,) of s."""
    s = np.concatenate([np.linspace(a, b, 5)[:-1] for a, b in pairwise(places)])
    sag = np.tile([0.0, 0.25, 0.33, 0.25], len(places) - 1)
    parts = []
    for z in heights:
        for offset in (-0.9, 0.0, 0.9):
            x, y = road.to_global(s, d + offset)
            ring = np.array([[0.0, -0.014], [0.0, 0.014], [0.014, 0.0]])
            rings = np.stack([x, y, z - sag], axis=-1)[:, None] + np.stack(
                [ring[:, 0], ring[:, 0], ring[:, 1]], axis=-1
            )
            parts.append(loft(rings, (0.08, 0.08, 0.08), MATTE))
    return merge(parts)
