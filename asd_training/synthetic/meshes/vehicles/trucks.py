# SPDX-License-Identifier: Apache-2.0
"""Lorries: cabs, chassis, and what they carry."""

from __future__ import annotations

import itertools

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    LIT_SIGN,
    MATTE,
    PAINT,
    RETRO,
    SHEET,
    Color,
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
    End,
    Finish,
    mirrored,
)
from asd_training.synthetic.meshes.vehicle_parts.cargo import LOADS
from asd_training.synthetic.meshes.vehicle_parts.fittings import (
    BRIGHT,
    GAP,
    GLAZING,
    GREY_TRIM,
    INDICATOR,
    PLATE,
    TAIL,
    TRIM,
    UNDERBODY,
    block,
    both_sides,
    headlamp,
    paint_color,
    painted,
    vivid_color,
    wheels,
)
from asd_training.synthetic.meshes.vehicles.cars import pickup, van


def truck(
    rng: np.random.Generator, length: float, width: float, height: float, tractor: bool = False
) -> Mesh:
    """A pick-up, a large van or a lorry, as the size demands, or a trailer's `tractor` unit."""
    if tractor:
        return lorry(rng, length, width, height, "tractor")
    if height < 2.25 and length < 7.0:
        return pickup(rng, length, width, height)
    if height < 3.0 and length < 7.5 and rng.random() < 0.3:
        return van(rng, length, width, height)
    kinds, share = zip(
        ("box", 0.36), ("curtain", 0.08), ("flatbed", 0.12), ("tipper", 0.13), ("tank", 0.06),
        ("compactor", 0.07), ("drum", 0.05), ("fire", 0.03), ("tractor", 0.06), ("container", 0.04),
        strict=True,
    )  # fmt: skip
    kind = str(rng.choice(kinds, p=share))
    if (kind == "tractor" and length > 8.0) or (kind == "drum" and length < 6.0):
        kind = "box"
    return lorry(rng, length, width, height, kind)


def lorry(rng: np.random.Generator, length: float, width: float, height: float, kind: str) -> Mesh:
    """A lorry; `kind` is one of the loads, or fire or tractor."""
    rear, front = -length / 2.0, length / 2.0
    half = width / 2.0 - 0.02
    color = (0.92, 0.92, 0.91) if rng.random() < 0.4 else paint_color(rng)
    if kind == "fire":
        color = pick(rng, ((0.75, 0.08, 0.08), (0.8, 0.1, 0.05), (0.85, 0.75, 0.1)))
    radius = float(np.clip(0.165 * height, 0.36, 0.52))
    floor = 2.0 * radius + 0.08
    bonnet = 0.9 if rng.random() < 0.2 and length > 6.5 else 0.0
    deep = min(2.3, 0.31 * length) if kind != "fire" else min(3.2, 0.42 * length)
    top = height
    if kind in ("box", "curtain", "compactor", "tank", "container", "drum"):
        top = min(height, max(rng.uniform(0.72, 0.92) * height, 2.05))
    elif kind == "tipper":
        top = rng.uniform(0.82, 0.95) * height
    elif kind == "fire":
        top = 0.93 * height
    cab_rear = front - deep - bonnet
    axle = front - (0.62 * deep if not bonnet else 0.95)
    parts = [cab(rng, cab_rear, front, half - 0.05, radius, axle, top, bonnet, color)]
    bed = cab_rear - 0.12
    if kind == "fire":
        parts.append(_fire_body(rng, rear, bed, half, floor, height, color))
        parts.append(_beacons(front - 0.8, half, top, height, (0.1, 0.2, 0.85)))
    elif kind == "tractor":
        parts.append(_fifth_wheel(rear, cab_rear, half, floor))
    else:
        parts.append(LOADS[kind](rng, rear + 0.03, bed, half, floor, height))
        if kind in ("box", "curtain") and rng.random() < 0.4:  # deflector above the cab
            parts.append(_deflector(cab_rear, front - 0.6, half - 0.1, top, height - 0.1, color))
    axles = [axle, rear + 0.22 * length]
    if (length > 8.2 and kind != "box") or length > 10.0:
        axles = [axle, rear + 0.3 * length, rear + 0.3 * length - 2.3 * radius - 0.15]
    parts.append(chassis(rng, rear, cab_rear, half, floor, axles[1:], radius))
    parts.append(wheels(rng, axles, half - 0.01, radius, 0.3, heavy=True))
    return merge(parts)


