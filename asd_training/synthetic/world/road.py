# SPDX-License-Identifier: Apache-2.0
"""The plan of a street: a road of constant curvature with what lies along both sides.

Everything is placed in road coordinates (s, d): s metres along the centre line, d metres to the
left of it. Traffic keeps right, so the ego vehicle's lanes have d < 0. Side streets cross at fixed
s; the land behind the pavements is divided into plots of a few uses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

Numbers: TypeAlias = "np.ndarray | float"
LOT_USES = ("building", "parking", "park", "site")
BUILDING, PARKING, PARK, SITE = range(4)
PLOT_DEPTH = 24.0  # m behind the pavement
CORRIDOR = 70.0  # m on both sides of the centre line belong to the scene


@dataclass(frozen=True)
class Road:
    start: tuple[float, float]  # global position of s = 0, d = 0
    heading: float  # global heading at s = 0
    curvature: float  # 1/m, positive to the left
    s_range: tuple[float, float]
    lanes: int  # in each direction
    lane_width: float
    parking: float  # width of the parking strip on each side, 0 for none
    pavement: float  # width of each pavement
    crossings: tuple[float, ...]  # s of the side streets' centre lines
    crossing_half_width: float
    plot_ends: np.ndarray  # (2, P) s where plots end, right side then left side
    plot_uses: np.ndarray  # (2, P)

    @property
    def half_width(self) -> float:
        """From the centre line to the kerb."""
        return self.lanes * self.lane_width + self.parking

    @property
    def frontage(self) -> float:
        """From the centre line to where the plots begin."""
        return self.half_width + self.pavement

    def heading_at(self, s: Numbers) -> Numbers:
        return self.heading + self.curvature * s

    def to_global(self, s: Numbers, d: Numbers) -> tuple[np.ndarray, np.ndarray]:
        """Road coordinates to global x, y."""
        x0, y0 = self.start
        theta = self.heading_at(s)
        if self.curvature == 0.0:
            c, sn = np.cos(self.heading), np.sin(self.heading)
            return x0 + s * c - d * sn, y0 + s * sn + d * c
        radius = 1.0 / self.curvature
        center_x = x0 - radius * np.sin(self.heading)
        center_y = y0 + radius * np.cos(self.heading)
        return (
            center_x + (radius - d) * np.sin(theta),
            center_y - (radius - d) * np.cos(theta),
        )

    def to_road(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Global x, y to road coordinates (s, d)."""
        dx, dy = x - np.float32(self.start[0]), y - np.float32(self.start[1])
        c, sn = np.float32(np.cos(self.heading)), np.float32(np.sin(self.heading))
        along, left = c * dx + sn * dy, c * dy - sn * dx
        if self.curvature == 0.0:
            return along, left
        radius = np.float32(1.0 / self.curvature)
        sign = np.sign(radius)
        inward = radius - left
        s = radius * np.arctan2(sign * along, sign * inward)
        return s, radius - sign * np.hypot(along, inward)

    def plot_use(self, s: np.ndarray, left: np.ndarray) -> np.ndarray:
        """Use of the plot at `s`, on the left (d > 0) or the right side."""
        last = self.plot_ends.shape[1] - 1
        right_use = self.plot_uses[0][np.minimum(np.searchsorted(self.plot_ends[0], s), last)]
        left_use = self.plot_uses[1][np.minimum(np.searchsorted(self.plot_ends[1], s), last)]
        return np.where(left, left_use, right_use)

    def plots(self, side: int) -> list[tuple[float, float, int]]:
        """(start, end, use) of each plot on the right (side 0) or left (side 1)."""
        ends = [self.s_range[0], *self.plot_ends[side]]
        return list(zip(ends[:-1], ends[1:], self.plot_uses[side], strict=True))

    def corridor_outline(self) -> tuple[np.ndarray, np.ndarray]:
        """Global x, y (N,) of points around the populated land, side streets included."""
        s = np.linspace(*self.s_range, 64)
        d = np.full_like(s, CORRIDOR)
        return self.to_global(np.concatenate([s, s]), np.concatenate([d, -d]))

    def drivable(self, s: np.ndarray, d: np.ndarray) -> np.ndarray:
        """Whether points are on a carriageway."""
        on_road = np.abs(d) <= self.half_width
        for crossing in self.crossings:
            on_road |= np.abs(s - crossing) <= self.crossing_half_width
        return on_road


def random_road(rng: np.random.Generator, s_range: tuple[float, float]) -> Road:
    """A road with random curvature, lanes, parking, side streets and plots.

    It lies at positive global coordinates, as nuScenes' map masks require.
    """
    curvature = 0.0
    if rng.random() < 0.5:
        curvature = float(rng.choice([-1.0, 1.0]) / rng.uniform(160.0, 500.0))
    crossing_half_width = float(rng.uniform(3.4, 4.2))
    first_crossing = rng.uniform(14.0, 45.0)
    crossings = tuple(float(s) for s in np.arange(first_crossing, s_range[1], rng.uniform(75, 120)))
    ends, uses = [], []
    for _ in range(2):
        count = int((s_range[1] - s_range[0]) / 14.0) + 1
        ends.append(s_range[0] + np.cumsum(rng.uniform(14.0, 32.0, size=count)))
        uses.append(rng.choice(len(LOT_USES), size=count, p=[0.5, 0.2, 0.15, 0.15]))
    road = Road(
        start=(0.0, 0.0),
        heading=float(rng.uniform(-np.pi, np.pi)),
        curvature=curvature,
        s_range=s_range,
        lanes=int(rng.choice([1, 2], p=[0.45, 0.55])),
        lane_width=float(rng.uniform(3.2, 3.8)),
        parking=float(rng.choice([0.0, 2.6], p=[0.25, 0.75])),
        pavement=float(rng.uniform(3.0, 5.0)),
        crossings=crossings,
        crossing_half_width=crossing_half_width,
        plot_ends=np.array(ends),
        plot_uses=np.array(uses),
    )
    x, y = road.corridor_outline()
    return replace(road, start=(float(-x.min()), float(-y.min())))
