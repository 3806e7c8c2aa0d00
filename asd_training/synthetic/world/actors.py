# SPDX-License-Identifier: Apache-2.0
"""Objects that are annotated: their size, their mesh and their motion along the road."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from asd_training.synthetic.meshes.bicycles import bicycle
from asd_training.synthetic.meshes.mesh import Mesh
from asd_training.synthetic.meshes.motorcycles import motorcycle
from asd_training.synthetic.meshes.people import pedestrian
from asd_training.synthetic.meshes.road_furniture import barrier, traffic_cone
from asd_training.synthetic.meshes.vehicles.buses import bus
from asd_training.synthetic.meshes.vehicles.cars import car
from asd_training.synthetic.meshes.vehicles.construction import construction_vehicle
from asd_training.synthetic.meshes.vehicles.trailers import trailer
from asd_training.synthetic.meshes.vehicles.trucks import truck
from asd_training.synthetic.world.road import Numbers, Road

# Mean and standard deviation of width, length, height in metres: nuScenes' statistics.
SIZES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "car": ((1.95, 4.62, 1.73), (0.18, 0.45, 0.22)),
    "truck": ((2.51, 6.93, 2.84), (0.4, 2.0, 0.7)),
    "bus": ((2.93, 11.2, 3.47), (0.25, 1.9, 0.4)),
    "trailer": ((2.9, 12.3, 3.87), (0.2, 2.0, 0.35)),
    "construction_vehicle": ((2.8, 6.45, 3.2), (0.5, 1.3, 0.5)),
    "pedestrian": ((0.67, 0.73, 1.77), (0.1, 0.14, 0.11)),
    "motorcycle": ((0.77, 2.1, 1.5), (0.1, 0.2, 0.14)),
    "bicycle": ((0.6, 1.7, 1.3), (0.1, 0.17, 0.16)),
    "traffic_cone": ((0.41, 0.41, 1.07), (0.07, 0.07, 0.18)),
    "barrier": ((2.5, 0.5, 0.98), (0.35, 0.1, 0.1)),
}
CATEGORIES = {
    "car": "vehicle.car",
    "truck": "vehicle.truck",
    "bus": "vehicle.bus.rigid",
    "trailer": "vehicle.trailer",
    "construction_vehicle": "vehicle.construction",
    "pedestrian": "human.pedestrian.adult",
    "motorcycle": "vehicle.motorcycle",
    "bicycle": "vehicle.bicycle",
    "traffic_cone": "movable_object.trafficcone",
    "barrier": "movable_object.barrier",
}
BUILDERS: dict[str, Callable[..., Mesh]] = {
    "car": car,
    "truck": truck,
    "bus": bus,
    "trailer": trailer,
    "construction_vehicle": construction_vehicle,
    "pedestrian": pedestrian,
    "motorcycle": motorcycle,
    "bicycle": bicycle,
    "traffic_cone": traffic_cone,
    "barrier": barrier,
}
SITTING = 0.07  # share of those who do not walk
MOVING = 0.2  # m/s, slower counts as standing


@dataclass(frozen=True)
class SpeedProfile:
    """Speed that is linear between knots, and constant outside of them."""

    times: np.ndarray  # s
    speeds: np.ndarray  # m/s

    @classmethod
    def constant(cls, speed: float) -> SpeedProfile:
        return cls(np.zeros(1), np.full(1, speed))

    @property
    def still(self) -> bool:
        return not self.speeds.any()

    def speed(self, time: float) -> float:
        return float(np.interp(time, self.times, self.speeds))

    def distance(self, times: np.ndarray | float) -> np.ndarray:
        """Way made since time 0, m; the shape of `times`."""
        return self._integral(times) - self._at_zero

    @cached_property
    def _at_zero(self) -> float:
        return float(self._integral(0.0))

    @cached_property
    def _at_knots(self) -> np.ndarray:
        steps = np.diff(self.times) * (self.speeds[1:] + self.speeds[:-1]) / 2.0
        return np.concatenate([[0.0], np.cumsum(steps)])

    def _integral(self, times: np.ndarray | float) -> np.ndarray:
        """Way made since the first knot."""
        knot = np.maximum(np.searchsorted(self.times, times, side="right") - 1, 0)
        mean_speed = (self.speeds[knot] + np.interp(times, self.times, self.speeds)) / 2.0
        return self._at_knots[knot] + (times - self.times[knot]) * mean_speed


STILL = SpeedProfile.constant(0.0)


@dataclass(frozen=True)
class Motion:
    """A straight path in road coordinates, travelled with a speed profile.

    `course` is the direction of travel, and the way the object faces, relative to the road: 0
    along it, pi against it, pi / 2 across it to the side of d > 0.
    """

    road: Road
    s: float
    d: float
    course: float
    profile: SpeedProfile = STILL

    def poses(self, times: np.ndarray | float) -> np.ndarray:
        """Global x, y and yaw (..., 3) at times (...)."""
        way = self.profile.distance(times)
        return poses_on(self.road, self.s, self.d, self.course, way)


def poses_on(road: Road, s: Numbers, d: Numbers, course: Numbers, way: Numbers) -> np.ndarray:
    """Global x, y and yaw (..., 3) after a `way` on straight courses in road coordinates."""
    s, d = s + np.cos(course) * way, d + np.sin(course) * way
    x, y = road.to_global(s, d)
    return np.stack([x, y, road.yaw(s, course)], axis=-1)


@dataclass(frozen=True)
class Actor:
    """One annotated object."""

    name: str  # detection class
    category: str  # nuScenes category
    size: tuple[float, float, float]  # width, length, height as in nuScenes
    motion: Motion
    build: Callable[[], Mesh]
    parked: bool = False
    rider: bool = False
    sitting: bool = False

    @cached_property
    def mesh(self) -> Mesh:
        """Its origin is the centre of the box. Built when first asked for: many an object that is
        proposed for a street finds no room there."""
        return self.build()

    @property
    def moves(self) -> bool:
        return not self.motion.profile.still

    def attribute(self, time: float) -> str | None:
        """The nuScenes attribute at `time`."""
        moving = abs(self.motion.profile.speed(time)) > MOVING
        if self.name in ("traffic_cone", "barrier"):
            return None
        if self.name == "pedestrian":
            if self.sitting:
                return "pedestrian.sitting_lying_down"
            return "pedestrian.moving" if moving else "pedestrian.standing"
        if self.name in ("bicycle", "motorcycle"):
            return "cycle.with_rider" if self.rider else "cycle.without_rider"
        if moving:
            return "vehicle.moving"
        return "vehicle.parked" if self.parked else "vehicle.stopped"


def random_size(rng: np.random.Generator, name: str) -> tuple[float, float, float]:
    """Width, length, height drawn from nuScenes' statistics, within two deviations."""
    mean, deviation = (np.array(value) for value in SIZES[name])
    common = rng.normal()  # long ones are also wide and high
    draw = 0.6 * common + 0.8 * rng.normal(size=3)
    width, length, height = np.round(mean + deviation * np.clip(draw, -2.0, 2.0), 3).tolist()
    return width, length, height


