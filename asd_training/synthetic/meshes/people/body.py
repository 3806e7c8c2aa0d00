# SPDX-License-Identifier: Apache-2.0
"""Bodies of people and their clothes."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    CLOTH,
    HAIR,
    PAINT,
    PLASTIC,
    RETRO,
    RUBBER,
    SKIN,
    Color,
    Mesh,
    beam,
    box,
    cylinder,
    ellipsoid,
    merge,
    pick,
    tube,
)
from asd_training.synthetic.meshes.people.postures import (
    SIDES,
    Posture,
)

SKINS = (
    (0.9, 0.74, 0.64),
    (0.82, 0.63, 0.52),
    (0.72, 0.53, 0.4),
    (0.55, 0.38, 0.28),
    (0.38, 0.26, 0.2),
)
HAIRS = (
    (0.08, 0.07, 0.07),
    (0.12, 0.09, 0.08),
    (0.25, 0.17, 0.11),
    (0.45, 0.32, 0.18),
    (0.62, 0.5, 0.32),
    (0.6, 0.6, 0.6),
)
# Most clothes are dark, blue, grey or white; the others may have any colour.
DARK_CLOTHS = (
    (0.1, 0.1, 0.11),
    (0.12, 0.13, 0.18),
    (0.14, 0.18, 0.28),
    (0.24, 0.24, 0.26),
    (0.22, 0.18, 0.15),
)
PALE_CLOTHS = (
    (0.9, 0.9, 0.9),
    (0.75, 0.76, 0.78),
    (0.62, 0.7, 0.8),
    (0.5, 0.5, 0.52),
    (0.72, 0.65, 0.54),
)
TROUSERS = (
    (0.12, 0.12, 0.14),
    (0.17, 0.22, 0.34),
    (0.26, 0.34, 0.47),
    (0.5, 0.45, 0.36),
    (0.3, 0.3, 0.32),
    (0.16, 0.17, 0.22),
)
HI_VIS = ((0.82, 0.92, 0.16), (0.98, 0.45, 0.1))
SHOES = ((0.1, 0.1, 0.1), (0.85, 0.85, 0.85), (0.3, 0.2, 0.14), (0.35, 0.36, 0.4))
HELMETS = ((0.92, 0.82, 0.15), (0.9, 0.9, 0.9), (0.9, 0.42, 0.1), (0.15, 0.3, 0.6), (0.7, 0.1, 0.1))


def cloth_color(rng: np.random.Generator, dark: float = 0.45) -> Color:
    """A garment's colour: dark with the chance `dark`."""
    draw = rng.random()
    if draw < dark:
        return pick(rng, DARK_CLOTHS)
    if draw < dark + 0.3:
        return pick(rng, PALE_CLOTHS)
    return tuple(rng.uniform(0.1, 0.85) * rng.uniform(0.15, 1.0, 3) + 0.05)


class Body:
    """One person while it is built: its posture and its build."""

    def __init__(self, rng: np.random.Generator, posture: Posture, girth: float):
        self.rng = rng
        self.posture = posture
        self.h = posture.stature
        self.girth = girth

    def trunk(
        self, levels: list[tuple[float, float, float, float]], color: Color, sides: int = 8
    ) -> Mesh:
        """Round the trunk: (height, ahead, half width, half depth), shares of the stature."""
        points = [self.posture.on_trunk(ahead, 0.0, up) for up, ahead, _, _ in levels]
        radii = [
            (self.h * wide * self.girth, self.h * deep * self.girth) for *_, wide, deep in levels
        ]
        return tube(points, radii, color, CLOTH, sides)

    def limb(
        self, joints: np.ndarray, along: list[tuple[float, float]], color: Color, material: int
    ) -> Mesh:
        """Round a limb (3, 3): (way along it, 0 to 2, radius as a share of the stature)."""
        points, radii = [], []
        for way, radius in along:
            part = min(int(way), 1)
            points.append(joints[part] + (way - part) * (joints[part + 1] - joints[part]))
            radii.append(radius * self.h)
        return tube(points, radii, color, material)

    def foot(self, side: int, color: Color) -> Mesh:
        ankle, h = self.posture.legs[side, 2], self.h
        c, s = np.cos(self.posture.soles[side]), np.sin(self.posture.soles[side])
        along, up = np.array([c, 0.0, -s]) * h, np.array([s, 0.0, c]) * h
        points = [
            ankle - 0.04 * along - 0.018 * up,
            ankle - 0.02 * along - 0.016 * up,
            ankle + 0.05 * along - 0.026 * up,
            ankle + 0.105 * along - 0.035 * up,
        ]
        radii = [(0.018 * h, 0.025 * h), (0.025 * h, 0.029 * h), (0.026 * h, 0.019 * h)]
        return tube(points, [*radii, (0.018 * h, 0.01 * h)], color, RUBBER, 5)


