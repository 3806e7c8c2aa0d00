# SPDX-License-Identifier: Apache-2.0
"""What the shapes of vehicles promise: a front, a rear, two like sides, wheels on the ground."""

import numpy as np
import pytest

from asd_training.synthetic.meshes.mesh import HEADLAMP, RUBBER, TAIL_LAMP
from asd_training.synthetic.meshes.raytracer import MISS, Tracer
from asd_training.synthetic.meshes.vehicle_parts.body import Body, mirrored
from asd_training.synthetic.meshes.vehicle_parts.fittings import TRIM
from asd_training.synthetic.meshes.vehicles.car_styles import STYLES
from asd_training.synthetic.meshes.vehicles.cars import shell
from asd_training.synthetic.world.models import BUILDERS, random_size

VEHICLES = ("car", "truck", "bus", "trailer", "construction_vehicle")


def built(name, seed):
    rng = np.random.default_rng(seed)
    width, length, height = random_size(rng, name)
    return BUILDERS[name](rng, length, width, height), length


@pytest.mark.parametrize("name", ["car", "truck", "bus"])
def test_headlamps_shine_ahead_and_tail_lamps_behind(name):
    for seed in range(40):
        mesh, length = built(name, seed)
        x = mesh.triangles[..., 0].mean(axis=1)
        head, tail = x[mesh.materials == HEADLAMP], x[mesh.materials == TAIL_LAMP]
        assert len(head) and len(tail), seed
        assert head.min() > 0.15 * length and tail.max() < -0.15 * length, seed


@pytest.mark.parametrize("name", ["car", "truck", "bus", "trailer"])
def test_wheels_stand_on_the_ground_on_both_sides(name):
    for seed in range(40):
        mesh, _ = built(name, seed)
        tyres = mesh.triangles[mesh.materials == RUBBER]
        assert abs(tyres[..., 2].min()) < 0.02
        assert abs(mesh.triangles[..., 2].min()) < 0.02
        assert tyres[..., 1].max() == pytest.approx(-tyres[..., 1].min(), abs=1e-4)


@pytest.mark.parametrize("name", VEHICLES)
def test_one_seed_gives_one_mesh_of_few_triangles(name):
    sizes = []
    for seed in range(40):
        mesh, again = built(name, seed)[0], built(name, seed)[0]
        assert np.array_equal(mesh.triangles, again.triangles)
        assert np.array_equal(mesh.patterns, again.patterns)
        assert np.isfinite(mesh.triangles).all()
        sizes.append(len(mesh))
    assert np.mean(sizes) < 2200


@pytest.mark.parametrize("name", STYLES)
def test_no_ray_looks_through_or_into_a_car(name):
    """Level rays that enter a car's body leave it on the far side: its skin has no holes."""
    mesh = shell(np.random.default_rng(2), STYLES[name], 4.6, 1.9, 1.7, name, "private")
    tracer = Tracer(np.ascontiguousarray(mesh.triangles))
    z, along = np.meshgrid(np.linspace(0.5, 0.75, 6), np.linspace(-1.5, 1.5, 40))
    across = along * 0.45
    for start, direction in (
        (np.stack([along, np.full_like(z, 4.0), z], -1), (0, -1, 0)),
        (np.stack([np.full_like(z, 9.0), across, z], -1), (-1, 0, 0)),
        (np.stack([np.full_like(z, -9.0), across, z], -1), (1, 0, 0)),
        (np.stack([along, across, z + 5.0], -1), (0, 0, -1)),
    ):
        origins = np.ascontiguousarray(start.reshape(-1, 3), np.float32)
        directions = np.tile(np.array(direction, np.float32), (len(origins), 1))
        triangle, _ = tracer.cast(origins, directions, np.full(len(origins), 50.0, np.float32))
        assert (triangle != MISS).all()
    z, across = np.meshgrid(np.linspace(0.3, 1.6, 66), np.linspace(-0.9, 0.9, 31))
    for side, hidden in ((1.0, TAIL_LAMP), (-1.0, HEADLAMP)):
        origins = np.stack([np.full_like(z, 9.0 * side), across, z], -1).reshape(-1, 3)
        directions = np.tile(np.array([-side, 0.0, 0.0], np.float32), (len(origins), 1))
        reach = np.full(len(origins), 50.0, np.float32)
        triangle, _ = tracer.cast(np.ascontiguousarray(origins, np.float32), directions, reach)
        assert not (mesh.materials[triangle[triangle != MISS]] == hidden).any()


def test_body_bends_no_point_past_another():
    """Along every row of a lofted body, stations stay in order when nose and tail are bent."""
    body = Body(
        -2.0, 2.0, 0.9, np.linspace(-1.8, 1.8, 12).tolist(), 0.2, ((-2.0, 0.9), (2.0, 0.9)),
        ((-2.0, 1.0), (-1.0, 1.5), (0.5, 1.5), (1.0, 1.0), (2.0, 0.95)),
    )  # fmt: skip
    x = np.broadcast_to(body.x[:, None], body.y.shape)
    bent = body.bent(np.stack([x, body.y, body.z], axis=-1))
    assert (np.diff(bent[..., 0], axis=0) > 0.0).all()
    skin = body.skin(np.zeros((len(body.x) - 1, 8), int), [TRIM])
    both = mirrored(skin)
    assert len(both) == 2 * len(skin)
    assert both.triangles[..., 1].min() == pytest.approx(-both.triangles[..., 1].max())
