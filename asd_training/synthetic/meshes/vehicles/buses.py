# SPDX-License-Identifier: Apache-2.0
"""City, touring, double-decker, articulated, school and mini buses."""

from __future__ import annotations

import itertools

import numpy as np

from asd_training.synthetic.meshes.mesh import (
    LIT_SIGN,
    MATTE,
    POSTER,
    RUBBER,
    Color,
    Mesh,
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
from asd_training.synthetic.meshes.vehicle_parts.fittings import (
    AMBER,
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

_WHITE = (0.92, 0.92, 0.91)


def bus(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """A bus whose kind follows its size."""
    if length < 8.8:
        kind = str(rng.choice(["mini", "school", "city"], p=[0.55, 0.2, 0.25]))
    elif height > 3.75:
        kind = str(rng.choice(["double", "coach"], p=[0.75, 0.25]))
    elif length > 13.0:
        kind = str(rng.choice(["articulated", "coach", "city"], p=[0.6, 0.2, 0.2]))
    else:
        kind = str(rng.choice(["city", "coach", "school"], p=[0.65, 0.28, 0.07]))
    return bus_of(rng, length, width, height, kind)


def bus_of(rng: np.random.Generator, length: float, width: float, height: float, kind: str) -> Mesh:
    """A bus; `kind` is city, coach, double, articulated, school or mini."""
    half = width / 2.0 - 0.07
    rear, front = -length / 2.0, length / 2.0
    color: Color
    trim: Color
    if kind == "school":
        color, trim = pick(rng, ((0.93, 0.65, 0.08), (0.92, 0.7, 0.1))), (0.12, 0.12, 0.12)
    else:
        color = _WHITE if rng.random() < 0.4 else vivid_color(rng)
        trim = vivid_color(rng) if rng.random() < 0.6 else paint_color(rng)
    radius = float(np.clip(0.145 * height, 0.36, 0.5))
    unit = height - (0.22 if kind in ("city", "articulated") else 0.0)  # boxes on the roof
    bonnet = 0.9 if kind == "school" else 0.45 if kind == "mini" and rng.random() < 0.6 else 0.0
    axles = [front - (0.22 * length if not bonnet else 0.17 * length), rear + 0.25 * length]
    if kind in ("coach", "double") and length > 10.5 and rng.random() < 0.5:
        axles.append(axles[1] - 2.3 * radius - 0.15)
    if kind == "articulated":
        axles = [front - 0.15 * length, front - 0.45 * length, rear + 0.16 * length]
    return merge(
        [
            _hull(rng, kind, rear, front, half, unit, radius, axles, bonnet, color, trim),
            _roof(rng, kind, rear, front, half, unit, height),
            block((rear + 0.4, -half + 0.35, 0.25), (front - 0.5, half - 0.35, 1.0), UNDERBODY),
            wheels(rng, axles, half - 0.01, radius, 0.3, heavy=True),
        ]
    )


def _hull(
    rng: np.random.Generator,
    kind: str,
    rear: float,
    front: float,
    half: float,
    top: float,
    radius: float,
    axles: list[float],
    bonnet: float,
    color: Color,
    trim: Color,
) -> Mesh:
    length = front - rear
    sill = 0.3
    low_belt = {"double": 0.27, "coach": 0.46, "school": 0.5, "mini": 0.45}.get(kind, 0.38)
    belt = (low_belt + rng.uniform(-0.02, 0.03)) * top
    glass_top = rng.uniform(0.72, 0.85) if kind != "double" else 0.3
    cowl = front - bonnet
    screen = 0.55 if bonnet else 0.0
    lean = rng.uniform(0.1, 0.45) if kind in ("coach", "mini") else rng.uniform(0.02, 0.18)
    upper = [(rear, top - 0.1), (rear + 0.25, top), (cowl - 0.5 - screen, top)]
    upper += (
        [(cowl - screen, top - 0.1), (cowl, belt + 0.1), (front, belt - 0.15)]
        if bonnet
        else [(front, top - 0.08)]
    )
    pitch = rng.uniform(1.1, 1.7)
    start, end = rear + 0.6, cowl - screen - 0.25
    pillars = np.linspace(start, end, max(3, int((end - start) / pitch) + 1))
    gap = rng.uniform(0.035, 0.07)
    stations = [x for x, _ in upper] + [front - 0.1, front - 0.3, rear + 0.12]
    for x in pillars:
        stations += [x - gap, x + gap]
    body = Body(
        rear,
        front,
        half,
        stations,
        sill,
        ((rear, belt), (cowl - 0.01, belt), (front, belt - (0.25 if bonnet else 0.0))),
        upper,
        levels=(0.25, 0.5, 0.8),
        flanks=(0.98, 0.995, 1.0, 1.0, 0.995),
        glass_rise=glass_top,
        roof_width=0.965,
        roof_round=0.14 if kind != "double" else 0.06,
        arches=[(x, radius, 1.13 * radius) for x in axles],
        nose=End(
            rng.uniform(0.1, 0.4), 3.0, ((0.3, 0.03), (belt, 0.0), (top, lean)), 0.7,
            max(0.7, 2.2 * lean),
        ),
        tail=End(rng.uniform(0.06, 0.2), 4.0, ((0.3, 0.0), (top, 0.08)), 0.4),
        full=0.4,
    )  # fmt: skip
    dark = GLAZING if rng.random() < 0.6 else painted(trim)
    palette = [
        painted(color), GLAZING, painted(trim), headlamp(rng), TAIL, GREY_TRIM, dark, TRIM,
    ]  # fmt: skip
    numbers = np.zeros((len(body.x) - 1, CENTRE), int)
    style = rng.integers(4)  # of the livery
    if style == 0:
        numbers[:, :BELT] = 2
    elif style == 1:
        numbers[:, SILL:WAIST] = 2
    elif style == 2:
        numbers[body.columns(rear, rear + rng.uniform(0.2, 0.6) * length), :] = 2
    numbers[:, SILL] = 2 if kind != "school" else 0
    if kind == "school":
        numbers[:, WAIST] = 2
    sides = body.columns(pillars[0], pillars[-1])
    numbers[sides, BELT] = 1
    pane = 1 if rng.random() < 0.35 and kind == "coach" else 6
    for x in pillars:
        numbers[body.columns(x - gap, x + gap), BELT] = pane
    if not bonnet:
        numbers[body.columns(front - 1.0, front - 0.05), BELT] = 1
    else:
        numbers[body.columns(cowl - screen - 0.02, cowl + 0.02), ROOF_EDGE:] = 1
        numbers[body.columns(cowl - screen - 0.9, cowl - 0.1), BELT] = 1
    face = np.zeros((4, CENTRE), int)
    if style == 0:
        face[:, :BELT] = 2
    face[:, SILL] = 5 if rng.random() < 0.5 else 2
    if not bonnet:
        face[:3, BELT] = 1
        face[3, BELT] = 6
        if rng.random() < 0.7 and kind in ("city", "articulated", "double"):
            face[:, SHOULDER] = 1
        if kind in ("city", "articulated", "double"):
            face[:, WINDOW_TOP] = 7 if kind != "double" else 0
        if rng.random() < 0.4:
            face[:2, WAIST] = 7
    else:
        face[:3, LOWER:SHOULDER] = 7
    face[2:, LOWER if not bonnet else WAIST] = 3
    tail = np.zeros((4, CENTRE), int)
    if style in (0, 2):
        tail[:, :BELT] = 2
    tail[:, SILL] = 5
    tail[2:, rng.choice([LOWER, WAIST])] = 4
    if rng.random() < 0.4:
        tail[3, LOWER : SHOULDER + 1] = 4
    if rng.random() < 0.8:
        tail[:3, BELT] = 1
    if rng.random() < 0.6:  # the engine's grille
        tail[:2, LOWER:SHOULDER] = 7
    shares = (0.0, 0.35, 0.62, 0.9, 1.0)
    left = [
        body.skin(numbers, palette),
        body.face(True, shares, face, palette),
        body.face(False, shares, tail, palette),
        body.on_face(True, (0.0, 0.26), (0.36, 0.48), PLATE, 0.02),
        body.on_face(False, (0.0, 0.26), (0.62, 0.76), PLATE, 0.02),
        body.on_face(False, (0.75 * half, 0.9 * half), (top - 0.35, top - 0.25), TAIL),
        body.on_face(False, (0.7 * half, 0.9 * half), (sill + 0.27, sill + 0.4), INDICATOR),
        _mirror(rng, front - bonnet, half, belt, top, bonnet),
    ]  # fmt: skip
    if not bonnet:
        low = belt + 0.04
        left.append(body.on_face(True, (0.08, 0.6 * half), (low, low + 0.04), TRIM, 0.02))
        left.append(body.on_face(True, (0.0, 0.015), (belt + 0.03, belt + 0.8), TRIM, 0.015))
    for x in np.linspace(rear + 0.8, front - 1.6, 5):
        if min(abs(x - axle) for axle in axles) > 1.6 * radius:
            left.append(body.line_on_side((x, x), (sill + 0.1, belt - 0.1), 0.02, GAP))
    half_z = 0.5 * (belt + top)
    if kind == "double":  # the upper deck's windows, all around
        z = (0.66 * top, 0.9 * top)
        for start_x, end_x in itertools.pairwise(pillars):
            left.append(body.on_side((start_x + gap, end_x - gap), z, GLAZING, 0.012))
        left.append(body.on_face(True, (0.0, 0.85 * half), z, GLAZING, 0.02))
        left.append(body.on_face(False, (0.0, 0.7 * half), z, GLAZING, 0.02))
        half_z = 0.58 * top
    both = [mirrored(merge(left))]
    both += _one_sided(rng, kind, body, rear, front, sill, belt, half_z, top, bonnet)
    return merge(both)


def _one_sided(
    rng: np.random.Generator,
    kind: str,
    body: Body,
    rear: float,
    front: float,
    sill: float,
    belt: float,
    half_z: float,
    top: float,
    bonnet: float,
) -> list[Mesh]:
    """Doors on the kerb's side, signs, advertisements, bellows."""
    parts, half = [], body.half
    kerb = -1.0 if rng.random() < 0.6 else 1.0  # where one drives on the right, or on the left
    high = belt + 0.7 * (min(top, 3.0) - belt)
    doors = [front - bonnet - 1.4]
    if kind in ("city", "articulated", "double"):
        doors.append(0.05 * rear - 0.6)
    if kind == "articulated":
        doors.append(0.6 * rear)
    for x in doors:
        door = body.on_side((x, x + 1.1), (sill + 0.05, high), GLAZING, 0.014)
        edge = merge(
            [
                body.on_side((at, at + 0.06), (sill + 0.05, high), TRIM, 0.02)
                for at in (x, x + 0.52, x + 1.05)
            ]
        )
        both = mirrored(merge([door, edge]))
        parts.append(_half_of(both, kerb))
    if kind in ("city", "articulated", "double"):
        sign = Finish((0.06, 0.06, 0.06), MATTE, 18)
        text = Finish(AMBER if rng.random() < 0.7 else (0.95, 0.95, 0.95), LIT_SIGN, 18)
        z = (top - 0.38, top - 0.12) if kind != "double" else (half_z - 0.15, half_z + 0.15)
        middle, reach = sum(z) / 2.0, 0.07
        parts.append(mirrored(body.on_face(True, (0.0, 0.75 * half), z, sign, 0.02)))
        band = (middle - reach, middle + reach)
        parts.append(mirrored(body.on_face(True, (0.0, 0.5 * half), band, text, 0.03)))
        parts.append(mirrored(body.on_face(False, (0.0, 0.2 * half), band, text, 0.03)))
    if rng.random() < 0.5 and kind != "school":
        picture = Finish(vivid_color(rng), POSTER, int(rng.integers(1000, 60000)))
        x0 = rear + rng.uniform(0.1, 0.3) * (front - rear)
        x1 = x0 + rng.uniform(0.15, 0.4) * (front - rear)
        z = (sill + 0.35, belt - 0.08) if kind != "double" else (half_z - 0.25, half_z + 0.28)
        parts.append(_half_of(mirrored(body.on_side((x0, x1), z, picture, 0.01)), -kerb))
    if kind == "articulated":
        x = front - 0.58 * (front - rear)
        folds = Finish((0.14, 0.14, 0.15), RUBBER, 19)
        for k in range(6):
            at = x + 0.16 * k
            parts.append(
                block((at, -half - 0.02, sill), (at + 0.09, half + 0.02, top + 0.01), folds)
            )
    return parts


def _half_of(both: Mesh, side: float) -> Mesh:
    """The left (1) or the right (-1) half of a mirrored mesh."""
    count = len(both) // 2
    cut = slice(0, count) if side > 0 else slice(count, 2 * count)
    return Mesh(both.triangles[cut], both.albedo[cut], both.materials[cut], both.patterns[cut])


def _mirror(
    rng: np.random.Generator, front: float, half: float, belt: float, top: float, bonnet: float
) -> Mesh:
    """The left mirror, on an arm before the windscreen or beside it."""
    z = min(belt + 0.75, top - 0.9) if top > 2.7 else belt + 0.1
    x = front - 0.05 if not bonnet else front - 0.5
    finish = TRIM if rng.random() < 0.7 else GREY_TRIM
    return merge(
        [
            block((x - 0.1, half - 0.1, z), (x, half + 0.07, z + 0.45), finish),
            block((x - 0.105, half - 0.08, z + 0.03), (x - 0.1, half + 0.05, z + 0.4), BRIGHT),
            block((x - 0.25, half - 0.12, z + 0.42), (x - 0.02, half - 0.06, z + 0.48), finish),
        ]
    )


def _roof(
    rng: np.random.Generator, kind: str, rear: float, front: float, half: float, low: float,
    high: float,
) -> Mesh:  # fmt: skip
    """Coolers, batteries, hatches."""
    pale = Finish(pick(rng, ((0.85,) * 3, (0.7,) * 3, (0.5, 0.52, 0.55))), TRIM.material, 20)
    length = front - rear
    if kind not in ("city", "articulated"):
        return block(
            (rear + 0.3 * length, -0.4, low - 0.05), (rear + 0.38 * length, 0.4, low), pale
        )
    parts = []
    x = rear + rng.uniform(0.05, 0.15) * length
    while x < front - 2.2:
        size = rng.uniform(1.2, 3.2)
        reach = rng.uniform(0.5, 0.8) * half
        parts.append(
            block((x, -reach, low - 0.03), (min(x + size, front - 1.0), reach, high), pale)
        )
        x += size + rng.uniform(0.6, 3.0)
    parts.append(
        both_sides((rear + 1.0, half - 0.3, low - 0.06), (front - 1.2, half - 0.15, low), pale)
    )
    return merge(parts)
