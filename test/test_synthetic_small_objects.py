# SPDX-License-Identifier: Apache-2.0
"""People, two-wheelers, cones, barriers and clutter: what scenes may count on."""

from __future__ import annotations

import numpy as np
import pytest

from asd_training.synthetic.meshes.clutter import clutter
from asd_training.synthetic.meshes.cycles.bicycles import bicycle
from asd_training.synthetic.meshes.cycles.motorcycles import motorcycle
from asd_training.synthetic.meshes.people import person
from asd_training.synthetic.meshes.people.postures import riding
from asd_training.synthetic.meshes.road_furniture import barrier, traffic_cone


@pytest.mark.parametrize("posture", ["walking", "standing", "bending", "sitting"])
def test_people_stand_on_the_ground_and_are_no_larger_than_people(posture):
    rng = np.random.default_rng(1)
    for _ in range(40):
        points = person(rng, 1.75, posture).triangles.reshape(-1, 3)
        length, width, height = np.ptp(points, axis=0)
        assert abs(points[:, 2].min()) < 0.06
        assert 0.25 < length < 1.7 and 0.35 < width < 1.7
        low, high = {"sitting": (1.0, 1.7), "bending": (0.7, 1.8)}.get(posture, (1.65, 2.5))
        assert low < height < high


def test_a_rider_reaches_bar_and_pedals():
    for stature in np.linspace(1.6, 1.9, 7):
        feet = ((0.05, -0.1, 0.25), (-0.1, 0.1, 0.5))
        pose = riding(stature, 0.115, (-0.3, 0.2 + 0.41 * stature), (0.35, 0.25, 1.05), feet)
        np.testing.assert_allclose(pose.legs[:, 2], feet, atol=0.06)
        bars = [(0.35, -0.25, 1.05), (0.35, 0.25, 1.05)]
        np.testing.assert_allclose(pose.arms[:, 2], bars, atol=0.06)


@pytest.mark.parametrize("build", [bicycle, motorcycle])
def test_a_rider_sits_above_the_two_wheeler(build):
    for seed in range(20):
        alone, ridden = (
            np.ptp(build(np.random.default_rng(seed), 1.9, 0.7, 1.3, rider=rider).triangles[..., 2])
            for rider in (False, True)
        )
        assert alone < 1.65 and 1.3 < ridden < 2.15


@pytest.mark.parametrize(
    ("build", "size"), [(barrier, (0.5, 2.5, 1.0)), (traffic_cone, (0.4,) * 3)]
)
def test_a_row_of_one_style_is_of_one_kind(build, size):
    """The first parts, those that bear the shape, agree; bags and lamps need not."""
    rng = np.random.default_rng(2)
    kinds = set()
    for style in range(30):
        one, other = (build(rng, *size, style=style).triangles[:60] for _ in range(2))
        np.testing.assert_array_equal(one, other)
        kinds.add(one.tobytes())
    assert len(kinds) > 10


def test_clutter_stands_on_the_ground_and_depends_on_the_seed_alone():
    for seed in range(200):
        mesh, again = (clutter(np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(mesh.triangles, again.triangles)
        np.testing.assert_array_equal(mesh.patterns, again.patterns)
        points = mesh.triangles.reshape(-1, 3)
        assert -0.8 < points[:, 2].min() < 0.1 and 0.1 < points[:, 2].max() < 5.0
        assert np.ptp(points, axis=0)[:2].max() < 7.5 and len(mesh) < 2000
        assert np.isfinite(points).all()
