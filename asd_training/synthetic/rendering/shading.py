# SPDX-License-Identifier: Apache-2.0
"""From ray hits to radiance: textures, sun and shadow, lamps, mirrored surroundings, air."""

from __future__ import annotations

import cv2
import numpy as np

from asd_training.synthetic.meshes import mesh as m
from asd_training.synthetic.meshes.raytracer import MISS, Instant
from asd_training.synthetic.rendering import ground, lamps, materials, textures
from asd_training.synthetic.rendering.hits import Hits
from asd_training.synthetic.rendering.sky import sky, surroundings
from asd_training.synthetic.world.traffic import EGO_CENTER, EGO_SIZE
from asd_training.synthetic.world.world import World

VIEW = 400.0  # m, rays end here
_PEELS = 3  # layers of leaves that a ray may slip through
_SHADED = 30.0  # m, vehicles nearer than that darken the ground beside them


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
    origin = origin.astype(np.float32)
    triangle, distance = _first_hits(world, instant, origin, directions)
    color = np.empty((len(directions), 3), np.float32)
    seen, missed = np.flatnonzero(triangle != MISS), np.flatnonzero(triangle == MISS)
    color[missed] = sky(light, directions[missed], world.look)
    way = distance[seen]
    pixel = np.float32(np.arccos(np.clip(directions[0] @ directions[1], -1.0, 1.0)))
    shaded = _shade(world, instant, time, origin, directions[seen], triangle[seen], way, pixel)
    haze = np.exp(-way / np.float32(light.visibility))[:, None]
    color[seen] = shaded * haze + light.horizon.astype(np.float32) * (1.0 - haze)
    _own_body(world, time, directions, color)
    image = color.reshape(height, width, 3)
    if light.rain > 0.0:
        _streaks(image, light.rain, light.ambient, rng)
    return image


