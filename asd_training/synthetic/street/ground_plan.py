# SPDX-License-Identifier: Apache-2.0
"""What covers the ground of a street at each point: lanes, lines, kerbs, pavements, plots."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.street.kinds import (
    BUILDING,
    FIELD,
    PARK,
    PARKING,
    PLAZA,
    SHORE,
    SITE,
)
from asd_training.synthetic.street.road import (
    ALONG_KERB,
    HATCHED,
    LADDER_ZEBRA,
    LINE_ZEBRA,
    NO_MEDIAN,
    NO_ZEBRA,
    PLANTED,
    PLOT_DEPTH,
    WALLED,
    Road,
)

ASPHALT, SLABS, LINE, KERB, YARD, CAR_PARK, GRASS, EARTH, YELLOW_LINE = range(9)
# A road of concrete, brick pavement, coloured lanes, tram rails, ballast, long dry grass, water,
# the dark blocks of a kerb painted in turns, manhole covers.
CONCRETE_ROAD, PAVERS, RED_LANE, GREEN_LANE, RAIL, BALLAST, MEADOW, RIVER, DARK_KERB, COVER = range(
    9, 19
)
SURFACE_COUNT = 19
_PLOT_SURFACE = np.empty(7, np.int64)
_PLOT_SURFACE[[BUILDING, PARKING, PARK, SITE, FIELD, PLAZA, SHORE]] = [
    YARD, CAR_PARK, GRASS, EARTH, MEADOW, PAVERS, RIVER,
]  # fmt: skip
VERGE = 1.3  # m of grass beside the kerb
KERB_WIDTH = 0.18


def surfaces(road: Road, s: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The surface (N,) at road coordinates s, d (N,)."""
    side = np.abs(d)
    finish, half = road.finish, road.half_width
    surface = _PLOT_SURFACE[road.plot_use(s, d > 0)]
    beyond = side > road.frontage + PLOT_DEPTH
    surface[beyond] = np.where(surface[beyond] >= MEADOW, surface[beyond], _BEYOND[road.kind.name])
    surface[side < road.frontage] = PAVERS if finish.pavers else SLABS
    if finish.verge:
        surface[side < half + VERGE] = GRASS
    kerb = side < half + KERB_WIDTH
    surface[kerb] = KERB
    if finish.kerb_paint:
        surface[kerb & (np.mod(s, 2.0) < 1.0)] = DARK_KERB
    # Bays of the car parks.
    in_lot = (surface == CAR_PARK) & (side > road.frontage + 1.2)
    surface[in_lot & (np.mod(s, 3.0) < 0.1) & (np.mod(side - road.frontage, 11.0) < 6.5)] = LINE

    on_road = np.flatnonzero(side < half)
    surface[on_road] = _carriageway(road, s[on_road], d[on_road])
    reach = road.crossing_half_width + 22.0
    for number, crossing in enumerate(road.crossings):
        near = np.flatnonzero(np.abs(s - crossing) < reach)
        if len(near):
            surface[near] = _junction(road, number, s[near] - crossing, d[near], surface[near])
    return surface


_BEYOND = {"rural": MEADOW, "suburb": GRASS, "industrial": YARD} | dict.fromkeys(
    ("town", "business", "works", "car park", "waterside"), YARD
)


