# SPDX-License-Identifier: Apache-2.0
"""Ray casting with Embree against the street at one instant.

Static triangles are built once per scene, moving ones once per instant; a ray is cast against
both and the nearer hit counts. Triangle numbers run over the static, then the moving ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

MISS = -1


class Tracer:
    """Rays against one set of triangles (T, 3, 3)."""

    def __init__(self, triangles: np.ndarray):
        self._scene = EmbreeScene()
        self._mesh = TriangleMesh(self._scene, triangles) if len(triangles) else None

    def cast(
        self, origins: np.ndarray, directions: np.ndarray, limit: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Nearest hit within `limit` (N,): triangle (N,), MISS for none, and distance (N,)."""
        if self._mesh is None:
            return np.full(len(directions), MISS, np.int32), limit.copy()
        hit = self._scene.run(origins, directions, dists=limit, output=True)
        return hit["primID"], hit["tfar"]

    def occluded(
        self, origins: np.ndarray, directions: np.ndarray, limit: np.ndarray
    ) -> np.ndarray:
        """Whether anything lies within `limit` (N,) of the origins (N,)."""
        if self._mesh is None:
            return np.zeros(len(origins), bool)
        return self._scene.run(origins, directions, dists=limit, query="OCCLUDED") != MISS


@dataclass(frozen=True)
class Instant:
    """The street at one time: all triangles' normals (T, 3) and the two ray tracers."""

    standing: Tracer
    moving: Tracer
    moving_numbers: np.ndarray  # triangle number of each triangle that `moving` knows
    normals: np.ndarray

    def cast(
        self, origins: np.ndarray, directions: np.ndarray, limit: np.ndarray | float
    ) -> tuple[np.ndarray, np.ndarray]:
        """First hit of rays (N, 3) within `limit`: triangle (N,) or MISS, and distance (N,)."""
        # embreex needs writable, contiguous float32 arrays.
        origins = np.array(np.broadcast_to(origins, directions.shape), np.float32, order="C")
        reach = np.array(np.broadcast_to(limit, len(directions)), np.float32)
        triangle, distance = self.standing.cast(origins, directions, reach)
        nearest = np.where(triangle == MISS, reach, distance)
        mover, mover_distance = self.moving.cast(origins, directions, nearest)
        moved = np.flatnonzero(mover != MISS)
        triangle[moved] = self.moving_numbers[mover[moved]]
        nearest[moved] = mover_distance[moved]
        return triangle, nearest

    def occluded(self, origins: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Whether rays from origins (N, 3) in one direction (3,) hit anything."""
        origins = np.ascontiguousarray(origins, np.float32)
        directions = np.tile(np.asarray(direction, np.float32), (len(origins), 1))
        reach = np.full(len(origins), 300.0, np.float32)
        result = self.standing.occluded(origins, directions, reach)
        lit = np.flatnonzero(~result)
        result[lit] = self.moving.occluded(origins[lit], directions[lit], reach[lit])
        return result


def triangle_normals(triangles: np.ndarray) -> np.ndarray:
    """Unit normals (T, 3), of either sign; zero for empty triangles."""
    a = triangles[:, 1] - triangles[:, 0]
    b = triangles[:, 2] - triangles[:, 0]
    normals = np.empty_like(a)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        normals[:, i] = a[:, j] * b[:, k] - a[:, k] * b[:, j]
    length = np.sqrt(np.einsum("ij,ij->i", normals, normals))
    return normals / np.maximum(length, np.float32(1e-12))[:, None]
