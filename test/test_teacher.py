# SPDX-License-Identifier: Apache-2.0
"""Promise: the teacher sees every LiDAR point, in its own cell, with and without cameras."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_network import SMALL, frame

from asd_perception.bev_grid import BevGrid
from asd_perception.configuration import from_dict, to_dict
from asd_perception.errors import UserError
from asd_perception.network.center_head import BOX_VALUES
from asd_training.config.teacher import TeacherConfig
from asd_training.models.pillars import PillarEncoder
from asd_training.models.teacher import Teacher

LIDAR = TeacherConfig(modality="lidar", pillar_channels=16, network=SMALL)
BOTH = dataclasses.replace(LIDAR, modality="lidar_camera")
GRID = BevGrid(half_extent=6.4)  # 16 x 16 cells of 0.8 m, 32 x 32 pillars of 0.4 m


def cloud(seed: int, count: int = 400, extent: float = 14.0) -> torch.Tensor:
    """Points (count, 5) near the ground, some of them outside the grids of these tests."""
    rng = np.random.default_rng(seed)
    columns = [
        rng.uniform(-extent, extent, (count, 2)),
        rng.uniform(-1, 3, (count, 1)),
        rng.uniform(0, 255, (count, 1)),
        rng.choice([0.0, 0.05, 0.1], (count, 1)),
    ]
    return torch.from_numpy(np.concatenate(columns, axis=1)).float()


def batch(*clouds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Clouds as the teacher takes them."""
    index = [torch.full((len(points),), i) for i, points in enumerate(clouds)]
    return torch.cat(clouds), torch.cat(index), len(clouds)


def pillar_encoder(pillar_cells: int = 2) -> PillarEncoder:
    """An encoder in eval mode whose point layers have seen some points."""
    torch.manual_seed(0)
    encoder = PillarEncoder(GRID, pillar_cells, pillar_channels=8, channels=12).train()
    for seed in range(3):
        encoder(*batch(cloud(seed)))
    return encoder.eval()


@pytest.fixture(scope="module")
def encoder() -> PillarEncoder:
    return pillar_encoder()


@pytest.fixture(scope="module", params=[LIDAR, BOTH], ids=lambda config: config.modality)
def teacher(request) -> Teacher:
    torch.manual_seed(0)
    return Teacher(request.param).eval()


def leaves(output) -> list[torch.Tensor]:
    """All tensors of an output; what a modality does not have is None and left out."""
    return [leaf for leaf in torch.utils._pytree.tree_leaves(output) if leaf is not None]


def cameras(config: TeacherConfig, *seeds: int) -> tuple[torch.Tensor, ...]:
    """The images and rigs that this modality needs."""
    if config.modality == "lidar":
        return ()
    frames = [frame(config.network, seed) for seed in seeds]
    return tuple(torch.cat(parts) for parts in zip(*frames, strict=True))


# Pillars


def reference_pillars(encoder: PillarEncoder, points: torch.Tensor) -> torch.Tensor:
    """The pillars (channels, rows, columns) of one cloud, one after the other."""
    grid = encoder.pillar_grid
    members: dict[tuple[int, int], list[torch.Tensor]] = {}
    for point in points:
        column, row = (math.floor((float(side) + 6.4) / grid.cell) for side in point[:2])
        members.setdefault((row, column), []).append(point)

    result = torch.zeros(encoder.layers[-1].linear.out_features, grid.size, grid.size)
    for (row, column), inside in members.items():
        x_y_z, intensity, age = torch.stack(inside).split([3, 1, 1], dim=1)
        middle = torch.tensor([column + 0.5, row + 0.5]) * grid.cell - 6.4
        scale = torch.tensor([grid.cell, grid.cell, 1.0])
        features = [
            x_y_z[:, 2:],
            intensity / 255,
            age,
            (x_y_z - x_y_z.mean(dim=0)) / scale,
            (x_y_z[:, :2] - middle) / grid.cell,
            torch.full_like(age, math.log(len(inside))),
        ]
        result_of_points = torch.cat(features, dim=1)
        for layer in encoder.layers:
            result_of_points = layer.norm(layer.linear(result_of_points)).relu()
        result[:, row, column] = result_of_points.amax(dim=0)
    return result