# Heights, places ahead and half sizes of the trunk from the hem to the neck.
_HIPS = [(0.47, 0.0, 0.06, 0.055), (0.51, 0.0, 0.094, 0.068), (0.57, 0.0, 0.088, 0.06)]
_CHEST = [
    (0.63, 0.004, 0.082, 0.058),
    (0.73, 0.006, 0.1, 0.07),
    (0.78, 0.0, 0.112, 0.064),
    (0.82, -0.004, 0.092, 0.052),
    (0.853, -0.004, 0.036, 0.036),
]
_SLEEVE = [(-0.06, 0.018), (0.12, 0.033), (0.9, 0.028), (1.1, 0.027), (1.9, 0.02)]
_ARM = [(0.5, 0.027), (1.0, 0.022), (1.3, 0.023), (2.0, 0.015)]
_LEG = [(0.0, 0.052), (0.5, 0.047), (0.97, 0.031), (1.3, 0.034), (2.0, 0.02)]


def dressed(body: Body, worker: bool, helmet: Color | None = None) -> list[Mesh]:
    """The person itself, without what it carries."""
    rng, posture, h, girth = body.rng, body.posture, body.h, body.girth
    skin, hair = pick(rng, SKINS), pick(rng, HAIRS)
    upper = pick(rng, HI_VIS) if worker else cloth_color(rng)
    lower = pick(rng, TROUSERS) if rng.random() < 0.85 else cloth_color(rng)
    cool = rng.random() < 0.55  # long sleeves
    bulk = rng.uniform(1.05, 1.3) if cool and rng.random() < 0.5 else 1.0  # a thick jacket
    hem = rng.uniform(0.5, 0.58)
    shirt: list[Mesh] = []
    trousers: list[Mesh] = []
    flesh: list[Mesh] = []

    belly = max(0.0, girth - 1.05) * 0.08
    levels = [
        (up, ahead, wide * bulk, deep * bulk)
        for up, ahead, wide, deep in [(hem, 0.0, 0.094, 0.067 + belly / 2.0), *_CHEST]
    ]
    levels[1] = (0.63, belly / 2.0 + 0.004, levels[1][2], levels[1][3] + belly)
    levels[-1] = _CHEST[-1]
    shirt.append(body.trunk(levels, upper))
    trousers.append(body.trunk(_HIPS, lower))

    skirt = not worker and posture.lean < 0.4 and rng.random() < 0.16
    coat = not worker and cool and not skirt and posture.lean < 0.4 and rng.random() < 0.15
    short = skirt or (not cool and not worker and rng.random() < 0.45)
    wide = 0.95 if skirt or coat else rng.uniform(0.95, 1.3)
    for side in range(2):
        leg, arm = posture.legs[side], posture.arms[side]
        if short:
            trousers.append(
                body.limb(
                    leg, [(0.0, 0.058 * girth), (0.5, 0.05), (0.85, 0.045 * wide)], lower, CLOTH
                )
            )
            bare = lower if rng.random() < 0.1 else skin
            flesh.append(body.limb(leg, [(0.5, 0.04), *_LEG[2:]], bare, SKIN))
        else:
            along = [
                (way, radius * (girth if way < 1 else 1.0) * wide + 0.004) for way, radius in _LEG
            ]
            trousers.append(body.limb(leg, along, lower, CLOTH))
        if cool:
            along = [(way, radius * (0.3 + 0.7 * girth * bulk)) for way, radius in _SLEEVE]
            shirt.append(body.limb(arm, along, upper, CLOTH))
        else:
            along = [(way, radius * (0.4 + 0.6 * girth)) for way, radius in _SLEEVE]
            shirt.append(body.limb(arm, [*along[:2], (0.75, along[2][1] + 0.003)], upper, CLOTH))
            flesh.append(body.limb(arm, _ARM, skin, SKIN))
        # The hand goes on where the forearm ends.
        beyond = arm[2] + (arm[2] - arm[1]) * (0.065 * h / np.linalg.norm(arm[2] - arm[1]))
        half = (arm[2] + beyond) / 2.0
        flesh.append(tube([arm[2], half, beyond], [0.013 * h, 0.022 * h, 0.01 * h], skin, SKIN, 4))
    if skirt or coat:
        shirt_like = coat or rng.random() < 0.5  # a dress, or a skirt of its own
        (shirt if shirt_like else trousers).append(
            _skirt(body, upper if shirt_like else lower, bulk)
        )
    if worker or rng.random() < 0.02:
        shirt += _bands(body, levels)
    flesh.append(
        tube(
            [posture.on_trunk(-0.004, 0.0, 0.83), posture.on_trunk(0.008, 0.0, 0.895)],
            [0.033 * h, 0.03 * h],
            skin,
            SKIN,
        )
    )
    parts = [patterned(rng, shirt), patterned(rng, trousers), *flesh]
    color = pick(rng, SHOES)
    parts += [body.foot(side, color) for side in range(2)]
    return [*parts, *_head(body, skin, hair, upper, worker, helmet)]


