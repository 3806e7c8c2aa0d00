# SPDX-License-Identifier: Apache-2.0
"""Objects on the road that never collide: each is checked, over time, when it is added."""

from __future__ import annotations

from typing import Any

import numpy as np

from asd_training.synthetic.street.road import Road
from asd_training.synthetic.world.actors import STILL, Actor, Motion, SpeedProfile, make_actor

EGO_SIZE = (1.9, 4.8, 1.7)  # width, length, height with a margin
EGO_CENTER = 1.4  # m from the rear axle to the middle of the ego vehicle


class Traffic:
    """The objects of one scene, free of collisions over [-0.5, duration] seconds."""

    def __init__(self, rng: np.random.Generator, road: Road, ego: Motion, duration: float):
        self.rng, self.road, self.ego, self.duration = rng, road, ego, duration
        self.actors: list[Actor] = []
        self._times = np.arange(-0.5, duration + 0.26, 0.25)
        ego_poses = ego.poses(self._times)
        ego_poses[:, 0] += EGO_CENTER * np.cos(ego_poses[:, 2])
        ego_poses[:, 1] += EGO_CENTER * np.sin(ego_poses[:, 2])
        self._footprints = [_corners(ego_poses, EGO_SIZE[1] + 1.0, EGO_SIZE[0] + 0.2)]
        # By object, the ego vehicle first; with room for more.
        self._centers = np.empty((64, len(self._times), 2))
        self._radii = np.empty(64)
        self._centers[0] = ego_poses[:, :2]
        self._radii[0] = np.hypot(EGO_SIZE[0], EGO_SIZE[1]) / 2 + 0.5

    def offer(
        self,
        name: str,
        s: float,
        d: float,
        course: float,
        profile: SpeedProfile = STILL,
        **looks: Any,
    ) -> Actor | None:
        """Add an object of a class there, with looks as make_actor takes them, and return it; None
        where it would collide."""
        motion = Motion(self.road, s, d, course, profile)
        actor = make_actor(self.rng, name, motion, **looks)
        poses = motion.poses(self._times)
        width, length, _ = actor.size
        footprint = _corners(poses, length + 0.16, width + 0.16)
        radius = np.hypot(length, width) / 2 + 0.12
        count = len(self._footprints)
        offsets = self._centers[:count] - poses[:, :2]
        reach = self._radii[:count, None] + radius
        near = (offsets**2).sum(axis=2) < reach**2  # (N, T)
        for other in np.flatnonzero(near.any(axis=1)):
            steps = near[other]
            if _overlap(self._footprints[other][steps], footprint[steps]).any():
                return None
        self.actors.append(actor)
        self._footprints.append(footprint)
        if count == len(self._radii):
            self._centers = np.concatenate([self._centers, np.empty_like(self._centers)])
            self._radii = np.concatenate([self._radii, np.empty_like(self._radii)])
        self._centers[count], self._radii[count] = poses[:, :2], radius
        return actor


def _corners(poses: np.ndarray, length: float, width: float) -> np.ndarray:
    """Footprint corners (T, 4, 2) of poses (T, 3)."""
    local = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * np.array([length, width]) / 2.0
    c, s = np.cos(poses[:, 2]), np.sin(poses[:, 2])
    rotation = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)
    return np.einsum("tij,kj->tki", rotation, local) + poses[:, None, :2]


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether rectangles a and b (T, 4, 2) overlap: separating axis theorem."""
    apart = np.zeros(len(a), bool)
    for corners in (a, b):
        for edge in (corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 1]):
            pa, pb = np.einsum("tkj,tj->tk", a, edge), np.einsum("tkj,tj->tk", b, edge)
            apart |= (pa.max(1) < pb.min(1)) | (pb.max(1) < pa.min(1))
    return ~apart
