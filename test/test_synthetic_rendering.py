# SPDX-License-Identifier: Apache-2.0
"""What the synthetic world looks like: light, weather, ground, materials."""

import copy

import numpy as np
import pytest

from asd_training.synthetic.meshes.mesh import MATERIAL_COUNT
from asd_training.synthetic.rendering import materials, shading
from asd_training.synthetic.rendering.ground import ground_albedo, ground_look
from asd_training.synthetic.rendering.hits import Hits
from asd_training.synthetic.sensors import rig
from asd_training.synthetic.world.light import random_light
from asd_training.synthetic.world.world import World

SCALE = 0.06


@pytest.fixture(scope="module")
def world():
    return World(np.random.default_rng(3), 0.5)


def seen(world, light):
    """The front camera's radiance (H, W, 3) of the world in another light."""
    world = copy.copy(world)
    world.light = light
    camera = rig.NUSCENES_RIG[2]
    global_from_camera = world.ego_pose(0.0) @ camera.ego_from_sensor
    directions = rig.camera_rays(camera, SCALE) @ global_from_camera[:3, :3].T.astype(np.float32)
    return shading.render(
        world, world.at(0.0), 0.0, global_from_camera[:3, 3], directions,
        rig.image_size(camera, SCALE), np.random.default_rng(0),
    )  # fmt: skip


def lights(wanted, count):
    """The first `count` random lights that are `wanted`."""
    drawn = (random_light(np.random.default_rng(seed)) for seed in range(1000))
    return [light for light in drawn if wanted(light)][:count]


def test_every_light_gives_a_picture_and_the_same_one_twice(world):
    kinds = (
        lambda light: light.night,
        lambda light: not light.night and light.rain > 0.0,
        lambda light: light.sun.max() > 1.0,
        lambda light: light.visibility < 300.0,
    )
    for kind in kinds:
        (light,) = lights(kind, 1)
        radiance = seen(world, light)
        assert radiance.dtype == np.float32
        assert np.isfinite(radiance).all() and radiance.min() >= 0.0 and radiance.std() > 1e-3
        np.testing.assert_array_equal(radiance, seen(world, light))


def test_nights_are_dark_and_lamps_shine_in_them(world):
    (day,) = lights(lambda light: light.sun.max() > 1.0 and light.visibility > 500.0, 1)
    (night,) = lights(lambda light: light.sun.max() == 0.0 and light.night, 1)
    dark = seen(world, night)
    assert np.median(dark) < 0.2 * np.median(seen(world, day))
    assert dark.max() > 10.0 * np.median(dark)


def test_the_ground_before_the_camera_looks_different_in_every_scene(world):
    """From near black to light grey, smooth and rough."""
    x, y, yaw = world.ego.poses(0.0)
    ahead, aside = np.meshgrid(np.linspace(4.0, 10.0, 60), np.linspace(-2.0, 2.0, 40))
    x = (x + np.cos(yaw) * ahead - np.sin(yaw) * aside).ravel().astype(np.float32)
    y = (y + np.sin(yaw) * ahead + np.cos(yaw) * aside).ravel().astype(np.float32)
    blur = np.full_like(x, 0.03)
    tones = [
        ground_albedo(world.road, ground_look(seed), x, y, blur).mean(axis=1) for seed in range(60)
    ]
    level, roughness = np.median(tones, axis=1), np.std(tones, axis=1) / np.mean(tones, axis=1)
    assert np.quantile(level, 0.9) > 3.0 * np.quantile(level, 0.1)
    assert np.quantile(roughness, 0.9) > 1.8 * np.quantile(roughness, 0.1)


@pytest.mark.parametrize("material", range(MATERIAL_COUNT))
def test_textures_keep_to_possible_colours_and_differ_by_pattern(material):
    def patch(pattern):
        up, along = (v.ravel().astype(np.float32) for v in np.mgrid[0:3:60j, 0:3:60j])
        n = len(up)
        hits = Hits(
            albedo=np.full((n, 3), 0.3, np.float32),
            along=along,
            up=up,
            height=up,
            upright=np.ones(n, bool),
            pattern=np.full(n, pattern, np.float32),
            blur=np.full(n, 0.01, np.float32),
            mirror=np.full(n, np.nan, np.float32),
            glow=np.zeros((n, 3), np.float32),
        )
        return materials.textured(material, hits)

    patches = [patch(pattern) for pattern in (1, 2000, 30001, 61234)]
    assert all(np.isfinite(p).all() and p.min() >= 0.0 and p.max() <= 1.0 for p in patches)
    assert not np.array_equal(patches[0], patches[1])
