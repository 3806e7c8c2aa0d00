# SPDX-License-Identifier: Apache-2.0
"""Who is on the street: the ego vehicle's drive and all objects around it, over time.

Two situations: driving, with the side streets' traffic waiting; or a red light, with the ego's
road standing still and the first side street moving.
"""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.world.actors import STILL, Actor, Motion, SpeedProfile
from asd_training.synthetic.world.road import PARK, PARKING, SITE, Road
from asd_training.synthetic.world.traffic import Traffic

REACH = 75.0  # m around the ego vehicle's drive that is populated
TURN = np.pi / 2


def random_profile(rng: np.random.Generator, duration: float, top: float = 12.0) -> SpeedProfile:
    """Cruise, stand, slow down to a stop, drive off, or swing between speeds."""
    kind = rng.choice(["cruise", "stop", "start", "swing"], p=[0.4, 0.15, 0.15, 0.3])
    speed = rng.uniform(3.0, top)
    if kind == "cruise":
        return SpeedProfile.constant(float(speed))
    if kind == "swing":
        times = np.arange(-1.0, duration + 4.0, 3.0)
        return SpeedProfile(times, rng.uniform(0.5, 1.0, len(times)) * speed)
    change = rng.uniform(0.1, 0.5) * duration
    seconds = speed / rng.uniform(1.5, 2.5)
    speeds = (speed, speed, 0.0, 0.0) if kind == "stop" else (0.0, 0.0, speed, speed)
    return SpeedProfile(
        np.array([-1.0, change, change + seconds, change + seconds + 1.0]), np.array(speeds)
    )


def populate(rng: np.random.Generator, road: Road, duration: float) -> tuple[Motion, list[Actor]]:
    """The ego vehicle's motion (of its rear axle) and every object of a scene."""
    red_light = rng.random() < 0.3
    lane = int(rng.integers(road.lanes))
    profile = STILL if red_light else random_profile(rng, duration)
    start = 0.0
    if red_light:
        start = road.crossings[0] - road.crossing_half_width - rng.uniform(6.5, 24.0)
    ego = Motion(road, start, -(lane + 0.5) * road.lane_width, 0.0, profile)
    traffic = Traffic(rng, road, ego, duration)
    near, far = start - REACH, start + float(profile.distance(duration)) + REACH
    for _ in range(int(rng.integers(2, 5))):
        _work_zone(traffic, rng.uniform(start - 15.0, far - REACH + 35.0))
    _side_streets(traffic, red_light)
    _lanes(traffic, lane, red_light, near, far)
    _kerbs(traffic, near, far)
    _pavements(traffic, near, far)
    for side in (0, 1):
        for low, high, use in road.plots(side):
            if high > near and low < far:
                _plot(traffic, 2 * side - 1, low, high, use)
    return ego, traffic.actors


def _class(rng: np.random.Generator, weights: dict[str, float]) -> str:
    names = list(weights)
    p = np.array(list(weights.values()))
    return str(rng.choice(names, p=p / p.sum()))


LANE_CLASSES = {
    "car": 0.46,
    "truck": 0.12,
    "bus": 0.16,
    "trailer": 0.1,
    "motorcycle": 0.07,
    "bicycle": 0.05,
    "construction_vehicle": 0.04,
}


def _in_lane(
    traffic: Traffic, name: str, s: float, d: float, course: float, profile: SpeedProfile
) -> float:
    """Offer a vehicle with its rear end at least at `s`; return the way it takes up."""
    if name in ("motorcycle", "bicycle"):
        traffic.offer(
            name, s + 1.5, d + traffic.rng.uniform(-0.8, 0.8), course, profile, rider=True
        )
        return 3.0
    if name == "trailer":  # drawn by a truck; along the course, the truck is in front
        forward = 1.0 if np.cos(course) + np.sin(course) > 0 else -1.0
        across = abs(np.sin(course)) > 0.5
        offset = 11.5 * forward
        place = (s, d + offset) if across else (s + offset, d)
        if traffic.offer("trailer", s, d, course, profile):
            traffic.offer("truck", *place, course, profile)
        return 24.0
    length = {"car": 5.0, "truck": 8.5, "bus": 13.5, "construction_vehicle": 8.0}[name]
    traffic.offer(name, s + length / 2, d, course, profile)
    return length


