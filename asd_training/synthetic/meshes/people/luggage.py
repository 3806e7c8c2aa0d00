# SPDX-License-Identifier: Apache-2.0
"""What people carry, hold and sit on."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    CHROME,
    CLOTH,
    CONCRETE,
    PLASTIC,
    RETRO,
    WOOD,
    Color,
    Mesh,
    beam,
    box,
    cylinder,
    pick,
    tube,
)
from asd_training.synthetic.meshes.people.body import HELMETS, Body, cloth_color
from asd_training.synthetic.meshes.people.postures import (
    SIDES,
)


def luggage(body: Body) -> list[Mesh]:
    """What the person carries, if anything: rucksack, shoulder bag, bags in the hands."""
    rng, posture, h = body.rng, body.posture, body.h
    parts, color = [], cloth_color(rng, 0.6)
    draw = rng.random()
    if draw < 0.2:
        deep, half = rng.uniform(0.05, 0.11), rng.uniform(0.07, 0.1)
        back = -0.06 * body.girth
        low, high = rng.uniform(0.54, 0.62), rng.uniform(0.79, 0.83)
        levels = [
            (low, 0.7 * half, 0.7 * deep),
            (low + 0.05, half, deep),
            (high - 0.06, 0.95 * half, 0.85 * deep),
            (high, 0.6 * half, 0.4 * deep),
        ]
        points = [posture.on_trunk(back - 0.5 * deep, 0.0, up) for up, _, _ in levels]
        parts.append(tube(points, [(a * h, b * h) for _, a, b in levels], color, CLOTH, 8))
        for side in SIDES:
            top = posture.on_trunk(0.03, 0.06 * side, 0.825)
            parts.append(
                beam(top, posture.on_trunk(0.072, 0.07 * side, 0.68), 0.02 * h, color, CLOTH)
            )
    elif draw < 0.35:
        side = float(rng.choice(SIDES))
        place = posture.on_trunk(0.0, side * 0.125 * body.girth, rng.uniform(0.5, 0.62))
        parts.append(_bag(rng, place, color))
        chest = posture.on_trunk(0.07, 0.0, 0.72)
        shoulder = posture.on_trunk(0.0, -side * 0.06, 0.84)
        parts += [beam(place, chest, 0.03, color, CLOTH), beam(chest, shoulder, 0.03, color, CLOTH)]
    for side in range(2):
        wrist, shoulder = posture.arms[side, 2], posture.arms[side, 0]
        if wrist[2] < shoulder[2] - 0.25 * h and wrist[2] > 0.35 * h and rng.random() < 0.14:
            size = rng.uniform(0.16, 0.28)
            color = cloth_color(rng, 0.3)
            hand = wrist - [0.0, 0.0, 0.06 * h]
            parts.append(_bag(rng, hand - [0.0, 0.0, size], color, size))
    return parts


def _bag(
    rng: np.random.Generator, place: np.ndarray, color: Color, half: float | None = None
) -> Mesh:
    half = rng.uniform(0.1, 0.18) if half is None else half
    levels = np.array([-1.0, -0.9, 0.3, 1.0])
    radii = np.array([[0.3, 0.8], [0.4, 0.95], [0.35, 0.9], [0.06, 0.6]]) * half
    points = place + np.outer(levels * half, [0.0, 0.0, 1.0])
    return tube(points, radii, color, CLOTH, 6)


def umbrella_over(body: Body) -> list[Mesh]:
    """Held in the right hand, over the head."""
    rng, h = body.rng, body.h
    hand = body.posture.arms[0, 2]
    tilt = rng.uniform(-0.1, 0.15, 2)
    top = np.array([hand[0] + tilt[0], 0.4 * hand[1] + tilt[1], rng.uniform(1.08, 1.22) * h])
    reach, color = rng.uniform(0.42, 0.6), cloth_color(rng, 0.4)
    rim = top - [0.0, 0.0, 0.55 * reach]
    points = [rim, rim + [0.0, 0.0, 0.03], top - [0.0, 0.0, 0.2 * reach], top]
    return [
        beam(hand, top, 0.02, (0.2, 0.2, 0.2), CHROME),
        tube(points, [reach, reach, 0.7 * reach, 0.04], color, CLOTH, 8),
    ]


def tool(body: Body) -> list[Mesh]:
    """A worker's shovel, pole or sign, held in the right hand."""
    rng = body.rng
    hand = body.posture.arms[0, 2]
    foot = np.array([hand[0] + 0.1, 1.1 * hand[1] - 0.05, 0.0])
    top = hand + (hand - foot) * rng.uniform(0.1, 0.9)
    parts = [beam(foot, top, 0.035, (0.6, 0.45, 0.3), WOOD)]
    if rng.random() < 0.4:
        color = pick(rng, HELMETS)
        parts.append(
            cylinder(top - [0.01, 0, 0], top + [0.01, 0, 0], (0.22, 0.22), color, 8, RETRO)
        )
    return parts


def seat_under(body: Body) -> Mesh:
    """What a person sits on: hardly more than the person covers."""
    rng, h = body.rng, body.h
    top = float(body.posture.pelvis[2] - 0.06 * h)
    color = pick(rng, ((0.3, 0.22, 0.15), (0.6, 0.59, 0.56), (0.15, 0.15, 0.16)))
    return box(
        (-0.1 * h, -0.13 * h, 0.0 if rng.random() < 0.5 else 0.8 * top),
        (0.14 * h, 0.13 * h, top),
        color,
        int(rng.choice([WOOD, CONCRETE, PLASTIC])),
    )
