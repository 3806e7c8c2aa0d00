# SPDX-License-Identifier: Apache-2.0
"""From ray hits to radiance: ground and facade patterns, sun and shadow, sky, haze."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes.mesh import FACADE, FOLIAGE, GLASS, GROUND, LAMP, PAINT, RETRO
from asd_training.synthetic.meshes.raytracer import MISS, Instant
from asd_training.synthetic.world.ground_plan import (
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
from asd_training.synthetic.world.road import Road
from asd_training.synthetic.world.light import Light
from asd_training.synthetic.world.world import World

VIEW = 400.0  # m, rays end here
_NOISE_SIZE = 512
_NOISE = np.random.default_rng(7).normal(size=(_NOISE_SIZE, _NOISE_SIZE)).astype(np.float32)

_SURFACES = np.zeros((SURFACE_COUNT, 3), np.float32)
_SURFACES[ASPHALT] = 0.075, 0.075, 0.08
_SURFACES[SLABS] = 0.26, 0.25, 0.235
_SURFACES[LINE] = 0.62, 0.62, 0.6
_SURFACES[KERB] = 0.36, 0.355, 0.34
_SURFACES[YARD] = 0.2, 0.19, 0.175
_SURFACES[CAR_PARK] = 0.095, 0.095, 0.098
_SURFACES[GRASS] = 0.075, 0.13, 0.035
_SURFACES[EARTH] = 0.22, 0.16, 0.1
_SURFACES[YELLOW_LINE] = 0.6, 0.43, 0.06
_SURFACES[CONCRETE_ROAD] = 0.21, 0.205, 0.195
_SURFACES[PAVERS] = 0.25, 0.12, 0.085
_SURFACES[RED_LANE] = 0.2, 0.065, 0.05
_SURFACES[GREEN_LANE] = 0.06, 0.16, 0.08
_SURFACES[RAIL] = 0.16, 0.15, 0.145
_SURFACES[BALLAST] = 0.17, 0.15, 0.13
_SURFACES[MEADOW] = 0.16, 0.15, 0.06
_SURFACES[RIVER] = 0.035, 0.05, 0.055
_SURFACES[DARK_KERB] = 0.04, 0.04, 0.042
_SURFACES[COVER] = 0.05, 0.045, 0.042


def _speckle(u: np.ndarray, v: np.ndarray, cell: float) -> np.ndarray:
    """Standard normal noise, constant over cells of `cell` metres."""
    i = np.floor(u * np.float32(1.0 / cell)).astype(np.int32) & (_NOISE_SIZE - 1)
    j = np.floor(v * np.float32(1.0 / cell)).astype(np.int32) & (_NOISE_SIZE - 1)
    return _NOISE[i, j]


def ground_albedo(road: Road, x: np.ndarray, y: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Albedo (N, 3) of the ground at global x, y (N,) seen from `distance` (N,)."""
    s, d = road.to_road(x, y)
    side, lane = np.abs(d), road.lane_width
    surface = surfaces(road, s, d)
    albedo = _SURFACES[surface]
    # Grain and stains; slabs have joints. All fade with distance, where they would only flicker.
    near = np.clip(12.0 / np.maximum(distance, 1e-3), 0.0, 1.0)
    grain = 1.0 + near * 0.16 * _speckle(x, y, 0.05) + 0.1 * _speckle(x, y, 1.3) * np.sqrt(near)
    joints = (surface == SLABS) & ((np.mod(s, 0.8) < 0.03) | (np.mod(d, 0.8) < 0.03))
    grain = np.where(joints, grain - 0.25 * near, grain)
    grain[surface == GRASS] += (0.35 * _speckle(x, y, 0.17) * near)[surface == GRASS]
    tracks = np.clip(0.12 - np.abs(np.mod(side, lane) - 0.5 * lane) * 0.1, -1.0, 0.1)
    grain = np.where(surface == ASPHALT, grain * (1.0 - tracks), grain)
    return albedo * np.clip(grain, 0.3, 1.8)[:, None]


def _facade_albedo(points: np.ndarray, normals: np.ndarray, wall: np.ndarray) -> np.ndarray:
    """Walls with rows of windows and a shop floor, patterned by position along the wall."""
    along = points[:, 1] * normals[:, 0] - points[:, 0] * normals[:, 1]
    z = points[:, 2]
    period = 2.2 + 1.6 * wall[:, 0]  # differs from house to house
    column, u = np.floor(along / period), np.mod(along / period, 1.0)
    row, v = np.floor(z / 3.1), np.mod(z / 3.1, 1.0)
    upright = np.abs(normals[:, 2]) < 0.5
    window = (np.abs(u - 0.5) < 0.3) & (np.abs(v - 0.55) < 0.27) & (row > 0) & upright
    frame = (np.abs(u - 0.5) < 0.34) & (np.abs(v - 0.55) < 0.31) & (row > 0) & upright & ~window
    shop = (row == 0) & (np.abs(u - 0.5) < 0.42) & (v > 0.12) & (v < 0.82) & upright
    light = _speckle(column, row, 1.0)
    albedo = wall * (1.0 + 0.05 * _speckle(along, z, 0.6))[:, None]
    albedo[window] = np.array([0.035, 0.045, 0.06]) * (1.0 + 0.8 * np.abs(light[window, None]))
    albedo[frame] = albedo[frame] * 0.5 + 0.25
    albedo[shop] = np.array([0.05, 0.055, 0.06]) * (
        1.0 + np.abs(light[shop, None]) * [1.5, 1.2, 1.0]
    )
    return albedo


