# SPDX-License-Identifier: Apache-2.0
"""How much of each object the cameras see."""

from __future__ import annotations

import numpy as np

from asd_perception.geometry import inverse, project, transform_points
from asd_training.synthetic.meshes.raytracer import MISS, Instant
from asd_training.synthetic.world.actors import Actor
from asd_training.synthetic.world.world import World

SAMPLES = 48  # points on each object


def surface_samples(actor: Actor, number: int) -> np.ndarray:
    """Points (SAMPLES, 3) spread over the object's surface, in its box frame."""
    rng = np.random.default_rng(number)
    a, b, c = actor.mesh.triangles.transpose(1, 0, 2).astype(np.float64)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(area), SAMPLES, p=area / area.sum())
    u, v = rng.random((2, SAMPLES, 1))
    flip = u + v > 1.0
    u, v = np.where(flip, 1.0 - u, u), np.where(flip, 1.0 - v, v)
    return a[chosen] + u * (b - a)[chosen] + v * (c - a)[chosen]


def count_visible(
    world: World,
    instant: Instant,
    time: float,
    global_from_camera: np.ndarray,
    intrinsics: np.ndarray,
    size: tuple[int, int],
    actors: np.ndarray,
    samples: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """For each of `actors` (A,): its samples in the image (A,), and those of them seen (A,).

    `samples` (A, SAMPLES, 3) in box frames. A sample is visible if its own object is the first
    that the ray towards it hits, so that the count follows the object's silhouette.
    """
    width, height = size
    poses = world.box_poses(time)[actors]
    points = samples @ poses[:, :3, :3].transpose(0, 2, 1) + poses[:, None, :3, 3]
    pixels, depth = project(transform_points(inverse(global_from_camera), points), intrinsics)
    inside = (
        (depth > 0.1)
        & (pixels[..., 0] > -0.5) & (pixels[..., 0] < width - 0.5)
        & (pixels[..., 1] > -0.5) & (pixels[..., 1] < height - 0.5)
    )  # fmt: skip
    origin = global_from_camera[:3, 3]
    directions = points[inside] - origin
    reach = np.linalg.norm(directions, axis=1)
    triangle, _ = instant.cast(
        origin, (directions / reach[:, None]).astype(np.float32), (reach + 0.05).astype(np.float32)
    )
    owner = np.where(triangle == MISS, MISS - 1, world.owners[triangle])
    seen = np.zeros(inside.shape, bool)
    seen[inside] = owner == np.broadcast_to(actors[:, None], inside.shape)[inside]
    return inside.sum(axis=1), seen.sum(axis=1)
