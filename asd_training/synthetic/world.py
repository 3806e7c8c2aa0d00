# SPDX-License-Identifier: Apache-2.0
"""One scene: a street, its objects over time, its light, ready to be ray traced at any instant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asd_perception.geometry import transform_from
from asd_training.synthetic.actors import Actor, Motion
from asd_training.synthetic.mesh import Mesh
from asd_training.synthetic.raytracer import Instant, Tracer, triangle_normals
from asd_training.synthetic.road import Road, random_road
from asd_training.synthetic.scenery import scenery
from asd_training.synthetic.traffic import populate

SCENERY = -1  # owner of triangles that belong to no actor
VIEW_OF_MOVERS = 100.0  # m around the ego vehicle
ROAD_BEHIND, ROAD_AHEAD = 130.0, 150.0  # m of road around the ego vehicle's drive


@dataclass(frozen=True)
class Light:
    """Sun, sky, air and camera response of one scene. Colours are linear RGB."""

    to_sun: np.ndarray  # unit vector (3,)
    sun: np.ndarray  # (3,)
    ambient: np.ndarray  # (3,) from straight above
    zenith: np.ndarray
    horizon: np.ndarray
    clouds: float  # 0 clear .. 1 covered
    visibility: float  # m at which haze has taken 63 %
    exposure: float
    noise: float  # standard deviation in 8-bit steps
    vignette: float


def random_light(rng: np.random.Generator) -> Light:
    elevation, azimuth = np.radians(rng.uniform(14.0, 70.0)), rng.uniform(-np.pi, np.pi)
    overcast = float(np.clip(rng.normal(0.35, 0.35), 0.0, 1.0))
    warm = np.clip((np.radians(32.0) - elevation) / np.radians(20.0), 0.0, 1.0)
    sun = np.array([1.0, 0.95, 0.86]) * (1 - warm) + np.array([1.0, 0.72, 0.45]) * warm
    sun = sun * 2.6 * (1.0 - overcast) ** 1.5
    ambient = np.array([0.55, 0.63, 0.78]) * (1 - overcast) + np.array([1.15, 1.15, 1.18]) * overcast
    grey = np.array([0.72, 0.74, 0.78])
    zenith = np.array([0.16, 0.32, 0.68]) * (1 - overcast) + 0.8 * grey * overcast
    horizon = np.array([0.68, 0.76, 0.86]) * (1 - overcast) + 1.05 * grey * overcast
    horizon = horizon * (1 - 0.4 * warm) + np.array([0.95, 0.72, 0.5]) * 0.4 * warm
    brightness = float(ambient.mean() + sun.mean() * np.sin(elevation))
    return Light(
        to_sun=np.array([
            np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)
        ]),
        sun=sun,
        ambient=ambient,
        zenith=zenith,
        horizon=horizon,
        clouds=float(rng.uniform(0.0, 1.0)) * (1 - overcast),
        visibility=float(rng.choice([rng.uniform(150.0, 400.0), rng.uniform(500.0, 3000.0)])),
        exposure=float(rng.uniform(0.8, 1.2)) * 1.15 / brightness ** 0.85,
        noise=float(rng.uniform(0.8, 3.0)),
        vignette=float(rng.uniform(0.0, 0.25)),
    )


class World:
    """A street scene over time. Time 0 is the first keyframe; positions are global."""

    def __init__(self, rng: np.random.Generator, duration: float):
        self.road: Road = random_road(rng, (-ROAD_BEHIND, ROAD_AHEAD + 12.0 * duration))
        self.ego: Motion
        self.actors: list[Actor]
        self.ego, self.actors = populate(rng, self.road, duration)
        self.light = random_light(rng)
        standing = [i for i, actor in enumerate(self.actors) if not actor.moves]
        self._moving = [i for i, actor in enumerate(self.actors) if actor.moves]
        places = np.array([self.actors[i].motion.poses(0.0)[:2] for i in standing]).reshape(-1, 2)
        ego_stands = self.ego.profile.still
        background = scenery(rng, self.road, places, ego_stands)

        meshes: list[tuple[int, Mesh]] = [(SCENERY, background)]
        for i in standing:
            x, y, yaw = self.actors[i].motion.poses(0.0)
            meshes.append((i, self.actors[i].mesh.moved(x, y, yaw, self.actors[i].size[2] / 2)))
        self._local = [self.actors[i].mesh for i in self._moving]
        self._standing = np.concatenate([mesh.triangles for _, mesh in meshes])
        self._standing_normals = triangle_normals(self._standing)
        self._tracer = Tracer(self._standing)
        meshes += [(i, self.actors[i].mesh) for i in self._moving]
        # By triangle number, as rays report it:
        self.albedo = np.concatenate([mesh.albedo for _, mesh in meshes])
        self.materials = np.concatenate([mesh.materials for _, mesh in meshes])
        self.owners = np.concatenate([np.full(len(mesh), owner) for owner, mesh in meshes])

    def at(self, time: float) -> Instant:
        """The street at `time` seconds; moving objects beyond VIEW_OF_MOVERS are left out."""
        ego_x, ego_y, _ = self.ego.poses(time)
        moved, numbers = [self._standing[:0]], [np.zeros(0, np.int64)]
        first = len(self._standing)
        for i, mesh in zip(self._moving, self._local, strict=True):
            x, y, yaw = self.actors[i].motion.poses(time)
            if np.hypot(x - ego_x, y - ego_y) < VIEW_OF_MOVERS:
                moved.append(mesh.moved(x, y, yaw, self.actors[i].size[2] / 2).triangles)
                numbers.append(np.arange(first, first + len(mesh)))
            first += len(mesh)
        triangles = np.concatenate(moved)
        normals = np.zeros((first, 3), np.float32)
        normals[: len(self._standing)] = self._standing_normals
        number = np.concatenate(numbers)
        normals[number] = triangle_normals(triangles)
        return Instant(self._tracer, Tracer(triangles), number, normals)

    def ego_pose(self, time: float) -> np.ndarray:
        """Global from ego (4, 4): the rear axle on the ground."""
        x, y, yaw = self.ego.poses(time)
        return transform_from([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)], [x, y, 0.0])

    def actor_pose(self, actor: int, time: float) -> np.ndarray:
        """Global from box (4, 4), the box's centre."""
        x, y, yaw = self.actors[actor].motion.poses(time)
        height = self.actors[actor].size[2]
        return transform_from([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)], [x, y, height / 2])
