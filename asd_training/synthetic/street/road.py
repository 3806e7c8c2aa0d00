# SPDX-License-Identifier: Apache-2.0
"""The plan of a street: a road of constant curvature with what lies along both sides.

Everything is placed in road coordinates (s, d): s metres along the centre line, d metres to the
side of the oncoming traffic. The ego vehicle's lanes have d < 0. Where traffic keeps right, d is
counted to the left; where it keeps left, all of the street is mirrored: d is counted to the right.
Side streets meet the road at fixed s; the land behind the pavements is divided into plots.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from asd_training.synthetic.street.kinds import Kind, choose, random_kind

Numbers: TypeAlias = "np.ndarray | float"
PLOT_DEPTH = 24.0  # m behind the pavement
CORRIDOR = 70.0  # m on both sides of the centre line belong to the scene
ALONG_KERB, ACROSS_KERB = 2.6, 5.4  # width of a strip of parked vehicles, m
# Which arms a side street has: on the left (d > 0), on the right, on both sides.
BOTH_ARMS, LEFT_ARM, RIGHT_ARM = 0, 1, -1
NO_MEDIAN, HATCHED, PLANTED, WALLED = range(4)
BAR_ZEBRA, LADDER_ZEBRA, LINE_ZEBRA, NO_ZEBRA = range(4)


@dataclass(frozen=True)
class Finish:
    """How the ground of a street looks, beyond its plan."""

    concrete: bool  # carriageway of concrete slabs, else asphalt
    pavers: bool  # pavements of bricks, else slabs
    verge: bool  # grass between kerb and footway
    yellow: bool  # the centre line
    double: bool
    edge_line: int  # lines along the kerb: none, a white one, a yellow one, two yellow ones
    dash: tuple[float, float]  # period and length of a broken line, m
    zebra: int
    kerb_paint: bool  # dark and light blocks in turns
    coloured_lane: int  # the outermost lane: no, red, green
    tram: bool  # rails in the innermost lanes
    arrows: bool
    words: bool  # written on the lanes
    wear: int  # a number that stains and words are drawn from


@dataclass(frozen=True)
class Road:
    kind: Kind
    finish: Finish
    hand: float  # 1: traffic keeps right, -1: left
    start: tuple[float, float]  # global position of s = 0, d = 0
    heading: float  # global heading at s = 0
    curvature: float  # 1/m, positive to the left
    s_range: tuple[float, float]
    lanes: int  # in each direction
    lane_width: float
    one_way: bool  # the lanes with d > 0, too, go along s
    median: float  # width between the directions, 0 for none
    median_kind: int
    parking: float  # width of the parking strip on each side, 0 for none
    pavement: float  # width of each pavement
    crossings: tuple[float, ...]  # s of the side streets' centre lines
    arms: tuple[int, ...]  # of each
    crossing_half_width: float
    plot_ends: np.ndarray  # (2, P) s where plots end, right side then left side
    plot_uses: np.ndarray  # (2, P)

    @property
    def lane_edge(self) -> float:
        """From the centre line to the outer edge of the lanes."""
        return self.median / 2.0 + self.lanes * self.lane_width

    @property
    def half_width(self) -> float:
        """From the centre line to the kerb."""
        return self.lane_edge + self.parking

    @property
    def frontage(self) -> float:
        """From the centre line to where the plots begin."""
        return self.half_width + self.pavement

    def lane_middle(self, lane: int) -> float:
        """Distance from the centre line; lane 0 is the innermost."""
        return self.median / 2.0 + (lane + 0.5) * self.lane_width

    def heading_at(self, s: Numbers) -> Numbers:
        return self.heading + self.curvature * s

    def yaw(self, s: Numbers, course: Numbers) -> Numbers:
        """Global yaw of a course in road coordinates."""
        return self.heading_at(s) + self.hand * course

    def has_arm(self, crossing: int, side: float) -> bool:
        """Whether a side street, by number, goes off to a side: 1 for d > 0, else -1."""
        return self.arms[crossing] in (BOTH_ARMS, side)

    def near_crossing(self, s: float, margin: float, side: float = 0.0) -> bool:
        """Whether s is within `margin` of a side street, of any or only of those on a side."""
        return any(
            abs(s - place) < self.crossing_half_width + margin
            and (side == 0.0 or self.has_arm(number, side))
            for number, place in enumerate(self.crossings)
        )

    def to_global(self, s: Numbers, d: Numbers) -> tuple[np.ndarray, np.ndarray]:
        """Road coordinates to global x, y."""
        d = self.hand * d
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
        hand = np.float32(self.hand)
        along, left = c * dx + sn * dy, c * dy - sn * dx
        if self.curvature == 0.0:
            return along, hand * left
        radius = np.float32(1.0 / self.curvature)
        sign = np.sign(radius)
        inward = radius - left
        s = radius * np.arctan2(sign * along, sign * inward)
        return s, hand * (radius - sign * np.hypot(along, inward))

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
        for crossing, arm in zip(self.crossings, self.arms, strict=True):
            inside = np.abs(s - crossing) <= self.crossing_half_width
            on_road |= inside if arm == BOTH_ARMS else inside & (arm * d > 0.0)
        return on_road


def random_road(rng: np.random.Generator, s_range: tuple[float, float]) -> Road:
    """A road of a random kind, with random curvature, lanes, parking, side streets and plots.

    It lies at positive global coordinates, as nuScenes' map masks require.
    """
    kind = random_kind(rng)
    curvature = 0.0
    if rng.random() < 0.5:
        curvature = float(rng.choice([-1.0, 1.0]) / rng.uniform(140.0, 600.0))
    lanes = 1 + choose(rng, kind.lanes)
    median, median_kind = 0.0, NO_MEDIAN
    if rng.random() < kind.medians:
        median, median_kind = float(rng.uniform(1.0, 5.0)), int(rng.integers(HATCHED, WALLED + 1))
    parking = (0.0, ALONG_KERB, ACROSS_KERB)[choose(rng, kind.parking)]
    crossings, arms = _side_streets(rng, kind, s_range)
    ends, uses = [], []
    for _ in range(2):
        count = int((s_range[1] - s_range[0]) / 14.0) + 1
        ends.append(s_range[0] + np.cumsum(rng.uniform(14.0, 32.0, size=count)))
        uses.append([choose(rng, kind.plots) for _ in range(count)])
    road = Road(
        kind=kind,
        finish=_random_finish(rng, kind),
        hand=float(rng.choice([1.0, -1.0], p=[0.55, 0.45])),
        start=(0.0, 0.0),
        heading=float(rng.uniform(-np.pi, np.pi)),
        curvature=curvature,
        s_range=s_range,
        lanes=lanes,
        lane_width=float(rng.uniform(2.9, 3.8)),
        one_way=median == 0.0 and lanes > 1 and bool(rng.random() < 0.2),
        median=median,
        median_kind=median_kind,
        parking=parking,
        pavement=float(rng.uniform(*kind.pavement)),
        crossings=crossings,
        arms=arms,
        crossing_half_width=float(rng.uniform(3.2, 6.5)),
        plot_ends=np.array(ends),
        plot_uses=np.array(uses),
    )
    x, y = road.corridor_outline()
    return replace(road, start=(float(-x.min()), float(-y.min())))


def _side_streets(
    rng: np.random.Generator, kind: Kind, s_range: tuple[float, float]
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    if rng.random() > kind.crossings:
        return (), ()
    first = rng.uniform(-60.0, 60.0)
    places = np.arange(first, s_range[1], rng.uniform(70.0, 150.0))
    arms = rng.choice([BOTH_ARMS, LEFT_ARM, RIGHT_ARM], size=len(places), p=[0.6, 0.2, 0.2])
    return tuple(places.tolist()), tuple(arms.tolist())


def _random_finish(rng: np.random.Generator, kind: Kind) -> Finish:
    def chance(share: float) -> bool:
        return bool(rng.random() < share)

    urban = kind.name in ("town", "business", "waterside")
    period = float(rng.choice([4.0, 6.0, 7.5, 12.0]))
    return Finish(
        concrete=chance(0.12),
        pavers=chance(0.3),
        verge=chance(kind.verge),
        yellow=chance(0.5),
        double=chance(0.5),
        edge_line=choose(rng, (0.3, 0.35, 0.15, 0.2)),
        dash=(period, period * float(rng.uniform(0.3, 0.55))),
        zebra=choose(rng, (0.45, 0.2, 0.25, 0.1)),
        kerb_paint=chance(0.2),
        coloured_lane=choose(rng, (0.88, 0.07, 0.05)),
        tram=urban and chance(0.12),
        arrows=chance(0.5),
        words=chance(0.3),
        wear=int(rng.integers(2**31)),
    )
