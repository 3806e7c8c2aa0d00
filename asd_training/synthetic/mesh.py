# SPDX-License-Identifier: Apache-2.0
"""Coloured triangle soups and the few solids from which every object of the street is built."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

# What a triangle is made of; shading and LiDAR intensity depend on it.
MATTE, PAINT, GLASS, LAMP, RETRO, FACADE, FOLIAGE, GROUND = range(8)

Color = Sequence[float]  # sRGB in 0..1
Point = Sequence[float]

# Two triangles for each side of a hexahedron whose corners are numbered x + 2 y + 4 z.
_SIDES = np.array(
    [[0, 2, 6, 4], [1, 5, 7, 3], [0, 4, 5, 1], [2, 3, 7, 6], [0, 1, 3, 2], [4, 6, 7, 5]]
)


@dataclass(frozen=True)
class Mesh:
    """Triangles (T, 3, 3) in metres, linear albedo (T, 3), materials (T,)."""

    triangles: np.ndarray
    albedo: np.ndarray
    materials: np.ndarray

    def __len__(self) -> int:
        return len(self.triangles)

    def moved(self, x: float, y: float, yaw: float = 0.0, z: float = 0.0) -> Mesh:
        """The mesh turned by `yaw` about +z, then shifted."""
        c, s = np.cos(yaw), np.sin(yaw)
        rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], np.float32)
        triangles = self.triangles @ rotation.T + np.array([x, y, z], np.float32)
        return Mesh(triangles, self.albedo, self.materials)

    def fitted(self, length: float, width: float, height: float) -> Mesh:
        """The mesh stretched to fill a box centred at the origin.

        It stays a finger's breadth (at most 3 cm) inside, as annotated boxes do, so that LiDAR
        points with range noise still lie in the box.
        """
        size = np.array([length, width, height])
        low = self.triangles.min(axis=(0, 1))
        high = self.triangles.max(axis=(0, 1))
        filled = size - 2.0 * np.minimum(0.03, 0.03 * size)
        triangles = (self.triangles - (low + high) / 2.0) * (filled / (high - low))
        return Mesh(triangles.astype(np.float32), self.albedo, self.materials)


def merge(meshes: Iterable[Mesh]) -> Mesh:
    parts = list(meshes)
    return Mesh(
        np.concatenate([part.triangles for part in parts]),
        np.concatenate([part.albedo for part in parts]),
        np.concatenate([part.materials for part in parts]),
    )


def _mesh(triangles: np.ndarray, color: Color, material: int) -> Mesh:
    count = len(triangles)
    albedo = np.clip(np.asarray(color, np.float32), 0.0, 1.0) ** 2.2
    return Mesh(
        np.ascontiguousarray(triangles, np.float32),
        np.tile(albedo, (count, 1)).astype(np.float32),
        np.full(count, material, np.uint8),
    )


def hexahedron(corners: np.ndarray, color: Color, material: int = MATTE) -> Mesh:
    """Six-sided solid; `corners` (8, 3), number x + 2 y + 4 z with x, y, z in {0, 1}."""
    quads = np.asarray(corners, np.float32)[_SIDES]
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return _mesh(triangles, color, material)


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
    forward = (last - first) / np.linalg.norm(last - first)
    helper = np.array([0.0, 1.0, 0.0]) if abs(forward[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    side = np.cross(helper, forward)
    side *= thickness / 2.0 / np.linalg.norm(side)
    up = np.cross(forward, side)
    corners = [
        point + a * side + b * up for b in (-1, 1) for a in (-1, 1) for point in (first, last)
    ]
    return hexahedron(np.array(corners), color, material)


def cylinder(
    start: Point, end: Point, radii: Point, color: Color, sides: int = 8, material: int = MATTE
) -> Mesh:
    """Closed frustum of a cone from `start` to `end` with a radius at each end."""
    first, last = np.asarray(start, float), np.asarray(end, float)
    axis = (last - first) / np.linalg.norm(last - first)
    helper = np.array([1.0, 0.0, 0.0]) if abs(axis[0]) < 0.9 else np.array([0.0, 0.0, 1.0])
    u = np.cross(axis, helper)
    u /= np.linalg.norm(u)
    v = np.cross(axis, u)
    angles = 2.0 * np.pi * np.arange(sides) / sides
    circle = np.cos(angles)[:, None] * u + np.sin(angles)[:, None] * v
    lower, upper = first + radii[0] * circle, last + radii[1] * circle
    lower_next, upper_next = np.roll(lower, -1, axis=0), np.roll(upper, -1, axis=0)
    triangles = [np.stack([lower, lower_next, upper_next], axis=1)]
    if radii[1] > 0:
        triangles.append(np.stack([lower, upper_next, upper], axis=1))
        triangles.append(np.stack([np.broadcast_to(last, lower.shape), upper, upper_next], axis=1))
    triangles.append(np.stack([np.broadcast_to(first, lower.shape), lower_next, lower], axis=1))
    return _mesh(np.concatenate(triangles), color, material)


def ring(center: Point, outer: float, inner: float, color: Color, sides: int = 10) -> Mesh:
    """Flat ring in the x-z plane: the wheel of a bicycle."""
    angles = 2.0 * np.pi * np.arange(sides) / sides
    circle = np.stack([np.cos(angles), np.zeros(sides), np.sin(angles)], axis=1)
    middle = np.asarray(center, float)
    a, b = middle + inner * circle, middle + outer * circle
    a_next, b_next = np.roll(a, -1, axis=0), np.roll(b, -1, axis=0)
    triangles = [np.stack([a, b, b_next], axis=1), np.stack([a, b_next, a_next], axis=1)]
    return _mesh(np.concatenate(triangles), color, MATTE)


def ellipsoid(
    center: Point, radii: Point, color: Color, material: int = MATTE, sides: int = 8
) -> Mesh:
    """Ball of `sides` meridians and half as many parallels, stretched to `radii`."""
    polar = np.linspace(0.0, np.pi, sides // 2 + 1)
    azimuth = 2.0 * np.pi * np.arange(sides + 1) / sides
    p, a = np.meshgrid(polar, azimuth, indexing="ij")
    unit = np.stack([np.sin(p) * np.cos(a), np.sin(p) * np.sin(a), np.cos(p)], axis=-1)
    grid = np.asarray(center) + np.asarray(radii) * unit
    north, south = grid[:-1, :-1], grid[1:, :-1]
    north_next, south_next = grid[:-1, 1:], grid[1:, 1:]
    upper = np.stack([north, south, south_next], axis=-2)[:, :].reshape(-1, 3, 3)
    lower = np.stack([north, south_next, north_next], axis=-2)[1:].reshape(-1, 3, 3)
    # The last row of `upper` has its two southern corners at the pole: an empty triangle.
    return _mesh(np.concatenate([upper[:-sides], lower]), color, material)