def cab(
    rng: np.random.Generator,
    rear: float,
    front: float,
    half: float,
    radius: float,
    axle: float,
    top: float,
    bonnet: float,
    color: Color,
) -> Mesh:
    """A driver's cab, flat-nosed or, with a `bonnet` (m), behind the engine."""
    sill = 0.75 * radius + 0.05
    tall = top - sill
    belt = sill + tall * rng.uniform(0.42, 0.5)
    screen = rng.uniform(0.12, 0.3) if not bonnet else 0.35
    glass_top = rng.uniform(0.6, 0.82) if top > 2.6 else 0.84
    cowl = front - bonnet
    upper = [(rear, top - 0.05), (rear + 0.15, top), (cowl - screen - 0.3, top)]
    stations = [rear + 0.3, cowl - 0.35, front - 0.08, front - 0.2]
    foot = belt - 0.02
    if bonnet:
        upper += [(cowl - screen, top - 0.1), (cowl, belt + 0.08), (front, belt - 0.1)]
        foot = belt - 0.2
        stations += [cowl - screen, cowl]
    else:
        upper += [(front, top - 0.12)]
    lean = ((sill, 0.04), (belt, 0.0 if not bonnet else 0.06), (top, screen if not bonnet else 0.3))
    body = Body(
        rear,
        front,
        half,
        [x for x, _ in upper] + stations,
        sill,
        ((rear, belt), (cowl, belt), (front, foot)),
        upper,
        levels=(0.28, 0.55, 0.86),
        flanks=(0.97, 0.99, 1.0, 1.0, 0.99),
        glass_rise=glass_top,
        roof_width=0.95,
        roof_round=0.12,
        arches=[(axle, radius, 1.15 * radius)],
        nose=End(
            rng.uniform(0.1, 0.3), 3.5, lean, 0.5, max(0.7, 1.5 * screen) if not bonnet else 0.5
        ),
        tail=End(0.03, 4.0),
    )
    grille = Finish((0.08, 0.08, 0.085), MATTE) if rng.random() < 0.7 else GREY_TRIM
    bumper = pick_finish(rng, (painted(color), GREY_TRIM, TRIM, BRIGHT))
    visor = painted(color) if rng.random() < 0.6 else TRIM
    palette = [painted(color), GLAZING, bumper, headlamp(rng), grille, visor]
    numbers = np.zeros((len(body.x) - 1, CENTRE), int)
    numbers[:, SILL] = 2
    door = body.columns(cowl - (1.35 if not bonnet else 1.5), cowl - 0.12)
    numbers[door, BELT] = 1
    if bonnet:
        numbers[body.columns(cowl - screen - 0.02, cowl + 0.02), ROOF_EDGE:] = 1
    face = np.zeros((4, CENTRE), int)
    face[:, SILL] = 2
    lamp = LOWER if rng.random() < 0.5 and not bonnet else SILL if not bonnet else WAIST
    if rng.random() < 0.8:
        face[:2, LOWER] = 4
    if rng.random() < 0.6:
        face[:2, WAIST] = 4
    if bonnet:
        face[:2, LOWER:BELT] = 4
    else:
        if rng.random() < 0.4:
            face[:, SHOULDER] = 4
        face[:3, BELT] = 1
        face[3, BELT] = 5
        face[:, WINDOW_TOP] = 5
    face[2:, lamp] = 3
    tail = np.zeros((2, CENTRE), int)
    parts = [
        body.skin(numbers, palette),
        body.face(True, (0.0, 0.4, 0.62, 0.93, 1.0), face, palette),
        body.face(False, (0.0, 0.6, 1.0), tail, palette),
        body.on_face(True, (0.0, 0.25), (sill + 0.03, sill + 0.15), PLATE, 0.02),
        body.on_face(True, (0.0, 0.12), (belt - 0.28, belt - 0.2), BRIGHT, 0.02),
    ]
    for x in (cowl - 0.12, cowl - 1.3):
        if x > rear + 0.1:
            z = (sill + 0.25, 0.5 * (sill + belt), belt)
            parts.append(body.line_on_side((x, x, x), z, 0.02, GAP))
    if not bonnet:  # wipers
        parts.append(body.on_face(True, (0.1, 0.6 * half), (belt + 0.03, belt + 0.06), TRIM, 0.02))
    x = cowl - 0.08 if not bonnet else cowl - 0.3
    arm = Finish((0.15,) * 3, TRIM.material, 2)
    parts.append(block((x, half - 0.02, belt + 0.1), (x + 0.1, half + 0.06, belt + 0.75), arm))
    parts.append(block((x - 0.005, half, belt + 0.15), (x, half + 0.05, belt + 0.7), BRIGHT))
    parts.append(
        block((rear + 0.05, 0.0, 0.6 * sill), (front - 0.3, half - 0.35, belt - 0.1), UNDERBODY)
    )
    if rng.random() < 0.5:
        parts.append(body.on_side((cowl - 1.1, cowl - 0.3), (belt - 0.5, belt - 0.25),
                                  painted(vivid_color(rng))))  # fmt: skip
    return mirrored(merge(parts))


