# SPDX-License-Identifier: Apache-2.0
"""Trees, bushes and hedges: crowns of many small leaves around dark cores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    BARK,
    FOLIAGE,
    WOOD,
    Mesh,
    box,
    ellipsoid,
    merge,
    pick,
    tube,
)

LEAVES = (
    (0.25, 0.4, 0.16),
    (0.33, 0.48, 0.2),
    (0.2, 0.33, 0.17),
    (0.42, 0.46, 0.18),
    (0.3, 0.4, 0.26),
    (0.38, 0.36, 0.2),
)
AUTUMN = ((0.72, 0.5, 0.14), (0.62, 0.3, 0.12), (0.55, 0.45, 0.2))
BARKS = ((0.33, 0.26, 0.2), (0.42, 0.39, 0.35), (0.24, 0.2, 0.17), (0.55, 0.52, 0.48))


def leaves(
    rng: np.random.Generator, centers: np.ndarray, radii: np.ndarray, count: int, size: float
) -> np.ndarray:
    """Triangles (count, 3, 3) scattered near the surfaces of ellipsoids: centers, radii (K, 3)."""
    clump = rng.integers(len(centers), size=count)
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    places = centers[clump] + direction * radii[clump] * rng.uniform(0.75, 1.08, (count, 1))
    spread = rng.normal(0.0, size, (count, 3, 3))
    return (places[:, None] + spread).astype(np.float32)


def _foliage(rng: np.random.Generator, triangles: np.ndarray, color: np.ndarray) -> Mesh:
    """Leaves whose colours differ a little, the low ones darker."""
    count = len(triangles)
    height = triangles[:, :, 2].mean(axis=1)
    low, high = height.min(), height.max() + 1e-6
    shade = 0.75 + 0.35 * (height - low) / (high - low) + rng.normal(0.0, 0.12, count)
    albedo = (np.asarray(color) * np.clip(shade, 0.3, 1.5)[:, None]).clip(0.01, 1.0) ** 2.2
    return Mesh(
        triangles,
        albedo.astype(np.float32),
        np.full(count, FOLIAGE, np.uint8),
        np.zeros(count, np.uint16),
    )


def _crown(
    rng: np.random.Generator,
    centers: np.ndarray,
    radii: np.ndarray,
    color: np.ndarray,
    count: int,
    size: float,
) -> list[Mesh]:
    cores = [
        ellipsoid(center, 0.82 * radius, tuple(0.7 * color), FOLIAGE, sides=6)
        for center, radius in zip(centers, radii, strict=True)
    ]
    return [*cores, _foliage(rng, leaves(rng, centers, radii, count, size), color)]


def _color(rng: np.random.Generator) -> np.ndarray:
    return np.array(pick(rng, AUTUMN if rng.random() < 0.08 else LEAVES))


def broadleaf(rng: np.random.Generator, leaf_count: int = 330) -> Mesh:
    """A round or spreading tree of `leaf_count` leaves, 8 m high."""
    trunk, spread = rng.uniform(1.8, 3.2), rng.uniform(1.2, 2.6)
    count = int(rng.integers(4, 9))
    angles = rng.uniform(0, 2 * np.pi) + np.arange(count) * 2.4
    out = spread * np.sqrt(rng.uniform(0.05, 1.0, count))
    z = rng.uniform(trunk + 1.2, 6.6, count) - 0.25 * out
    centers = np.stack([out * np.cos(angles), out * np.sin(angles), z], axis=1)
    radii = rng.uniform(0.9, 1.7, (count, 1)) * np.array([1.0, 1.0, 0.8])
    bark = pick(rng, BARKS)
    lean = rng.normal(0.0, 0.15, 2)
    parts = [
        tube([(0, 0, 0), (*lean, trunk), (*2 * lean, trunk + 2)], (0.2, 0.15, 0.08), bark, BARK)
    ]
    for center in centers[:4]:
        parts.append(tube([(*lean, trunk), center], (0.09, 0.04), bark, BARK, sides=4))
    return merge(
        [
            *parts,
            *_crown(
                rng,
                centers,
                radii,
                _color(rng),
                leaf_count,
                rng.uniform(2.2, 3.6) / np.sqrt(leaf_count),
            ),
        ]
    )


def column(rng: np.random.Generator) -> Mesh:
    """A slim upright tree, 8 m high."""
    width = rng.uniform(0.6, 1.2)
    centers = np.array([[0, 0, 2.6], [0, 0, 4.2], [0, 0, 5.8], [0, 0, 7.0]])
    radii = width * np.array([[0.9, 0.9, 1.8], [1, 1, 1.9], [0.8, 0.8, 1.7], [0.5, 0.5, 1.2]])
    parts = [tube([(0, 0, 0), (0, 0, 3.0)], (0.14, 0.1), pick(rng, BARKS), BARK)]
    return merge([*parts, *_crown(rng, centers, radii, _color(rng), 260, 0.14)])


def conifer(rng: np.random.Generator, leaf_count: int = 300) -> Mesh:
    """A spruce of `leaf_count` twigs, 8 m high."""
    color = np.array([0.14, 0.24, 0.14]) * rng.uniform(0.8, 1.5)
    z = np.linspace(1.2, 7.4, 7)
    width = rng.uniform(1.4, 2.2) * (1.0 - z / 8.3)
    centers = np.stack([0 * z, 0 * z, z], axis=1)
    radii = np.stack([width, width, 0.4 + 0.25 * width], axis=1)
    parts = [tube([(0, 0, 0), (0, 0, 7.0)], (0.18, 0.05), pick(rng, BARKS), BARK)]
    return merge(
        [*parts, *_crown(rng, centers, radii, color, leaf_count, 2.3 / np.sqrt(leaf_count))]
    )


def palm(rng: np.random.Generator) -> Mesh:
    """A palm, 8 m high."""
    count = int(rng.integers(12, 20))
    angles = np.arange(count) * 2.4
    droop = rng.uniform(-1.6, 1.0, count)
    reach = rng.uniform(1.7, 2.6, count)
    top = np.array([rng.normal(0.0, 0.3), rng.normal(0.0, 0.3), 7.0])
    direction = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    across = np.stack([-np.sin(angles), np.cos(angles), 0 * angles], axis=1) * 0.35
    middle = top + 0.55 * reach[:, None] * direction + [0, 0, 0.5]
    tip = top + reach[:, None] * direction + droop[:, None] * np.array([0, 0, 1.0])
    near = np.stack([np.broadcast_to(top, middle.shape), middle + across, middle - across], axis=1)
    far = np.stack([middle + across, tip, middle - across], axis=1)
    fronds = np.concatenate([near, far]).astype(np.float32)
    trunk = tube(
        [(0, 0, 0), (0.2 * top[0], 0, 3.5), top], (0.22, 0.16, 0.13), pick(rng, BARKS), BARK
    )
    return merge([trunk, _foliage(rng, fronds, np.array([0.3, 0.42, 0.18]))])


def bare(rng: np.random.Generator) -> Mesh:
    """A tree without leaves, 8 m high."""
    bark = pick(rng, BARKS)
    parts = [tube([(0, 0, 0), (0, 0, 2.6)], (0.18, 0.13), bark, BARK)]
    ends = [(np.array([0.0, 0.0, 2.6]), np.array([0.0, 0.0, 1.0]))]
    for length, width, split in ((1.9, 0.09, 4), (1.5, 0.05, 3), (1.1, 0.03, 2)):
        grown = []
        for place, direction in ends:
            for _ in range(split):
                turned = direction + rng.normal(0.0, 0.45, 3) + [0.0, 0.0, 0.15]
                turned /= np.linalg.norm(turned)
                tip = place + turned * length * rng.uniform(0.7, 1.2)
                parts.append(tube([place, tip], (width, 0.6 * width), bark, BARK, sides=3))
                grown.append((tip, turned))
        ends = grown
    return merge(parts)


def young(rng: np.random.Generator) -> Mesh:
    """A newly planted tree between two stakes, 8 m high before it is scaled."""
    centers, radii = np.array([[0.0, 0.0, 6.0]]), np.array([[1.4, 1.4, 1.9]])
    parts = [tube([(0, 0, 0), (0, 0, 5.5)], (0.1, 0.07), pick(rng, BARKS), BARK, sides=5)]
    for x in (-0.6, 0.6):
        parts.append(box((x - 0.06, -0.06, 0), (x + 0.06, 0.06, 3.2), (0.5, 0.4, 0.28), WOOD))
    return merge([*parts, *_crown(rng, centers, radii, _color(rng), 160, 0.16)])


def bush(rng: np.random.Generator) -> Mesh:
    """About 1 m high."""
    count = int(rng.integers(1, 4))
    centers = np.concatenate(
        [rng.uniform(-0.5, 0.5, (count, 2)), np.full((count, 1), 0.45)], axis=1
    )
    radii = rng.uniform(0.4, 0.65, (count, 3))
    return merge(_crown(rng, centers, radii, _color(rng), 70, 0.085))


def hedge_leaves(rng: np.random.Generator, length: float, height: float, depth: float) -> Mesh:
    """The hedge between x = 0 and `length`, 1 m deep, of leaves around a box."""
    color = _color(rng)
    core = box((0, 0.08, 0), (length, depth - 0.08, height - 0.08), tuple(0.7 * color), FOLIAGE)
    count = int(min(40.0 * length, 500))
    places = rng.uniform((0, 0, 0), (length, depth, height), (count, 3))
    face = rng.integers(3, size=count)
    places[face == 0, 1] = 0.02
    places[face == 1, 1] = depth
    places[face == 2, 2] = height
    spread = rng.normal(0.0, 0.07, (count, 3, 3))
    return merge([core, _foliage(rng, (places[:, None] + spread).astype(np.float32), color)])


# Those of avenues.
TREES: tuple[tuple[Callable[[np.random.Generator], Mesh], float], ...] = (
    (broadleaf, 0.56), (column, 0.1), (palm, 0.12), (bare, 0.12), (young, 0.1),
)  # fmt: skip


class Garden:
    """The few plants of which a scene's vegetation is made; copies are turned and scaled."""

    def __init__(self, rng: np.random.Generator):
        self._rng = rng
        builders = [builder for builder, _ in TREES]
        shares = [share for _, share in TREES]
        kinds = rng.choice(len(TREES), size=2, p=shares)
        self._trees = [builders[kind](rng) for kind in kinds for _ in range(2)]
        self._trees += [broadleaf(rng), conifer(rng) if rng.random() < 0.5 else broadleaf(rng)]
        self._far = [broadleaf(rng, 80), broadleaf(rng, 80), conifer(rng, 80)]
        self._bushes = [bush(rng) for _ in range(3)]

    def tree(self, low: float = 4.0, high: float = 11.0, kind: int | None = None) -> Mesh:
        """A tree, `low` to `high` metres high; trees of one `kind`, 0 or 1, resemble each other."""
        rng = self._rng
        number = int(rng.integers(len(self._trees)) if kind is None else 2 * kind + rng.integers(2))
        return scaled(self._trees[number], rng.uniform(low, high) / 8.0)

    def far_tree(self, low: float = 5.0, high: float = 16.0) -> Mesh:
        """A tree of fewer leaves, for where they cannot be told apart."""
        rng = self._rng
        return scaled(self._far[int(rng.integers(len(self._far)))], rng.uniform(low, high) / 8.0)

    def bush(self) -> Mesh:
        return scaled(self._bushes[int(self._rng.integers(3))], self._rng.uniform(0.6, 1.6))


def scaled(mesh: Mesh, factor: float) -> Mesh:
    triangles = mesh.triangles * np.float32(factor)
    return Mesh(triangles, mesh.albedo, mesh.materials, mesh.patterns)
