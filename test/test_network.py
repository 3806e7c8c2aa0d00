# SPDX-License-Identifier: Apache-2.0
"""Promise: the student's geometry is the rig's, its boxes decode as encoded, and it exports."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from asd_perception.bev_grid import BevGrid
from asd_perception.cameras.rig import ABSENT_CAMERA, CameraRig
from asd_perception.constants import ATTRIBUTES, CLASS_ATTRIBUTES, CLASSES, NO_ATTRIBUTE
from asd_perception.errors import UserError
from asd_perception.network.center_head import (
    BOX_VALUES,
    HeadOutput,
    decode,
    decode_boxes,
    decode_yaw,
    encode_boxes,
)
from asd_perception.network.config import BackboneConfig, DepthConfig, StudentConfig
from asd_perception.network.simulated_points import depth_around_mode, splat_points
from asd_perception.network.student import Student
from asd_perception.network.view_transform import (
    camera_rays,
    cells_of,
    depth_bin_centres,
    depth_bin_index,
    frustum_points,
)
from asd_perception.ops.bev_pool import bev_pool, plan_bev_pool

GRID = BevGrid(half_extent=12.8)
SMALL = StudentConfig(image_size=(64, 96), bev=GRID, depth=DepthConfig(1.0, 21.0, 20))


def ring_rig(size: tuple[int, int], cameras: int = 6, seed: int = 0) -> CameraRig:
    """Cameras that look all around, each a little off the level."""
    rng = np.random.default_rng(seed)
    height, width = size
    intrinsics = np.array(
        [[0.8 * width, 0, 0.52 * width], [0, 0.81 * width, 0.4 * height], [0, 0, 1]]
    )
    poses = np.tile(np.eye(4), (cameras, 1, 1))
    forward = Rotation.from_matrix([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # optical to x-forward
    for i in range(cameras):
        tilt = Rotation.from_euler("zyx", [2 * np.pi * i / cameras, *rng.normal(0, 0.03, 2)])
        poses[i, :3, :3] = (tilt * forward).as_matrix()
        poses[i, :3, 3] = rng.normal([0.5, 0, 1.6], 0.2)
    return CameraRig(
        tuple(f"CAM_{i}" for i in range(cameras)),
        np.tile(intrinsics, (cameras, 1, 1)),
        poses,
        np.tile([width, height], (cameras, 1)),
        np.zeros((cameras, 8)),
    )


def tensors(rig: CameraRig) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(rig.intrinsics)[None].float(), torch.tensor(rig.ego_from_camera)[
        None
    ].float()


def frame(config: StudentConfig, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One sample: images of noise and a rig."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(
        0, 256, (1, 6, 3, *config.image_size), dtype=torch.uint8, generator=generator
    )
    return images, *tensors(ring_rig(config.image_size, seed=seed))


@pytest.fixture(scope="module")
def student() -> Student:
    torch.manual_seed(0)
    return Student(SMALL).eval()


def leaves(output) -> list[torch.Tensor]:
    return torch.utils._pytree.tree_leaves(output)


# Geometry


def test_lifted_points_project_back_onto_their_pixel_and_depth():
    size, stride, bins = (64, 96), 8, DepthConfig(1.0, 41.0, 10)
    rig = ring_rig(size)
    points = frustum_points(camera_rays(*tensors(rig), (8, 12), stride), bins)[0]
    for camera in range(len(rig)):
        pixels, depths = rig.project(points[camera].numpy(), camera)
        np.testing.assert_allclose(
            pixels[..., 0], np.broadcast_to(np.arange(12) * 8 + 3.5, (10, 8, 12)), atol=1e-3
        )
        np.testing.assert_allclose(
            pixels[..., 1], np.broadcast_to(np.arange(8)[:, None] * 8 + 3.5, (10, 8, 12)), atol=1e-3
        )
        np.testing.assert_allclose(
            depths, np.broadcast_to((np.arange(10) * 4 + 3)[:, None, None], (10, 8, 12)), rtol=1e-5
        )


@settings(max_examples=25, deadline=None)
@given(
    row=st.integers(0, 31),
    column=st.integers(0, 31),
    z=st.floats(0.5, 2.5),
    seed=st.integers(0, 99),
)
def test_a_point_seen_by_a_camera_is_lifted_into_its_own_cell(row, column, z, seed):
    size, bins = (16, 48), DepthConfig(1.0, 21.0, 100)
    rig = ring_rig(size, seed=seed)
    point = np.array([(column + 0.5) * 0.8 - 12.8, (row + 0.5) * 0.8 - 12.8, z])
    views = [(camera, *rig.project(point, camera)) for camera in range(len(rig))]
    views = [
        (camera, *np.round(pixel).astype(int), depth)
        for camera, pixel, depth in views
        if 1.5 < depth < 20 and np.all(pixel > 0) and np.all(pixel < [size[1] - 1, size[0] - 1])
    ]
    assume(views)
    camera, u, v, depth = views[0]
    one_hot = torch.zeros(1, len(rig), bins.bins, *size)
    bin_index, inside = depth_bin_index(torch.tensor(depth), bins)
    assert inside
    one_hot[0, camera, bin_index, v, u] = 1.0
    rays = camera_rays(*tensors(rig), size, stride=1)
    plan = plan_bev_pool(cells_of(frustum_points(rays, bins), GRID), (32, 32))
    bev = bev_pool(one_hot, torch.ones(1, len(rig), 1, *size), plan)
    assert bev[0, 0, row, column] == 1
    assert bev.sum() == 1


def test_cells_outside_the_grid_or_its_heights_are_dropped():
    points = torch.tensor(
        [
            [0.1, -0.1, 0],
            [-12.8, -12.8, 0],
            [12.79, 12.79, 4.9],
            [12.8, 0, 0],
            [0, -12.9, 0],
            [0, 0, 5],
            [0, 0, -3.1],
        ]
    )
    assert cells_of(points, GRID).tolist() == [15 * 32 + 16, 0, 1023, 1024, 1024, 1024, 1024]


def test_depth_bins_are_their_centres():
    bins = SMALL.depth
    index, inside = depth_bin_index(depth_bin_centres(bins), bins)
    assert index.tolist() == list(range(20)) and inside.all()
    assert not depth_bin_index(torch.tensor([0.9, 21.0, torch.inf]), bins)[1].any()


def test_turning_the_robot_turns_its_bev(student):
    images, intrinsics, poses = frame(SMALL)
    quarter = torch.eye(4)
    quarter[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    with torch.no_grad():
        before = student(images, intrinsics, poses)
        after = student(images, intrinsics, quarter @ poses)
    turned = before.simulated_points.clone()
    turned[..., 0], turned[..., 1] = (
        -before.simulated_points[..., 1],
        before.simulated_points[..., 0],
    )
    torch.testing.assert_close(after.simulated_points, turned, rtol=1e-4, atol=1e-4)
    expected = before.camera_bev.rot90(-1, (2, 3))  # rows are y, columns x: +90 degrees about z
    same = torch.isclose(after.camera_bev, expected, rtol=1e-3, atol=1e-3).all(dim=1)
    assert same.float().mean() > 0.99  # a point on a cell's border may change sides


# Simulated points


def test_depth_around_the_mode_ignores_the_other_hypothesis():
    logits = torch.full((1, 1, 20, 1, 1), -20.0)
    logits[0, 0, 4] = logits[0, 0, 5] = 2.0  # around 6 m, with mass 0.8
    logits[0, 0, 15] = math.log(math.exp(2.0) / 2)  # at 16.5 m, with mass 0.2
    depth, mass = depth_around_mode(logits, SMALL.depth)
    assert depth.item() == pytest.approx(6.0, abs=1e-4)
    assert mass.item() == pytest.approx(0.8, abs=1e-4)


def test_splatted_points_keep_their_weight_and_pass_gradients_to_their_place():
    points = torch.tensor([[[0.9, -3.2, 1.0], [50.0, 0.0, 1.0]]], requires_grad=True)
    confidence, features = torch.tensor([[0.7, 0.9]]), torch.tensor([[[2.0], [5.0]]])
    bev, evidence = splat_points(points, confidence, features, GRID).unbind(1)
    mass = evidence / (1 - evidence)
    assert mass.sum().item() == pytest.approx(0.7, abs=1e-5)  # the second point is off the grid
    centre = (torch.arange(32) + 0.5) * 0.8 - 12.8
    assert (mass[0].sum(0) @ centre / mass.sum()).item() == pytest.approx(0.9, abs=1e-4)
    assert (mass[0].sum(1) @ centre / mass.sum()).item() == pytest.approx(-3.2, abs=1e-4)
    torch.testing.assert_close(bev, 2.0 * evidence)
    (gradient,) = torch.autograd.grad((bev[0] * centre).sum(), points)
    assert gradient[0, 0, 0] > 0 and not gradient[0, 1].any()


def test_points_without_confidence_leave_no_trace(student):
    points, features = torch.rand(1, 9, 3) * 10, torch.randn(1, 9, SMALL.bev_channels)
    bev = splat_points(points, torch.zeros(1, 9), features, GRID)
    with torch.no_grad():
        bev = student.point_simulator.compensation(bev, torch.randn_like(bev[:, :-1]))
    assert not bev.any()


def test_compensation_starts_as_the_identity_and_moves_content_by_its_offsets(student):
    compensation = Student(SMALL).eval().point_simulator.compensation
    bev, camera_bev = torch.randn(2, 1, SMALL.bev_channels + 1, 32, 32)
    with torch.no_grad():
        same = compensation(bev, camera_bev[:, :-1])
        compensation.offset.bias.copy_(torch.tensor([1.0, 0.0]))  # look one column ahead
        moved = compensation(bev, camera_bev[:, :-1])
    torch.testing.assert_close(same, bev, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(moved[..., :-1], bev[..., 1:], rtol=1e-3, atol=1e-4)


# Boxes


@settings(max_examples=50, deadline=None)
@given(
    x=st.floats(-51.2, 51.19),
    y=st.floats(-51.2, 51.19),
    z=st.floats(-3, 5),
    size=st.tuples(*[st.floats(0.1, 30)] * 3),
    yaw=st.floats(-math.pi, math.pi),
)
def test_boxes_decode_as_encoded(x, y, z, size, yaw):
    box = torch.tensor([[x, y, z, *size, yaw]], dtype=torch.float64)
    rows, columns, targets = encode_boxes(box, BevGrid())
    assert 0 <= rows < 128 and 0 <= columns < 128
    assert targets[:, :2].abs().max() <= 0.4 + 1e-9
    decoded = decode_boxes(rows, columns, targets.float(), BevGrid())[0].double()
    torch.testing.assert_close(decoded[:6], box[0, :6], rtol=1e-4, atol=1e-4)
    assert abs(math.remainder(decoded[6] - yaw, 2 * math.pi)) < 1e-4


@given(
    yaw=st.floats(-math.pi, math.pi),
    doubt=st.floats(-1.5, 1.5),
    length=st.floats(0.01, 1),
    axis_length=st.floats(0, 1),
)
def test_the_heading_only_says_which_end_of_the_axis_is_in_front(yaw, doubt, length, axis_length):
    heading = length * torch.tensor([math.sin(yaw + doubt), math.cos(yaw + doubt)])
    axis = axis_length * torch.tensor([math.sin(2 * yaw), math.cos(2 * yaw)])
    expected = yaw if axis.any() else yaw + doubt
    assert abs(math.remainder(decode_yaw(heading, axis) - expected, 2 * math.pi)) < 1e-3


@given(yaw=st.floats(-math.pi, math.pi))
def test_both_ways_round_have_the_same_axis(yaw):
    boxes = torch.tensor([[3.0, 1, 0, 4, 2, 1, yaw], [3.0, 1, 0, 4, 2, 1, yaw + math.pi]])
    _, _, (one, other) = encode_boxes(boxes, BevGrid())
    torch.testing.assert_close(one[8:], other[8:], rtol=0, atol=1e-5)
    torch.testing.assert_close(one[6:8], -other[6:8], rtol=0, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(0, 8))
def test_objects_drawn_into_the_maps_come_out_best_first(seed, count):
    rng = np.random.default_rng(seed)
    places = rng.choice(16 * 16, count, replace=False)  # every other cell: peaks do not touch
    rows, columns = torch.tensor(places // 16 * 2), torch.tensor(places % 16 * 2)
    labels = torch.tensor(rng.integers(0, 10, count))
    encoded, velocity = torch.randn(count, BOX_VALUES), torch.randn(count, 2)
    maps = HeadOutput(
        torch.full((1, 10, 32, 32), -20.0),
        torch.zeros(1, BOX_VALUES, 32, 32),
        torch.zeros(1, 2, 32, 32),
        torch.randn(1, 8, 32, 32),
    )
    logits = torch.tensor(rng.permutation(count) - 3.0).float()
    maps.heatmap[0, labels, rows, columns] = logits
    maps.boxes[0, :, rows, columns] = encoded.T
    maps.velocity[0, :, rows, columns] = velocity.T

    found = decode(maps, GRID, max_objects=12)
    assert (
        found.boxes.shape == (1, 12, 7)
        and found.labels.dtype == found.attributes.dtype == torch.int64
    )
    order = logits.argsort(descending=True)
    torch.testing.assert_close(found.scores[0, :count], logits[order].sigmoid())
    assert found.scores[0, count:].max() < 1e-6
    assert found.labels[0, :count].tolist() == labels[order].tolist()
    torch.testing.assert_close(
        found.boxes[0, :count], decode_boxes(rows, columns, encoded, GRID)[order]
    )
    torch.testing.assert_close(found.velocities[0, :count], velocity[order])
    for label, attribute in zip(
        found.labels[0].tolist(), found.attributes[0].tolist(), strict=True
    ):
        allowed = CLASS_ATTRIBUTES[CLASSES[label]]
        assert ATTRIBUTES[attribute] in allowed if allowed else attribute == NO_ATTRIBUTE


EMPTY_MAPS = [torch.zeros(1, channels, 32, 32) for channels in (BOX_VALUES, 2, 8)]


def test_only_the_peak_of_a_hill_is_an_object():
    heatmap = torch.full((1, 10, 32, 32), -20.0)
    heatmap[0, 3, 10:13, 20:23] = torch.tensor([[0.0, 1, 0], [1, 2, 1], [0, 1, 0]])
    found = decode(HeadOutput(heatmap, *EMPTY_MAPS), GRID, 5)
    assert (found.scores[0] > 0.1).tolist() == [True, False, False, False, False]
    assert torch.isfinite(found.boxes).all()


def test_of_equal_neighbours_one_is_an_object():
    """Logits from half precision are often equal; the evaluator counts the second as a mistake."""
    heatmap = torch.full((1, 10, 32, 32), -20.0)
    for row, column in ((3, 4), (3, 5), (9, 9), (10, 8), (20, 20), (20, 21), (21, 20), (21, 21)):
        heatmap[0, 3, row, column] = 2.0
    found = decode(HeadOutput(heatmap, *EMPTY_MAPS), GRID, 9)
    assert (found.scores[0] > 0.1).sum() == 3


# The network as a whole


def test_shapes_are_as_promised(student):
    with torch.no_grad():
        output = student(*frame(SMALL))
    shapes = [(1, n, 32, 32) for n in (10, BOX_VALUES, 2, 8)]
    assert [tuple(maps.shape) for maps in output.head] == shapes
    assert output.camera_depth.shape == output.point_depth.shape == (1, 6, 20, 8, 12)
    assert output.simulated_points.shape == (1, 6 * 8 * 12, 4)
    assert output.camera_bev.shape == output.point_bev.shape == output.fused_bev.shape
    assert output.gate.shape == (1, 1, 32, 32)


def test_evaluation_is_deterministic_and_takes_uint8_or_float(student):
    images, *cameras = frame(SMALL)
    with torch.no_grad():
        first, again, floats = (student(i, *cameras) for i in (images, images, images.float()))
    assert all(torch.equal(a, b) for a, b in zip(leaves(first), leaves(again), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(leaves(first), leaves(floats), strict=True))


def test_a_sample_does_not_depend_on_its_batch(student):
    frames = [frame(SMALL, seed) for seed in (1, 2)]
    with torch.no_grad():
        both = leaves(student(*(torch.cat(pair) for pair in zip(*frames, strict=True))))
        for i in range(2):
            for a, b in zip(both, leaves(student(*frames[i])), strict=True):
                torch.testing.assert_close(a[i : i + 1], b, rtol=1e-3, atol=1e-4)


def test_an_absent_camera_changes_nothing_that_the_student_finds(student):
    images, intrinsics, poses = frame(SMALL)
    others = [0, 1, 3, 4, 5]
    other_images, other_intrinsics = images.clone(), intrinsics.clone()
    other_images[:, 2] = 0
    other_intrinsics[:, 2] = torch.eye(3)
    with torch.no_grad():
        without = student(images[:, others], intrinsics[:, others], poses[:, others])
        poses[:, 2] = torch.from_numpy(ABSENT_CAMERA)
        outputs = [
            student(images, intrinsics, poses),
            student(other_images, other_intrinsics, poses),
        ]
    for output in outputs:
        for name in ("head", "camera_bev", "point_bev", "fused_bev", "gate"):
            for x, y in zip(
                leaves(getattr(output, name)), leaves(getattr(without, name)), strict=True
            ):
                torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-4)
        points = output.simulated_points.unflatten(1, (6, -1))
        assert torch.isfinite(output.simulated_points).all()
        assert (points[:, 2, :, 2] < GRID.z_min).all()


def test_an_absent_camera_does_no_harm_to_training():
    torch.manual_seed(0)
    net = Student(SMALL).train()
    images, intrinsics, poses = frame(SMALL)
    poses[:, 2] = torch.from_numpy(ABSENT_CAMERA)
    output = net(images, intrinsics, poses)
    sum(leaf.square().mean() for leaf in leaves(output.head)).backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_the_exported_student_gives_the_same_numbers(student):
    with torch.no_grad():
        exported = torch.export.export(student, frame(SMALL, 1), strict=False).module()
        inputs = frame(SMALL, 2)
        for a, b in zip(leaves(exported(*inputs)), leaves(student(*inputs)), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("fusion", ["heterogeneous", "symmetric"])
def test_a_training_step_reaches_every_parameter(fusion):
    torch.manual_seed(0)
    net = Student(dataclasses.replace(SMALL, fusion=fusion)).train()
    with torch.no_grad():  # blocks that start as the identity hide what lies before them
        for parameter in net.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    output = net(*frame(SMALL))
    sum(leaf.square().sum() for leaf in leaves(output)).backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_mixed_precision_keeps_the_geometry():
    torch.manual_seed(0)
    net, inputs = Student(SMALL).eval(), frame(SMALL)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = net(*inputs)
    points = output.simulated_points[0, :, :3].view(6, -1, 3).numpy()
    pixels, _ = ring_rig(SMALL.image_size).project(points[0], 0)
    np.testing.assert_allclose(
        pixels.reshape(8, 12, 2)[..., 0], np.tile(np.arange(12) * 8 + 3.5, (8, 1)), atol=0.01
    )
    assert all(torch.isfinite(leaf).all() for leaf in leaves(output))


def test_the_default_student_fits_its_budget():
    parameters = sum(p.numel() for p in Student(StudentConfig()).parameters())
    assert parameters <= 3_000_000


TINY_BACKBONES = [
    BackboneConfig(
        "swin",
        {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 4], "window_size": 7},
        ("stage2", "stage3", "stage4"),
        stride=8,
        channels=16,
    ),
    BackboneConfig(
        "convnext",
        {"hidden_sizes": [8, 16, 16, 24], "depths": [1, 1, 1, 1]},
        ("stage1", "stage3"),
        stride=4,
        channels=16,
    ),
]


@pytest.mark.parametrize("backbone", TINY_BACKBONES, ids=lambda b: b.model_type)
def test_other_backbones_fit_in(backbone):
    net = Student(dataclasses.replace(SMALL, backbone=backbone)).eval()
    with torch.no_grad():
        output = net(*frame(SMALL))
    side = 64 // backbone.stride, 96 // backbone.stride
    assert output.camera_depth.shape[-2:] == side


def test_a_wrong_stride_is_told_when_the_student_is_built():
    backbone = dataclasses.replace(SMALL.backbone, stride=4)
    with pytest.raises(UserError, match=r"stride is 4, but stage2 of resnet has stride 8"):
        Student(dataclasses.replace(SMALL, backbone=backbone))


@pytest.mark.slow
def test_swin_t_at_256_by_704_builds_and_runs():
    config = StudentConfig(
        image_size=(256, 704),
        backbone=BackboneConfig(
            "swin",
            {
                "embed_dim": 96,
                "depths": [2, 2, 6, 2],
                "num_heads": [3, 6, 12, 24],
                "window_size": 7,
            },
            ("stage2", "stage3", "stage4"),
            stride=8,
            channels=256,
        ),
        bev_channels=80,
        encoder_channels=(80, 160, 320),
        encoder_blocks=2,
        head_channels=64,
    )
    net = Student(config).eval()
    with torch.no_grad():
        output = net(*frame(config))
    assert output.head.heatmap.shape == (1, 10, 128, 128)
    assert output.simulated_points.shape == (1, 6 * 32 * 88, 4)
    assert sum(p.numel() for p in net.image_encoder.backbone.parameters()) > 27_000_000
