# SPDX-License-Identifier: Apache-2.0
"""Who is on the street: the ego vehicle's drive and all objects around it, over time.

Two situations: driving or waiting, with the side streets' traffic waiting; or a red light, with the
ego's road standing still and one side street moving.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asd_training.synthetic.street.road import BOTH_ARMS, Road
from asd_training.synthetic.world.actors import STILL, Actor, Motion, SpeedProfile
from asd_training.synthetic.world.roadside import (
    guests,
    kerbs,
    pavements,
    plot,
    random_class,
    work_zone,
)
from asd_training.synthetic.world.traffic import Traffic

REACH = 66.0  # m around the ego vehicle's drive that is populated
TURN = np.pi / 2
EGO_FRONT, EGO_REAR = 4.0, 1.2  # m from the rear axle


@dataclass(frozen=True)
class Street:
    """A street with the ego vehicle's drive along it."""

    road: Road
    ego: Motion  # of its rear axle
    red_light: int | None  # number of the side street that the ego's road waits for


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


def random_drive(rng: np.random.Generator, road: Road, duration: float) -> Street:
    lane = int(rng.integers(road.lanes))
    d = -road.lane_middle(lane)
    lights = [
        number
        for number, (s, arms) in enumerate(zip(road.crossings, road.arms, strict=True))
        if arms == BOTH_ARMS and 10.0 < s < 80.0
    ]
    if lights and rng.random() < 0.35:
        ahead = rng.uniform(6.5, 30.0) + road.crossing_half_width
        start = road.crossings[lights[0]] - ahead
        return Street(road, Motion(road, start, d, 0.0), lights[0])
    profile = STILL if rng.random() < 0.15 else random_profile(rng, duration)
    return Street(road, Motion(road, 0.0, d, 0.0, profile), None)


def populate(rng: np.random.Generator, road: Road, duration: float) -> tuple[Street, list[Actor]]:
    """The ego vehicle's drive and every object of a scene."""
    street = random_drive(rng, road, duration)
    ego = street.ego
    traffic = Traffic(rng, road, ego, duration)
    start = ego.s
    end = start + float(ego.profile.distance(duration))
    near, far = start - REACH, end + REACH
    most = 4 if road.kind.name == "works" else 3
    for _ in range(int(rng.integers(most - 3, most))):
        work_zone(traffic, rng.uniform(start - 25.0, end + 40.0))
    if rng.random() < 0.8:
        guests(traffic, start, end)
    if rng.random() < 0.72:
        _lanes(traffic, street, near, far)
    if rng.random() < 0.8 or street.red_light is not None:
        _side_streets(traffic, street)
    kerbs(traffic, near, far)
    pavements(traffic, near, far)
    for side in (0, 1):
        for low, high, use in road.plots(side):
            if high > near + 12.0 and low < far - 12.0:
                plot(traffic, 2 * side - 1, low, high, use)
    return street, traffic.actors


LANE_CLASSES = {
    "car": 0.62,
    "truck": 0.11,
    "bus": 0.08,
    "trailer": 0.06,
    "motorcycle": 0.06,
    "bicycle": 0.04,
    "construction_vehicle": 0.03,
}


def _in_lane(
    traffic: Traffic, name: str, start: float, across: float, course: float, profile: SpeedProfile
) -> float:
    """Offer a vehicle that begins at `start` on the axis that `course` follows, s or d, whichever
    way it faces; return the length it takes up."""
    rng = traffic.rng
    along_d = abs(np.sin(course)) > 0.5
    forward = 1.0 if np.cos(course) + np.sin(course) > 0 else -1.0

    def offer(name: str, middle: float, across: float, **looks: bool) -> Actor | None:
        s, d = (across, middle) if along_d else (middle, across)
        return traffic.offer(name, s, d, course, profile, **looks)

    if name in ("motorcycle", "bicycle"):
        offer(name, start + 1.2, across + rng.uniform(-0.8, 0.8), rider=True)
        return 2.5
    if name == "trailer":  # drawn by a truck
        parts = ("trailer", "truck") if forward > 0 else ("truck", "trailer")
        middles = (7.5, 18.7) if forward > 0 else (5.3, 16.5)
        for part, middle in zip(parts, middles, strict=True):
            offer(part, start + middle, across, tractor=part == "truck")
        return 24.5
    length = {"car": 5.2, "truck": 9.0, "bus": 13.5, "construction_vehicle": 8.5}[name]
    offer(name, start + length / 2, across + rng.normal(0.0, 0.15))
    return length


