# SPDX-License-Identifier: Apache-2.0
"""Cars of every body style, and pick-ups: one lofted shell, its windows and lamps in the skin."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import MATTE, Color, Mesh, merge, pick
from asd_training.synthetic.meshes.vehicle_parts.body import (
    BELT,
    CENTRE,
    LOWER,
    ROOF,
    ROOF_EDGE,
    SHOULDER,
    SILL,
    WAIST,
    WINDOW_TOP,
    Body,
    Curve,
    End,
    Finish,
    mirrored,
)
from asd_training.synthetic.meshes.vehicle_parts.fittings import (
    GLAZING,
    GREY_TRIM,
    TAIL,
    TRIM,
    UNDERBODY,
    block,
    headlamp,
    paint_color,
    painted,
    vivid_color,
    wheels,
)
from asd_training.synthetic.meshes.vehicles.car_details import details, nose, on_roof_things, tail
from asd_training.synthetic.meshes.vehicles.car_styles import (
    GLASS,
    GRILLE,
    HEADLAMP,
    PAINTED,
    PLASTIC,
    SECOND,
    STYLES,
    TAILLAMP,
    Place,
    Style,
    varied,
)


def car(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """A passenger car or van; the body style follows the height."""
    names: tuple[str, ...]
    if height < 1.6:
        names = ("saloon", "hatchback", "fastback", "estate", "coupe")
        share = [0.42, 0.25, 0.13, 0.12, 0.08]
    elif height < 1.85:
        names = ("suv", "crossover", "saloon", "mpv", "hatchback", "estate", "kei", "offroader")
        share = [0.26, 0.18, 0.2, 0.14, 0.08, 0.05, 0.05, 0.04]
    else:
        names = ("suv", "minivan", "van", "mpv", "offroader", "tall_van", "kei")
        share = [0.26, 0.22, 0.2, 0.12, 0.1, 0.05, 0.05]
    name = str(rng.choice(names, p=share))
    job = "private"
    if name in ("saloon", "estate", "mpv", "suv", "minivan", "hatchback"):
        job = str(rng.choice(["private", "taxi", "police"], p=[0.88, 0.09, 0.03]))
    return shell(rng, STYLES[name], length, width, height, name, job)


def pickup(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    name = "crew_pickup" if rng.random() < 0.65 else "pickup"
    return shell(rng, STYLES[name], length, width, height, name, "private")


def van(rng: np.random.Generator, length: float, width: float, height: float) -> Mesh:
    """A large delivery van."""
    return shell(rng, STYLES["tall_van"], length, width, height, "tall_van", "delivery")


def shell(
    rng: np.random.Generator,
    style: Style,
    length: float,
    width: float,
    height: float,
    name: str,
    job: str,
) -> Mesh:
    """A car of a style. `job`: private, taxi, police or delivery."""
    style = varied(rng, style)
    on_roof = _roof_load(rng, name, job)
    top = height - on_roof
    rear, front = -length / 2.0, length / 2.0
    half = width / 2.0 - 0.065
    low_slung = name not in ("suv", "offroader", "pickup", "crew_pickup")
    # The wheel grows with the car, the arch with the wheel.
    radius = float(np.clip(0.2 * top + rng.uniform(-0.015, 0.015), 0.28, 0.42))
    arch = radius * (1.1 if low_slung else 1.2)

    def at(fraction: float) -> float:
        return rear + fraction * length

    axles = tuple(at(fraction) for fraction in style.axles)
    body = _loft(rng, style, name, rear, front, half, top, [(x, radius, arch) for x in axles])
    color = paint_color(rng)
    if job == "delivery" or name in ("van", "tall_van"):
        color = (0.92, 0.92, 0.91) if rng.random() < 0.6 else color
    if job == "taxi":
        color = pick(rng, ((0.93, 0.75, 0.1), (0.93, 0.93, 0.9), (0.1, 0.1, 0.1), (0.1, 0.4, 0.6)))
    if job == "police":
        color = pick(rng, ((0.93, 0.93, 0.93), (0.08, 0.08, 0.1)))
    palette = _palette(rng, color, name, job)
    finishes, parts = _cladding(rng, body, style, name, at), []
    parts.append(mirrored(body.skin(finishes, palette)))
    upright = style.boot < 0.05
    parts.append(mirrored(nose(rng, body, palette)))
    parts.append(mirrored(tail(rng, body, palette, upright, name)))
    parts.append(details(rng, body, style, name, at, half, job))
    parts.append(_underbody(body, half, radius))
    parts.append(wheels(rng, axles, half - 0.005, radius))
    if on_roof or (name in ("suv", "estate", "offroader", "mpv") and rng.random() < 0.5):
        parts.append(on_roof_things(rng, body, style, at, half, top, height, name, job))
    return merge(parts)


def _roof_load(rng: np.random.Generator, name: str, job: str) -> float:
    """Height in metres of what stands on the roof."""
    if job in ("taxi", "police"):
        return 0.14
    if job == "private" and name in ("estate", "suv", "hatchback", "mpv", "crossover"):
        return 0.3 if rng.random() < 0.06 else 0.0
    if name in ("van", "tall_van"):
        return 0.2 if rng.random() < 0.2 else 0.0
    return 0.0


def _loft(
    rng: np.random.Generator,
    style: Style,
    name: str,
    rear: float,
    front: float,
    half: float,
    top: float,
    arches: list[tuple[float, float, float]],
) -> Body:
    length = front - rear

    def curve(*places: tuple[float, float]) -> Curve:
        return tuple((rear + f * length, h * top) for f, h in places)

    roof_rear, roof_front = style.roof
    cowl, deck, belt = style.cowl, style.deck, style.belt
    middle = 0.45 * roof_rear + 0.55 * roof_front
    fall = 0.035 if style.boot > 0.05 else 0.02
    rail = rng.uniform(0.95, 0.98)
    upper = [
        (roof_rear, 1.0 - fall),
        (0.5 * (roof_rear + middle), 0.995),
        (middle, 1.0),
        (roof_front, rail),
        (0.5 * (roof_front + cowl), 0.55 * rail + 0.45 * (belt + 0.04) + 0.02),
        (cowl, belt + 0.035),
        (0.5 * (cowl + 1.0), 0.55 * belt + 0.45 * style.nose + 0.045),
        (0.97, style.nose + 0.02),
        (1.0, style.nose),
    ]
    pick_up = name in ("pickup", "crew_pickup")
    if style.boot > 0.05:
        foot = (
            [(0.0, deck), (style.boot - 0.01, deck + 0.01), (style.boot, deck + 0.02)]
            if pick_up
            else [(0.0, deck - 0.01), (0.02, deck + 0.015), (style.boot, deck + 0.03)]
        )
        half_way = 0.5 * (style.boot + roof_rear)
        upper = [*foot, (half_way, 0.48 * deck + 0.52 * (1 - fall) + 0.02), *upper]
    else:
        upper = [(0.0, 1.0 - 1.6 * fall), *upper]
    belt_line = curve(
        (0.0, deck - 0.025),
        (max(style.glass_rear, 0.05), 0.7 * deck + 0.3 * belt),
        (0.9 * cowl, belt),
        (cowl, belt),
        (0.5 * (cowl + 1.0), 0.5 * (belt + style.nose) + 0.015),
        (1.0, style.nose - 0.02),
    )
    stations = [rear + f * length for f, _ in upper]
    for pillar in style.sides:
        stations += [rear + pillar * length - 0.035, rear + pillar * length + 0.035]
    stations += [rear + style.glass_rear * length, rear + 0.12, rear + 0.32]
    stations += [front - 0.07, front - 0.18, front - 0.4]
    clearance = style.clearance * top if name not in ("suv", "offroader") else 0.15 * top
    boxy = name in ("offroader", "van", "tall_van", "pickup", "crew_pickup", "minivan", "kei")
    lean = style.lean
    tail = End(
        corner=rng.uniform(0.04, 0.1) if boxy else rng.uniform(0.12, 0.24),
        power=3.0,
        lean=(
            (clearance, 0.07),
            (0.3 * top, 0.0),
            (0.45 * top, 0.0),
            ((deck - 0.03) * top, 0.05 if lean < 0.05 else 0.1 * lean + 0.03),
            (top, 0.06 if lean < 0.05 else lean),
        ),
        reach=0.5,
        lean_reach=1.3,
    )
    nose = End(
        corner=rng.uniform(0.07, 0.14) if boxy else rng.uniform(0.16, 0.34),
        power=rng.uniform(2.2, 3.2),
        lean=(
            (clearance, 0.06),
            (0.3 * top, 0.0),
            (0.4 * top, 0.01),
            (style.nose * top, rng.uniform(0.03, 0.14) if not boxy else 0.05),
            (top, 0.2),
        ),
        reach=0.7,
        lean_reach=0.6,
    )
    level = rng.uniform(0.72, 0.8)
    return Body(
        rear,
        front,
        half,
        stations,
        clearance,
        belt_line,
        curve(*upper),
        levels=(rng.uniform(0.15, 0.24), level - rng.uniform(0.22, 0.32), level),
        flanks=(0.93, 0.975, 1.0, 0.985, 0.955) if not boxy else (0.96, 0.985, 1.0, 0.995, 0.975),
        roof_width=rng.uniform(0.74, 0.8) if not boxy else rng.uniform(0.84, 0.89),
        roof_round=rng.uniform(0.07, 0.12),
        glass_rise=rng.uniform(0.78, 0.84),
        arches=arches,
        nose=nose,
        tail=tail,
        bow=(
            *(
                (
                    (rear, 0.0),
                    (rear + style.boot * length, -0.1),
                    (rear + roof_rear * length, -0.05),
                )
                if style.boot > 0.05
                else ((rear, 0.0),)
            ),
            (rear + middle * length, 0.0),
            (rear + roof_front * length, 0.06),
            (rear + cowl * length, 0.14),
            (rear + 0.95 * length, 0.0),
        ),
    )


def _palette(rng: np.random.Generator, color: Color, name: str, job: str) -> list[Finish]:
    body = painted(color)
    second = body
    if job == "police":
        dark = max(color) < 0.5
        second = painted((0.92, 0.92, 0.92) if dark else (0.1, 0.15, 0.4))
    elif job == "delivery" and rng.random() < 0.3:
        second = painted(vivid_color(rng))
    cladding = TRIM if name in ("offroader", "crossover") or rng.random() < 0.25 else body
    grille = Finish((0.07, 0.07, 0.075), MATTE) if rng.random() < 0.6 else GREY_TRIM
    lower = TRIM if rng.random() < 0.8 else body
    return [body, GLAZING, cladding, headlamp(rng), TAIL, second, grille, lower]


def _cladding(
    rng: np.random.Generator, body: Body, style: Style, name: str, at: Place
) -> np.ndarray:
    """Which finish each patch of the skin has."""
    numbers = np.full((len(body.x) - 1, CENTRE), PAINTED)
    numbers[:, SILL] = PLASTIC
    upright = style.boot < 0.05
    glass = body.columns(at(style.glass_rear), at(style.cowl))
    numbers[glass, BELT] = GLASS
    for pillar in style.sides:
        numbers[body.columns(at(pillar) - 0.04, at(pillar) + 0.04), BELT] = PLASTIC
    if style.panel:
        numbers[body.columns(body.rear, at(style.sides[0]) + 0.04), BELT] = PAINTED
    screen = body.columns(at(style.roof[1]), at(style.cowl))
    numbers[screen, ROOF_EDGE:] = GLASS
    pick_up = name in ("pickup", "crew_pickup")
    if not upright:
        numbers[body.columns(at(style.boot), at(style.roof[0])), ROOF_EDGE:] = GLASS
    if pick_up:
        numbers[body.columns(body.rear + 0.1, at(style.boot) - 0.02), WINDOW_TOP:] = GRILLE
    dark_roof = rng.random()
    if dark_roof < 0.1 and not pick_up:  # a roof of glass, or of black
        roof = body.columns(at(style.roof[0]) + 0.15, at(style.roof[1]) - 0.15)
        numbers[roof, ROOF if dark_roof < 0.06 else ROOF_EDGE :] = GLASS
    if rng.random() < 0.06:
        numbers[body.columns(at(style.roof[0]), at(style.roof[1])), WINDOW_TOP:] = GRILLE
    # Doors of a police car, the lower half of a delivery van.
    numbers[body.columns(at(0.3), at(0.74)), LOWER:BELT] = SECOND
    # Lamps turn the corners.
    corner = body.columns(body.front - rng.uniform(0.15, 0.45), body.front)
    numbers[corner, SHOULDER if body.levels[2] < 0.74 else WAIST] = HEADLAMP
    if name not in ("van", "tall_van"):
        corner = body.columns(body.rear, body.rear + rng.uniform(0.1, 0.35))
        numbers[corner, WAIST] = TAILLAMP
    return numbers


def _underbody(body: Body, half: float, radius: float) -> Mesh:
    """The dark inside that one sees through the wheel housings."""
    low, high = 0.75 * body.sill, 2.25 * radius  # above the housings, so that none is open
    return block(
        (body.rear + 0.25, -half + 0.27, low), (body.front - 0.3, half - 0.27, high), UNDERBODY
    )
