# SPDX-License-Identifier: Apache-2.0
"""Pictures and statues of people: no person is there; x ahead, in metres, on the ground."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from asd_training.synthetic.meshes.clutter.parts import (
    COLORS,
    GREY,
    PALE,
)
from asd_training.synthetic.meshes.mesh import (
    CHROME,
    CONCRETE,
    POSTER,
    SHEET,
    STONE,
    Mesh,
    beam,
    box,
    hexahedron,
    merge,
    pick,
)
from asd_training.synthetic.meshes.people import person


def board(rng: np.random.Generator) -> Mesh:
    """A folding board or poster stand, some with a picture of a person on it."""
    half, height = rng.uniform(0.25, 0.6), rng.uniform(0.8, 1.9)
    lean = 0.0 if height > 1.3 else 0.18
    frame = pick(rng, COLORS)
    parts = []
    for side in (-1.0, 1.0):
        corners = np.array(
            [
                (side * (lean * (1.0 - z) + 0.02 + 0.02 * layer), sign * half, z * height)
                for z in (0.06, 1.0)
                for sign in (-1.0, 1.0)
                for layer in (0.0, 1.0)
            ]
        )
        parts.append(hexahedron(corners, PALE, POSTER if rng.random() < 0.7 else SHEET))
        parts.append(beam(corners[0], corners[4], 0.05, frame))
        parts.append(beam(corners[2], corners[6], 0.05, frame))
    if rng.random() < 0.35 and lean == 0.0:
        parts.append(_flat(_figure(rng, 0.9 * height)).moved(0.045, 0.0, 0.0, 0.05))
    return merge(parts)


def standee(rng: np.random.Generator) -> Mesh:
    """A person cut out of cardboard, or printed on a panel taller than people."""
    height = rng.uniform(0.5, 2.2)
    figure = _flat(_figure(rng, height))
    if height < 1.9 and rng.random() < 0.5:
        return merge([figure, box((-0.2, -0.25, 0.0), (0.02, 0.25, 0.03), PALE)])
    half, top, low = rng.uniform(0.45, 1.0), height + 0.25, rng.uniform(0.1, 0.5)
    panel = box((-0.1, -half, low), (-0.01, half, low + top), pick(rng, COLORS), SHEET)
    feet = [
        box((-0.08, y - 0.03, 0.0), (-0.03, y + 0.03, low), GREY) for y in (-0.8 * half, 0.8 * half)
    ]
    return merge([figure.moved(0.0, 0.0, 0.0, low + 0.1), panel, *feet])


def statue(rng: np.random.Generator) -> Mesh:
    """A person of bronze or stone, mostly on a plinth."""
    figure = _figure(rng, rng.uniform(1.4, 2.6))
    color = np.array(pick(rng, ((0.24, 0.3, 0.27), (0.26, 0.2, 0.15), PALE, GREY))) ** 2.2
    material = int(rng.choice([STONE, CHROME, CONCRETE]))
    figure = replace(
        figure,
        albedo=np.broadcast_to(color.astype(np.float32), figure.albedo.shape),
        materials=np.full(len(figure), material, np.uint8),
    )
    base = rng.uniform(0.1, 1.6)
    plinth = [
        box((-0.5, -0.5, 0.0), (0.5, 0.5, 0.25 * base), PALE, STONE),
        box((-0.4, -0.4, 0.25 * base), (0.4, 0.4, base), PALE, STONE),
    ]
    return merge([figure.moved(0.0, 0.0, 0.0, base), *plinth])


def _figure(rng: np.random.Generator, height: float) -> Mesh:
    return person(rng, height, posture="standing")


def _flat(mesh: Mesh) -> Mesh:
    """The picture of a mesh, seen from ahead, 1 mm thick."""
    return replace(mesh, triangles=mesh.triangles * np.array([0.003, 1.0, 1.0], np.float32))