def patterned(rng: np.random.Generator, parts: list[Mesh]) -> Mesh:
    """Parts of one cloth."""
    return merge(parts).patterned(int(rng.integers(65536)))


def _skirt(body: Body, color: Color, bulk: float) -> Mesh:
    """A skirt, or a coat's tails: as wide as the step needs it."""
    posture, h = body.posture, body.h
    way = body.rng.uniform(0.6, 1.6)
    part = min(int(way), 1)
    knees = posture.legs[:, part] + (way - part) * (
        posture.legs[:, part + 1] - posture.legs[:, part]
    )
    hem, half = knees.mean(axis=0), np.abs(np.diff(knees, axis=0)[0]) / 2.0
    flare = body.rng.uniform(0.07, 0.105) * body.girth
    top = posture.on_trunk(0.0, 0.0, 0.6)
    hips = posture.on_trunk(0.0, 0.0, 0.51)
    radii = [
        (0.082 * h * body.girth * bulk, 0.06 * h * body.girth * bulk),
        (0.112 * h * body.girth * bulk, 0.08 * h * body.girth * bulk),
        (half[1] + flare * h, half[0] + flare * h),
    ]
    return tube([top, hips, hem], radii, color, CLOTH, 9)


def _bands(body: Body, levels: list[tuple[float, float, float, float]]) -> list[Mesh]:
    """Reflecting bands of a vest: round the waist and over the shoulders."""
    silver = (0.85, 0.86, 0.86)
    parts = []
    ups, wides, deeps = (np.array(levels)[:, k] for k in (0, 2, 3))
    for up in (0.6, 0.67):
        wide = float(np.interp(up, ups, wides)) + 0.006
        deep = float(np.interp(up, ups, deeps)) + 0.006
        parts.append(body.trunk([(up, 0.004, wide, deep), (up + 0.03, 0.005, wide, deep)], silver))
    for side in SIDES:
        left = 0.055 * side * body.girth
        for ahead in (0.068, -0.068):
            low = body.posture.on_trunk(ahead * body.girth, left, 0.66)
            high = body.posture.on_trunk(0.6 * ahead * body.girth, left, 0.825)
            parts.append(beam(low, high, 0.03 * body.h, silver))
    return [
        Mesh(part.triangles, part.albedo, np.full(len(part), RETRO, np.uint8), part.patterns)
        for part in parts
    ]