def _first_hits(
    world: World, instant: Instant, origin: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Triangle and distance of each ray; foliage lets rays through between its leaves."""
    triangle, distance = instant.cast(origin, directions, VIEW)
    rays = np.flatnonzero(triangle != MISS)
    for _ in range(_PEELS):
        rays = rays[world.materials[triangle[rays]] == m.FOLIAGE]
        points = origin + directions[rays] * distance[rays, None]
        normals = instant.normals[triangle[rays]]
        steep = np.abs(np.einsum("ij,ij->i", directions[rays], normals))
        a = points[:, 0] + 0.6 * points[:, 2]
        b = points[:, 1] - 0.8 * points[:, 2] + 0.4 * a
        leaf = 0.55 * textures.texels(textures.blotchy(), 60.0 * a, 60.0 * b)
        leaf += 0.65 * textures.texels(textures.blotchy(), 22.0 * b, 22.0 * a)
        # Thin at the rim, where the ray barely dips into the crown.
        gap = np.flatnonzero(leaf + 2.1 * steep < 0.5)
        rays = rays[gap]
        if not len(rays):
            break
        through, further = instant.cast(
            points[gap] + 0.03 * directions[rays], directions[rays], VIEW
        )
        triangle[rays] = through
        distance[rays] += further + 0.03
        rays = rays[through != MISS]
    return triangle, distance


def _shade(
    world: World,
    instant: Instant,
    time: float,
    origin: np.ndarray,
    view: np.ndarray,
    hit: np.ndarray,
    way: np.ndarray,
    pixel: np.float32,
) -> np.ndarray:
    """Radiance (N, 3) that leaves the hit triangles (N,) towards the camera."""
    light = world.light
    sun, ambient = light.sun.astype(np.float32), light.ambient.astype(np.float32)
    look = ground.ground_look(world.look)
    points = origin + view * way[:, None]
    normals = instant.normals[hit]
    toward = np.einsum("ij,ij->i", view, normals)
    normals = normals * -np.sign(toward)[:, None]
    toward = np.abs(toward)
    material = world.materials[hit]
    blur = way * pixel / np.sqrt(np.maximum(toward, 0.04))
    albedo, mirror, glow = _surface(world, time, look, hit, material, points, normals, blur)

    on_ground = np.flatnonzero(material == m.GROUND)
    to_sun = light.to_sun.astype(np.float32)
    sunny = np.maximum(normals @ to_sun, 0.0)
    leaves = material == m.FOLIAGE
    sunny[leaves] = 0.25 + 0.5 * sunny[leaves]  # leaves face all ways and let light through
    if sun.max() > 0.02:
        facing = np.flatnonzero(sunny > 0.0)
        start = points[facing] + np.where(
            leaves[facing, None], 0.3 * to_sun, 0.01 * normals[facing]
        )
        sunny[facing[instant.occluded(start, to_sun)]] *= 0.03
        sunny *= ground.sunlight(look, light.to_sun, points)
    else:
        sunny[:] = 0.0
    level = 0.5 + 0.5 * normals[:, 2]
    # Corners near the ground receive less sky.
    open_sky = level * (0.72 + 0.28 * np.clip(points[:, 2] / 1.2, 0.0, 1.0))
    # An overcast sky is brighter on one side.
    open_sky *= 1.0 + 0.25 * (normals[:, :2] @ to_sun[:2])
    open_sky[on_ground] = 1.0
    _contact_shadows(world, time, origin, points, on_ground, open_sky, sunny)
    floor = look.colors[0]
    bounce = floor * (0.8 * ambient + 0.5 * to_sun[2] * sun)
    incoming = sunny[:, None] * sun + open_sky[:, None] * ambient
    incoming += (1.0 - level)[:, None] * bounce * 1.5
    if light.night:
        incoming += lamps.lamplight(world, time, origin, points, normals)
    if light.wetness > 0.0:
        _soak(light.wetness, material, albedo, normals)
    shaded = albedo * incoming

    index = np.flatnonzero(~np.isnan(mirror))
    bent = view[index] + 2.0 * toward[index, None] * normals[index]
    share = mirror[index] + (0.8 - 0.8 * mirror[index]) * (1.0 - toward[index]) ** 5
    reflected = surroundings(light, bent, floor * (ambient + to_sun[2] * sun), world.look)
    if light.night:
        reflected += 0.15 * incoming[index]
    shaded[index] += share[:, None] * (reflected - shaded[index])
    glint = np.clip(bent @ to_sun, 0.0, 1.0) ** 180 * np.minimum(sunny[index], 0.5)
    shaded[index] += (glint * (0.5 + 8.0 * mirror[index]))[:, None] * sun
    # Seen at a grazing angle, even dry ground mirrors some of the sky's rim and of the sun.
    share = look.sheen * (1.0 - toward[on_ground, None]) ** 5
    low = view[on_ground] * np.array([1.0, 1.0, -1.0], np.float32) @ to_sun
    rim = light.horizon.astype(np.float32)
    rim = rim + (np.clip(low, 0.0, 1.0) ** 10 * np.minimum(sunny[on_ground], 0.4))[:, None] * sun
    shaded[on_ground] += share * (rim - shaded[on_ground])
    if light.wetness > 0.0:
        _wet_ground(
            world, instant, time, look, on_ground, view[on_ground], points[on_ground],
            toward[on_ground], shaded,
        )  # fmt: skip
    shining, radiance = lamps.emitted(world, time, hit, material)
    shaded[shining] += radiance
    if light.night:
        shaded += glow
    return shaded


def _surface(
    world: World,
    time: float,
    look: ground.GroundLook,
    hit: np.ndarray,
    material: np.ndarray,
    points: np.ndarray,
    normals: np.ndarray,
    blur: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Albedo (N, 3), reflection seen straight on (N,), glow at night (N, 3) of surface points."""
    albedo = world.albedo[hit]
    mirror, glow = materials.MIRROR[material], np.zeros((len(hit), 3), np.float32)
    # Sorted by material, each one's points are a slice.
    order = np.argsort(material, kind="stable")
    counts = np.bincount(material, minlength=m.MATERIAL_COUNT)
    index_of = dict(enumerate(np.split(order, np.cumsum(counts)[:-1])))
    index = index_of.pop(m.GROUND)
    x, y = points[index, 0], points[index, 1]
    albedo[index] = ground.ground_albedo(world.road, look, x, y, blur[index])

    order = order[material[order] != m.GROUND]
    local, normal = world.in_own_frames(time, hit[order], points[order], normals[order])
    sideways = np.hypot(normal[:, 0], normal[:, 1])
    upright = sideways > 0.5
    along = local[:, 1] * normal[:, 0] - local[:, 0] * normal[:, 1]
    along = np.where(upright, along / np.maximum(sideways, np.float32(0.1)), local[:, 0])
    up = np.where(upright, local[:, 2], local[:, 1])
    end = 0
    for kind, index in index_of.items():
        start, end = end, end + len(index)
        if not len(index):
            continue
        pattern = world.patterns[hit[index]].astype(np.float32)
        if kind == m.FACADE:  # houses of different colours differ
            tint = np.floor(albedo[index] @ np.array([9001.0, 7003.0, 5003.0], np.float32))
            pattern = np.mod(pattern + tint, 65536.0)
        hits = Hits(
            albedo=albedo[index],
            along=along[start:end],
            up=up[start:end],
            height=points[index, 2],
            upright=upright[start:end],
            pattern=pattern,
            blur=blur[index],
            mirror=mirror[index],
            glow=glow[index],
        )
        albedo[index] = materials.textured(kind, hits)
        mirror[index], glow[index] = hits.mirror, hits.glow
    return albedo, mirror, glow


def _contact_shadows(
    world: World,
    time: float,
    origin: np.ndarray,
    points: np.ndarray,
    on_ground: np.ndarray,
    open_sky: np.ndarray,
    sunny: np.ndarray,
) -> None:
    """Darken the ground under and beside vehicles and people, and in the ego vehicle's shadow."""
    place = points[on_ground]
    poses = world.box_poses(time)
    distances = np.hypot(*(poses[:, :2, 3] - origin[:2]).T)
    near = [i for i in np.argsort(distances)[:40] if distances[i] < _SHADED]
    boxes = [(poses[i][:2, 3], poses[i][:2, 0], world.actors[i].size) for i in near]
    x, y, yaw = world.ego.poses(time)
    forward = np.array([np.cos(yaw), np.sin(yaw)])
    own = np.array([x, y]) + EGO_CENTER * forward
    for center, axis, (width, length, height) in [*boxes, (own, forward, EGO_SIZE)]:
        reach = 0.35 + 0.35 * min(height, 2.0)
        radius = np.float32(np.hypot(width, length) / 2.0 + reach)
        dx, dy = place[:, 0] - np.float32(center[0]), place[:, 1] - np.float32(center[1])
        inside = np.flatnonzero((np.abs(dx) < radius) & (np.abs(dy) < radius))
        if not len(inside):
            continue
        dx, dy = dx[inside], dy[inside]
        a = np.abs(dx * axis[0] + dy * axis[1]) - length / 2.0
        b = np.abs(dy * axis[0] - dx * axis[1]) - width / 2.0
        outside = np.hypot(np.maximum(a, 0.0), np.maximum(b, 0.0))
        depth = np.clip(-np.maximum(a, b) / 0.5, 0.0, 1.0) * (outside == 0.0)
        dark = np.clip(1.0 - outside / reach, 0.0, 1.0) ** 2
        open_sky[on_ground[inside]] *= 1.0 - 0.5 * dark - 0.4 * depth
    # The ego vehicle is no mesh: its shadow is found on each point's way to the sun.
    to_sun = world.light.to_sun
    close = np.flatnonzero(np.hypot(points[:, 0] - own[0], points[:, 1] - own[1]) < 14.0)
    offset = points[close, :2] - own.astype(np.float32)
    low = np.zeros(len(close), np.float32)
    high = np.full(len(close), (EGO_SIZE[2] - 0.2) / max(to_sun[2], 0.05), np.float32)
    side = np.array([-forward[1], forward[0]])
    for axis, half in ((forward, EGO_SIZE[1] / 2.0 - 0.3), (side, EGO_SIZE[0] / 2.0 - 0.1)):
        a, slope = offset @ axis.astype(np.float32), float(to_sun[:2] @ axis) + 1e-6
        ends = np.stack([(-half - a) / slope, (half - a) / slope])
        low, high = np.maximum(low, ends.min(axis=0)), np.minimum(high, ends.max(axis=0))
    sunny[close[high > low]] *= 0.03


def _soak(wetness: float, material: np.ndarray, albedo: np.ndarray, normals: np.ndarray) -> None:
    """Wet, porous surfaces are darker; level ones more so."""
    porous = np.ones(m.MATERIAL_COUNT, np.float32)
    porous[[m.PAINT, m.GLASS, m.CHROME, m.LAMP, m.RETRO, m.PLASTIC]] = 0.0
    dark = wetness * porous[material] * (0.2 + 0.35 * np.clip(normals[:, 2], 0.0, 1.0))
    albedo *= (1.0 - dark)[:, None]


def _wet_ground(
    world: World,
    instant: Instant,
    time: float,
    look: ground.GroundLook,
    on_ground: np.ndarray,
    view: np.ndarray,
    points: np.ndarray,
    toward: np.ndarray,
    shaded: np.ndarray,
) -> None:
    """Add what the water on the ground mirrors."""
    film = ground.puddles(look, world.light.wetness, points)
    share = film * (0.03 + 0.75 * (1.0 - toward) ** 4)
    index = np.flatnonzero(share > 0.03)
    if not len(index):
        return
    bent = view[index] * np.array([1.0, 1.0, -1.0], np.float32)
    # Ripples and rough asphalt draw mirror images out.
    ripple = textures.texels(textures.blotchy(), 50.0 * points[index, 0], 50.0 * points[index, 1])
    bent[:, 2] = np.abs(bent[:, 2] + (0.04 * (1.2 - film[index])) * ripple)
    hit, way = instant.cast(points[index] + np.array([0, 0, 0.02], np.float32), bent, 120.0)
    met = np.flatnonzero(hit != MISS)
    mirrored = sky(world.light, bent, world.look)
    normals = instant.normals[hit[met]]
    sunny = np.abs(normals @ world.light.to_sun.astype(np.float32)) * 0.4
    incoming = 0.55 * world.light.ambient + sunny[:, None] * world.light.sun
    if world.light.night:
        places = points[index[met]] + bent[met] * way[met, None]
        facing = normals * -np.sign(np.einsum("ij,ij->i", normals, bent[met]))[:, None]
        incoming = incoming + lamps.lamplight(world, time, points[0], places, facing)
    mirrored[met] = world.albedo[hit[met]] * incoming
    shining, radiance = lamps.emitted(world, time, hit[met], world.materials[hit[met]])
    mirrored[met[shining]] += radiance
    shaded[on_ground[index]] += share[index, None] * (mirrored - shaded[on_ground[index]])


def _own_body(world: World, time: float, directions: np.ndarray, color: np.ndarray) -> None:
    """Paint the ego vehicle's bonnet and boot over what lies low before and behind it."""
    rng = np.random.default_rng([world.look, 3])
    front, back = rng.uniform(15.0, 30.0), rng.uniform(21.0, 36.0)  # degrees below the horizon
    paint = np.float32(rng.choice([0.03, 0.3, 0.6], p=[0.3, 0.3, 0.4]) * rng.uniform(0.6, 1.3))
    bend = rng.uniform(4.0, 14.0)
    low = np.flatnonzero(directions[:, 2] < -np.sin(np.radians(min(front, back))))
    if not len(low):
        return
    yaw = world.ego.poses(time)[2]
    c, s = np.cos(yaw), np.sin(yaw)
    ray = directions[low]
    aside = np.arctan2(c * ray[:, 1] - s * ray[:, 0], np.abs(c * ray[:, 0] + s * ray[:, 1]))
    ahead = c * ray[:, 0] + s * ray[:, 1] > 0.0
    dip = -np.degrees(np.arcsin(np.clip(ray[:, 2], -1.0, 1.0)))
    over = dip - np.where(ahead, front, back) - bend * aside**2
    body = np.flatnonzero((over > 0.0) & (np.abs(aside) < 0.9))
    light = world.light
    bent = ray[body] * np.array([1.0, 1.0, -1.0], np.float32)
    incoming = (light.ambient + 0.5 * light.sun * light.to_sun[2]).astype(np.float32)
    rounded = np.clip(0.55 + 0.12 * over[body], 0.4, 1.1)[:, None].astype(np.float32)
    mirrored = surroundings(light, bent, incoming * 0.1, world.look)
    color[low[body]] = paint * incoming * rounded + 0.2 * mirrored * rounded


def _streaks(image: np.ndarray, rain: float, ambient: np.ndarray, rng: np.random.Generator) -> None:
    """Drops that fall while the shutter is open."""
    height, width = image.shape[:2]
    count = int(rain * 0.003 * height * width)
    x, y = rng.uniform(0, width, count), rng.uniform(-20, height, count)
    length = rng.uniform(0.02, 0.09, count) * height
    tilt = rng.normal(0.0, 0.15)
    starts = np.stack([x, y], axis=1)
    ends = starts + np.stack([tilt * length, length], axis=1)
    lines = np.rint(np.stack([starts, ends], axis=1)).astype(np.int32)
    mask = np.zeros((height, width), np.uint8)
    cv2.polylines(mask, list(lines[:, :, None, :]), False, 255, 1, cv2.LINE_AA)
    share = mask[..., None] * np.float32(rng.uniform(0.02, 0.08) / 255.0)
    image += share * (ambient.astype(np.float32) - image)