@torch.no_grad()
def test_pillars_are_those_of_a_loop_over_pillars(encoder):
    points = cloud(1, 250, extent=3.0)
    pillars = encoder.pillars(*batch(points))[0]
    expected = reference_pillars(encoder, points)
    torch.testing.assert_close(pillars, expected, rtol=1e-4, atol=1e-4)
    assert (expected != 0).any(dim=0).sum() > 100


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(0, 300))
@torch.no_grad()
def test_the_order_of_the_points_does_not_matter(encoder, seed, count):
    points, index, _ = batch(cloud(seed, count, 3.0), cloud(seed + 1, 50, 3.0))
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        encoder.pillars(points, index, 2),
        encoder.pillars(points[order], index[order], 2),
        rtol=1e-4,
        atol=1e-4,
    )


@torch.no_grad()
def test_empty_pillars_are_exactly_zero_and_no_point_is_too_many(encoder):
    points = cloud(2, 5000, extent=0.39)
    points[:, :2] += 0.4  # one BEV cell, four pillars
    pillars = encoder.pillars(*batch(points))
    assert (pillars != 0).any(dim=1).nonzero().tolist() == [
        [0, row, column] for row in (16, 17) for column in (16, 17)
    ]
    highest = points[:, 2].argmax()
    points[highest, 2] += 1.0
    assert not torch.equal(pillars, encoder.pillars(*batch(points)))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), rows=st.integers(-3, 3), columns=st.integers(-3, 3))
@torch.no_grad()
def test_points_moved_by_whole_cells_move_their_features_by_as_many(encoder, seed, rows, columns):
    # Cell sides and places that float32 represents exactly: no point may change its pillar.
    points = cloud(seed, 100, extent=3.0)
    points[:, :2] = (points[:, :2] / 0.4).floor() * 0.4 + 0.2 + cloud(seed, 100, 0.15)[:, :2]
    moved = points + torch.tensor([0.4 * columns, 0.4 * rows, 0, 0, 0])
    torch.testing.assert_close(
        encoder.pillars(*batch(moved)),
        encoder.pillars(*batch(points)).roll((rows, columns), (2, 3)),
        rtol=1e-3,
        atol=1e-3,
    )


@torch.no_grad()
def test_a_cloud_turned_to_the_left_fills_the_turned_cells(encoder):
    points = torch.tensor([[5.0, 0.1, 1.0, 9.0, 0.0], [2.1, -3.0, 0.0, 9.0, 0.0]])
    turned = points.clone()
    turned[:, 0], turned[:, 1] = -points[:, 1], points[:, 0]  # x, y to -y, x

    def occupied(cloud: torch.Tensor) -> torch.Tensor:
        return (encoder.pillars(*batch(cloud))[0] != 0).any(dim=0)

    # Rows along +y, columns along +x: (y + 6.4) / 0.4 and (x + 6.4) / 0.4.
    assert occupied(points).nonzero().tolist() == [[8, 21], [16, 28]]
    assert torch.equal(occupied(turned), occupied(points).rot90(-1))


@torch.no_grad()
def test_points_that_are_broken_or_outside_have_no_effect(encoder):
    good, bad = cloud(3, 100, 3.0), cloud(4, 8, 3.0)
    for i, value in enumerate((torch.nan, torch.inf, -torch.inf, torch.nan, torch.nan)):
        bad[i, i] = value
    bad[5, 0], bad[6, 1], bad[7, 2] = 6.41, -6.41, 5.1
    assert torch.equal(encoder(*batch(torch.cat([bad, good]))), encoder(*batch(good)))


@pytest.mark.parametrize("count", [0, 1])
def test_a_cloud_of_no_or_one_point_neither_fails_nor_spoils_the_statistics(count):
    encoder = pillar_encoder().train()
    bev = encoder(*batch(cloud(0, count, 3.0), cloud(1, 0)))
    bev.square().sum().backward()
    assert torch.isfinite(bev).all()
    assert all(torch.isfinite(buffer).all() for buffer in encoder.buffers())
    # Every parameter is part of the graph, as training on several machines demands.
    assert all(parameter.grad is not None for parameter in encoder.parameters())


@pytest.mark.parametrize("count", [0, 1])
def test_every_norm_runs_on_every_cloud(count):
    """Else a process that saw nothing would leave the others waiting for its statistics."""
    encoder = pillar_encoder().train()
    before = [norm.clone() for layer in encoder.layers for norm in layer.norm.buffers()]
    ran = []
    for layer in encoder.layers:
        layer.norm.register_forward_hook(lambda norm, *_: ran.append(norm))
    encoder(*batch(cloud(0, count, 3.0)))
    assert ran == [layer.norm for layer in encoder.layers]
    if count == 0:
        after = [norm for layer in encoder.layers for norm in layer.norm.buffers()]
        for old, new in zip(before, after, strict=True):
            if old.is_floating_point():
                torch.testing.assert_close(new, old)


