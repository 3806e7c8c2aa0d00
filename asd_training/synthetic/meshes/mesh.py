# SPDX-License-Identifier: Apache-2.0
"""Coloured triangle soups and the few solids from which every object of the street is built."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

# What a triangle is made of; its texture, its shading and its LiDAR intensity depend on it.
# fmt: off
MATTE, PAINT, GLASS, LAMP, RETRO, FACADE, FOLIAGE, GROUND = range(8)
PLASTER, BRICK, CONCRETE, STONE, TILES, SHEET, WOOD, BARK = range(8, 16)  # built things
CLOTH, SKIN, HAIR, RUBBER, CHROME, PLASTIC, TARPAULIN, RUST = range(16, 24)  # people, vehicles
HEADLAMP, TAIL_LAMP, LIT_SIGN, POSTER, SOIL, GRAVEL, GRASS, WATER = range(24, 32)
MATERIAL_COUNT = 32
# fmt: on

Color = Sequence[float]  # sRGB in 0..1
Point = Sequence[float] | np.ndarray

# The twelve triangles of a hexahedron whose corners are numbered x + 2 y + 4 z.
_SIDES = np.array(
    [[0, 2, 6, 4], [1, 5, 7, 3], [0, 4, 5, 1], [2, 3, 7, 6], [0, 1, 3, 2], [4, 6, 7, 5]]
)
_HEXAHEDRON = np.concatenate([_SIDES[:, [0, 1, 2]], _SIDES[:, [0, 2, 3]]])


@dataclass(frozen=True)
class Mesh:
    """Triangles (T, 3, 3) in metres, linear albedo (T, 3), materials (T,), patterns (T,).

    A pattern is a number that the texture of a surface is drawn from: parts of one number share
    their dirt, weave or picture, parts of different numbers differ.
    """

    triangles: np.ndarray
    albedo: np.ndarray
    materials: np.ndarray
    patterns: np.ndarray

    def __len__(self) -> int:
        return len(self.triangles)

    def moved(self, x: float, y: float, yaw: float = 0.0, z: float = 0.0) -> Mesh:
        """The mesh turned by `yaw` about +z, then shifted."""
        c, s = np.cos(yaw), np.sin(yaw)
        rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], np.float32)
        triangles = self.triangles @ rotation.T + np.array([x, y, z], np.float32)
        return replace(self, triangles=triangles)

    def patterned(self, pattern: int) -> Mesh:
        """The mesh with one pattern, 0 to 65535, on all of it."""
        return replace(self, patterns=np.full(len(self), pattern, np.uint16))

    def fitted(self, length: float, width: float, height: float) -> Mesh:
        """The mesh stretched to fill a box centred at the origin.

        It keeps a margin of at most 3 cm, as annotated boxes do, so that LiDAR points with range
        noise still lie in the box.
        """
        size = np.array([length, width, height])
        low = self.triangles.min(axis=(0, 1))
        high = self.triangles.max(axis=(0, 1))
        filled = size - 2.0 * np.minimum(0.03, 0.03 * size)
        triangles = (self.triangles - (low + high) / 2.0) * (filled / (high - low))
        return replace(self, triangles=triangles.astype(np.float32))


def pick(rng: np.random.Generator, colors: Sequence[Color], shift: float = 0.04) -> Color:
    """One of the colours, a little shifted."""
    base = np.array(colors[int(rng.integers(len(colors)))])
    return tuple(np.clip(base + rng.uniform(-shift, shift, 3), 0.02, 0.97))


def merge(meshes: Iterable[Mesh]) -> Mesh:
    parts = list(meshes)
    return Mesh(
        np.concatenate([part.triangles for part in parts]),
        np.concatenate([part.albedo for part in parts]),
        np.concatenate([part.materials for part in parts]),
        np.concatenate([part.patterns for part in parts]),
    )


def _mesh(triangles: np.ndarray, color: Color, material: int) -> Mesh:
    count = len(triangles)
    albedo = np.array(color, np.float32) ** np.float32(2.2)
    return Mesh(
        triangles.astype(np.float32),
        np.full((count, 3), albedo, np.float32),
        np.full(count, material, np.uint8),
        np.zeros(count, np.uint16),
    )


def hexahedron(corners: np.ndarray, color: Color, material: int = MATTE) -> Mesh:
    """Six-sided solid; `corners` (8, 3), number x + 2 y + 4 z with x, y, z in {0, 1}."""
    return _mesh(np.asarray(corners)[_HEXAHEDRON], color, material)


def box(low: Point, high: Point, color: Color, material: int = MATTE) -> Mesh:
    return wedge(
        (low[0], high[0]),
        (low[0], high[0]),
        (low[1], high[1]),
        (low[1], high[1]),
        (low[2], high[2]),
        color,
        material,
    )


def wedge(
    bottom_x: Point,
    top_x: Point,
    bottom_y: Point,
    top_y: Point,
    z: Point,
    color: Color,
    material: int = MATTE,
) -> Mesh:
    """Solid between two axis-aligned rectangles, one at height z[0], one at z[1]."""
    corners = [
        (x, y, level)
        for xs, ys, level in ((bottom_x, bottom_y, z[0]), (top_x, top_y, z[1]))
        for y in ys
        for x in xs
    ]
    return hexahedron(np.array(corners), color, material)


def beam(start: Point, end: Point, thickness: float, color: Color, material: int = MATTE) -> Mesh:
    """Square bar from `start` to `end`."""
    first, last = np.asarray(start, float), np.asarray(end, float)
    side, up = _across(last - first)
    side, up = side * (thickness / 2.0), up * (thickness / 2.0)
    corners = [
        point + a * side + b * up for b in (-1, 1) for a in (-1, 1) for point in (first, last)
    ]
    return hexahedron(np.array(corners), color, material)


def cylinder(
    start: Point, end: Point, radii: Point, color: Color, sides: int = 8, material: int = MATTE
) -> Mesh:
    """Closed frustum of a cone from `start` to `end` with a radius at each end."""
    first, last = np.asarray(start, float), np.asarray(end, float)
    u, v = _across(last - first)
    cos, sin = _circle(sides)
    circle = cos[:, None] * u + sin[:, None] * v
    vertices = np.concatenate(
        [first + radii[0] * circle, last + radii[1] * circle, first[None], last[None]]
    )
    return _mesh(vertices[_tube(sides)], color, material)


def loft(rings: np.ndarray, color: Color, material: int = MATTE) -> Mesh:
    """Closed solid that joins rings (R, S, 3) of S corners each, one after the other."""
    count, sides = rings.shape[:2]
    vertices = np.concatenate([rings.reshape(-1, 3), rings[[0, -1]].mean(axis=1)])
    return _mesh(vertices[_lofted(count, sides)], color, material)


def tube(
    points: Sequence[Point] | np.ndarray,
    radii: Sequence[float] | Sequence[Point] | np.ndarray,
    color: Color,
    material: int = MATTE,
    sides: int = 6,
) -> Mesh:
    """Round solid along points (R, 3): a limb, a pipe, a bag.

    `radii` (R,), or (R, 2) for oval ones: to the left, as far as the axis allows, and across.
    """
    axis = np.asarray(points, float)
    radii = np.asarray(radii, float)
    radii = radii[:, None].repeat(2, axis=1) if radii.ndim == 1 else radii
    along = np.empty_like(axis)
    along[1:-1] = axis[2:] - axis[:-2]
    along[0], along[-1] = axis[1] - axis[0], axis[-1] - axis[-2]
    along /= np.sqrt(np.einsum("ij,ij->i", along, along))[:, None]
    # Left where it is not nearly the axis itself, else ahead.
    left = np.zeros(3)
    left[1 if abs(axis[-1, 1] - axis[0, 1]) < 0.9 * np.abs(axis[-1] - axis[0]).sum() else 0] = 1.0
    u = left - along * (along @ left)[:, None]
    u /= np.sqrt(np.einsum("ij,ij->i", u, u))[:, None]
    v = u[:, [1, 2, 0]] * along[:, [2, 0, 1]] - u[:, [2, 0, 1]] * along[:, [1, 2, 0]]
    cos, sin = _circle(sides)
    rings = axis[:, None] + cos[:, None] * (u * radii[:, :1])[:, None]
    return loft(rings + sin[:, None] * (v * radii[:, 1:])[:, None], color, material)


def ring(center: Point, outer: float, inner: float, color: Color, sides: int = 10) -> Mesh:
    """Flat ring in the x-z plane: the wheel of a bicycle."""
    cos, sin = _circle(sides)
    circle = np.stack([cos, np.zeros(sides), sin], axis=1)
    vertices = np.concatenate([inner * circle, outer * circle]) + np.asarray(center, float)
    # The wall of a tube, pressed flat.
    return _mesh(vertices[_tube(sides)[: 2 * sides]], color, MATTE)


def ellipsoid(
    center: Point, radii: Point, color: Color, material: int = MATTE, sides: int = 8
) -> Mesh:
    """Ball of `sides` meridians and half as many parallels, stretched to `radii`."""
    return _mesh(np.asarray(center) + np.asarray(radii) * _ball(sides), color, material)


def _across(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors at right angles to `axis` and to each other."""
    x, y, z = axis / np.sqrt(axis @ axis)
    # The axis crossed with z, or with y where it is too nearly z.
    u = np.array([y, -x, 0.0]) if abs(z) < 0.9 else np.array([-z, 0.0, x])
    u /= np.sqrt(u @ u)
    v = np.array([y * u[2] - z * u[1], z * u[0] - x * u[2], x * u[1] - y * u[0]])
    return u, v


