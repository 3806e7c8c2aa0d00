# SPDX-License-Identifier: Apache-2.0
"""The spinning LiDAR: ranges, intensities and lost returns."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import GLASS
from asd_training.synthetic.meshes.raytracer import MISS, Instant
from asd_training.synthetic.rendering.materials import REFLECTIVITY
from asd_training.synthetic.sensors import rig
from asd_training.synthetic.world.world import World

RANGE_NOISE = 0.02  # m


def scan(
    world: World, instant: Instant, global_from_lidar: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Points (N, 5) float32 x, y, z, intensity 0..255, ring of one revolution, sensor frame.

    The whole revolution is taken at one instant, the stamp; a real one takes the 50 ms before it.
    """
    rays, rings = rig.lidar_rays(rng.uniform(-np.pi, np.pi))
    directions = (rays @ global_from_lidar[:3, :3].T.astype(np.float32)).astype(np.float32)
    nearest, farthest = rig.LIDAR_RANGE
    triangle, distance = instant.cast(global_from_lidar[:3, 3], directions, farthest)
    noise = rng.normal(0.0, RANGE_NOISE, len(rays)).astype(np.float32)
    luck = rng.random(len(rays), dtype=np.float32)

    hit = np.flatnonzero((triangle != MISS) & (distance > nearest))
    triangle, distance = triangle[hit], distance[hit]
    incidence = np.abs(np.einsum("ij,ij->i", directions[hit], instant.normals[triangle]))
    materials = world.materials[triangle]
    # A known echo of the material, or else what its colour tells.
    reflectivity, known = REFLECTIVITY[materials], ~np.isnan(REFLECTIVITY[materials])
    colored = world.albedo[triangle] @ np.array([0.4, 0.4, 0.2], np.float32)
    reflectivity = np.where(known, reflectivity, colored)
    intensity = np.clip(90.0 * reflectivity * (0.3 + 0.7 * incidence), 1.0, 255.0)
    # Faint echoes get lost: far, dark, grazing, or through glass.
    strength = (0.25 + reflectivity) * (0.15 + incidence) * (70.0 / np.maximum(distance, 5.0)) ** 2
    chance = np.clip(strength, 0.0, 0.99) * np.where(materials == GLASS, 0.35, 1.0)
    returned = luck[hit] < chance
    hit, distance = hit[returned], distance[returned] + noise[hit[returned]]
    points = np.empty((len(hit), 5), np.float32)
    points[:, :3] = rays[hit] * distance[:, None]
    points[:, 3] = np.rint(intensity[returned])
    points[:, 4] = rings[hit]
    return points
