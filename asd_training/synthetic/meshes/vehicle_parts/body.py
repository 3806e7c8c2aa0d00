# SPDX-License-Identifier: Apache-2.0
"""Rounded vehicle bodies: cross-sections lofted along the length, bent at nose and tail.

Axes: x forward, y left, z up from the ground, in metres. Only the left half is made; the right
half mirrors it. Each patch of the grid between two stations and two rows has a finish of its own,
so that windows, lamps and bumpers lie flush in the skin, as in real cars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from asd_training.synthetic.meshes.mesh import PAINT, Color, Mesh, merge

# Rows of a cross-section, from the lower edge up the side and over the roof to the middle.
SILL, LOWER, WAIST, SHOULDER, BELT, WINDOW_TOP, ROOF_EDGE, ROOF, CENTRE = range(9)
_ON_SKIN = 0.008  # m that things stuck onto the skin stand out of it

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Finish:
    """Colour (sRGB), material and pattern of a part."""

    color: Color
    material: int = PAINT
    pattern: int = 0


def surface(points: np.ndarray, finishes: np.ndarray, palette: Sequence[Finish]) -> Mesh:
    """Skin through a grid of points (S, R, 3); `finishes` (S - 1, R - 1) number the `palette`."""
    a, b = points[:-1, :-1], points[1:, :-1]
    c, d = points[1:, 1:], points[:-1, 1:]
    triangles = np.stack([a, b, c, a, c, d], axis=-2).reshape(-1, 3, 3)
    number = np.repeat(finishes.ravel(), 2)
    # Rows that meet leave empty triangles.
    p, q, r = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    keep = ((np.abs(p - q).max(1) > 1e-4) & (np.abs(q - r).max(1) > 1e-4)) & (
        np.abs(r - p).max(1) > 1e-4
    )
    return _painted(triangles[keep], number[keep], palette)


def _painted(triangles: np.ndarray, number: np.ndarray, palette: Sequence[Finish]) -> Mesh:
    albedo = np.array([finish.color for finish in palette], np.float32) ** np.float32(2.2)
    materials = np.array([finish.material for finish in palette], np.uint8)
    patterns = np.array([finish.pattern for finish in palette], np.uint16)
    return Mesh(triangles.astype(np.float32), albedo[number], materials[number], patterns[number])


def mirrored(mesh: Mesh) -> Mesh:
    """The mesh and its image in the plane y = 0."""
    other = mesh.triangles[:, ::-1] * np.array([1.0, -1.0, 1.0], np.float32)
    return merge([mesh, replace(mesh, triangles=other)])


def strip(left: np.ndarray, right: np.ndarray, finish: Finish) -> Mesh:
    """Band between two lines (N, 3)."""
    points = np.stack([left, right], axis=1)
    return surface(points, np.zeros((len(left) - 1, 1), int), [finish])


@dataclass(frozen=True)
class End:
    """How a nose or a tail is bent: in plan and in profile."""

    corner: float = 0.2  # m that the corners lie behind the middle
    power: float = 2.5  # of the bend in plan: higher ones leave the middle flat
    lean: Curve = ((0.0, 0.0), (1.0, 0.0))  # height, m that it lies behind the foremost point
    reach: float = 0.6  # m over which the corners fade away
    lean_reach: float = 1.5


@dataclass
class Body:
    """A lofted body between x = `rear` and x = `front`.

    Curves give heights and half widths along x. An arch is (x, z, radius) of a wheel housing.
    `levels` are the heights of LOWER, WAIST and SHOULDER between sill (0) and belt (1).
    """

    rear: float
    front: float
    half: float
    stations: Sequence[float]
    sill: float
    belt: Curve
    top: Curve
    levels: tuple[float, float, float] = (0.2, 0.5, 0.8)
    flanks: tuple[float, float, float, float, float] = (0.94, 0.99, 1.0, 0.985, 0.95)
    glass_rise: float = 0.8  # of WINDOW_TOP between belt and top
    roof_width: float = 0.76  # of WINDOW_TOP, as a share of `half`
    roof_round: float = 0.09  # share of `half` between WINDOW_TOP and ROOF_EDGE
    arches: Sequence[tuple[float, float, float]] = ()
    nose: End = field(default_factory=End)
    tail: End = field(default_factory=End)
    bow: Curve = ((0.0, 0.0), (1.0, 0.0))  # x, m that the middle of the top is ahead of its edges
    full: float | None = None  # height above the belt at which a section is a roof, not a deck

    def __post_init__(self) -> None:
        extra = [
            np.array([-1.0, -0.8, -0.3, 0.3, 0.8, 1.0]) * radius + x for x, _, radius in self.arches
        ]
        x = np.unique(np.concatenate([[self.rear, self.front], np.array(self.stations), *extra]))
        x = x[(x >= self.rear) & (x <= self.front)]
        # Stations close to the one before add nothing.
        keep = np.concatenate([[True], np.diff(x) > 0.03])
        keep[-1] = True
        self.x = x[keep]
        belt, top = _along(self.belt, self.x), _along(self.top, self.x)
        rise = np.maximum(top - belt, 0.015)
        full = self.full or 0.7 * float(rise.max())
        roofed = np.clip((rise - 0.08) / max(full - 0.08, 0.05), 0.0, 1.0)
        low = np.full_like(self.x, self.sill)
        for centre, z, radius in self.arches:
            inside = np.abs(self.x - centre) <= radius + 1e-6
            drop = np.sqrt(np.maximum(radius**2 - (self.x[inside] - centre) ** 2, 0.0))
            low[inside] = np.maximum(low[inside], z + drop)
        rows = [low]
        for k, level in enumerate(self.levels):
            rows.append(np.maximum(self.sill + level * (belt - self.sill), low + 0.015 * (k + 1)))
        rows.append(np.maximum(belt, rows[-1] + 0.01))
        for share in (self.glass_rise, 0.95, 0.992, 1.0):
            rows.append(rows[BELT] + share * rise)
        self.z = np.stack(rows, axis=1)
        deck = np.array([0.88, 0.8, 0.42, 0.0])
        edge = self.roof_width - self.roof_round
        roof = np.array([self.roof_width, edge, 0.55 * edge, 0.0])
        above = deck + roofed[:, None] * (roof - deck)
        flanks = np.broadcast_to(np.array(self.flanks), (len(self.x), 5))
        self.y = self.half * np.concatenate([flanks, above], axis=1)

    def bent(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the straight body after nose, tail and windows are bent."""
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        u = np.minimum(np.abs(y) / self.half, 1.05)
        moved = x + _along(self.bow, x) * (1.0 - u * u) * (z > _along(self.belt, x) - 0.02)
        for end, gap, sign in (
            (self.nose, self.front - x, -1.0),
            (self.tail, x - self.rear, 1.0),
        ):
            near = np.maximum(1.0 - gap / end.reach, 0.0)
            corner = end.corner * u**end.power * near * near
            lean = _along(end.lean, z) * np.maximum(1.0 - gap / end.lean_reach, 0.0)
            moved += sign * (corner + lean)
        bent = points.copy()
        bent[..., 0] = moved
        return bent

    def columns(self, start: float, end: float) -> slice:
        """The columns of patches between two places along x."""
        middle = (self.x[1:] + self.x[:-1]) / 2.0
        inside = np.flatnonzero((middle > start) & (middle < end))
        return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)

    def skin(self, finishes: np.ndarray, palette: Sequence[Finish]) -> Mesh:
        """Left half of the body; `finishes` (stations - 1, 8) number the palette."""
        x = np.broadcast_to(self.x[:, None], self.y.shape)
        return surface(self.bent(np.stack([x, self.y, self.z], axis=-1)), finishes, palette)

    def face(
        self,
        front: bool,
        shares: Sequence[float],
        finishes: np.ndarray,
        palette: Sequence[Finish],
    ) -> Mesh:
        """Left half of the nose or tail.

        `shares` (C,) of the half width, from 0 to 1, part it into columns; `finishes`
        (C - 1, rows - 1) number the palette from SILL up, as far as it has rows.
        """
        at = -1 if front else 0
        count = finishes.shape[1] + 1
        y = np.array(shares)[:, None] * self.y[at, :count]
        z = np.broadcast_to(self.z[at, :count], y.shape)
        x = np.full_like(y, self.x[at])
        return surface(self.bent(np.stack([x, y, z], axis=-1)), finishes, palette)

    def on_face(
        self,
        front: bool,
        y: tuple[float, float],
        z: tuple[float, float],
        finish: Finish,
        out: float = 0.015,
    ) -> Mesh:
        """A rectangle that follows the nose or the tail, `out` metres before it."""
        across = np.linspace(*y, 3 if y[1] - y[0] > 0.3 else 2)
        grid = np.stack(np.meshgrid(across, np.array(z), indexing="ij"), axis=-1)
        x = np.full(grid.shape[:-1], self.front if front else self.rear)
        points = self.bent(np.concatenate([x[..., None], grid], axis=-1))
        points[..., 0] += out if front else -out
        return surface(points, np.zeros((len(across) - 1, 1), int), [finish])

    def side_points(self, x: np.ndarray, z: np.ndarray, out: float = _ON_SKIN) -> np.ndarray:
        """Points (N, 3) on the left flank at x, z (N,), `out` metres off the skin."""
        rows_y = np.stack([np.interp(x, self.x, column) for column in self.y[:, :7].T])
        rows_z = np.stack([np.interp(x, self.x, column) for column in self.z[:, :7].T])
        y = np.array([np.interp(h, rows_z[:, i], rows_y[:, i]) for i, h in enumerate(z)])
        points = self.bent(np.stack([x, y, z], axis=-1))
        points[:, 1] += out
        return points

    def on_side(
        self, x: tuple[float, float], z: tuple[float, float], finish: Finish, out: float = _ON_SKIN
    ) -> Mesh:
        """A rectangle that follows the left flank."""
        along = np.linspace(*x, max(2, int((x[1] - x[0]) / 0.6) + 1))
        lower = self.side_points(along, np.full_like(along, z[0]), out)
        upper = self.side_points(along, np.full_like(along, z[1]), out)
        return strip(lower, upper, finish)

    def line_on_side(
        self, x: Sequence[float], z: Sequence[float], width: float, finish: Finish
    ) -> Mesh:
        """A band of constant width along x that follows the flank: a door's gap."""
        at, height = np.array(x, float), np.array(z, float)
        first = self.side_points(at - width / 2.0, height, 0.004)
        return strip(first, first + np.array([width, 0.0, 0.0]), finish)


def _along(curve: Curve, x: np.ndarray) -> np.ndarray:
    return np.interp(x, [place for place, _ in curve], [value for _, value in curve])
