# SPDX-License-Identifier: Apache-2.0
"""The colours of the ground: worn, patched, stained, cracked, wet, and different in each scene."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from asd_training.synthetic.rendering import textures
from asd_training.synthetic.rendering.textures import texels
from asd_training.synthetic.street.ground_plan import (
    ASPHALT,
    BALLAST,
    CAR_PARK,
    CONCRETE_ROAD,
    COVER,
    DARK_KERB,
    EARTH,
    GRASS,
    GREEN_LANE,
    KERB,
    LINE,
    MEADOW,
    PAVERS,
    RAIL,
    RED_LANE,
    RIVER,
    SLABS,
    SURFACE_COUNT,
    YARD,
    YELLOW_LINE,
    surfaces,
)
from asd_training.synthetic.street.road import Road

_COLORS = {  # linear albedo; asphalt's and concrete's are drawn anew for each scene
    ASPHALT: (0.075, 0.075, 0.08),
    SLABS: (0.26, 0.25, 0.235),
    LINE: (0.62, 0.62, 0.6),
    KERB: (0.36, 0.355, 0.34),
    YARD: (0.2, 0.19, 0.175),
    CAR_PARK: (0.095, 0.095, 0.098),
    GRASS: (0.075, 0.13, 0.035),
    EARTH: (0.22, 0.16, 0.1),
    YELLOW_LINE: (0.6, 0.43, 0.06),
    CONCRETE_ROAD: (0.21, 0.205, 0.195),
    PAVERS: (0.25, 0.12, 0.085),
    RED_LANE: (0.2, 0.065, 0.05),
    GREEN_LANE: (0.06, 0.16, 0.08),
    RAIL: (0.16, 0.15, 0.145),
    BALLAST: (0.17, 0.15, 0.13),
    MEADOW: (0.16, 0.15, 0.06),
    RIVER: (0.035, 0.05, 0.055),
    DARK_KERB: (0.04, 0.04, 0.042),
    COVER: (0.05, 0.045, 0.042),
}
_BY_SURFACE = np.array([_COLORS[i] for i in range(SURFACE_COUNT)], np.float32)
_DRIVEN = np.isin(
    np.arange(SURFACE_COUNT), (ASPHALT, CONCRETE_ROAD, CAR_PARK, RED_LANE, GREEN_LANE)
)
_PAINTED = np.isin(np.arange(SURFACE_COUNT), (LINE, YELLOW_LINE))
_PAVED = np.isin(np.arange(SURFACE_COUNT), (SLABS, YARD, PAVERS))
_GREEN = np.isin(np.arange(SURFACE_COUNT), (GRASS, MEADOW))


@dataclass(frozen=True)
class GroundLook:
    """How the ground of one scene looks. Amplitudes are relative to the albedo."""

    colors: np.ndarray  # (SURFACE_COUNT, 3) albedo
    grain: float
    clouds: float  # differences over metres
    stripes: float  # differences between lanes
    tracks: float  # where wheels roll, darker or lighter
    oil: float  # drips along the middle of a lane
    patches: float  # share of repaired places
    patch_length: float  # m
    cracks: float
    stains: float
    joint: float  # m between joints across the carriageway, 0 for none
    tar: float  # sealed seams
    paint_left: float  # how much of the lines is left
    ghosts: float  # removed lines that still show, 0 for none
    slab: tuple[float, float]  # m
    slab_turn: float  # rad
    litter: float
    shade: float  # share of ground in the shadow of things out of view
    shade_cell: float  # m
    shade_leaves: bool
    sheen: float
    offset: int


@lru_cache(maxsize=8)
def ground_look(seed: int) -> GroundLook:
    """The look of the scene with this seed."""
    rng = np.random.default_rng([seed, 1])
    colors = _BY_SURFACE.copy()
    road = np.exp(rng.uniform(np.log(0.025), np.log(0.3)))
    warmth = rng.normal(0.02, 0.05)
    tint = np.array([1.0 + warmth, 1.0, 1.0 - warmth * rng.uniform(0.8, 1.6)])
    colors[ASPHALT] = road * tint
    colors[CAR_PARK] = np.exp(rng.uniform(np.log(0.03), np.log(0.3))) * tint
    colors[CONCRETE_ROAD] *= rng.uniform(0.6, 1.6) * tint
    for paved in (SLABS, YARD, PAVERS, KERB, BALLAST, EARTH):
        colors[paved] *= rng.uniform(0.45, 1.6) * (1.0 + rng.normal(0.0, 0.06, 3))
    for green in (GRASS, MEADOW):
        dry = np.array([0.24, 0.2, 0.09]) * rng.uniform(0.6, 1.2)
        colors[green] = (
            colors[green] * rng.uniform(0.5, 1.3) + (dry - colors[green]) * rng.random() ** 2
        )
    colors[LINE] *= rng.uniform(0.6, 1.25)
    colors[YELLOW_LINE] *= rng.uniform(0.6, 1.3) * np.array([1.0, rng.uniform(0.8, 1.2), 1.0])
    return GroundLook(
        colors=np.clip(colors, 0.015, 0.85).astype(np.float32),
        grain=0.015 + 0.18 * rng.random() ** 2,
        clouds=0.03 + 0.2 * rng.random() ** 1.5,
        stripes=rng.uniform(0.0, 0.3) ** 1.3,
        tracks=rng.uniform(-0.3, 0.3),
        oil=rng.uniform(0.0, 0.45) * (rng.random() < 0.7),
        patches=float(rng.choice([0.0, rng.uniform(0.02, 0.3)])),
        patch_length=rng.uniform(2.0, 14.0),
        cracks=float(rng.choice([0.0, rng.uniform(0.2, 0.9)])),
        stains=float(rng.choice([0.0, rng.uniform(0.2, 0.8)])),
        joint=float(rng.choice([0.0, rng.uniform(3.5, 9.0)], p=[0.7, 0.3])),
        tar=float(rng.choice([0.0, rng.uniform(0.3, 0.9)], p=[0.6, 0.4])),
        paint_left=rng.uniform(0.25, 1.3),
        ghosts=float(rng.choice([0.0, rng.uniform(-0.35, 0.5)], p=[0.65, 0.35])),
        slab=(rng.uniform(0.3, 2.0), rng.uniform(0.3, 2.0)),
        slab_turn=float(rng.choice([0.0, np.pi / 4], p=[0.85, 0.15])),
        litter=float(rng.choice([0.0, rng.random() ** 2], p=[0.65, 0.35])),
        shade=float(rng.choice([0.0, rng.uniform(0.1, 0.7)], p=[0.5, 0.5])),
        shade_cell=rng.uniform(2.0, 14.0),
        shade_leaves=rng.random() < 0.55,
        sheen=rng.uniform(0.02, 0.25),
        offset=int(rng.integers(512)),
    )


def ground_albedo(
    road: Road,
    look: GroundLook,
    x: np.ndarray,
    y: np.ndarray,
    blur: np.ndarray,
) -> np.ndarray:
    """Albedo (N, 3) of the dry ground at global x, y (N,); a pixel covers `blur` (N,) metres."""
    s, d = road.to_road(x, y)
    surface = surfaces(road, s, d)
    albedo = look.colors[surface]
    u, v = x + look.offset, y + 3.0 * look.offset
    coarse = texels(textures.cloudy(), 4.0 * u, 4.0 * v) * np.clip(6.0 / blur, 0.0, 1.0)
    middle = texels(textures.cloudy(), 29.0 * v, 29.0 * u) * np.clip(0.9 / blur, 0.0, 1.0)
    blobs = texels(textures.blotchy(), 40.0 * u, 40.0 * v) * np.clip(0.25 / blur, 0.0, 1.0)
    grain = texels(textures.grainy(), 40.0 * u, 40.0 * v) * np.clip(0.03 / blur, 0.0, 1.0)
    tone = 1.0 + look.clouds * (0.6 * coarse + 0.5 * middle) + look.grain * (0.4 * blobs + grain)

    index = np.flatnonzero(_PAINTED[surface])
    if len(index):
        left = look.paint_left + 0.35 * middle[index] + 0.35 * blobs[index] + 0.3 * grain[index]
        bare = look.colors[ASPHALT]
        albedo[index] = bare + np.clip(left, 0.05, 1.0)[:, None] * (albedo[index] - bare)
    index = np.flatnonzero((_DRIVEN | _PAINTED)[surface])
    if len(index):
        tone[index] += _wear(
            road, look, s[index], d[index], blur[index], coarse[index], middle[index], blobs[index]
        )
        crack = texels(textures.cracks(), 23.0 * u[index], 23.0 * v[index])
        broken = np.clip(coarse[index] + 0.3, 0.0, 1.0) * np.clip(0.12 / blur[index], 0.0, 1.0)
        tone[index] -= look.cracks * crack * broken
    index = np.flatnonzero(_PAVED[surface])
    if len(index):
        tone[index] += _slabs(look, s[index], d[index], blur[index], blobs[index])
    index = np.flatnonzero(_GREEN[surface])
    if len(index):
        tone[index] += 0.16 * blobs[index] + 0.15 * middle[index] + 0.2 * grain[index]
        bare = np.clip(0.8 * coarse[index] + 0.5 * middle[index] - 1.0, 0.0, 1.0)[:, None]
        albedo[index] += bare * (look.colors[EARTH] - albedo[index])
    if look.litter > 0.0:
        albedo = _litter(look, albedo, u, v, blur, middle + coarse)
    return albedo * np.clip(tone, 0.12, 2.2)[:, None]


def _wear(
    road: Road,
    look: GroundLook,
    s: np.ndarray,
    d: np.ndarray,
    blur: np.ndarray,
    coarse: np.ndarray,
    middle: np.ndarray,
    blobs: np.ndarray,
) -> np.ndarray:
    """Changes (N,) of tone where vehicles drive."""
    lane = np.floor(d / road.lane_width)
    across = d - (lane + 0.5) * road.lane_width
    tone = look.stripes * (texels(textures.chances(), lane, lane * 7.0 + look.offset) - 0.5)
    tone += look.tracks * np.exp(-(((np.abs(across) - 0.8) / 0.33) ** 2)) * (1.0 + 0.4 * middle)
    if look.oil > 0.0:
        along = texels(textures.cloudy(), 5.0 * s, 40.0 * across)
        tone -= look.oil * np.exp(-((across / 0.3) ** 2)) * np.clip(0.7 + 0.5 * along, 0.0, 1.5)
    if look.patches > 0.0:
        row = np.floor(d / 1.3)
        place = s / look.patch_length + 0.37 * row
        cell = np.floor(place)
        chance = texels(textures.chances(), cell * 3.0 + look.offset, row)
        inside = place - cell
        width = d / 1.3 - row
        kind = texels(textures.chances(), cell * 5.0, row + 100.0 + look.offset)
        mended = (chance < look.patches) & (inside < 0.3 + 0.7 * kind) & (width < 0.6 + 0.8 * kind)
        tone += np.where(mended, (kind - 0.62) * 1.1, 0.0)
        edge = (chance < look.patches) & (np.abs(inside - 0.3 - 0.7 * kind) < 0.06)
        tone -= 0.25 * edge
    if look.joint > 0.0:
        gap = np.abs(np.mod(s, look.joint) - 0.1)
        tone -= 0.5 * np.clip(0.05 / blur, 0.0, 1.0) * (gap < np.maximum(0.03, 0.5 * blur))
        tone += 0.15 * (
            texels(textures.chances(), np.floor(s / look.joint), lane + look.offset) - 0.5
        )
    if look.tar > 0.0:
        seam = np.mod(d + 0.12 * middle, road.lane_width * 0.98)
        cross = np.mod(s + 0.35 * middle + 0.6 * np.floor(d / 2.7), 13.0 + look.offset % 11)
        band = np.maximum(0.05, 0.5 * blur)
        tone -= look.tar * np.clip(0.07 / blur, 0.0, 1.0) * ((seam < band) | (cross < band))
    if look.stains > 0.0:
        spots = np.clip(blobs - 1.5, 0.0, 1.0) + np.clip(middle - 1.7, 0.0, 0.7)
        tone -= look.stains * spots
    if look.ghosts != 0.0:
        shifted = np.mod(d + 0.9 + 0.02 * s, 3.1)
        tone += look.ghosts * (shifted < 0.14) * np.clip(0.6 + 0.5 * middle, 0.0, 1.0)
    skid = np.abs(across - 0.5 - 0.9 * np.sin(0.11 * s + look.offset)) % 1.6
    tone -= 0.3 * (skid < 0.17) * np.clip(coarse - 0.8, 0.0, 1.0)
    gutter = np.clip(1.0 - np.abs(road.half_width - 0.25 - np.abs(d)) / 0.45, 0.0, 1.0)
    return tone - gutter * (0.25 * middle + 0.12)


def _slabs(
    look: GroundLook, s: np.ndarray, d: np.ndarray, blur: np.ndarray, blobs: np.ndarray
) -> np.ndarray:
    """Changes (N,) of tone of slabs, with their joints and old chewing gum."""
    c, t = np.float32(np.cos(look.slab_turn)), np.float32(np.sin(look.slab_turn))
    a, b = (c * s - t * d) / look.slab[0], (t * s + c * d) / look.slab[1]
    row = np.floor(a)
    b = b + 0.5 * np.mod(row, 2.0) * (look.offset % 2)
    column = np.floor(b)
    seen = np.clip(0.3 / blur, 0.0, 1.0)
    tone = 0.25 * (texels(textures.chances(), row, column) - 0.5) * seen
    wide = 0.012 + 0.4 * blur
    joint = (np.minimum(a - row, 1.0 + row - a) * look.slab[0] < wide) | (
        np.minimum(b - column, 1.0 + column - b) * look.slab[1] < wide
    )
    tone -= 0.4 * joint * np.clip(0.03 / blur, 0.0, 1.0)
    return tone - 0.3 * (blobs > 1.7)


def _litter(
    look: GroundLook,
    albedo: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    blur: np.ndarray,
    where: np.ndarray,
) -> np.ndarray:
    """Albedo with leaves and paper strewn over it."""
    chance = texels(textures.chances(), 11.0 * u, 11.0 * v)
    strewn = np.flatnonzero(chance < 0.12 * look.litter * np.clip(where + 0.4, 0.0, 2.0))
    kind = chance[strewn] * 997.0 % 1.0
    color = np.array([0.3, 0.2, 0.06], np.float32) * (0.35 + kind[:, None])
    color[kind > 0.96] = 0.6
    share = np.clip(0.06 / blur[strewn], 0.0, 0.7)[:, None]
    albedo[strewn] += share * (color - albedo[strewn])
    return albedo


def sunlight(look: GroundLook, to_sun: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Share (N,) of the sun that things out of view leave at points (N, 3): foliage, buildings,
    poles, wires. Their shadow falls along the sun's rays, on all that stands in their way."""
    if look.shade == 0.0:
        return np.ones(len(points), np.float32)
    slope = (to_sun[:2] / max(to_sun[2], 0.05)).astype(np.float32)
    x = points[:, 0] - slope[0] * points[:, 2] + look.offset
    y = points[:, 1] - slope[1] * points[:, 2] + 2.0 * look.offset
    scale = 12.0 / look.shade_cell
    if look.shade_leaves:
        crown = texels(textures.blotchy(), scale * x, scale * y)
        crown += 0.5 * texels(textures.blotchy(), 14.0 * y, 14.0 * x)
        crown += 0.3 * texels(textures.grainy(), 9.0 * x, 9.0 * y)
        cover = np.clip((crown + 2.6 * look.shade - 1.9) * 3.0, 0.0, 1.0)
    else:
        turn = look.offset * 0.1
        along = np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y
        beside = np.float32(np.cos(turn)) * y - np.float32(np.sin(turn)) * x
        # Blocks of buildings, and thin poles and wires.
        block = texels(textures.chances(), along / (2.0 * look.shade_cell), beside / 17.0)
        pole = np.abs(np.mod(beside + 0.02 * along, 9.0 + look.offset % 13) - 2.0) < 0.09
        cover = ((block < 0.7 * look.shade) | pole).astype(np.float32)
    return 1.0 - 0.93 * cover


def puddles(look: GroundLook, wetness: float, points: np.ndarray) -> np.ndarray:
    """How much of a film of water covers the ground, 0..1, at points (N, 3)."""
    x, y = points[:, 0] + look.offset, points[:, 1]
    level = texels(textures.cloudy(), 9.0 * x, 9.0 * y)
    level += 0.4 * texels(textures.blotchy(), 14.0 * y, 14.0 * x)
    return wetness * np.clip(0.3 + 0.7 * wetness + 0.45 * level, 0.05, 1.0)
