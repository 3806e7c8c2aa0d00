# SPDX-License-Identifier: Apache-2.0
"""The models of which objects are copies: their sizes and their meshes.

As with real cars, there are many of each class but not endlessly many: a mesh costs more time than
all else that its object needs, and is built once by a process. Each model is drawn from its own
number, so that a scene looks the same whatever scenes were made before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np

from asd_training.synthetic.meshes.cycles.bicycles import bicycle
from asd_training.synthetic.meshes.cycles.motorcycles import motorcycle
from asd_training.synthetic.meshes.mesh import Mesh
from asd_training.synthetic.meshes.people import pedestrian
from asd_training.synthetic.meshes.road_furniture import barrier, traffic_cone
from asd_training.synthetic.meshes.vehicles.buses import bus
from asd_training.synthetic.meshes.vehicles.cars import car
from asd_training.synthetic.meshes.vehicles.construction import construction_vehicle
from asd_training.synthetic.meshes.vehicles.trailers import trailer
from asd_training.synthetic.meshes.vehicles.trucks import truck
from asd_training.tables.rows import CATEGORY_OF

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
TRACTOR = (2.55, 6.6, 3.6)  # mean width, length, height of a trailer's tractor unit, m
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
# How many models there are; of cones and barriers, which cost little, any number.
MODELS = {
    "car": 1500,
    "truck": 500,
    "bus": 250,
    "trailer": 250,
    "construction_vehicle": 300,
    "pedestrian": 1500,
    "motorcycle": 300,
    "bicycle": 300,
}
SITTING = 0.07  # share of those who do not walk
CHILDREN = 0.08


@dataclass(frozen=True)
class Model:
    category: str  # nuScenes category
    size: tuple[float, float, float]  # width, length, height as in nuScenes
    build: Callable[[], Mesh]
    sitting: bool = False

    @cached_property
    def mesh(self) -> Mesh:
        """Its origin is the centre of the box. Built when first asked for: many an object that is
        proposed for a street finds no room there."""
        return self.build()


def random_size(rng: np.random.Generator, name: str) -> tuple[float, float, float]:
    """Width, length, height drawn from nuScenes' statistics, within two deviations."""
    mean, deviation = (np.array(value) for value in SIZES[name])
    common = rng.normal()  # long ones are also wide and high
    draw = 0.6 * common + 0.8 * rng.normal(size=3)
    width, length, height = np.round(mean + deviation * np.clip(draw, -2.0, 2.0), 3).tolist()
    return width, length, height


@cache
def vehicle(name: str, number: int, rider: bool = False, tractor: bool = False) -> Model:
    """A vehicle or a two-wheeler of a class, one of MODELS[name]; or a trailer's tractor unit."""
    rng = np.random.default_rng([list(SIZES).index(name), number])
    width, length, height = random_size(rng, name)
    build = BUILDERS[name]
    if tractor:
        width, length, height = np.round(rng.normal(TRACTOR, (0.08, 0.4, 0.25)), 3).tolist()
        build = partial(build, tractor=True)
    if name in ("bicycle", "motorcycle"):  # nuScenes' boxes of two-wheelers include the rider
        mesh = build(rng, length, width, height, rider=rider)
        return _as_built(CATEGORY_OF[name], mesh, length, width)
    size = (width, length, height)
    return Model(CATEGORY_OF[name], size, _fitted(build, rng, size))


@cache
def person(number: int, walking: bool, worker: bool) -> Model:
    """A pedestrian, one of MODELS["pedestrian"]."""
    rng = np.random.default_rng([list(SIZES).index("pedestrian"), number])
    width, length, height = random_size(rng, "pedestrian")
    category = CATEGORY_OF["pedestrian"]
    if worker:
        category = "human.pedestrian.construction_worker"
    elif rng.random() < CHILDREN:
        category = "human.pedestrian.child"
        width, length, height = (round(0.72 * v, 3) for v in (width, length, height))
    sitting = not walking and not worker and bool(rng.random() < SITTING)
    mesh = pedestrian(rng, length, width, height, walking=walking, worker=worker, sitting=sitting)
    return _as_built(category, mesh, length, width, sitting)


def _as_built(
    category: str, mesh: Mesh, length: float, width: float, sitting: bool = False
) -> Model:
    """A model as large as the posture, the rider and what is carried make it, its length and width
    somewhat toward the statistics: squeezed into a drawn size, people would be barrels."""
    extent = np.ptp(mesh.triangles, axis=(0, 1)).astype(float) + 0.06
    extent[:2] *= np.clip(np.array([length, width]) / extent[:2], 0.9, 1.15)
    length, width, height = np.round(extent, 3).tolist()
    build = partial(mesh.fitted, length, width, height)
    return Model(category, (width, length, height), build, sitting)


def thing(
    rng: np.random.Generator,
    name: str,
    style: int | None = None,
    size: tuple[float, float, float] | None = None,
) -> Model:
    """A cone or a barrier; those of one `style` match."""
    size = size or random_size(rng, name)
    own = np.random.default_rng(int(rng.integers(2**63)))
    return Model(CATEGORY_OF[name], size, _fitted(partial(BUILDERS[name], style=style), own, size))


def _fitted(
    build: Callable[..., Mesh], rng: np.random.Generator, size: tuple[float, float, float]
) -> Callable[[], Mesh]:
    """A builder of the mesh that fills a box of width, length, height."""
    width, length, height = size
    return lambda: build(rng, length, width, height).fitted(length, width, height)
