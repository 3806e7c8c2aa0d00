# SPDX-License-Identifier: Apache-2.0
"""The scenery of a street: ground, plots, what lines the road, junctions, what closes the view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from asd_training.synthetic.meshes.clutter import clutter
from asd_training.synthetic.meshes.mesh import SOIL, Mesh, cylinder, merge, pick
from asd_training.synthetic.scenery import along, furniture
from asd_training.synthetic.scenery.buildings import building
from asd_training.synthetic.scenery.stage import HEIGHTS, MIRROR, Stage
from asd_training.synthetic.scenery.vegetation import hedge_leaves
from asd_training.synthetic.street.ground_plan import VERGE
from asd_training.synthetic.street.kinds import (
    BUILDING,
    FIELD,
    HALL,
    HOUSE,
    OFFICE,
    PARK,
    PARKING,
    PLAZA,
    SHORE,
    SITE,
    TERRACE,
    TOWER,
    choose,
)
from asd_training.synthetic.street.road import NO_MEDIAN, PLANTED, PLOT_DEPTH, WALLED, Road

NARROWEST = 10.0  # m, no building has less room
KINDS_OF_CLUTTER = 12  # in one scene
SKYLINE = (110.0, 360.0)  # m, how far away the last things stand


def scenery(
    rng: np.random.Generator, road: Road, red_light: int | None, occupied: np.ndarray
) -> tuple[Mesh, np.ndarray]:
    """All scenery of a street, in global coordinates, and its lamps' lights (L, 3).

    `red_light` is the number of the side street that the road waits for; `occupied` (N, 2) holds
    the global positions of standing objects: no tree or pole grows there.
    """
    stage = Stage(rng, road, occupied)
    lamps = furniture.Lamps(rng)
    for side in (-1.0, 1.0):
        _line_the_road(stage, side, lamps)
        for low, high, use in road.plots(int(side > 0)):
            for span in stage.stretches(low, high, side):
                _furnish(stage, side, span, use)
        _second_row(stage, side)
    _leave_things(stage)
    _median(stage, lamps)
    for number in range(len(road.crossings)):
        _junction(stage, number, number == red_light)
    _span_the_road(stage)
    _skyline(stage)
    lights = np.array(stage.lamps).reshape(-1, 3)
    return merge(stage.parts), lights


def _line_the_road(stage: Stage, side: float, lamps: furniture.Lamps) -> None:
    """Kerb, lamps, trees, signs, stops, poles along one side."""
    rng, road, place = stage.rng, stage.road, stage.place
    start, end = road.s_range
    facing = 0.0 if side > 0 else np.pi
    to_road = facing - np.pi / 2
    oncoming = np.pi if side > 0 and not road.one_way else 0.0
    edge = road.half_width + (0.5 * VERGE if road.finish.verge else 0.5)
    for span in stage.stretches(start, end, side):
        stage.parts.append(along.kerb(road, span, side * road.half_width))
        if rng.random() < 0.12:
            stage.parts.append(along.fence(rng, road, span, side * (road.half_width + 0.35)))
    lamp_spacing = rng.uniform(18.0, 40.0)
    if rng.random() < 0.85:
        for s in np.arange(start + rng.uniform(0.0, lamp_spacing), end, lamp_spacing):
            if not road.near_crossing(s, 3.0, side) and place(
                lamps.mesh, s, side * edge, to_road, 1.5
            ):
                x, y = road.to_global(s, side * (edge - lamps.light[0]))
                stage.lamps.append(np.array([x, y, lamps.light[2]]))
    if rng.random() < road.kind.trees:
        kind = int(rng.integers(2))
        tall = rng.uniform(4.0, 12.0)
        spacing = rng.uniform(6.0, 18.0)
        for s in np.arange(start + rng.uniform(0.0, spacing), end, spacing):
            if not road.near_crossing(s, 4.0, side) and rng.random() < 0.9:
                tree = stage.garden.tree(0.8 * tall, 1.15 * tall, kind)
                place(tree, s + rng.uniform(-1.0, 1.0), side * edge, rng.uniform(0.0, 6.0), 1.6)
    for s in np.arange(start, end, rng.uniform(14.0, 35.0)):
        s = s + rng.uniform(0.0, 10.0)
        if road.near_crossing(s, 2.0, side):
            continue
        draw = rng.random()
        if draw < 0.4:
            place(furniture.sign(rng), s, side * edge, oncoming + rng.normal(0.0, 0.15), 1.2)
        elif draw < 0.6:
            place(furniture.board_sign(rng), s, side * (edge + 0.3), oncoming, 1.5)
        elif draw < 0.66 and road.pavement > 2.4:
            place(furniture.bus_stop(rng), s, side * (road.frontage - 1.6), facing, 3.0)
    if road.kind.name in ("suburb", "rural", "industrial") and side > 0 and rng.random() < 0.55:
        places = np.arange(start, end, rng.uniform(28.0, 42.0))
        d = side * (road.frontage - 0.2)
        for s in places:
            place(furniture.utility_pole(rng), float(s), d, 0.0, 1.0)
        stage.parts.append(along.wires(road, places, d, (8.3, 7.5)))


def _furnish(stage: Stage, side: float, span: tuple[float, float], use: int) -> None:
    """What stands on one plot."""
    rng, road, place = stage.rng, stage.road, stage.place
    low, high = span
    front, width, middle = road.frontage, high - low, (low + high) / 2
    facing = 0.0 if side > 0 else np.pi

    def inside(margin: float = 1.0) -> float:
        return float(rng.uniform(low + margin, high - margin)) if width > 2 * margin else middle

    if use == BUILDING and width < NARROWEST:
        return
    if use == BUILDING:
        style = choose(rng, road.kind.buildings)
        setback = float(rng.choice([0.1, rng.uniform(1.5, 4.0)], p=[0.75, 0.25]))
        if style in (HOUSE, HALL):
            setback = rng.uniform(3.0, 8.0)
        room = PLOT_DEPTH - setback - 2.0
        depth = min(rng.uniform(9.0, 18.0), room)
        gap = 0.0 if style == TERRACE and rng.random() < 0.6 else rng.uniform(0.4, 4.0)
        block = building(rng, style, width - gap, depth, rng.uniform(*HEIGHTS[style]))
        place(block, middle, side * (front + setback), facing)
        if setback > 1.4:
            if rng.random() < 0.6:
                stage.parts.append(along.fence(rng, road, span, side * (front + 0.2)))
            for _ in range(int(width * rng.uniform(0.0, 0.25))):
                place(
                    stage.garden.bush(),
                    inside(),
                    side * (front + rng.uniform(0.8, setback)),
                    0.0,
                    1.8,
                )
            if style == HOUSE and rng.random() < 0.6:
                place(stage.garden.tree(4.0, 10.0), inside(2.0), side * (front + 2.0), 0.0, 3.0)
    elif use in (PARK, FIELD):
        density = rng.uniform(0.05, 0.45) if use == PARK else rng.uniform(0.0, 0.15)
        for _ in range(int(width * density)):
            plant = stage.garden.tree(4.0, 13.0) if rng.random() < 0.65 else stage.garden.bush()
            place(
                plant,
                inside(),
                side * (front + rng.uniform(1.5, PLOT_DEPTH)),
                rng.uniform(0, 6),
                2.5,
            )
        if rng.random() < 0.45:
            stage.parts.append(along.fence(rng, road, span, side * (front + 0.2)))
    elif use == PLAZA:
        for _ in range(int(rng.integers(0, 6))):
            place(
                stage.garden.tree(4.0, 9.0), inside(), side * (front + rng.uniform(2, 16)), 0.0, 2.5
            )
        if rng.random() < 0.4:
            hedge = hedge_leaves(rng, min(width, 12.0), rng.uniform(0.5, 1.1), 1.2)
            place(hedge, low, side * (front + 0.8), facing, 2.0)
    elif use == PARKING:
        back = side * (front + PLOT_DEPTH - 1.0)
        stage.parts.append(along.fence(rng, road, span, back))
        if rng.random() < 0.3:
            stage.parts.append(along.fence(rng, road, span, side * (front + 0.3)))
    elif use == SITE:
        _site(stage, side, span, inside())
    elif use == SHORE:
        stage.parts.append(along.parapet(rng, road, span, side * front))
    if use not in (BUILDING, SHORE) and rng.random() < 0.12:
        place(furniture.billboard(rng), middle, side * (front + rng.uniform(1.0, 6.0)), facing, 4.0)


def _site(stage: Stage, side: float, span: tuple[float, float], s: float) -> None:
    rng, road, place = stage.rng, stage.road, stage.place
    front, facing = road.frontage, 0.0 if side > 0 else np.pi
    if rng.random() < 0.35:
        stage.parts.append(along.hoarding(rng, road, span, side * (front + 0.3)))
    for _ in range(int(rng.integers(0, 4))):
        size, color = rng.uniform(1.0, 3.0), pick(rng, ((0.5, 0.4, 0.3), (0.6, 0.58, 0.55)))
        heap = cylinder((0, 0, 0), (0, 0, 0.55 * size), (size, 0.12 * size), color, 9, SOIL)
        at = rng.uniform(span[0] + 1.0, span[1] - 1.0)
        place(heap, at, side * (front + rng.uniform(14.0, 21.0)), 0.0, 5.0)
    if rng.random() < 0.6:
        place(furniture.containers(rng), s, side * (front + 15.5), facing, 7.0)
    if rng.random() < 0.3:
        place(furniture.crane(rng), s, side * (front + 19.0), 0.0, 4.0)
    if span[1] - span[0] > NARROWEST + 4.0 and rng.random() < 0.3:  # the shell of a new building
        shell = building(rng, OFFICE, span[1] - span[0] - 4.0, 12.0, rng.uniform(6.0, 30.0))
        place(shell, sum(span) / 2.0, side * (front + PLOT_DEPTH + 1.0), facing)


def _leave_things(stage: Stage) -> None:
    """Clutter on the pavements, at the kerb or at the walls, where nobody walks."""
    rng, road = stage.rng, stage.road
    things = [clutter(rng) for _ in range(KINDS_OF_CLUTTER)]
    start, end = road.s_range
    most = {"town": 0.3, "business": 0.3, "waterside": 0.2, "rural": 0.04}.get(road.kind.name, 0.12)
    for side in (-1.0, 1.0):
        for _ in range(int((end - start) * most * rng.random())):
            s = rng.uniform(start, end)
            at_kerb = rng.random() < 0.45
            d = road.half_width + rng.uniform(0.4, 0.6) if at_kerb else road.frontage - 0.1
            if rng.random() < 0.2:
                d = road.frontage + rng.uniform(0.5, 6.0)
            if not road.near_crossing(s, 3.0, side):
                facing = rng.choice([0.0, np.pi / 2, np.pi, -np.pi / 2]) + rng.normal(0.0, 0.15)
                stage.place(things[int(rng.integers(len(things)))], s, side * d, facing, 1.3)


def _second_row(stage: Stage, side: float) -> None:
    """Behind the plots, larger buildings or trees close the view."""
    rng, road = stage.rng, stage.road
    facing = 0.0 if side > 0 else np.pi
    closed = {"rural": 0.15, "suburb": 0.45, "waterside": 0.5}.get(road.kind.name, 0.8)
    s, end = road.s_range
    while s < end:
        width, block = stage.backdrop()
        middle = s + width / 2
        d = side * (road.frontage + PLOT_DEPTH + 2.0)
        over_water = road.plot_use(np.array([middle]), np.array([side > 0]))[0] == SHORE
        if not over_water and not road.near_crossing(middle, width / 2 + 1.0, side):
            if rng.random() < closed:
                stage.place(block, middle, d, facing)
            else:
                for _ in range(int(rng.integers(2, 9))):
                    tree = stage.garden.far_tree()
                    stage.place(tree, rng.uniform(s, s + width), d + side * rng.uniform(0.0, 20.0))
        s += width


def _median(stage: Stage, lamps: furniture.Lamps) -> None:
    rng, road = stage.rng, stage.road
    if road.median_kind == NO_MEDIAN:
        return
    cuts = [*road.crossings, road.s_range[1] + 20.0]
    low = road.s_range[0]
    planted, lit = rng.random() < 0.6 and road.median > 2.0, rng.random() < 0.3
    for crossing in cuts:
        span = (low, min(crossing - road.crossing_half_width - 6.0, road.s_range[1]))
        low = crossing + road.crossing_half_width + 6.0
        if span[1] - span[0] < 6.0:
            continue
        if road.median_kind == WALLED:
            stage.parts.append(along.jersey_wall(rng, road, span, 0.0))
        elif road.median_kind == PLANTED:
            if rng.random() < 0.3:
                stage.parts.append(along.fence(rng, road, span, 0.0))
            for s in np.arange(span[0], span[1], rng.uniform(3.0, 12.0)):
                plant = stage.garden.tree(3.5, 9.0, 0) if planted else stage.garden.bush()
                stage.place(plant, float(s), 0.0, 0.0, 1.5)
        if lit and road.median_kind != PLANTED:
            for s in np.arange(span[0] + 5.0, span[1], 30.0):
                if stage.place(lamps.mesh, float(s), 0.0, -np.pi / 2, 1.5):
                    x, y = road.to_global(float(s), -lamps.light[0])
                    stage.lamps.append(np.array([x, y, lamps.light[2]]))


def _junction(stage: Stage, number: int, red: bool) -> None:
    """Signals or signs at a side street, and trees along it."""
    rng, road, place = stage.rng, stage.road, stage.place
    crossing, half = road.crossings[number], road.crossing_half_width
    signals = red or rng.random() < 0.5
    corner = road.half_width + 0.6
    for side in (-1.0, 1.0):
        ahead = side < 0 or road.one_way  # of those who go along s
        s = crossing - half - 1.2 if ahead else crossing + half + 1.2
        turned = 0.0 if ahead else np.pi
        if signals:
            # The arm reaches over the lanes, which are on the left of the one who comes.
            reach = rng.uniform(2.0, road.lanes * road.lane_width)
            lights = furniture.signal(rng, not red, reach)
            if road.one_way and side > 0:
                lights = replace(lights, triangles=lights.triangles * MIRROR)
            place(lights, s, side * corner, turned, 0.8)
        elif rng.random() < 0.5:
            place(furniture.sign(rng), s, side * corner, turned, 0.8)
        if not road.has_arm(number, side):
            continue
        for d in np.arange(road.frontage + 6.0, 75.0, 11.0):
            for s in (crossing - half - 1.5, crossing + half + 1.5):
                if rng.random() < 0.3:
                    place(stage.garden.tree(4.0, 8.0), s, side * d, 0.0, 3.0)
        if rng.random() < 0.7:  # what the side street ends at
            _, block = stage.backdrop()
            place(block, crossing, side * rng.uniform(90.0, 150.0), 0.0 if side > 0 else np.pi)


def _span_the_road(stage: Stage) -> None:
    """Bridges and gantries over the road."""
    rng, road = stage.rng, stage.road
    urban = road.kind.name in ("business", "industrial", "waterside", "works")
    free = [s for s in rng.uniform(-60.0, 90.0, 6) if not road.near_crossing(s, 12.0)]
    if free and rng.random() < (0.16 if urban else 0.05):
        wide = rng.uniform(4.0, 24.0)
        stage.place(furniture.overpass(rng, road.frontage + 1.2, wide), free[0], 0.0)
    elif free and rng.random() < (0.2 if road.lanes > 1 else 0.04):
        stage.place(furniture.gantry(rng, road.half_width + 0.8), free[0], 0.0, 0.0)


def _skyline(stage: Stage) -> None:
    """Towers, blocks and trees far away."""
    rng, road = stage.rng, stage.road
    middle = sum(road.s_range) / 2.0
    blocks = [stage.backdrop()[1] for _ in range(3)]
    if rng.random() < (0.8 if road.kind.name in ("business", "waterside") else 0.35):
        blocks = []
        for _ in range(5):
            width = rng.uniform(14.0, 36.0)
            blocks.append(building(rng, TOWER, width, width, rng.uniform(25.0, 110.0)))
    for _ in range(int(rng.integers(8, 32))):
        way, angle = rng.uniform(*SKYLINE), rng.uniform(-np.pi, np.pi)
        s, d = middle + way * np.cos(angle), way * np.sin(angle)
        inside = road.s_range[0] - 30.0 < s < road.s_range[1] + 30.0
        if (inside and abs(d) < 85.0) or abs(d) < road.frontage + 3.0:
            continue
        if abs(s - middle) * abs(road.curvature) > 2.5:
            continue  # would have gone round the bend's centre
        block = blocks[int(rng.integers(len(blocks)))]
        stage.place(block, s, d, rng.uniform(-0.3, 0.3) if d > 0 else rng.uniform(2.8, 3.4))
    for end, beyond in ((road.s_range[0], -1.0), (road.s_range[1], 1.0)):
        for _ in range(int(rng.integers(4, 14))):  # where the road leads to
            s, d = end + beyond * rng.uniform(20.0, 80.0), rng.uniform(-60.0, 60.0)
            if abs(d) < road.frontage + 2.0 and rng.random() < 0.7:
                continue
            if rng.random() < 0.5:
                stage.place(stage.garden.far_tree(), s, d)
            else:
                stage.place(stage.backdrop()[1], s, d, -beyond * np.pi / 2)
    for _ in range(int(rng.integers(10, 45))):
        s = rng.uniform(road.s_range[0] - 60.0, road.s_range[1] + 80.0)
        d = float(rng.choice([-1.0, 1.0])) * rng.uniform(72.0, 160.0)
        if not road.near_crossing(s, 4.0):
            stage.place(stage.garden.far_tree(7.0, 18.0), s, d, rng.uniform(0.0, 6.0))
