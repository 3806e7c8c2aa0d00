# SPDX-License-Identifier: Apache-2.0
"""Cars of every body style, and pick-ups: one lofted shell, its windows and lamps in the skin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from asd_training.synthetic.meshes.mesh import LIT_SIGN, MATTE, Color, Mesh, beam, merge
from asd_training.synthetic.meshes.vehicles.body import (
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
from asd_training.synthetic.meshes.vehicles.parts import (
    BRIGHT,
    GAP,
    GLAZING,
    GREY_TRIM,
    HEAD,
    INDICATOR,
    PLATE,
    TAIL,
    TRIM,
    UNDERBODY,
    block,
    both_sides,
    paint_color,
    painted,
    pick,
    vivid_color,
    wheels,
)

Place = Callable[[float], float]  # x of a fraction of the length
# Numbers in the palette of a car's skin.
PAINTED, GLASS, PLASTIC, HEADLAMP, TAILLAMP, SHINY, SECOND, GRILLE, DARK_GREY = range(9)


@dataclass(frozen=True)
class Style:
    """Proportions of a body style: fractions of length (from the rear) and of height."""

    boot: float  # rear end of the glasshouse's foot; 0 where the tail is upright
    roof: tuple[float, float]  # rear and front end of the roof
    cowl: float  # foot of the windscreen
    deck: float  # height of the boot's lid, or of the belt at the tail
    belt: float  # height at the windscreen
    nose: float  # height of the bonnet's front edge
    lean: float  # m that the top of the tail lies ahead of the bumper
    sides: tuple[float, ...]  # where pillars part the side windows
    glass_rear: float  # rear end of the side windows
    axles: tuple[float, float] = (0.19, 0.81)
    clearance: float = 0.13
    panel: bool = False  # no side windows behind the first pillar


STYLES = {
    "saloon": Style(0.13, (0.3, 0.56), 0.74, 0.66, 0.62, 0.5, 0.03, (0.51, 0.34), 0.24),
    "fastback": Style(0.07, (0.36, 0.55), 0.74, 0.66, 0.61, 0.5, 0.03, (0.52, 0.35), 0.24),
    "coupe": Style(0.11, (0.33, 0.5), 0.7, 0.68, 0.64, 0.52, 0.04, (0.42,), 0.25),
    "hatchback": Style(0.0, (0.08, 0.54), 0.76, 0.63, 0.6, 0.51, 0.42, (0.49, 0.26), 0.13),
    "estate": Style(0.0, (0.07, 0.58), 0.75, 0.62, 0.6, 0.5, 0.38, (0.52, 0.34, 0.19), 0.06),
    "suv": Style(0.0, (0.06, 0.58), 0.74, 0.64, 0.62, 0.56, 0.25, (0.53, 0.36, 0.21), 0.07),
    "crossover": Style(0.0, (0.1, 0.55), 0.75, 0.64, 0.6, 0.53, 0.45, (0.52, 0.31), 0.15),
    "offroader": Style(0.0, (0.02, 0.64), 0.71, 0.62, 0.61, 0.57, 0.06, (0.52, 0.33), 0.06),
    "mpv": Style(0.0, (0.05, 0.62), 0.83, 0.58, 0.55, 0.47, 0.22, (0.58, 0.38, 0.2), 0.05),
    "minivan": Style(0.0, (0.03, 0.68), 0.87, 0.53, 0.5, 0.44, 0.12, (0.64, 0.44, 0.22), 0.04),
    "van": Style(0.0, (0.02, 0.69), 0.86, 0.54, 0.52, 0.43, 0.08, (0.68,), 0.05, panel=True),
    "tall_van": Style(
        0.0, (0.02, 0.74), 0.87, 0.45, 0.44, 0.37, 0.08, (0.72,), 0.05, panel=True, clearance=0.11
    ),
    "kei": Style(0.0, (0.03, 0.7), 0.87, 0.54, 0.52, 0.46, 0.1, (0.58, 0.32), 0.06),
    "pickup": Style(0.38, (0.42, 0.6), 0.74, 0.6, 0.6, 0.56, 0.03, (0.58,), 0.4),
    "crew_pickup": Style(0.31, (0.35, 0.6), 0.75, 0.6, 0.6, 0.55, 0.03, (0.55,), 0.33),
}


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


def _varied(rng: np.random.Generator, style: Style) -> Style:
    """The style of one make: its lines shifted by a few per cent."""
    shift = rng.normal(0.0, 0.012, 8)
    return replace(
        style,
        boot=style.boot + shift[0] if style.boot > 0.05 else style.boot,
        roof=(style.roof[0] + abs(shift[1]), style.roof[1] + shift[2]),
        cowl=style.cowl + 0.7 * shift[2],
        deck=style.deck + shift[3],
        belt=style.belt + shift[4],
        nose=style.nose + 1.3 * shift[5],
        lean=style.lean * rng.uniform(0.6, 1.3),
        axles=(style.axles[0] + 0.5 * shift[6], style.axles[1] + 0.5 * shift[7]),
        clearance=style.clearance + rng.uniform(-0.015, 0.02),
    )


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
    style = _varied(rng, style)
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
    parts.append(mirrored(_nose(rng, body, palette)))
    parts.append(mirrored(_tail(rng, body, palette, upright, name)))
    parts.append(_details(rng, body, style, name, at, half, top, low_slung))
    parts.append(_underbody(body, half, radius))
    parts.append(wheels(rng, axles, half - 0.005, radius))
    if on_roof or (name in ("suv", "estate", "offroader", "mpv") and rng.random() < 0.5):
        parts.append(_on_roof(rng, body, style, at, half, top, height, name, job))
    return merge(parts)


def _roof_load(rng: np.random.Generator, name: str, job: str) -> float:
    """Height in metres of what stands on the roof."""
    if job in ("taxi", "police"):
        return 0.14
    if job == "private" and name in ("estate", "suv", "hatchback", "mpv", "van", "crossover"):
        return 0.3 if rng.random() < 0.06 else 0.0
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
                ((rear + style.boot * length, -0.1), (rear + roof_rear * length, -0.05))
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
    lower = TRIM if rng.random() < 0.7 else body
    return [body, GLAZING, cladding, HEAD, TAIL, BRIGHT, second, grille, lower]


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


def _nose(rng: np.random.Generator, body: Body, palette: list[Finish]) -> Mesh:
    """Left half of the front: air intake, bumper, grille, lamps."""
    inner = rng.uniform(0.5, 0.68)
    shares = (0.0, 0.35, inner, 0.82, 1.0)
    lamp_row = SHOULDER if body.levels[2] < 0.74 else WAIST
    numbers = np.full((4, BELT), PAINTED)
    numbers[:, SILL] = DARK_GREY
    kind = rng.choice(["wide", "tall", "slim", "none"], p=[0.35, 0.3, 0.25, 0.1])
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


def _tail(
    rng: np.random.Generator, body: Body, palette: list[Finish], upright: bool, name: str
) -> Mesh:
    """Left half of the rear: bumper, lamps, boot lid or tailgate with its window."""
    inner = rng.uniform(0.55, 0.8) if name not in ("van", "tall_van", "offroader") else 0.84
    shares = (0.0, 0.3, inner, 0.9, 1.0)
    rows = CENTRE if upright else BELT
    numbers = np.full((4, rows), PAINTED)
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
            numbers[2:, WAIST] = PAINTED if tall < 0.3 else TAILLAMP
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
    if upright and rng.random() < 0.7:  # wiper and brake light
        low = float(z[BELT])
        parts.append(body.on_face(False, (0.0, 0.35), (low + 0.05, low + 0.075), TRIM))
    high = float(z[ROOF_EDGE if upright else SHOULDER])
    parts.append(body.on_face(False, (0.0, 0.15), (high - 0.02, high + 0.015), TAIL))
    low = float(z[LOWER])
    parts.append(body.on_face(False, (0.6 * body.half, 0.8 * body.half), (low, low + 0.03), TAIL))
    return merge(parts)


def _details(
    rng: np.random.Generator,
    body: Body,
    style: Style,
    name: str,
    at: Place,
    half: float,
    top: float,
    low_slung: bool,
) -> Mesh:
    """Both sides: doors' gaps and handles, mirrors, sill mouldings, wipers."""
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
    parts.append(_mirror(rng, at(style.cowl) - 0.14 * (at(1.0) - at(style.cowl)) - 0.1, half, belt))
    return mirrored(merge(parts))


def _mirror(rng: np.random.Generator, x: float, half: float, belt: float) -> Mesh:
    finish = TRIM if rng.random() < 0.5 else GREY_TRIM
    inner, outer, z = 0.9 * half, half + 0.065, belt + 0.02
    return merge(
        [
            block((x - 0.07, inner + 0.02, z), (x + 0.09, outer, z + 0.14), finish),
            block((x - 0.075, inner + 0.04, z + 0.02), (x - 0.07, outer - 0.02, z + 0.12), BRIGHT),
        ]
    )


def _underbody(body: Body, half: float, radius: float) -> Mesh:
    """The dark inside that one sees through the wheel housings."""
    low, high = 0.75 * body.sill, min(2.3 * radius, 0.5 * (body.sill + body.z[:, BELT].max()))
    return block(
        (body.rear + 0.25, -half + 0.27, low), (body.front - 0.3, half - 0.27, high), UNDERBODY
    )


def _on_roof(
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