def _lanes(traffic: Traffic, ego_lane: int, red_light: bool, near: float, far: float) -> None:
    rng, road = traffic.rng, traffic.road
    ego = traffic.ego
    stop_lines = (
        road.crossings[0] - road.crossing_half_width - 1.5,
        road.crossings[0] + road.crossing_half_width + 1.5,
    )
    for direction in (-1, 1):  # -1: with the ego, on the right; 1: oncoming
        for lane in range(road.lanes):
            d = direction * (lane + 0.5) * road.lane_width
            course = 0.0 if direction < 0 else np.pi
            if red_light:
                profile = STILL
            elif direction < 0 and lane == ego_lane:
                profile = ego.profile
            else:
                profile = random_profile(rng, traffic.duration)
            travelled = float(profile.distance(traffic.duration))
            low, high = near, far
            if direction < 0:
                low -= travelled
            else:
                high += travelled
            spacing = rng.uniform(4.0, 9.0) if red_light else rng.uniform(8.0, 30.0)
            s = low + rng.uniform(0.0, 15.0)
            while s < high:
                name = _class(rng, LANE_CLASSES)
                space = 6.0 if name != "trailer" else 20.0
                blocked = red_light and (
                    stop_lines[0] - (14.0 if name == "trailer" else 4.0 * space / 6.0)
                    < s
                    < stop_lines[1] + (8.0 if name == "trailer" else 0.0)
                )
                if blocked:
                    s += 2.0
                    continue
                s += _in_lane(traffic, name, s, d, course, profile)
                s += rng.uniform(0.4, 1.6) * spacing + 1.5
    # Cyclists at the kerb, passing the parked cars.
    for direction in (-1, 1):
        if rng.random() < 0.8 and not red_light:
            d = direction * (road.lanes * road.lane_width - 0.4)
            speed = SpeedProfile.constant(float(rng.uniform(2.0, 6.0)))
            for _ in range(int(rng.integers(1, 5))):
                name = "bicycle" if rng.random() < 0.7 else "motorcycle"
                traffic.offer(
                    name,
                    rng.uniform(near + 30.0, far - 30.0),
                    d,
                    0.0 if direction < 0 else np.pi,
                    speed,
                    rider=True,
                )


def _side_streets(traffic: Traffic, red_light: bool) -> None:
    rng, road = traffic.rng, traffic.road
    for number, crossing in enumerate(road.crossings):
        flowing = red_light and number == 0
        profile = STILL
        if flowing:
            profile = SpeedProfile.constant(float(rng.uniform(4.0, 10.0)))
        stop = road.half_width + 3.5
        for course, side in ((TURN, 1.0), (-TURN, -1.0)):
            s = crossing + side * road.crossing_half_width / 2
            way = float(profile.distance(traffic.duration))
            # Those who go left (+d) come from -d; standing ones queue before the crossing.
            position = -stop - rng.uniform(3.0, 6.0)
            if flowing:
                position = 45.0
            while position > -50.0 - way:
                name = _class(rng, LANE_CLASSES)
                gap = {"trailer": 9.0, "bus": 7.0, "truck": 5.0}.get(name, 3.0)
                position -= gap
                taken = _in_lane(traffic, name, s, side * position, course, profile)
                position -= taken / (2.0 if name != "trailer" else 2.6) + (
                    rng.uniform(2.0, 20.0) if flowing else rng.uniform(1.5, 12.0)
                )
        # Pedestrians on the zebra crossings: over the standing one of the two streets.
        for _ in range(int(rng.integers(0, 6))):
            walk = SpeedProfile.constant(float(rng.uniform(0.7, 1.7)))
            if flowing:
                zebra = crossing - road.crossing_half_width - rng.uniform(1.5, 2.3)
                course = float(rng.choice([TURN, -TURN]))
                traffic.offer("pedestrian", zebra, rng.uniform(-14.0, 14.0), course, walk)
            else:
                d = float(rng.choice([-1.0, 1.0])) * (road.half_width + rng.uniform(0.8, 2.6))
                course = float(rng.choice([0.0, np.pi]))
                traffic.offer("pedestrian", crossing + rng.uniform(-12.0, 12.0), d, course, walk)