def _head(
    body: Body, skin: Color, hair: Color, upper: Color, worker: bool, helmet: Color | None
) -> list[Mesh]:
    rng, h = body.rng, body.h
    # Children have bigger heads.
    h *= 1.0 + 0.3 * max(0.0, 1.45 - h)
    turned = rng.normal(0.0, 0.012)

    def place(ahead: float, up: float, left: float = 0.0) -> np.ndarray:
        return body.posture.on_trunk(ahead + 0.012, left + turned, 0.932) + h * np.array(
            [0.0, 0.0, up]
        )

    def ball(
        ahead: float, up: float, radii: tuple[float, float, float], color: Color, material: int
    ) -> Mesh:
        return ellipsoid(place(ahead, up), np.array(radii) * h, color, material)

    parts = [ball(0.0, 0.0, (0.054, 0.045, 0.066), skin, SKIN)]
    if helmet is not None:
        parts.append(ball(-0.008, 0.026, (0.072, 0.058, 0.05), helmet, PAINT))
        return parts
    if worker:
        color = pick(rng, HELMETS)
        parts.append(ball(0.0, 0.035, (0.074, 0.064, 0.05), color, PLASTIC))
        parts.append(
            cylinder(
                place(0.01, 0.03), place(0.01, 0.036), (0.085 * h, 0.08 * h), color, 9, PLASTIC
            )
        )
        return parts
    draw = rng.random()
    if draw < 0.07:  # bald
        return parts
    parts.append(ball(-0.014, 0.014, (0.053, 0.052, 0.06), hair, HAIR))
    if rng.random() < 0.35:  # long hair
        low = 0.93 - rng.uniform(0.07, 0.2)
        back = [place(-0.03, 0.02), body.posture.on_trunk(-0.03, 0.0, 0.88)]
        back.append(body.posture.on_trunk(-0.06, 0.0, min(low, 0.85)))
        parts.append(
            tube(
                back,
                [(0.05 * h, 0.04 * h), (0.055 * h, 0.035 * h), (0.04 * h, 0.02 * h)],
                hair,
                HAIR,
            )
        )
    color = cloth_color(rng)
    if draw < 0.17:  # a cap
        parts.append(ball(-0.003, 0.03, (0.06, 0.052, 0.045), color, CLOTH))
        parts.append(box(place(0.045, 0.022, -0.04), place(0.115, 0.03, 0.04), color, CLOTH))
    elif draw < 0.22:  # a brim
        parts.append(
            cylinder(place(0, 0.026), place(0, 0.034), (0.115 * h, 0.11 * h), color, 10, CLOTH)
        )
        parts.append(
            cylinder(place(0, 0.03), place(0, 0.078), (0.062 * h, 0.05 * h), color, 8, CLOTH)
        )
    elif draw < 0.28:  # a woollen cap
        parts.append(ball(-0.008, 0.027, (0.058, 0.054, 0.055), color, CLOTH))
    elif draw < 0.34:  # a hood or a scarf round the head
        color = upper if rng.random() < 0.5 else color
        parts.append(ball(-0.018, 0.005, (0.06, 0.058, 0.076), color, CLOTH))
        parts.append(
            tube(
                [place(-0.02, -0.02), body.posture.on_trunk(-0.01, 0.0, 0.82)],
                [0.056 * h, 0.075 * h],
                color,
                CLOTH,
            )
        )
    return parts
