# SPDX-License-Identifier: Apache-2.0
"""Promise: the network as the robot runs it answers as the plain one does, also after a change of
calibration."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from asd_perception.models import TINY
from asd_perception.network.model_directory import load, student_config
from asd_perception.network.view_transform import frame_geometry
from asd_perception.runtime.cpu import CpuBackend
from asd_perception.runtime.cuda import with_absent_cameras
from asd_perception.runtime.folding import fold_batch_norms

SIZE = student_config(TINY).image_size


@pytest.fixture(scope="module")
def student():
    return load(TINY)


def frame(seed: int, height: float = 1.5, cameras: int = 6):
    """Random images and cameras that look about horizontally."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, cameras, 3, *SIZE)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    rows, columns = SIZE
    focal = 0.8 * columns
    intrinsics = torch.tensor(
        [[focal, 0, (columns - 1) / 2], [0, focal, (rows - 1) / 2], [0, 0, 1]]
    )
    intrinsics = intrinsics.expand(1, cameras, 3, 3)
    poses = torch.eye(4).repeat(1, cameras, 1, 1)
    for i, heading in enumerate(torch.arange(cameras) * torch.pi / 3):
        poses[0, i, :2, 2] = torch.stack([heading.cos(), heading.sin()])
        poses[0, i, :2, 0] = torch.stack([heading.sin(), -heading.cos()])
        poses[0, i, :3, 1] = torch.tensor([0.0, 0.0, -1.0])
        poses[0, i, :3, 3] = torch.tensor([0.0, 0.0, height])
    return images, intrinsics, poses


def assert_same(found, expected):
    torch.testing.assert_close(found.head, expected.head, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        found.simulated_points, expected.simulated_points, rtol=1e-3, atol=1e-2
    )


@pytest.mark.parametrize("graphs", [None, TINY])
def test_answers_are_the_plain_networks_also_after_a_change_of_calibration(student, graphs):
    """The tolerance is that of float32 sums taken in another order."""
    inference = CpuBackend(student, graphs)
    with torch.inference_mode():
        for seed, height in ((0, 1.5), (1, 1.5), (2, 1.6), (3, 1.5)):
            images, *calibration = frame(seed, height)
            arrays = images[0].permute(0, 2, 3, 1).numpy()
            one_by_one = torch.stack([inference.encode(image) for image in arrays])[None]
            assert_same(
                inference.forward_bev(one_by_one, *calibration), student(images, *calibration)
            )


def test_geometry_is_kept_as_long_as_the_calibration_stays(student):
    inference = CpuBackend(student)
    _, intrinsics, poses = frame(0)
    first = inference.geometry(intrinsics, poses)
    assert inference.geometry(intrinsics.clone(), poses.clone()) is first
    poses[0, 0, 0, 3] += 1e-6  # in place: it must not be compared with itself
    moved = inference.geometry(intrinsics, poses)
    assert moved is not first and not torch.equal(moved.rays.origins, first.rays.origins)


def test_a_camera_that_comes_and_goes_costs_no_new_geometry(student):
    inference = CpuBackend(student)
    _, intrinsics, poses = frame(0)
    whole = inference.geometry(intrinsics, poses)
    without = [inference.geometry(intrinsics[:, 1:], poses[:, 1:])]
    without.append(inference.geometry(intrinsics[:, :-1], poses[:, :-1]))
    for _ in range(3):
        assert inference.geometry(intrinsics, poses) is whole
        assert inference.geometry(intrinsics[:, 1:], poses[:, 1:]) is without[0]
        assert inference.geometry(intrinsics[:, :-1], poses[:, :-1]) is without[1]


@pytest.mark.parametrize("cameras", [1, 3, 5])
def test_absent_cameras_that_a_recording_asks_for_change_nothing(student, cameras):
    """A GPU's recorded work has a place for each of the rig's cameras; here, for eight."""
    images, *calibration = frame(0, cameras=cameras)
    with torch.inference_mode():
        features = student.image_encoder(images)
        seen = torch.ones(1, cameras, *features.shape[-2:], dtype=torch.bool)
        seen[..., 0] = False
        padded = with_absent_cameras(*calibration, seen, 8)
        size, config = student.config.image_size, student.config
        expected = student.forward_bev(features, frame_geometry(*calibration, size, config, seen))
        filled = features.new_zeros(1, 8, *features.shape[2:])
        filled[:, :cameras] = features
        matrices, poses, mask = padded
        found = student.forward_bev(filled, frame_geometry(matrices, poses, size, config, mask))
    torch.testing.assert_close(found.head, expected.head, rtol=1e-4, atol=1e-4)
    points = found.simulated_points[:, : seen.numel()]
    torch.testing.assert_close(points, expected.simulated_points, rtol=1e-4, atol=1e-3)


def test_the_student_it_is_made_from_stays_trainable(student):
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in student.modules())
    folded = CpuBackend(student).student
    assert sum(isinstance(module, nn.BatchNorm2d) for module in folded.modules()) == 1
    assert sum(isinstance(module, nn.BatchNorm2d) for module in student.modules()) == norms > 1
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_only_a_norm_right_behind_a_convolution_is_folded():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)
    )
    for norm in (network[1], network[3]):
        nn.init.uniform_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        nn.init.uniform_(norm.weight)
    network.eval()
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = network(images)
        fold_batch_norms(network)
        torch.testing.assert_close(network(images), expected)
    assert [type(module) for module in network].count(nn.BatchNorm2d) == 1