@lru_cache
def _circle(sides: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines of `sides` equal steps."""
    angles = 2.0 * np.pi * np.arange(sides) / sides
    return np.cos(angles), np.sin(angles)


@lru_cache
def _tube(sides: int) -> np.ndarray:
    """Triangles (4 * sides, 3) of a closed tube: first the wall, then the two ends.

    Vertices: the first circle, the second circle, the first centre, the second centre.
    """
    low = np.arange(sides)
    low_next = np.roll(low, -1)
    high, high_next = low + sides, low_next + sides
    first, last = np.full(sides, 2 * sides), np.full(sides, 2 * sides + 1)
    triangles = (
        (low, low_next, high_next),
        (low, high_next, high),
        (first, low_next, low),
        (last, high, high_next),
    )
    return np.concatenate([np.stack(corners, axis=1) for corners in triangles])


@lru_cache
def _lofted(count: int, sides: int) -> np.ndarray:
    """Triangles (2 * count * sides, 3) of a loft: the walls, then a fan at either end.

    Vertices: ring after ring, the first ring's centre, the last one's.
    """
    ring, corner = np.meshgrid(np.arange(count), np.arange(sides), indexing="ij")
    here, beside = ring * sides + corner, ring * sides + (corner + 1) % sides
    low, low_next, high, high_next = here[:-1], beside[:-1], here[1:], beside[1:]
    ends = np.full((2, sides), count * sides) + np.arange(2)[:, None]
    triangles = (
        np.stack([low, low_next, high_next], axis=-1),
        np.stack([low, high_next, high], axis=-1),
        np.stack([ends, beside[[0, -1]], here[[0, -1]]], axis=-1),
    )
    return np.concatenate([corners.reshape(-1, 3) for corners in triangles])


@lru_cache
def _ball(sides: int) -> np.ndarray:
    """Triangles (T, 3, 3) of the unit ball."""
    polar = np.linspace(0.0, np.pi, sides // 2 + 1)
    azimuth = 2.0 * np.pi * np.arange(sides + 1) / sides
    p, a = np.meshgrid(polar, azimuth, indexing="ij")
    grid = np.stack([np.sin(p) * np.cos(a), np.sin(p) * np.sin(a), np.cos(p)], axis=-1)
    north, south = grid[:-1, :-1], grid[1:, :-1]
    north_next, south_next = grid[:-1, 1:], grid[1:, 1:]
    # At the poles one of the two triangles of each cell is empty: left out.
    below = np.stack([north, south, south_next], axis=-2)[:-1].reshape(-1, 3, 3)
    above = np.stack([north, south_next, north_next], axis=-2)[1:].reshape(-1, 3, 3)
    return np.concatenate([below, above])
