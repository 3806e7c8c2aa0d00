# SPDX-License-Identifier: Apache-2.0
"""What covers the ground of a street at each point: lanes, lines, kerbs, pavements, plots."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.world.road import BUILDING, PARK, PARKING, PLOT_DEPTH, SITE, Road

ASPHALT, SLABS, LINE, KERB, YARD, CAR_PARK, GRASS, EARTH, YELLOW_LINE = range(9)
# A road of concrete, brick pavement, red or green lanes, tram rails, ballast, long dry grass, water,
# the dark blocks of a kerb painted in turns, manhole covers.
CONCRETE_ROAD, PAVERS, RED_LANE, GREEN_LANE, RAIL, BALLAST, MEADOW, RIVER, DARK_KERB, COVER = range(
    9, 19
)
SURFACE_COUNT = 19
_PLOT_SURFACE = np.empty(4, np.int64)
_PLOT_SURFACE[[BUILDING, PARKING, PARK, SITE]] = [YARD, CAR_PARK, GRASS, EARTH]


def surfaces(road: Road, s: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The surface (N,) at road coordinates s, d (N,)."""
    side = np.abs(d)
    half, lane = road.half_width, road.lane_width
    surface = _PLOT_SURFACE[road.plot_use(s, d > 0)]
    surface[side < road.frontage] = SLABS
    surface[side > road.frontage + PLOT_DEPTH] = YARD
    surface[side < half + 0.18] = KERB
    carriageway = side < half
    surface[carriageway] = ASPHALT

    # Lane lines along the road.
    dash = np.mod(s, 7.5) < 3.0
    line = side < 0.08 if road.lanes == 1 else np.abs(side - 0.14) < 0.07
    surface[line & carriageway & (dash | (road.lanes > 1))] = (
        YELLOW_LINE if road.lanes > 1 else LINE
    )
    for i in range(1, road.lanes):
        surface[(np.abs(side - i * lane) < 0.07) & dash] = LINE
    if road.parking:
        edge = road.lanes * lane
        surface[(np.abs(side - edge) < 0.05) & (np.mod(s, 2.0) < 1.0)] = LINE
        surface[(side > edge) & carriageway & (np.mod(s, 6.0) < 0.1)] = LINE
    else:
        surface[np.abs(side - (half - 0.25)) < 0.06] = LINE
    # Bays of the car parks.
    in_lot = (surface == CAR_PARK) & (side > road.frontage + 1.2)
    surface[in_lot & (np.mod(s, 3.0) < 0.1) & (np.mod(side - road.frontage, 11.0) < 6.5)] = LINE

    for crossing in road.crossings:
        across = np.abs(s - crossing)
        arm = across < road.crossing_half_width + 7.0
        if not arm.any():
            continue
        inside = across < road.crossing_half_width
        surface[arm & (across < road.crossing_half_width + 2.5) & ~carriageway] = SLABS
        surface[(np.abs(across - road.crossing_half_width) < 0.1) & ~carriageway] = KERB
        surface[inside] = ASPHALT
        surface[inside & ~carriageway & (across < 0.08) & (np.mod(d, 7.5) < 3.0)] = LINE
        # Zebra crossings over all four arms, and stop lines.
        zebra = (across > road.crossing_half_width + 1.2) & (
            across < road.crossing_half_width + 4.2
        )
        surface[zebra & carriageway] = np.where(np.mod(d, 1.2) < 0.6, LINE, ASPHALT)[
            zebra & carriageway
        ]
        bars = inside & (side > half + 0.6) & (side < half + 3.0)
        surface[bars & (np.mod(s - crossing, 1.2) < 0.6)] = LINE
        stop = (across > road.crossing_half_width + 4.8) & (across < road.crossing_half_width + 5.2)
        surface[stop & carriageway & ((d < 0) == (s < crossing))] = LINE

    return surface
