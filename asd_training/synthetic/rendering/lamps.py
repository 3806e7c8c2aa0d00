# SPDX-License-Identifier: Apache-2.0
"""Light from lamps: street lamps, headlights, signals, signs, windows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from asd_training.synthetic.meshes.mesh import HEADLAMP, LAMP, LIT_SIGN, TAIL_LAMP
from asd_training.synthetic.world.actors import MOVING
from asd_training.synthetic.world.world import SCENERY, World

LAMPS, BEAMS = 7, 5  # at most so many of the nearest light a picture
LAMP_REACH, BEAM_REACH = 24.0, 40.0  # m
_VEHICLES = ("car", "truck", "bus", "motorcycle", "construction_vehicle")


@dataclass(frozen=True)
class _LampLook:
    color: np.ndarray  # (3,)
    lamp: float  # radiance of a white level surface 1 m below a street lamp
    beam: float  # radiance of a white surface 1 m before a headlight
    spacing: float  # m between lamps out of view, where a street shows none


@lru_cache(maxsize=8)
def _lamp_look(seed: int) -> _LampLook:
    rng = np.random.default_rng([seed, 2])
    sodium, white = np.array([1.0, 0.62, 0.26]), np.array([0.95, 1.0, 1.0])
    share = rng.random() if rng.random() < 0.3 else float(rng.random() < 0.5)
    return _LampLook(
        (sodium + share * (white - sodium)).astype(np.float32),
        rng.uniform(5.0, 40.0),
        rng.uniform(3.0, 14.0),
        rng.uniform(18.0, 45.0),
    )


def lamplight(
    world: World, time: float, origin: np.ndarray, points: np.ndarray, normals: np.ndarray
) -> np.ndarray:
    """What white surfaces (N,) at points (N, 3) with normals (N, 3) reflect of the lamps' light,
    (N, 3). Lamps throw no shadows."""
    look = _lamp_look(world.look)
    result = np.zeros_like(points)
    lamps = world.lamps if len(world.lamps) else _lamps_out_of_view(world, look, origin)
    for lamp in _nearest(lamps, origin, LAMPS):
        index, offset, squared = _within(points, lamp, LAMP_REACH)
        distance = np.sqrt(squared)
        down = np.clip(offset[:, 2] / distance, 0.0, 1.0)
        facing = np.clip(np.einsum("ij,ij->i", normals[index], offset) / distance, 0.0, 1.0)
        level = look.lamp * down * (facing + 0.1) / (squared + 2.0)
        result[index] += level[:, None] * look.color
    beams = np.array(_beams(world, time)).reshape(-1, 5)
    white = np.array([1.0, 0.93, 0.8], np.float32)
    for x, y, z, c, s in _nearest(beams, origin, BEAMS).astype(np.float32):
        index, offset, squared = _within(points, np.array([x, y, z]), BEAM_REACH)
        ahead = -(offset[:, 0] * c + offset[:, 1] * s)
        front = np.flatnonzero(ahead > 0.2)
        index, offset, squared, ahead = index[front], offset[front], squared[front], ahead[front]
        aside = offset[:, 0] * s - offset[:, 1] * c
        rise = -offset[:, 2]  # dipped: sharp above, soft below
        cone = np.exp(-((aside / (0.9 + 0.32 * ahead)) ** 2))
        cone *= np.clip(1.0 - 6.0 * (rise - 0.03 * ahead) / (1.0 + ahead), 0.04, 1.0)
        facing = np.einsum("ij,ij->i", normals[index], offset) / np.sqrt(squared)
        level = look.beam * cone * np.clip(facing, 0.02, 1.0) * ahead / (squared + 6.0) ** 0.9
        result[index] += level[:, None] * white
    return result


def _nearest(lights: np.ndarray, origin: np.ndarray, count: int) -> np.ndarray:
    distances = np.hypot(lights[:, 0] - origin[0], lights[:, 1] - origin[1])
    order = np.argsort(distances)[:count]
    return lights[order[distances[order] < 70.0]]


def _within(
    points: np.ndarray, light: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of the points within reach, offsets from them to the light, squared distances."""
    light = light.astype(np.float32)
    near = np.flatnonzero(
        (np.abs(points[:, 0] - light[0]) < reach) & (np.abs(points[:, 1] - light[1]) < reach)
    )
    offset = light - points[near]
    return near, offset, np.einsum("ij,ij->i", offset, offset) + np.float32(1e-4)


def _lamps_out_of_view(world: World, look: _LampLook, origin: np.ndarray) -> np.ndarray:
    s, _ = world.road.to_road(origin[:1], origin[1:2])
    first = np.floor(s[0] / look.spacing) * look.spacing
    places = first + look.spacing * np.arange(-2, 4)
    sides = np.where(np.arange(6) % 2 == 0, 1.0, -1.0) * world.road.half_width
    x, y = world.road.to_global(places, sides)
    return np.stack([x, y, np.full(6, 7.5)], axis=1)


def _beams(world: World, time: float) -> list[tuple[float, float, float, float, float]]:
    """Place (x, y, z) and direction (cos, sin) of the headlights that are on."""
    x, y, yaw = world.ego.poses(time)
    c, s = np.cos(yaw), np.sin(yaw)
    beams = [(x + 3.6 * c, y + 3.6 * s, 0.7, c, s)]
    for actor, pose in zip(world.actors, world.box_poses(time), strict=True):
        if actor.name in _VEHICLES and not actor.parked:
            c, s = pose[0, 0], pose[1, 0]
            half = actor.size[1] / 2.0
            beams.append((pose[0, 3] + half * c, pose[1, 3] + half * s, 0.7, c, s))
    return beams


def emitted(
    world: World, time: float, triangles: np.ndarray, materials: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the points on `triangles` (N,) that shine by themselves, and their radiance."""
    night = world.light.night
    index = np.flatnonzero(np.isin(materials, (LAMP, HEADLAMP, TAIL_LAMP, LIT_SIGN)))
    triangles, materials = triangles[index], materials[index]
    strength = np.zeros(len(index), np.float32)
    strength[materials == LAMP] = 5.0 if night else 0.7
    strength[materials == LIT_SIGN] = 0.7 if night else 0.3
    # Head and tail lamps: in use at night, and by day on some; brake lights of those that stand.
    on, brakes = _in_use(world, time)
    owners = world.owners[triangles]
    used = (owners != SCENERY) & on[owners]
    braking = used & brakes[owners]
    by_day = (owners * 7 % 10 < 3) & used
    head, tail = materials == HEADLAMP, materials == TAIL_LAMP
    strength[head & (used if night else by_day)] = 9.0 if night else 1.2
    strength[tail & used] = 1.2 if night else 0.05
    strength[tail & braking] = 3.0 if night else 1.0
    return index, world.albedo[triangles] * strength[:, None]


def _in_use(world: World, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Of each object: whether its lamps are on, whether it brakes; one more entry for none."""
    on = np.array([not actor.parked for actor in world.actors] + [False])
    slow = [abs(actor.motion.profile.speed(time)) < 5.0 * MOVING for actor in world.actors]
    return on, on & np.array([*slow, False])
