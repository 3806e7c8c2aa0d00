# SPDX-License-Identifier: Apache-2.0
"""Faces of cars, and what is stuck onto them: lamps, plates, doors, mirrors, roof loads."""

from __future__ import annotations

import itertools

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    LIT_SIGN,
    PAINT,
    POSTER,
    RETRO,
    Mesh,
    beam,
    cylinder,
    merge,
    pick,
)
from asd_training.synthetic.meshes.vehicle_parts.body import (
    BELT,
    CENTRE,
    LOWER,
    ROOF_EDGE,
    SHOULDER,
    SILL,
    WAIST,
    WINDOW_TOP,
    Body,
    Finish,
    mirrored,
)
from asd_training.synthetic.meshes.vehicle_parts.fittings import (
    BRIGHT,
    GAP,
    GREY_TRIM,
    INDICATOR,
    PLATE,
    TAIL,
    TRIM,
    block,
    both_sides,
    vivid_color,
)
from asd_training.synthetic.meshes.vehicles.car_styles import (
    DARK_GREY,
    GLASS,
    GRILLE,
    HEADLAMP,
    PAINTED,
    PLASTIC,
    TAILLAMP,
    Place,
    Style,
)


def nose(rng: np.random.Generator, body: Body, palette: list[Finish]) -> Mesh:
    """Left half of the front: air intake, bumper, grille, lamps."""
    inner = rng.uniform(0.5, 0.68)
    shares = (0.0, 0.35, inner, 0.82, 1.0)
    lamp_row = SHOULDER if body.levels[2] < 0.74 else WAIST
    numbers = np.full((4, CENTRE), PAINTED)
    numbers[:, SILL] = DARK_GREY
    kind = rng.choice(["wide", "tall", "slim", "none"], p=[0.38, 0.32, 0.25, 0.05])
    if kind == "wide":
        numbers[:2, lamp_row] = GRILLE
    elif kind == "tall":
        numbers[:1, LOWER : lamp_row + 1] = GRILLE
    elif kind == "slim":
        numbers[:2, lamp_row] = PAINTED
        numbers[:2, SILL] = GRILLE
    numbers[2:, lamp_row] = HEADLAMP
    if rng.random() < 0.3:  # fog lamps, or intakes at the corners
        numbers[3, LOWER] = HEADLAMP if rng.random() < 0.4 else GRILLE
    parts = [body.face(True, shares, numbers, palette)]
    z = body.z[-1]
    low, high = float(z[lamp_row]), float(z[lamp_row + 1])
    if kind == "slim":
        parts.append(body.on_face(True, (0.0, inner * body.half), (high - 0.06, high - 0.01), TRIM))
    if kind in ("wide", "tall") and rng.random() < 0.6:  # chrome bars, the badge
        for height in np.linspace(low, high, int(rng.integers(2, 4))):
            reach = 0.34 if kind == "tall" else inner
            parts.append(
                body.on_face(
                    True, (0.0, reach * body.half), (height - 0.015, height + 0.01), BRIGHT
                )
            )
    parts.append(
        body.on_face(True, (0.0, 0.05), ((low + high) / 2 - 0.05, (low + high) / 2 + 0.05), BRIGHT)
    )
    plate = float(z[LOWER]) + 0.03
    parts.append(body.on_face(True, (0.0, 0.25), (plate, plate + 0.11), PLATE, 0.025))
    return merge(parts)


