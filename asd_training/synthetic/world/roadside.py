# SPDX-License-Identifier: Apache-2.0
"""Who and what stands, walks and is parked beside the lanes: works, kerbs, pavements, plots."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.street.kinds import FIELD, PARK, PARKING, PLAZA, SITE
from asd_training.synthetic.street.road import ACROSS_KERB, Road
from asd_training.synthetic.world.actors import STILL, SpeedProfile
from asd_training.synthetic.world.models import random_size
from asd_training.synthetic.world.traffic import Traffic

TURN = np.pi / 2


def random_class(rng: np.random.Generator, weights: dict[str, float]) -> str:
    names = list(weights)
    ends = np.cumsum(list(weights.values()))
    return names[int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))]


def row(
    traffic: Traffic, name: str, start: tuple[float, float], along: float, count: int, step: float
) -> None:
    """A row of cones or barriers in the direction `along` from `start` (s, d)."""
    rng = traffic.rng
    style, size = int(rng.integers(2**31)), random_size(rng, name)
    alike, jitter = rng.random() < 0.8, rng.choice([0.01, 0.06, 0.2])
    turned = along + TURN if name == "barrier" else along  # a barrier's length is its box's width
    position = 0.0
    for _ in range(count):
        s = start[0] + np.cos(along) * position + rng.normal(0.0, jitter)
        d = start[1] + np.sin(along) * position + rng.normal(0.0, jitter)
        if not alike:
            style, size = int(rng.integers(2**31)), random_size(rng, name)
        course = turned + rng.normal(0.0, 0.4 * jitter)
        traffic.offer(name, s, d, course, style=style, size=size)
        position += (size[0] + 0.2 if alike else 3.3) + step if name == "barrier" else 0.8 + step
        if rng.random() < 0.04:  # a gap
            position += 3.0


def work_zone(traffic: Traffic, s: float) -> None:
    """A closed strip: taper of cones, barriers, machines and workers.

    It takes the kerb, the outermost lane of the oncoming traffic, or only a line beside the road.
    Nothing is built where it would reach into a side street.
    """
    rng, road = traffic.rng, traffic.road
    side = float(rng.choice([-1.0, 1.0]))
    inner, outer = road.lane_edge + 0.3, road.frontage - 0.4
    if side > 0 and rng.random() < 0.4:
        inner -= road.lane_width
    length = rng.uniform(10.0, 45.0)
    low, high = s, s + length
    if any(
        low - 8.0 < c + road.crossing_half_width + 5.0
        and high + 8.0 > c - road.crossing_half_width - 5.0
        for c in road.crossings
    ):
        return
    name = "barrier" if rng.random() < 0.6 else "traffic_cone"
    step = 0.0 if rng.random() < 0.6 else rng.uniform(0.3, 2.5)
    if name == "traffic_cone":
        step = rng.uniform(1.0, 5.0)
    pitch = (2.7 if name == "barrier" else 0.8) + step
    row(traffic, name, (low, side * inner), 0.0, int(length / pitch) + 1, step)
    if rng.random() < 0.25:
        return  # nothing but the line
    for place in np.arange(low + 5.0, high - 3.0, 11.0):
        if rng.random() < 0.55:
            machine = random_class(rng, {"construction_vehicle": 0.75, "truck": 0.25})
            d = side * ((inner + outer) / 2.0 + rng.uniform(0.2, 0.8))
            course = rng.choice([0.0, np.pi]) + rng.normal(0.0, 0.15)
            traffic.offer(machine, place, d, course, parked=True)
    for end, direction in ((low, -1.0), (high, 1.0)):
        kind = "traffic_cone" if rng.random() < 0.7 else "barrier"
        slope = np.arctan2(side * (outer - inner), direction * rng.uniform(3.0, 9.0))
        count = int(rng.integers(2, 6))
        row(traffic, kind, (end + direction * 0.9, side * inner), slope, count, 0.5)
    for _ in range(int(rng.integers(0, 6))):
        traffic.offer(
            "pedestrian",
            rng.uniform(low, high),
            side * rng.uniform(inner + 0.6, outer),
            rng.uniform(-np.pi, np.pi),
            worker=True,
        )


RARE = ("bus", "trailer", "construction_vehicle", "motorcycle", "bicycle")


def guests(traffic: Traffic, start: float, end: float) -> None:
    """Classes that are rare on real streets, some of them near the ego vehicle: a detector has to
    see them often enough to learn them."""
    rng, road = traffic.rng, traffic.road
    for name in RARE:
        if rng.random() > 0.4:
            continue
        small = name in ("motorcycle", "bicycle")
        for _ in range(int(rng.integers(1, 4 if small else 3))):
            side = float(rng.choice([-1.0, 1.0]))
            s = rng.uniform(start - 30.0, end + 45.0)
            if road.near_crossing(s, 12.0):
                continue
            where = rng.random()
            course = 0.0 if side < 0 or road.one_way else np.pi
            profile, d = STILL, side * (road.lane_edge - 1.5)
            if small and where < 0.5:  # on the pavement
                d, course = side * (road.half_width + 1.4), rng.uniform(-np.pi, np.pi)
            elif where < 0.25:  # behind the pavement
                d = side * (road.frontage + rng.uniform(2.5, 7.0))
            elif road.parking and where < 0.7:
                d = side * (road.half_width - 1.3)
            elif side > 0:
                d = road.lane_middle(int(rng.integers(road.lanes)))
                profile = SpeedProfile.constant(float(rng.uniform(2.0, 11.0)))
            rider = small and abs(d) < road.lane_edge
            parked = profile is STILL and not rider
            traffic.offer(name, s, d, course, profile, parked=parked, rider=rider)


KERB_CLASSES = {
    "car": 0.78,
    "truck": 0.09,
    "bus": 0.03,
    "trailer": 0.02,
    "motorcycle": 0.04,
    "bicycle": 0.02,
    "construction_vehicle": 0.02,
}
LENGTHS = {
    "car": 4.7,
    "truck": 7.5,
    "bus": 12.0,
    "trailer": 13.0,
    "motorcycle": 2.1,
    "bicycle": 1.8,
    "construction_vehicle": 7.0,
}


def kerbs(traffic: Traffic, near: float, far: float) -> None:
    """Vehicles parked along or across the kerb."""
    rng, road = traffic.rng, traffic.road
    if not road.parking:
        return
    across = road.parking == ACROSS_KERB
    for side in (-1.0, 1.0):
        density = rng.uniform(0.1, 0.95) if rng.random() < 0.8 else 0.0
        gap = rng.uniform(0.8, 3.0)
        s = near + rng.uniform(0.0, 6.0)
        while s < far:
            name = "car" if across else random_class(rng, KERB_CLASSES)
            length = 2.5 if across else LENGTHS[name]
            middle = s + length / 2
            if rng.random() < density and not road.near_crossing(middle, 7.0 + length / 2):
                d = side * (road.half_width - (2.75 if across else 1.25))
                course = 0.0 if side < 0 or rng.random() < 0.05 else np.pi
                course += rng.normal(0.0, 0.03)
                if across:
                    course += float(rng.choice([TURN, -TURN]))
                elif name in ("motorcycle", "bicycle"):
                    course += rng.uniform(0.4, 1.3)
                traffic.offer(name, middle, d, course, parked=True)
            s += length + (0.2 if across else gap * rng.uniform(0.4, 1.6))


def pavements(traffic: Traffic, near: float, far: float) -> None:
    """Pedestrians, alone and in company; two-wheelers left there; rows of barriers and cones."""
    rng, road = traffic.rng, traffic.road
    length = far - near
    for side in (-1.0, 1.0):

        def anywhere(side: float = side) -> float:
            return side * (road.half_width + rng.uniform(0.9, road.pavement - 0.4))

        low, high = road.kind.people
        for _ in range(int(length * (low + (high - low) * rng.random() ** 2))):  # crowds are rare
            _company(traffic, rng.uniform(near, far), anywhere())
        if rng.random() < 0.16:  # many together: a stop, a shop, a school class
            s = rng.uniform(near + 30.0, far - 30.0)
            for _ in range(int(rng.integers(3, 11))):
                turned = side * -TURN + rng.normal(0.0, 0.9)
                traffic.offer("pedestrian", s + rng.normal(0.0, 2.2), anywhere(), turned)
        for _ in range(int(rng.choice([0, 1, 2, 4], p=[0.55, 0.25, 0.15, 0.05]))):
            s, name = rng.uniform(near, far), "bicycle" if rng.random() < 0.55 else "motorcycle"
            course = TURN * float(rng.choice([-1.0, 1.0])) + rng.uniform(-0.5, 0.5)
            d = side * (road.half_width + 1.4)
            for i in range(int(rng.integers(1, 4))):
                turned = course + rng.normal(0.0, 0.08)
                traffic.offer(name, s + rng.uniform(0.75, 1.1) * i, d, turned, parked=True)
        if rng.random() < 0.25:
            s, name = rng.uniform(near + 35.0, far - 45.0), rng.choice(["traffic_cone", "barrier"])
            step = rng.choice([0.0, rng.uniform(0.3, 4.0)])
            d = side * (road.half_width + float(rng.choice([0.45, -0.4])))
            row(traffic, str(name), (s, d), 0.0, int(rng.integers(2, 16)), float(step))


def _company(traffic: Traffic, s: float, d: float) -> None:
    """Some people who walk or stand together."""
    rng = traffic.rng
    count = int(rng.choice([1, 2, 3, 4], p=[0.62, 0.24, 0.09, 0.05]))
    walking = rng.random() < 0.7
    speed = SpeedProfile.constant(float(rng.uniform(0.6, 1.8))) if walking else STILL
    course = float(rng.choice([0.0, np.pi])) + rng.normal(0.0, 0.05)
    for i in range(count):
        if not walking:
            course = float(rng.uniform(-np.pi, np.pi))
        place = s + rng.normal(0.0, 0.4) + 0.7 * (i // 2), d + (i % 2) * rng.uniform(0.75, 1.0)
        traffic.offer("pedestrian", *place, course, speed)


def plot(traffic: Traffic, side: int, low: float, high: float, use: int) -> None:
    """Who is on a plot of land."""
    rng, road = traffic.rng, traffic.road
    front = road.frontage

    def free(s: float) -> bool:
        return not road.near_crossing(s, 4.5)

    if use == PARKING:
        _car_park(traffic, side, low, high)
    elif use in (PARK, PLAZA, FIELD):
        most = {PARK: 3, PLAZA: 5, FIELD: 1}[use]
        for _ in range(int(rng.integers(0, most + 1))):
            s = rng.uniform(low + 1.0, high - 1.0)
            if free(s):
                walk = SpeedProfile.constant(float(rng.uniform(0.5, 1.4)))
                traffic.offer(
                    "pedestrian",
                    s,
                    side * (front + rng.uniform(1.0, 14.0)),
                    float(rng.uniform(-np.pi, np.pi)),
                    STILL if rng.random() < 0.5 else walk,
                )
        if rng.random() < 0.25:
            s, d = rng.uniform(low, high), side * (front + rng.uniform(1.0, 6.0))
            if free(s):
                course = float(rng.uniform(-np.pi, np.pi))
                traffic.offer("bicycle", s, d, course, parked=True)
    elif use == SITE:
        _site(traffic, side, low, high, road)


def _car_park(traffic: Traffic, side: int, low: float, high: float) -> None:
    rng, road = traffic.rng, traffic.road
    density = rng.uniform(0.1, 0.85)
    for bays in range(int(rng.integers(1, 3))):
        d = side * (road.frontage + 4.0 + 11.0 * bays)
        weights = {"car": 0.85, "truck": 0.06, "construction_vehicle": 0.02, "motorcycle": 0.07}
        s = low + 1.5
        if rng.random() < 0.12 * road.kind.heavy:  # the coach and lorry park
            weights = {"bus": 0.3, "trailer": 0.4, "truck": 0.3}
            d = side * (road.frontage + 8.5)
        while s < high - 1.5:
            name = random_class(rng, weights)
            if rng.random() < density and not road.near_crossing(s, 4.5):
                course = TURN * float(rng.choice([-1.0, 1.0])) + rng.normal(0.0, 0.04)
                traffic.offer(name, s, d, course, parked=True)
            s += rng.uniform(2.8, 3.2) if name in ("car", "motorcycle") else 4.2


def _site(traffic: Traffic, side: int, low: float, high: float, road: Road) -> None:
    """A building site behind barriers."""
    rng, front = traffic.rng, road.frontage
    if rng.random() < 0.6 and not road.near_crossing((low + high) / 2.0, (high - low) / 2.0 + 4.0):
        row(
            traffic, "barrier", (low + 2.0, side * (front + 0.6)), 0.0, int((high - low) / 3.2), 0.2
        )
    for _ in range(int(rng.integers(0, 4))):
        name = random_class(rng, {"construction_vehicle": 0.55, "truck": 0.3, "trailer": 0.15})
        s = rng.uniform(low + 4.0, high - 4.0)
        if not road.near_crossing(s, 6.0):
            d, course = side * (front + rng.uniform(5.0, 14.0)), float(rng.uniform(-np.pi, np.pi))
            traffic.offer(name, s, d, course, parked=True)
    for _ in range(int(rng.integers(0, 5))):
        s = rng.uniform(low + 1.0, high - 1.0)
        if road.near_crossing(s, 4.5):
            continue
        d, course = side * (front + rng.uniform(2.0, 12.0)), float(rng.uniform(-np.pi, np.pi))
        traffic.offer("pedestrian", s, d, course, worker=True)
        if rng.random() < 0.5:
            d = side * (front + rng.uniform(1.5, 6.0))
            row(traffic, "traffic_cone", (s + 1.5, d), course, int(rng.integers(1, 4)), 0.6)