def _work_zone(traffic: Traffic, s: float) -> None:
    """A closed strip at the kerb: taper of cones, barriers, machines and workers.

    Nothing is built where it would reach into a side street.
    """
    rng, road = traffic.rng, traffic.road
    side = float(rng.choice([-1.0, 1.0]))
    lane_edge = road.lanes * road.lane_width
    inner, outer = lane_edge + 0.3, road.frontage - 0.4
    length = rng.uniform(16.0, 32.0)
    low, high = s, s + length
    for crossing in road.crossings:
        margin = road.crossing_half_width + 5.0
        if low - 8.0 < crossing + margin and high + 8.0 > crossing - margin:
            return
    middle = side * (inner + outer + 0.6) / 2.0
    for place in (low + 0.25 * length, low + 0.7 * length):
        name = "construction_vehicle" if rng.random() < 0.75 else "truck"
        traffic.offer(
            name,
            place,
            middle + side * 0.3,
            rng.choice([0.0, np.pi]) + rng.uniform(-0.12, 0.12),
            parked=True,
        )
    step = rng.uniform(1.6, 3.2)
    barriers = rng.random() < 0.7
    position = low
    while position < high:
        if barriers:
            traffic.offer("barrier", position, side * inner, TURN, parked=True)
            position += 3.1
        else:
            traffic.offer("traffic_cone", position, side * inner + rng.uniform(-0.1, 0.1), 0.0)
            position += step
    for end, direction in ((low, -1.0), (high, 1.0)):
        for i in range(int(rng.integers(3, 6))):
            fraction = (i + 1) / 5.0
            traffic.offer(
                "traffic_cone",
                end + direction * (0.6 + 1.5 * i),
                side * (inner + fraction * (outer - inner)),
                0.0,
            )
        for d in np.arange(inner + 1.6, outer, 3.0):
            if rng.random() < 0.6:
                traffic.offer("barrier", end - direction * 0.4, side * d, rng.uniform(-0.2, 0.2))
    for _ in range(int(rng.integers(1, 5))):
        traffic.offer(
            "pedestrian",
            rng.uniform(low, high),
            side * rng.uniform(inner + 0.6, outer),
            rng.uniform(-np.pi, np.pi),
            worker=True,
        )


