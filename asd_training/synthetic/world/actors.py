# SPDX-License-Identifier: Apache-2.0
"""Objects that are annotated: their size, their mesh and their motion along the road."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from asd_training.synthetic.meshes.mesh import Mesh
from asd_training.synthetic.street.road import Numbers, Road
from asd_training.synthetic.world.models import MODELS, Model, person, thing, vehicle

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
    model: Model
    motion: Motion
    parked: bool = False
    rider: bool = False

    @property
    def category(self) -> str:
        return self.model.category

    @property
    def size(self) -> tuple[float, float, float]:
        """Width, length, height as in nuScenes."""
        return self.model.size

    @property
    def mesh(self) -> Mesh:
        """Its origin is the centre of the box."""
        return self.model.mesh

    @property
    def moves(self) -> bool:
        return not self.motion.profile.still

    def attribute(self, time: float) -> str | None:
        """The nuScenes attribute at `time`."""
        moving = abs(self.motion.profile.speed(time)) > MOVING
        if self.name in ("traffic_cone", "barrier"):
            return None
        if self.name == "pedestrian":
            if self.model.sitting:
                return "pedestrian.sitting_lying_down"
            return "pedestrian.moving" if moving else "pedestrian.standing"
        if self.name in ("bicycle", "motorcycle"):
            return "cycle.with_rider" if self.rider else "cycle.without_rider"
        if moving:
            return "vehicle.moving"
        return "vehicle.parked" if self.parked else "vehicle.stopped"


def make_actor(
    rng: np.random.Generator,
    name: str,
    motion: Motion,
    parked: bool = False,
    rider: bool = False,
    worker: bool = False,
    style: int | None = None,
    size: tuple[float, float, float] | None = None,
    tractor: bool = False,
) -> Actor:
    """An object of a class, of a random model.

    Cones and barriers of one `style` match; `size` is their width, length, height, random if not
    given. A truck may be the `tractor` of a trailer.
    """
    if name not in MODELS:
        return Actor(name, thing(rng, name, style, size), motion, parked)
    number = int(rng.integers(MODELS[name]))
    if name == "pedestrian":
        return Actor(name, person(number, not motion.profile.still, worker), motion, parked)
    return Actor(name, vehicle(name, number, rider, tractor), motion, parked, rider)