def _lanes(traffic: Traffic, street: Street, near: float, far: float) -> None:
    rng, road, ego = traffic.rng, street.road, street.ego
    jam = np.exp(rng.uniform(np.log(5.0), np.log(45.0)))
    for direction in (-1, 1):  # -1: with the ego; 1: oncoming
        if rng.random() < 0.1:
            continue
        for lane in range(road.lanes):
            d = direction * road.lane_middle(lane)
            along = direction < 0 or road.one_way
            course = 0.0 if along else np.pi
            own = abs(d - ego.d) < 0.1
            if street.red_light is not None:
                profile = STILL
            elif own:
                profile = ego.profile
            else:
                profile = random_profile(rng, traffic.duration)
            travelled = float(profile.distance(traffic.duration))
            low, high = (near - travelled, far) if along else (near, far + travelled)
            spacing = jam * rng.uniform(0.6, 1.6)
            # The nearest vehicle ahead is at any distance, not at the one that drivers like best:
            # else a detector learns to see one there.
            ahead, behind = rng.uniform(2.0, 75.0), rng.uniform(2.0, 60.0)
            stretches = [(low, high)]
            if own:
                stretches = [(low, ego.s - EGO_REAR - behind), (ego.s + EGO_FRONT + ahead, high)]
            for first, last in stretches:
                _fill(traffic, street, (first, last), spacing, d, course, profile)
    # Cyclists at the kerb, passing the parked cars.
    for direction in (-1, 1):
        if rng.random() < 0.5 and street.red_light is None:
            course = 0.0 if direction < 0 or road.one_way else np.pi
            speed = SpeedProfile.constant(float(rng.uniform(2.0, 6.0)))
            for _ in range(int(rng.integers(1, 4))):
                name = "bicycle" if rng.random() < 0.7 else "motorcycle"
                s, d = rng.uniform(near + 30.0, far - 30.0), direction * (road.lane_edge - 0.5)
                traffic.offer(name, s, d, course, speed, rider=True)


def _fill(
    traffic: Traffic,
    street: Street,
    stretch: tuple[float, float],
    spacing: float,
    d: float,
    course: float,
    profile: SpeedProfile,
) -> None:
    """A lane's vehicles from one s to another, none on the crossing before which they wait."""
    rng, road = traffic.rng, street.road
    kept_free = (np.inf, -np.inf)
    if street.red_light is not None:
        middle, half = road.crossings[street.red_light], road.crossing_half_width + 5.5
        kept_free = (middle - half, middle + half)
    weights = LANE_CLASSES | {
        name: LANE_CLASSES[name] * road.kind.heavy
        for name in ("truck", "trailer", "construction_vehicle")
    }
    s, last = stretch
    while s < last:
        name = random_class(rng, weights)
        length = {"trailer": 25.0, "bus": 14.0}.get(name, 9.0)
        if s < kept_free[1] and s + length > kept_free[0]:
            s += 2.0
            continue
        if s + length > last + 4.0:
            return
        s += _in_lane(traffic, name, s, d, course, profile)
        s += rng.uniform(0.25, 1.75) * spacing + 1.0


def _side_streets(traffic: Traffic, street: Street) -> None:
    rng, road = traffic.rng, street.road
    for number, crossing in enumerate(road.crossings):
        flowing = number == street.red_light
        profile = STILL
        if flowing:
            profile = SpeedProfile.constant(float(rng.uniform(4.0, 10.0)))
        way = float(profile.distance(traffic.duration))
        for course, side in ((TURN, 1.0), (-TURN, -1.0)):
            if not road.has_arm(number, -side) or rng.random() < 0.2:
                continue
            s = crossing + side * road.crossing_half_width / 2
            # Those who go to +d come from -d; standing ones queue before the crossing.
            stop = road.half_width + 4.0 + rng.uniform(0.0, 3.0)
            first = -45.0 if flowing else stop
            spacing = rng.uniform(2.0, 25.0)
            position = first  # of the vehicle's front, metres back from the centre line
            while position < 55.0 + way:
                name = random_class(rng, LANE_CLASSES)
                length = {"trailer": 24.5, "bus": 13.5, "truck": 9.0}.get(name, 8.0)
                start = -position - length if side > 0 else position
                position += _in_lane(traffic, name, start, s, course, profile)
                position += rng.uniform(0.3, 1.7) * spacing + 0.5
        _crossing_people(traffic, street, number, flowing)


def _crossing_people(traffic: Traffic, street: Street, number: int, flowing: bool) -> None:
    """Pedestrians on the zebra crossings: over the standing one of the two streets."""
    rng, road = traffic.rng, street.road
    crossing, half = road.crossings[number], road.crossing_half_width
    for _ in range(int(rng.choice([0, 1, 2, 3, 6], p=[0.45, 0.2, 0.15, 0.1, 0.1]))):
        walk = SpeedProfile.constant(float(rng.uniform(0.7, 1.7)))
        size = int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))
        if flowing:
            s = crossing + float(rng.choice([-1.0, 1.0])) * (half + rng.uniform(1.4, 3.8))
            d = rng.uniform(-road.half_width - 2.0, road.half_width + 2.0)
            course = float(rng.choice([TURN, -TURN]))
        else:
            s = crossing + rng.uniform(-12.0, 12.0)
            d = float(rng.choice([-1.0, 1.0])) * (road.half_width + rng.uniform(0.8, 2.6))
            course = float(rng.choice([0.0, np.pi]))
        for _ in range(size):
            s, d = s + rng.normal(0.0, 0.5), d + rng.normal(0.0, 0.5)
            traffic.offer("pedestrian", s, d, course, walk)
