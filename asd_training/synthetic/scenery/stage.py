# SPDX-License-Identifier: Apache-2.0
"""Where scenery is put: in road coordinates, mirrored with the street, beside what stands there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from asd_training.synthetic.meshes.mesh import GROUND, Mesh, box
from asd_training.synthetic.scenery.buildings import building
from asd_training.synthetic.scenery.vegetation import Garden
from asd_training.synthetic.street.kinds import HALL, HOUSE, OFFICE, TERRACE, TOWER, choose
from asd_training.synthetic.street.road import Road

GROUND_HALF_SIZE = 600.0  # m
BACKDROP = 9  # different buildings behind others in one scene
MIRROR = np.array([1, -1, 1], np.float32)
HEIGHTS = {TERRACE: (6.0, 22.0), HOUSE: (3.0, 8.0), OFFICE: (8.0, 35.0), TOWER: (35.0, 90.0),
           HALL: (5.0, 12.0)}  # fmt: skip


class Stage:
    """Collects the scenery that has been placed."""

    def __init__(self, rng: np.random.Generator, road: Road, occupied: np.ndarray):
        self.rng, self.road, self.occupied = rng, road, occupied
        self.parts = [_ground(road)]
        self.lamps: list[np.ndarray] = []
        self.garden = Garden(rng)
        self._backdrop = [self._large_building() for _ in range(BACKDROP)]

    def place(
        self, mesh: Mesh, s: float, d: float, facing: float = 0.0, clearance: float = 0.0
    ) -> bool:
        """Put a mesh at road coordinates unless a standing object is within `clearance` m; whether
        it was put there."""
        road = self.road
        x, y = (float(v) for v in road.to_global(s, d))
        distances = np.hypot(self.occupied[:, 0] - x, self.occupied[:, 1] - y)
        if (distances < clearance).any():
            return False
        if road.hand < 0:
            mesh = replace(mesh, triangles=mesh.triangles * MIRROR)
        placed = mesh.moved(x, y, float(road.yaw(s, facing)))
        # Two of a kind look different.
        self.parts.append(
            replace(placed, patterns=mesh.patterns + np.uint16(self.rng.integers(65536)))
        )
        return True

    def _large_building(self) -> tuple[float, Mesh]:
        rng, kind = self.rng, self.road.kind
        style, width = choose(rng, kind.buildings), rng.uniform(14.0, 34.0)
        high = rng.uniform(*HEIGHTS[style]) * rng.uniform(1.0, 1.6)
        return width, building(rng, style, width - 1.0, 14.0, high)

    def backdrop(self) -> tuple[float, Mesh]:
        """The width of a building that stands behind others, and the building: one of a few."""
        return self._backdrop[int(self.rng.integers(BACKDROP))]

    def stretches(self, low: float, high: float, side: float) -> list[tuple[float, float]]:
        """The parts of [low, high] that side streets on a side leave free."""
        pieces = [(low, high)]
        for number, crossing in enumerate(self.road.crossings):
            if not self.road.has_arm(number, side):
                continue
            half = self.road.crossing_half_width + 2.5
            pieces = [
                piece
                for start, end in pieces
                for piece in (
                    (start, min(end, crossing - half)),
                    (max(start, crossing + half), end),
                )
                if piece[1] > piece[0]
            ]
        return [piece for piece in pieces if piece[1] - piece[0] > 5.0]


def _ground(road: Road) -> Mesh:
    """The flat ground, coloured by shading from the plan of the road."""
    x, y = (float(v) for v in road.to_global(sum(road.s_range) / 2.0, 0.0))
    size = GROUND_HALF_SIZE
    plane = box((x - size, y - size, -1.0), (x + size, y + size, 0.0), (0.3, 0.3, 0.3), GROUND)
    top = plane.triangles[:, :, 2].min(axis=1) == 0.0
    return Mesh(plane.triangles[top], plane.albedo[top], plane.materials[top], plane.patterns[top])