KERB_CLASSES = {
    "car": 0.61,
    "truck": 0.11,
    "bus": 0.08,
    "trailer": 0.07,
    "motorcycle": 0.06,
    "bicycle": 0.04,
    "construction_vehicle": 0.03,
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


def _kerbs(traffic: Traffic, near: float, far: float) -> None:
    rng, road = traffic.rng, traffic.road
    if not road.parking:
        return
    for side in (-1.0, 1.0):
        density = rng.uniform(0.3, 0.95)
        s = near + rng.uniform(0.0, 6.0)
        while s < far:
            name = _class(rng, KERB_CLASSES)
            length = LENGTHS[name]
            middle = s + length / 2
            clear = all(
                abs(middle - c) > road.crossing_half_width + 7.0 + length / 2
                for c in road.crossings
            )
            if clear and rng.random() < density:
                d = side * (road.half_width - (1.25 if name != "trailer" else 1.35))
                course = (0.0 if side < 0 else np.pi) + rng.normal(0.0, 0.03)
                if name in ("motorcycle", "bicycle"):
                    course += rng.uniform(0.4, 1.3)
                traffic.offer(name, middle, d, course, parked=True)
            s += length + rng.uniform(1.0, 4.0)


def _pavements(traffic: Traffic, near: float, far: float) -> None:
    rng, road = traffic.rng, traffic.road
    length = far - near
    for side in (-1.0, 1.0):
        for _ in range(int(length * rng.uniform(0.03, 0.16))):
            s = rng.uniform(near, far)
            d = side * (road.half_width + rng.uniform(0.9, road.pavement - 0.4))
            if rng.random() < 0.7:
                speed = SpeedProfile.constant(float(rng.uniform(0.6, 1.8)))
                course = float(rng.choice([0.0, np.pi]))
                traffic.offer("pedestrian", s, d, course, speed)
                if rng.random() < 0.3:  # walking in company
                    traffic.offer("pedestrian", s + rng.uniform(-0.3, 0.3), d + 0.9, course, speed)
            else:
                traffic.offer("pedestrian", s, d, float(rng.uniform(-np.pi, np.pi)))
        for _ in range(int(rng.integers(3, 8))):  # two-wheelers left on the pavement, in rows
            s, name = rng.uniform(near, far), "bicycle" if rng.random() < 0.55 else "motorcycle"
            course = TURN * float(rng.choice([-1.0, 1.0])) + rng.uniform(-0.5, 0.5)
            for i in range(int(rng.integers(1, 5))):
                traffic.offer(
                    name,
                    s + 1.1 * i,
                    side * (road.half_width + 1.4),
                    course + rng.normal(0.0, 0.08),
                    parked=True,
                )
        if rng.random() < 0.4:  # a row of cones or barriers at the kerb
            s, name = rng.uniform(near + 40.0, far - 40.0), rng.choice(["traffic_cone", "barrier"])
            for i in range(int(rng.integers(2, 7))):
                traffic.offer(str(name), s + 3.0 * i, side * (road.half_width + 0.45), TURN)


def _plot(traffic: Traffic, side: int, low: float, high: float, use: int) -> None:
    rng, road = traffic.rng, traffic.road
    front = road.frontage

    def free(s: float) -> bool:
        return all(abs(s - c) > road.crossing_half_width + 4.5 for c in road.crossings)

    if use == PARKING:
        for row in range(2):
            d = side * (front + 4.0 + 11.0 * row)
            weights = {"car": 0.75, "truck": 0.1, "construction_vehicle": 0.03, "motorcycle": 0.07}
            s = low + 2.0
            if rng.random() < 0.3:  # the coach and lorry park
                weights = {"bus": 0.3, "trailer": 0.4, "truck": 0.3}
                d = side * (front + 8.5)
            while s < high - 2.0:
                name = _class(rng, weights)
                if rng.random() < 0.75 and free(s):
                    course = TURN * float(rng.choice([-1.0, 1.0])) + rng.normal(0.0, 0.04)
                    traffic.offer(name, s, d, course, parked=True)
                s += rng.uniform(2.8, 3.2) if name in ("car", "motorcycle") else 4.2
    elif use == PARK:
        for _ in range(int(rng.integers(1, 6))):
            s = rng.uniform(low + 1.0, high - 1.0)
            if free(s):
                walk = SpeedProfile.constant(float(rng.uniform(0.5, 1.4)))
                still = rng.random() < 0.5
                traffic.offer(
                    "pedestrian",
                    s,
                    side * (front + rng.uniform(1.0, 14.0)),
                    float(rng.uniform(-np.pi, np.pi)),
                    STILL if still else walk,
                )
        if rng.random() < 0.5:
            traffic.offer(
                "bicycle",
                rng.uniform(low, high),
                side * (front + rng.uniform(1.0, 6.0)),
                float(rng.uniform(-np.pi, np.pi)),
                parked=True,
            )
    elif use == SITE:
        for s in np.arange(low + 2.0, high - 1.0, 3.0):
            if free(s) and rng.random() < 0.7:
                traffic.offer("barrier", s, side * (front + 0.6), TURN)
        for _ in range(3):
            name = _class(rng, {"construction_vehicle": 0.6, "truck": 0.25, "trailer": 0.15})
            s = rng.uniform(low + 4.0, high - 4.0)
            if free(s):
                traffic.offer(
                    name,
                    s,
                    side * (front + rng.uniform(5.0, 14.0)),
                    float(rng.uniform(-np.pi, np.pi)),
                    parked=True,
                )
        for _ in range(int(rng.integers(1, 4))):
            s = rng.uniform(low + 1.0, high - 1.0)
            if free(s):
                traffic.offer(
                    "pedestrian",
                    s,
                    side * (front + rng.uniform(2.0, 12.0)),
                    float(rng.uniform(-np.pi, np.pi)),
                    worker=True,
                )
                traffic.offer("traffic_cone", s + 1.5, side * (front + rng.uniform(1.5, 6.0)), 0.0)