def pick_finish(rng: np.random.Generator, finishes: tuple[Finish, ...]) -> Finish:
    return finishes[int(rng.integers(len(finishes)))]


def chassis(
    rng: np.random.Generator,
    rear: float,
    front: float,
    half: float,
    floor: float,
    axles: list[float],
    radius: float,
) -> Mesh:
    """Frame, tanks and side guards, mudguards, and the tail's bar with lamps and plate."""
    parts = [
        block((rear + 0.1, -0.48, floor - 0.35), (front + 0.3, 0.48, floor - 0.02), UNDERBODY),
        block((rear + 0.06, -half + 0.02, floor - 0.3), (rear + 0.12, half - 0.02, floor), TRIM),
    ]
    low = floor - 0.34
    parts.append(both_sides((rear, half - 0.5, low), (rear + 0.08, half - 0.06, low + 0.2), TAIL))
    parts.append(
        both_sides(
            (rear - 0.004, half - 0.62, low), (rear + 0.08, half - 0.5, low + 0.2), INDICATOR
        )
    )
    parts.append(block((rear, -0.26, low + 0.04), (rear + 0.06, 0.26, low + 0.17), PLATE))
    bar = pick_finish(
        rng, (Finish((0.85, 0.2, 0.12), RETRO, 17), GREY_TRIM, Finish((0.9, 0.75, 0.1), RETRO, 17))
    )
    parts.append(block((rear + 0.03, -half + 0.1, 0.42), (rear + 0.12, half - 0.1, 0.56), bar))
    back, ahead = max(axles) + radius + 0.25, front - 0.15
    if ahead - back > 1.2:
        middle = (back + ahead) / 2.0
        guard = GREY_TRIM if rng.random() < 0.5 else BRIGHT
        for z in (0.45, 0.75):
            parts.append(both_sides((back, half - 0.07, z), (middle, half - 0.03, z + 0.12), guard))
        box_finish = BRIGHT if rng.random() < 0.4 else TRIM
        parts.append(
            both_sides((middle + 0.1, half - 0.6, 0.42), (ahead, half - 0.05, floor - 0.1),
                       box_finish)
        )  # fmt: skip
    for x in axles:
        parts.append(
            both_sides(
                (x - 1.15 * radius, half - 0.4, 2.0 * radius + 0.01),
                (x + 1.15 * radius, half - 0.02, 2.0 * radius + 0.05),
                TRIM,
            )
        )
        parts.append(
            both_sides(
                (x - 1.25 * radius, half - 0.4, 0.25),
                (x - 1.2 * radius, half - 0.02, 2.0 * radius),
                TRIM,
            )
        )
        parts.append(
            cylinder((x, -half + 0.1, radius), (x, half - 0.1, radius), (0.12, 0.12), (0.1,) * 3)
        )
    return merge(parts)


