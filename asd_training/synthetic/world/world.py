# SPDX-License-Identifier: Apache-2.0
"""One scene: a street, its objects over time, its light, ready to be ray-traced at any instant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asd_perception.geometry import transform_from
from asd_training.synthetic.meshes.mesh import Mesh, merge
from asd_training.synthetic.meshes.raytracer import Instant, Tracer, triangle_normals
from asd_training.synthetic.scenery.scenery import scenery
from asd_training.synthetic.street.road import Road, random_road
from asd_training.synthetic.world.actors import Actor, Motion, poses_on
from asd_training.synthetic.world.light import random_light
from asd_training.synthetic.world.population import populate

SCENERY = -1  # owner of triangles that belong to no actor
VIEW_OF_MOVERS = 100.0  # m around the ego vehicle, beyond it moving objects are not drawn
SHADOW_REACH = 24.0  # m, half the longest object and the longest shadow
ROAD_BEHIND, ROAD_AHEAD = 130.0, 150.0  # m of road around the ego vehicle's drive


@dataclass(frozen=True)
class View:
    """A wedge of ground that a camera looks over."""

    origin: np.ndarray  # (2,)
    direction: np.ndarray  # unit vector (2,)
    half_angle: float

    def concerns(self, places: np.ndarray) -> np.ndarray:
        """Which objects at `places` (A, 2) may be in view, or throw a shadow into it."""
        offsets = places - self.origin
        distance = np.hypot(*offsets.T)
        bearing = np.arccos(np.clip(offsets @ self.direction / np.maximum(distance, 1e-6), -1, 1))
        margin = np.arcsin(np.clip(SHADOW_REACH / np.maximum(distance, SHADOW_REACH), 0.0, 1.0))
        return (distance <= SHADOW_REACH) | (bearing < self.half_angle + margin)


class World:
    """A street scene over time. Time 0 is the first keyframe; positions are global."""

    def __init__(self, rng: np.random.Generator, duration: float):
        self.road: Road = random_road(rng, (-ROAD_BEHIND, ROAD_AHEAD + 12.0 * duration))
        self.ego: Motion
        self.actors: list[Actor]
        street, self.actors = populate(rng, self.road, duration)
        self.ego = street.ego
        self.light = random_light(rng)
        self.look = int(rng.integers(2**31))  # what rendering draws colours and textures from
        standing = [i for i, actor in enumerate(self.actors) if not actor.moves]
        self._moving = [i for i, actor in enumerate(self.actors) if actor.moves]
        places = np.array([self.actors[i].motion.poses(0.0)[:2] for i in standing]).reshape(-1, 2)
        self.lamps: np.ndarray  # (L, 3) global positions of the street lamps' lights
        background, self.lamps = scenery(rng, self.road, street.red_light, places)

        motions = [actor.motion for actor in self.actors]
        places_on_road = [(motion.s, motion.d, motion.course) for motion in motions]
        self._s, self._d, self._course = np.array(places_on_road).reshape(-1, 3).T
        self._heights = np.array([actor.size[2] for actor in self.actors])

        meshes: list[tuple[int, Mesh]] = [(SCENERY, background)]
        for i in standing:
            x, y, yaw = motions[i].poses(0.0)
            meshes.append((i, self.actors[i].mesh.moved(x, y, yaw, self._heights[i] / 2)))
        self._standing = merge(mesh for _, mesh in meshes).triangles
        self._standing_normals = triangle_normals(self._standing)
        self._tracer = Tracer(self._standing)
        meshes += [(i, self.actors[i].mesh) for i in self._moving]
        # By triangle number, as rays report it: first the standing, then the moving ones.
        everything = merge(mesh for _, mesh in meshes)
        self.albedo, self.materials = everything.albedo, everything.materials
        self.owners = np.repeat([owner for owner, _ in meshes], [len(mesh) for _, mesh in meshes])
        # The same part of two objects looks different.
        self.patterns = everything.patterns + (40503 * (self.owners + 1)).astype(np.uint16)
        self._movers = everything.triangles[len(self._standing) :]  # each in its own box's frame
        self._mover_owners = self.owners[len(self._standing) :]

    def box_poses(self, time: float) -> np.ndarray:
        """Global from box (A, 4, 4) of all objects, the boxes' centres."""
        way = np.zeros(len(self.actors))
        way[self._moving] = [self.actors[i].motion.profile.distance(time) for i in self._moving]
        x, y, yaw = poses_on(self.road, self._s, self._d, self._course, way).T
        poses = np.tile(np.eye(4), (len(way), 1, 1))
        poses[:, 0, 0] = poses[:, 1, 1] = np.cos(yaw)
        poses[:, 1, 0] = np.sin(yaw)
        poses[:, 0, 1] = -poses[:, 1, 0]
        poses[:, :3, 3] = np.stack([x, y, self._heights / 2.0], axis=1)
        return poses

    def in_own_frames(
        self, time: float, triangles: np.ndarray, points: np.ndarray, normals: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Points and normals (N, 3) on `triangles` (N,), each in the frame that its texture
        moves with: an object's box frame, or the global one for the scenery."""
        owners = self.owners[triangles]
        points, normals = points.copy(), normals.copy()
        owned = np.flatnonzero(owners != SCENERY)
        poses = self.box_poses(time).astype(np.float32)[owners[owned]]
        points[owned] = np.einsum("nji,nj->ni", poses[:, :3, :3], points[owned] - poses[:, :3, 3])
        normals[owned] = np.einsum("nji,nj->ni", poses[:, :3, :3], normals[owned])
        return points, normals

    def at(self, time: float, view: View | None = None) -> Instant:
        """The street at `time` seconds, as far as it matters for `view` (None: all around)."""
        poses = self.box_poses(time)
        places = poses[:, :2, 3]
        near = np.hypot(*(places - self.ego.poses(time)[:2]).T) < VIEW_OF_MOVERS
        if view is not None:
            near &= view.concerns(places)
        chosen = np.flatnonzero(near[self._mover_owners])
        pose = poses[self._mover_owners[chosen]].astype(np.float32)
        triangles = self._movers[chosen] @ pose[:, :3, :3].transpose(0, 2, 1)
        triangles += pose[:, None, :3, 3]
        numbers = chosen + len(self._standing)
        normals = np.empty((len(self.owners), 3), np.float32)
        normals[: len(self._standing)] = self._standing_normals
        normals[numbers] = triangle_normals(triangles)
        return Instant(self._tracer, Tracer(triangles), numbers, normals)

    def ego_pose(self, time: float) -> np.ndarray:
        """Global from ego (4, 4): the rear axle on the ground."""
        x, y, yaw = self.ego.poses(time)
        return transform_from([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)], [x, y, 0.0])