@torch.no_grad()
def test_mixed_precision_only_rounds_the_pillars(encoder):
    points = cloud(5, 300, 6.0)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, bev = encoder.pillars(*batch(points)), encoder(*batch(points))
    assert torch.equal(mixed, encoder.pillars(*batch(points)).bfloat16())
    torch.testing.assert_close(bev.float(), encoder(*batch(points)), rtol=0.1, atol=0.2)


@pytest.mark.parametrize("pillar_cells", [1, 2, 4])
@torch.no_grad()
def test_lidar_features_lie_on_the_bev_grid_at_the_points_place(pillar_cells):
    encoder = pillar_encoder(pillar_cells)
    point = torch.tensor([[-3.0, 4.2, 1.0, 50.0, 0.0]])  # column 4, row 13 of 16
    bev = encoder(*batch(point, cloud(0, 0)))
    assert bev.shape == (2, 12, 16, 16)
    change = (bev[0] - bev[1]).abs().sum(dim=0)
    mass = change / change.sum()
    assert abs(float(mass.sum(0) @ torch.arange(16.0)) - 4) < 1
    assert abs(float(mass.sum(1) @ torch.arange(16.0)) - 13) < 1


# The network as a whole


@torch.no_grad()
def test_shapes_are_as_promised(teacher):
    config = teacher.config
    output = teacher(*batch(cloud(0), cloud(1, 77)), *cameras(config, 0, 1))
    shapes = [(2, n, 32, 32) for n in (10, BOX_VALUES, 2, 8)]
    assert [tuple(maps.shape) for maps in output.head] == shapes
    assert output.lidar_bev.shape == output.fused_bev.shape == (2, SMALL.bev_channels, 32, 32)
    assert output.encoded_bev.shape == (2, SMALL.encoder_channels[0], 32, 32)
    if config.modality == "lidar":
        assert output.camera_bev is None and output.camera_depth is None
        assert output.fused_bev is output.lidar_bev
    else:
        assert output.camera_bev.shape == output.lidar_bev.shape
        assert output.camera_depth.shape == (2, 6, SMALL.depth.bins, 8, 12)


@torch.no_grad()
def test_a_sample_does_not_depend_on_its_batch(teacher):
    clouds = [cloud(0), cloud(1, 0), cloud(2, 77)]
    both = leaves(teacher(*batch(*clouds), *cameras(teacher.config, 0, 1, 2)))
    for i, points in enumerate(clouds):
        alone = leaves(teacher(*batch(points), *cameras(teacher.config, i)))
        for a, b in zip(both, alone, strict=True):
            torch.testing.assert_close(a[i : i + 1], b, rtol=1e-3, atol=1e-3)


def test_a_training_step_reaches_every_parameter(teacher):
    torch.manual_seed(0)
    net = Teacher(teacher.config).train()
    with torch.no_grad():  # maps that start constant hide what lies before them
        for parameter in net.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    output = net(*batch(cloud(0), cloud(1)), *cameras(net.config, 0, 1))
    sum(leaf.square().sum() for leaf in leaves((output.head, output.camera_depth))).backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


@torch.no_grad()
def test_lidar_alone_has_no_camera_branch_and_never_looks_at_images():
    torch.manual_seed(0)
    net = Teacher(LIDAR).eval()
    parts = {name.split(".")[0] for name, _ in net.named_parameters()}
    assert parts == {"lidar_encoder", "bev_encoder", "head"}
    without = net(*batch(cloud(0)))
    noise = [x.float().fill_(torch.nan) for x in frame(SMALL)]
    assert torch.equal(without.head.heatmap, net(*batch(cloud(0)), *noise).head.heatmap)


@torch.no_grad()
def test_with_cameras_both_modalities_matter_and_both_are_needed():
    torch.manual_seed(0)
    net = Teacher(BOTH).eval()
    features = net(*batch(cloud(0)), *frame(SMALL)).encoded_bev
    assert not torch.allclose(features, net(*batch(cloud(1)), *frame(SMALL)).encoded_bev)
    assert not torch.allclose(features, net(*batch(cloud(0)), *frame(SMALL, 1)).encoded_bev)
    with pytest.raises(ValueError, match="needs images"):
        net(*batch(cloud(0)))


def test_configurations_survive_yaml_and_bad_ones_are_refused():
    assert from_dict(TeacherConfig, to_dict(BOTH)) == BOTH
    with pytest.raises(
        UserError, match=r"modality is 'radar'; it must be one of lidar, lidar_camera"
    ):
        TeacherConfig(modality="radar")
    with pytest.raises(UserError, match="pillar_cells is 0"):
        from_dict(TeacherConfig, {"pillar_cells": 0})