def _deflector(
    rear: float, front: float, half: float, low: float, high: float, color: Color
) -> Mesh:
    """Wind deflector on the cab's roof."""
    body = Body(
        rear,
        front,
        half,
        np.linspace(rear, front, 5).tolist(),
        low - 0.05,
        ((rear, low), (front, low)),
        ((rear, high), (0.5 * (rear + front), low + 0.75 * (high - low)), (front, low + 0.05)),
        full=0.3,
        roof_width=0.9,
    )
    return mirrored(body.skin(np.zeros((len(body.x) - 1, CENTRE), int), [painted(color)]))


def _beacons(x: float, half: float, low: float, high: float, color: Color) -> Mesh:
    return both_sides(
        (x, 0.15, low - 0.02), (x + 0.25, 0.75 * half, high), Finish(color, LIT_SIGN, 12)
    )


def _fire_body(
    rng: np.random.Generator,
    rear: float,
    front: float,
    half: float,
    floor: float,
    top: float,
    color: Color,
) -> Mesh:
    """Lockers behind shutters, a stripe, ladders on the roof."""
    shutter = Finish((0.72, 0.73, 0.75), SHEET, 16)
    band = Finish(pick(rng, ((0.95,) * 3, (0.95, 0.85, 0.1))), RETRO, 17)
    high = top - 0.3
    parts = [
        block((rear, -half + 0.03, 0.5), (front, half - 0.03, high), painted(color)),
        block((rear - 0.01, -0.6 * half, floor), (rear, 0.6 * half, high - 0.2), shutter),
        both_sides((rear + 0.1, half - 0.03, 0.85), (front - 0.05, half - 0.005, 1.05), band),
    ]
    edges = np.linspace(rear + 0.15, front - 0.1, 4)
    for start, end in itertools.pairwise(edges):
        parts.append(
            both_sides((start, half - 0.03, 1.15), (end - 0.12, half - 0.01, high - 0.15), shutter)
        )
    for y in (-0.25, 0.25):
        parts.append(
            beam((rear, y, top - 0.06), (front + 0.8, y, top - 0.06), 0.08, (0.8,) * 3, PAINT)
        )
    for x in np.arange(rear + 0.3, front + 0.6, 0.5):
        parts.append(beam((x, -0.25, top - 0.06), (x, 0.25, top - 0.06), 0.05, (0.8,) * 3))
    parts.append(both_sides((rear - 0.01, half - 0.25, high - 0.2), (rear, half, high), TAIL))
    return merge(parts)


def _fifth_wheel(rear: float, front: float, half: float, floor: float) -> Mesh:
    """What shows behind the cab of a tractor unit without its trailer."""
    plate = 0.6 * rear + 0.4 * front
    return merge(
        [
            cylinder((plate, 0, floor), (plate, 0, floor + 0.12), (0.5, 0.45), (0.2,) * 3),
            block((front - 0.3, -0.6, floor), (front - 0.1, 0.6, floor + 0.9), TRIM),
            cylinder(
                (front - 0.25, 0.7 * half, floor), (front - 0.25, 0.7 * half, floor + 1.6),
                (0.09, 0.09), (0.7,) * 3,
            ),
        ]
    )  # fmt: skip
