# SPDX-License-Identifier: Apache-2.0
"""Body styles of cars and pick-ups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

Place = Callable[[float], float]  # x of a fraction of the length
# Numbers in the palette of a car's skin.
PAINTED, GLASS, PLASTIC, HEADLAMP, TAILLAMP, SECOND, GRILLE, DARK_GREY = range(8)


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


def varied(rng: np.random.Generator, style: Style) -> Style:
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