def tail(
    rng: np.random.Generator, body: Body, palette: list[Finish], upright: bool, name: str
) -> Mesh:
    """Left half of the rear: bumper, lamps, boot lid or tailgate with its window."""
    inner = rng.uniform(0.55, 0.8) if name not in ("van", "tall_van", "offroader") else 0.78
    shares = (0.0, 0.3, inner, 0.9, 1.0)
    numbers = np.full((4, CENTRE), PAINTED)
    numbers[:, SILL] = PLASTIC if rng.random() < 0.6 else DARK_GREY
    if rng.random() < 0.3:
        numbers[:, LOWER] = PLASTIC
    numbers[2:, WAIST] = TAILLAMP
    if upright:
        numbers[:3, BELT] = GLASS
        numbers[0, WINDOW_TOP] = GLASS
        tall = rng.random()
        if tall < 0.35 or name in ("van", "tall_van", "minivan", "offroader"):
            numbers[2:, SHOULDER] = TAILLAMP
            numbers[2:, WAIST] = PAINTED if tall < 0.15 else TAILLAMP
        if tall < 0.12 and name not in ("van", "tall_van"):
            numbers[3:, BELT] = TAILLAMP
        if name in ("van", "tall_van") and rng.random() < 0.35:
            numbers[:, BELT] = PAINTED
    elif rng.random() < 0.4:
        numbers[2:, SHOULDER] = TAILLAMP
    if rng.random() < 0.12:
        numbers[:, WAIST] = TAILLAMP  # a band of light from side to side
    parts = [body.face(False, shares, numbers, palette)]
    z = body.z[0]
    middle = (float(z[WAIST]) + float(z[SHOULDER])) / 2.0
    if rng.random() < 0.3:
        middle = (float(z[LOWER]) + float(z[WAIST])) / 2.0
    parts.append(body.on_face(False, (0.0, 0.25), (middle - 0.06, middle + 0.06), PLATE, 0.02))
    if rng.random() < 0.3:
        low = float(z[SHOULDER])
        parts.append(body.on_face(False, (0.0, 0.4 * body.half), (low, low + 0.03), BRIGHT))
    if name == "offroader" and rng.random() < 0.7:  # the spare wheel
        z0 = 0.5 * float(z[WAIST] + z[BELT])
        x = float(body.bent(np.array([[body.rear, 0.0, z0]]))[0, 0])
        spare = cylinder((x - 0.16, 0, z0), (x + 0.02, 0, z0), (0.33, 0.34), TRIM.color, 12)
        parts.append(spare)
    if name in ("van", "tall_van"):  # two doors
        high = float(z[WINDOW_TOP])
        parts.append(body.on_face(False, (0.0, 0.012), (float(z[LOWER]), high), GAP, 0.012))
        for level in (0.2, 0.8):
            hinge = float(z[LOWER]) + level * (high - float(z[LOWER]))
            parts.append(
                body.on_face(False, (0.7 * body.half, 0.78 * body.half), (hinge, hinge + 0.07), GAP)
            )
    if upright and rng.random() < 0.7:  # wiper and brake light
        low = float(z[BELT])
        parts.append(body.on_face(False, (0.0, 0.35), (low + 0.05, low + 0.075), TRIM))
    high = float(z[ROOF_EDGE if upright else SHOULDER])
    parts.append(body.on_face(False, (0.0, 0.15), (high - 0.02, high + 0.015), TAIL))
    low = float(z[LOWER])
    parts.append(body.on_face(False, (0.6 * body.half, 0.8 * body.half), (low, low + 0.03), TAIL))
    return merge(parts)


def details(
    rng: np.random.Generator,
    body: Body,
    style: Style,
    name: str,
    at: Place,
    half: float,
    job: str,
) -> Mesh:
    """Both sides: doors' gaps and handles, mirrors, sill mouldings, liveries."""
    parts = []
    sill, belt = body.sill + 0.06, float(np.interp(at(0.5), *np.array(body.belt).T))
    cowl = at(style.cowl) - 0.12
    gaps = [cowl, *(at(pillar) for pillar in style.sides[:2])]
    for x in gaps:
        parts.append(body.line_on_side((x, x, x), (sill, (sill + belt) / 2, belt), 0.014, GAP))
    handle = BRIGHT if rng.random() < 0.3 else TRIM if rng.random() < 0.4 else GAP
    for x in gaps[1:]:
        parts.append(body.on_side((x + 0.08, x + 0.26), (belt - 0.13, belt - 0.1), handle, 0.02))
    if rng.random() < 0.25:
        place = sill + 0.45 * (belt - sill)
        gap = (at(style.axles[0]) + 0.5, at(style.axles[1]) - 0.5)
        parts.append(body.on_side(gap, (place, place + 0.05), TRIM, 0.012))
    if rng.random() < 0.5:  # indicators on the wings
        x = at(style.axles[1]) - 0.1
        parts.append(body.on_side((x, x + 0.09), (belt - 0.14, belt - 0.1), INDICATOR))
    parts += _livery(rng, body, style, name, job, at, sill, belt)
    parts.append(_mirror(rng, at(style.cowl) - 0.14 * (at(1.0) - at(style.cowl)) - 0.1, half, belt))
    return mirrored(merge(parts))


def _livery(
    rng: np.random.Generator,
    body: Body,
    style: Style,
    name: str,
    job: str,
    at: Place,
    sill: float,
    belt: float,
) -> list[Mesh]:
    """A firm's picture or stripes on the left side, chequers of an ambulance or a taxi's band."""
    start, end = at(style.axles[0]) + 0.1, at(style.axles[1]) - 0.5
    if style.panel and rng.random() < 0.55:
        picture = Finish(vivid_color(rng), POSTER if rng.random() < 0.6 else PAINT, 15)
        high = belt + rng.uniform(0.05, 0.5) * (float(body.z[:, WINDOW_TOP].max()) - belt)
        low = belt - rng.uniform(0.05, 0.4)
        stop = at(style.sides[0]) - 0.1
        if name == "tall_van" and rng.random() < 0.2:  # an ambulance
            finishes = [Finish(color, RETRO, 16) for color in ((0.9, 0.85, 0.1), (0.1, 0.45, 0.2))]
            edges = np.linspace(body.rear + 0.2, stop, 9)
            return [
                body.on_side((a, b), (belt - 0.35, belt - 0.05), finishes[k % 2])
                for k, (a, b) in enumerate(itertools.pairwise(edges))
            ]
        middle = rng.uniform(body.rear + 0.6, stop - 0.4)
        reach = rng.uniform(0.3, 1.2)
        along = (max(body.rear + 0.15, middle - reach), min(stop, middle + reach))
        return [body.on_side(along, (low, high), picture)]
    if job == "taxi" and rng.random() < 0.5:
        band = Finish(vivid_color(rng), PAINT, 15)
        low = sill + rng.uniform(0.35, 0.65) * (belt - sill)
        return [body.on_side((start, end), (low, low + rng.uniform(0.08, 0.2)), band)]
    if job == "private" and rng.random() < 0.06:
        sticker = Finish(vivid_color(rng), POSTER, int(rng.integers(1000, 60000)))
        x = rng.uniform(start + 0.3, max(end - 0.8, start + 0.4))
        return [body.on_side((x, x + 0.7), (sill + 0.25, belt - 0.1), sticker)]
    return []