def _carriageway(road: Road, s: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Lanes, their lines, median and parking strips."""
    finish, lane = road.finish, road.lane_width
    side = np.abs(d)
    across = side - road.median / 2.0  # from the inner edge of the lanes
    period, length = finish.dash
    dash = np.mod(s, period) < length
    surface = np.full(len(s), CONCRETE_ROAD if finish.concrete else ASPHALT)
    if finish.coloured_lane and road.lanes > 1:
        surface[across > (road.lanes - 1) * lane] = (RED_LANE, GREEN_LANE)[finish.coloured_lane - 1]
    if finish.tram:
        surface[np.abs(np.abs(across - 0.5 * lane) - 0.72) < 0.045] = RAIL
    covers = np.hypot(np.mod(s + finish.wear % 41, 43.0) - 20.0, np.abs(d - 0.37 * lane) - 0.6)
    surface[covers < 0.33] = COVER

    middle = YELLOW_LINE if finish.yellow and not road.one_way else LINE
    if road.median_kind == NO_MEDIAN:
        if road.one_way:
            surface[(side < 0.07) & dash] = LINE
        elif finish.double:
            whole = dash | (d < 0)
            surface[(np.abs(side - 0.14) < 0.07) & (whole | (road.lanes > 1))] = middle
        else:
            surface[(side < 0.08) & (dash | (road.lanes > 2))] = middle
    else:
        inside = across < 0.0
        filling = {HATCHED: surface[inside], PLANTED: GRASS, WALLED: KERB}[road.median_kind]
        surface[inside] = filling
        if road.median_kind == HATCHED:
            surface[inside & (np.mod(s + side, 3.0) < 0.5)] = middle
        elif road.median_kind == PLANTED:
            surface[inside & (across > -0.25)] = KERB
        surface[np.abs(across - 0.15) < 0.07] = middle
    for i in range(1, road.lanes):
        surface[(np.abs(across - i * lane) < 0.07) & dash] = LINE
    edge = road.lane_edge
    if road.parking:
        surface[(np.abs(side - edge) < 0.05) & (np.mod(s, 2.0) < 1.0)] = LINE
        bay = 6.0 if road.parking == ALONG_KERB else 2.7
        surface[(side > edge) & (np.mod(s, bay) < 0.1)] = LINE
    elif finish.edge_line:
        color = LINE if finish.edge_line == 1 else YELLOW_LINE
        surface[np.abs(side - (edge - 0.3)) < 0.06] = color
        if finish.edge_line == 3:
            surface[np.abs(side - (edge - 0.52)) < 0.06] = color
    if finish.words:
        written = _words(road, s, across)
        surface[written & (across > 0) & (side < edge)] = LINE
    return surface


def _words(road: Road, s: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Where letters, of 3 by 5 strokes, stand on the lanes: one word every 45 m."""
    row = np.mod(s, 45.0) / 0.5
    column = np.mod(across, road.lane_width) / road.lane_width * 20.0 - 2.0
    inside = (row < 5.0) & (column >= 0.0) & (column < 16.0) & (np.mod(column, 4.0) < 3.0)
    row, column = row.astype(np.int64), np.floor(column).astype(np.int64)
    word = np.floor(s / 45.0).astype(np.int64) + road.finish.wear % 1024
    mixed = (row * 73 + column * 179 + word * 283) * 40503
    return inside & ((mixed >> 7) % 3 > 0)


def _junction(
    road: Road, number: int, along: np.ndarray, d: np.ndarray, surface: np.ndarray
) -> np.ndarray:
    """What lies around a side street; `along` (N,) from its centre line, over `surface`."""
    finish, half, reach = road.finish, road.half_width, road.crossing_half_width
    across, side = np.abs(along), np.abs(d)
    carriageway = side < half
    arm = road.arms[number]
    with_arm = np.ones(len(d), bool) if arm == 0 else arm * d > 0.0
    surface[(across < reach + 2.5) & ~carriageway & with_arm] = SLABS
    surface[(np.abs(across - reach) < 0.1) & ~carriageway & with_arm] = KERB
    inside = (across < reach) & (with_arm | carriageway)
    asphalt = CONCRETE_ROAD if finish.concrete else ASPHALT
    surface[inside] = asphalt
    period, length = finish.dash
    surface[inside & ~carriageway & (across < 0.08) & (np.mod(d, period) < length)] = LINE
    bare = carriageway & (across < reach + 6.0)
    surface[bare & (surface != RAIL)] = asphalt
    if finish.zebra != NO_ZEBRA:
        u, v = across - reach - 1.2, side - half - 0.6  # over the road, over the side street
        on_zebra = (u > 0.0) & (u < 3.0) & carriageway
        on_other = inside & (v > 0.0) & (v < 2.6)
        if finish.zebra == LINE_ZEBRA:
            surface[on_zebra & ((u < 0.25) | (u > 2.75))] = LINE
            surface[on_other & ((v < 0.25) | (v > 2.35))] = LINE
        else:
            surface[on_zebra & (np.mod(d, 1.2) < 0.6)] = LINE
            surface[on_other & (np.mod(along, 1.2) < 0.6)] = LINE
            if finish.zebra == LADDER_ZEBRA:
                surface[on_zebra & ((u < 0.2) | (u > 2.8))] = LINE
    towards = (
        carriageway & ((d < 0) == (along < 0)) if not road.one_way else carriageway & (along < 0)
    )
    stop = towards & (across > reach + 4.8) & (across < reach + 5.2)
    surface[stop] = LINE
    if finish.arrows:
        u = across - reach - 10.0  # from the tip of the arrow backwards
        lane = np.abs(np.mod(side - road.median / 2.0, road.lane_width) - 0.5 * road.lane_width)
        shaft = (lane < 0.1) & (u > 1.0) & (u < 4.5)
        head = (u > 0.0) & (u < 1.6) & (lane < 0.3 * u)
        on_lane = towards & (side > road.median / 2.0) & (side < road.lane_edge)
        surface[on_lane & (shaft | head)] = LINE
    return surface