def make_actor(
    rng: np.random.Generator,
    name: str,
    motion: Motion,
    parked: bool = False,
    rider: bool = False,
    worker: bool = False,
    style: int | None = None,
    size: tuple[float, float, float] | None = None,
) -> Actor:
    """An object of a class with random looks; cones and barriers of one `style` match.

    `size` is width, length, height, without that of a rider; random if not given.
    """
    width, length, height = size or random_size(rng, name)
    category = CATEGORIES[name]
    build = BUILDERS[name]
    sitting = False
    if name == "pedestrian":
        if worker:
            category = "human.pedestrian.construction_worker"
        elif rng.random() < 0.08:
            category = "human.pedestrian.child"
            width, length, height = (round(0.72 * v, 3) for v in (width, length, height))
        still = motion.profile.still
        sitting = still and not worker and rng.random() < SITTING
        build = partial(build, walking=not still, worker=worker, sitting=sitting)
    elif name in ("bicycle", "motorcycle"):
        build = partial(build, rider=rider)
    elif name in ("traffic_cone", "barrier"):
        build = partial(build, style=style)
    if name in ("pedestrian", "bicycle", "motorcycle"):
        # As large as the posture, the rider and what is carried make it, its length and width
        # somewhat toward the statistics: squeezed into a drawn size, people would be barrels.
        mesh = build(rng, length, width, height)
        extent = np.ptp(mesh.triangles, axis=(0, 1)).astype(float) + 0.06
        extent[:2] *= np.clip(np.array([length, width]) / extent[:2], 0.9, 1.15)
        length, width, height = np.round(extent, 3).tolist()
        make = partial(mesh.fitted, length, width, height)
    else:
        make = partial(_build, build, int(rng.integers(2**63)), length, width, height)
    return Actor(name, category, (width, length, height), motion, make, parked, rider, sitting)


def _build(
    build: Callable[..., Mesh], seed: int, length: float, width: float, height: float
) -> Mesh:
    """A mesh that fills a box, its looks drawn from `seed`."""
    return build(np.random.default_rng(seed), length, width, height).fitted(length, width, height)
