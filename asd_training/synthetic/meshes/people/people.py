# SPDX-License-Identifier: Apache-2.0
"""Meshes of people: built, dressed and laden at random; x ahead, y left, z up, in metres."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    Color,
    Mesh,
    merge,
)
from asd_training.synthetic.meshes.people.body import Body, dressed
from asd_training.synthetic.meshes.people.luggage import luggage, seat_under, tool, umbrella_over
from asd_training.synthetic.meshes.people.postures import (
    bending,
    riding,
    sitting,
    standing,
    walking,
)


def person(rng: np.random.Generator, stature: float, posture: str, worker: bool = False) -> Mesh:
    """A person of a stature, m: "walking", "standing", "bending" or "sitting", on the ground.

    The mesh is as large as the person, with what it carries, in this posture.
    """
    girth = float(np.clip(rng.normal(1.04, 0.13), 0.82, 1.5))
    breadth = 0.095 + 0.02 * girth
    parts: list[Mesh] = []
    umbrella = not worker and posture in ("walking", "standing") and rng.random() < 0.06
    if posture in ("walking", "standing"):
        upright = walking if posture == "walking" else standing
        body = Body(rng, upright(rng, stature, breadth, umbrella), girth)
        parts += luggage(body) if not worker else []
    else:
        pose = bending if posture == "bending" else sitting
        body = Body(rng, pose(rng, stature, breadth), girth)
    if umbrella:
        parts += umbrella_over(body)
    elif worker and posture == "standing" and rng.random() < 0.3:
        parts += tool(body)
    parts += dressed(body, worker)
    if posture == "sitting":
        parts.append(seat_under(body))
    return merge(parts)


def pedestrian(
    rng: np.random.Generator,
    length: float,
    width: float,
    height: float,
    walking: bool = True,
    worker: bool = False,
    sitting: bool = False,
) -> Mesh:
    """A person of `height`; how long and wide the mesh is depends on the posture."""
    posture = "walking" if walking else "sitting" if sitting else "standing"
    if posture == "standing" and rng.random() < (0.2 if worker else 0.03):
        posture = "bending"
    return person(rng, height, posture, worker)


def rider(
    rng: np.random.Generator,
    stature: float,
    seat: tuple[float, float],
    bar: tuple[float, float, float],
    feet: tuple[tuple[float, float, float], tuple[float, float, float]],
    helmet: Color | None,
) -> Mesh:
    """A person on a two-wheeler: see `postures.riding`; a helmet where a colour is given."""
    girth = float(np.clip(rng.normal(1.02, 0.1), 0.85, 1.35))
    body = Body(rng, riding(stature, 0.095 + 0.02 * girth, seat, bar, feet), girth)
    parts = dressed(body, False, helmet)
    if rng.random() < 0.25:
        parts += luggage(body)
    return merge(parts)