def sky(light: Light, directions: np.ndarray) -> np.ndarray:
    """Radiance (N, 3) of the sky in directions (N, 3)."""
    height = np.clip(directions[:, 2], 0.0, 1.0)
    blend = (1.0 - np.sqrt(height))[:, None]
    color = light.zenith.astype(np.float32) * (1 - blend) + light.horizon.astype(np.float32) * blend
    if light.clouds > 0.05:
        scale = 3.0 / (height + 0.12)
        u, v = directions[:, 0] * scale, directions[:, 1] * scale
        wave = np.zeros_like(u)
        for k, (a, b, c) in enumerate(
            ((1.0, 0.6, 0.3), (-0.7, 1.7, 1.9), (2.9, -1.3, 4.1), (-3.7, -4.9, 0.7))
        ):
            wave += np.sin(a * u + b * v + c) / (1.0 + 0.6 * k)
        cover = np.clip((wave - 1.2 + 1.8 * light.clouds) * 0.6, 0.0, 0.85)[:, None]
        color = color * (1 - cover) + cover
    return color


def render(
    world: World,
    instant: Instant,
    time: float,
    origin: np.ndarray,
    directions: np.ndarray,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray:
    """Linear radiance (H, W, 3) float32, RGB, of rays (H * W, 3) in global axes from `origin` (3,).

    `time` is the instant's in seconds; what is random about the air at it comes from `rng`.
    """
    width, height = size
    light = world.light
    triangle, distance = instant.cast(origin.astype(np.float32), directions, VIEW)
    color = np.empty((len(directions), 3), np.float32)
    seen = np.flatnonzero(triangle != MISS)
    missed = np.flatnonzero(triangle == MISS)
    color[missed] = sky(light, directions[missed])

    hit, way, view = triangle[seen], distance[seen], directions[seen]
    points = origin.astype(np.float32) + view * way[:, None]
    normals = instant.normals[hit]
    toward = np.einsum("ij,ij->i", view, normals)
    normals = normals * -np.sign(toward)[:, None]
    materials = world.materials[hit]
    albedo = world.albedo[hit]

    index = np.flatnonzero(materials == GROUND)
    albedo[index] = ground_albedo(world.road, points[index, 0], points[index, 1], way[index])
    index = np.flatnonzero(materials == FACADE)
    albedo[index] = _facade_albedo(points[index], normals[index], albedo[index])
    index = np.flatnonzero(materials == FOLIAGE)
    leaf = points[index]
    clump = _speckle(leaf[:, 0] + leaf[:, 2], leaf[:, 1] - leaf[:, 2], 0.13)
    albedo[index] *= np.clip(1.0 + 0.45 * clump, 0.25, 2.0)[:, None]

    to_sun = light.to_sun.astype(np.float32)
    sunny = normals @ to_sun
    facing = np.flatnonzero(sunny > 0.0)
    if light.sun.max() > 0.02:
        shadow = instant.occluded(points[facing] + 0.01 * normals[facing], to_sun)
        sunny[facing[shadow]] = 0.0
    np.maximum(sunny, 0.0, out=sunny)
    upward = 0.62 + 0.38 * normals[:, 2]
    # Corners near the ground receive less sky.
    upward *= 0.75 + 0.25 * np.clip(points[:, 2] / 1.2 + (normals[:, 2] > 0.9), 0.0, 1.0)
    incoming = sunny[:, None] * light.sun.astype(np.float32)
    incoming += upward[:, None] * light.ambient.astype(np.float32)
    shaded = albedo * incoming

    index = np.flatnonzero((materials == GLASS) | (materials == PAINT))
    mirror = view[index] + 2.0 * np.abs(toward[index])[:, None] * normals[index]
    grazing = (1.0 - np.abs(toward[index])) ** 4
    share = np.where(materials[index] == GLASS, 0.18 + 0.6 * grazing, 0.03 + 0.25 * grazing)
    reflected = np.where(
        mirror[:, 2:] > 0, sky(light, mirror), 0.12 * light.ambient.astype(np.float32)
    )
    glint = np.clip(mirror @ to_sun, 0.0, 1.0) ** 60 * (sunny[index] > 0) * 0.8
    shaded[index] += share[:, None] * (reflected - shaded[index])
    shaded[index] += glint[:, None] * light.sun.astype(np.float32) * 0.5
    index = np.flatnonzero(materials == LAMP)
    shaded[index] += 0.25 * world.albedo[hit[index]]
    index = np.flatnonzero(materials == RETRO)
    shaded[index] *= 1.15

    haze = np.exp(-way / np.float32(light.visibility))[:, None]
    color[seen] = shaded * haze + light.horizon.astype(np.float32) * (1.0 - haze)
    return color.reshape(height, width, 3)