def _mirror(rng: np.random.Generator, x: float, half: float, belt: float) -> Mesh:
    finish = TRIM if rng.random() < 0.5 else GREY_TRIM
    inner, outer, z = 0.9 * half, half + 0.065, belt + 0.02
    return merge(
        [
            block((x - 0.07, inner + 0.02, z), (x + 0.09, outer, z + 0.14), finish),
            block((x - 0.075, inner + 0.04, z + 0.02), (x - 0.07, outer - 0.02, z + 0.12), BRIGHT),
        ]
    )


def on_roof_things(
    rng: np.random.Generator,
    body: Body,
    style: Style,
    at: Place,
    half: float,
    top: float,
    height: float,
    name: str,
    job: str,
) -> Mesh:
    """Rails, a roof box, a taxi's sign or a police car's lights."""
    start, end = at(style.roof[0]) + 0.15, at(style.roof[1]) - 0.1
    x = 0.5 * start + 0.5 * end + 0.1
    if job == "taxi":
        glow = pick(rng, ((0.95, 0.9, 0.6), (0.95, 0.95, 0.95), (0.95, 0.75, 0.1)))
        sign = Finish(glow, LIT_SIGN, 12)
        size = rng.uniform(0.15, 0.4)
        return block((x - 0.08, -size, top - 0.01), (x + 0.08, size, height), sign)
    if job == "police":
        blue, red = Finish((0.1, 0.2, 0.8), LIT_SIGN, 12), Finish((0.8, 0.1, 0.1), LIT_SIGN, 13)
        reach = 0.62 * half
        left = blue if rng.random() < 0.5 else red
        return merge(
            [
                block((x - 0.12, 0.03, top - 0.01), (x + 0.12, reach, height), left),
                block((x - 0.12, -reach, top - 0.01), (x + 0.12, -0.03, height), blue),
            ]
        )
    rail = BRIGHT if rng.random() < 0.5 else TRIM
    if name in ("van", "tall_van"):  # a rack with ladders
        y = 0.7 * half
        parts = [
            both_sides((x, y - 0.03, top - 0.05), (x + 0.04, y, height - 0.05), TRIM)
            for x in np.linspace(start, end, 3)
        ]
        for y in (-0.55 * half, -0.2 * half, 0.15 * half, 0.5 * half):
            parts.append(
                beam(
                    (start - 0.2, y, height - 0.04), (end + 0.1, y, height - 0.04), 0.06, (0.7,) * 3
                )
            )
        for x in np.linspace(start, end, 8):
            parts.append(
                beam(
                    (x, -0.7 * half, height - 0.06),
                    (x, 0.7 * half, height - 0.06),
                    0.04,
                    (0.6,) * 3,
                )
            )
        return merge(parts)
    y, z = (body.roof_width - 0.4 * body.roof_round) * half, 0.985 * top
    parts = [
        beam((start, side * y, z), (end, side * y, z), 0.04, rail.color, rail.material)
        for side in (-1.0, 1.0)
    ]
    if height > top:
        paint = Finish(pick(rng, ((0.12,) * 3, (0.5,) * 3, (0.85,) * 3)), TRIM.material, 14)
        case = Body(
            x - 0.95,
            x + 0.95,
            0.4,
            (x - 0.8, x - 0.3, x + 0.4, x + 0.8),
            top,
            ((-9.0, top + 0.13), (9.0, top + 0.13)),
            ((x - 0.95, top + 0.2), (x - 0.6, height), (x + 0.3, height), (x + 0.95, top + 0.18)),
        )
        numbers = np.zeros((len(case.x) - 1, CENTRE), int)
        ends = np.zeros((2, CENTRE), int)
        parts.append(
            mirrored(
                merge(
                    [
                        case.skin(numbers, [paint]),
                        case.face(True, (0.0, 0.6, 1.0), ends, [paint]),
                        case.face(False, (0.0, 0.6, 1.0), ends, [paint]),
                    ]
                )
            )
        )
        parts.append(both_sides((x - 0.4, 0.05, z), (x - 0.36, y, z + 0.04), TRIM))
    return merge(parts)
