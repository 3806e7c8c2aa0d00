# SPDX-License-Identifier: Apache-2.0
"""Promise: each distillation loss has the properties that docs and docstrings claim for it."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from asd_perception.bev_grid import BevGrid
from asd_perception.constants import CLASSES
from asd_perception.errors import UserError
from asd_perception.network.center_head import BOX_VALUES, HeadOutput
from asd_perception.network.config import StudentConfig
from asd_perception.network.view_transform import FrameGeometry, frame_geometry
from asd_training.config.distillation import DistillConfig
from asd_training.data.nuscenes import Annotations
from asd_training.data.targets import DetectionTargets, detection_targets
from asd_training.losses.adaptive_smooth import adaptive_smooth_loss, smooth
from asd_training.losses.detection import detection_losses
from asd_training.losses.distillation import DistillationObjective
from asd_training.losses.feature_l2 import feature_l2_loss
from asd_training.losses.features import Adapter, object_mask
from asd_training.losses.response import (
    heatmap_weight,
    response_losses,
    response_quality,
    soft_targets,
)
from asd_training.models.teacher import TeacherAnswer

GRID = BevGrid(half_extent=12.8)  # 32 x 32 cells
STUDENT = StudentConfig(bev=GRID)
SEEDS = st.integers(0, 2**31)
few = settings(max_examples=15, deadline=None)


def noise(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def features(seed: int, channels: int = 6, size: int = 16) -> torch.Tensor:
    return noise(seed, 2, channels, size, size)


def some_mask(seed: int, size: int = 16) -> torch.Tensor:
    return noise(seed, 2, 1, size, size).sigmoid()


FEATURE_LOSSES = {
    "adaptive": lambda *inputs: adaptive_smooth_loss(*inputs).loss,
    "l2": feature_l2_loss,
}
each_feature_loss = pytest.mark.parametrize("loss", FEATURE_LOSSES.values(), ids=FEATURE_LOSSES)


@each_feature_loss
@given(seed=SEEDS)
@few
def test_feature_loss_is_zero_only_at_equality(loss, seed):
    teacher, mask = features(seed), some_mask(seed)
    assert loss(teacher, teacher.clone(), mask).item() == 0
    assert loss(teacher, features(seed + 1), mask).item() > 0.01


@each_feature_loss
@given(seed=SEEDS)
@few
def test_no_gradient_reaches_the_teacher(loss, seed):
    teacher, student = features(seed).requires_grad_(), features(seed + 1).requires_grad_()
    loss(teacher, student, some_mask(seed)).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


@each_feature_loss
@given(seed=SEEDS)
@few
def test_scale_and_offset_of_the_teachers_channels_do_not_matter(loss, seed):
    teacher, student, mask = features(seed), features(seed + 1), some_mask(seed)
    scale, offset = noise(seed, 1, 6, 1, 1).exp(), 5 * noise(seed + 2, 1, 6, 1, 1)
    changed = loss(scale * teacher + offset, student, mask)
    torch.testing.assert_close(changed, loss(teacher, student, mask), rtol=1e-3, atol=1e-6)


def descent(loss, teacher: torch.Tensor, student: torch.Tensor, steps: int) -> list[float]:
    """The loss at each step of minimising it over the student's features, in place."""
    optimizer = torch.optim.Adam([student.requires_grad_()], lr=0.05)
    values = []
    for _ in range(steps):
        value = loss(teacher, student)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    return values


@each_feature_loss
def test_descent_nears_the_teacher(loss):
    mask = some_mask(0)
    values = descent(lambda *maps: loss(*maps, mask), features(0), features(1), steps=40)
    assert values[1] < values[0]
    assert values[-1] < 0.3 * values[0]


def test_the_demand_sharpens_as_the_student_learns():
    """On features that, like a network's, vary over a few cells."""
    mask = torch.ones(2, 1, 16, 16)
    teacher, student = (F.avg_pool2d(features(i, size=20), 5, stride=1) for i in (0, 1))
    before = adaptive_smooth_loss(teacher, student, mask)
    descent(lambda *maps: adaptive_smooth_loss(*maps, mask).loss, teacher, student, steps=40)
    after = adaptive_smooth_loss(teacher, student.detach(), mask)
    assert before.granularity.mean() > 1.5
    assert after.granularity.mean() < 0.5 * before.granularity.mean()


@each_feature_loss
def test_a_constant_channel_of_the_teacher_teaches_nothing(loss):
    teacher, student, mask = features(0), features(1).requires_grad_(), some_mask(0)
    teacher[:, 2] = 3.0
    value = loss(teacher, student, mask)
    value.backward()
    assert not student.grad[:, 2].any()
    others = [0, 1, 3, 4, 5]
    torch.testing.assert_close(value, loss(teacher[:, others], student[:, others], mask))


@each_feature_loss
def test_an_autocast_region_changes_nothing(loss):
    teacher, student, mask = features(0), features(1), some_mask(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(teacher, student, mask)
        assert loss(teacher.bfloat16(), student.bfloat16(), mask).dtype == torch.float32
    assert torch.equal(inside, loss(teacher, student, mask))


@each_feature_loss
def test_only_what_the_mask_shows_counts(loss):
    teacher, student, mask = features(0), features(1), torch.zeros(2, 1, 16, 16)
    assert loss(teacher, student, mask).item() == 0
    mask[:, :, 4, 4] = 1.0
    student = (teacher + 0.0).requires_grad_()
    with torch.no_grad():
        student[:, :, 12, 12] += 0.1
        far = loss(teacher, student, mask)
        student[:, :, 12, 12] -= 0.1
        student[:, :, 4, 4] += 0.1
        near = loss(teacher, student, mask)
    assert near > 50 * far


@given(seed=SEEDS)
@few
def test_granularity_rises_with_the_discrepancy(seed):
    teacher, mask, error = features(seed), some_mask(seed), features(seed + 1)
    runs = [adaptive_smooth_loss(teacher, teacher + s * error, mask) for s in (0.0, 0.2, 0.5, 2.0)]
    means = [float(run.granularity.mean()) for run in runs]
    assert means[0] == 0 and means == sorted(means) and means[-1] < 3
    discrepancy = torch.cat([run.discrepancy.flatten() for run in runs])
    granularity = torch.cat([run.granularity.flatten() for run in runs])[discrepancy.argsort()]
    assert (granularity.diff() >= -1e-6).all()  # up to rounding


@given(seed=SEEDS)
@few
def test_uncorrelated_features_have_a_discrepancy_of_two(seed):
    run = adaptive_smooth_loss(features(seed, 64), features(seed + 1, 64), some_mask(seed))
    assert abs(run.discrepancy.mean().item() - 2) < 0.1


@given(seed=SEEDS)
@few
def test_empty_surroundings_do_not_change_the_granularity_at_objects(seed):
    occupied = torch.zeros(1, 1, 64, 64)
    occupied[..., 20:28, 20:28] = 1.0
    teacher, student = (occupied * features(seed + i, 64, 64)[:1] for i in (0, 1))
    inside = occupied[:, 0].bool()

    def at_objects(student, discrepancy):
        run = adaptive_smooth_loss(teacher, student, occupied, discrepancy=discrepancy)
        return run.granularity[inside].mean().item()

    assert abs(at_objects(student, "local") - 2) < 0.1  # d = 2 of uncorrelated ones: g = 2/3 K
    half = teacher + 0.5 * (student - teacher)
    assert at_objects(half, "local") < 1.5
    assert at_objects(student, "grid") > 2.9  # the coarsest, and still when half is learnt
    assert at_objects(half, "grid") > 2.6


@given(seed=SEEDS)
@few
def test_with_one_level_it_is_the_plain_masked_loss(seed):
    teacher, student, mask = features(seed), features(seed + 1), some_mask(seed)
    standardised = [F.instance_norm(maps, eps=1e-7) for maps in (teacher, student)]
    plain = F.smooth_l1_loss(*standardised, reduction="none").mean(dim=1, keepdim=True)
    expected = (mask * plain).sum() / mask.sum()
    found = adaptive_smooth_loss(teacher, student, mask, levels=(0.0,)).loss
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_where_they_differ_it_forgives_a_shift_that_plain_l2_does_not():
    """A blob two cells off is nearly right for a region, and wrong cell by cell."""
    teacher = torch.zeros(1, 4, 32, 32)
    teacher[:, :, 14:18, 14:18] = 1.0
    shifted, gone = teacher.roll(2, dims=-1), teacher.roll(14, dims=-1)
    mask = torch.ones(1, 1, 32, 32)
    coarse, fine = (
        [adaptive_smooth_loss(teacher, s, mask, levels=levels).loss for s in (shifted, gone)]
        for levels in ((0.0, 1.0, 2.0, 4.0), (0.0,))
    )
    assert coarse[0] / coarse[1] < 0.8 * fine[0] / fine[1]


@given(
    sigma=st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 4.0]),
    rows=st.sampled_from([12, 16, 17]),
    columns=st.sampled_from([16, 20]),
    value=st.floats(-10, 10),
)
@few
def test_a_constant_stays_constant_under_smoothing_up_to_the_border(sigma, rows, columns, value):
    smoothed = smooth(torch.full((1, 2, rows, columns), value), sigma)
    torch.testing.assert_close(smoothed, torch.full_like(smoothed, value), rtol=1e-5, atol=1e-5)


def test_smoothing_is_the_gaussian_at_the_blocks_centres():
    impulse = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    impulse[..., 16, 16] = 1.0
    smoothed = smooth(impulse, 2.0)[0, 0]
    centres = 2 * torch.arange(16) + 0.5
    axis = torch.exp(-((centres - 16) ** 2) / 8) / (2 * torch.pi * 4) ** 0.5
    assert smoothed.shape == (16, 16)
    torch.testing.assert_close(
        smoothed, axis[:, None] * axis, rtol=1e-3, atol=1e-8, check_dtype=False
    )


def test_evaluating_blocks_loses_almost_nothing(monkeypatch):
    """The gradient points where that of the formula at every cell does."""
    from asd_training.losses import adaptive_smooth as module

    def at_every_cell(maps, sigma):
        if sigma == 0:
            return maps
        axis = torch.arange(maps.shape[-1], dtype=maps.dtype)
        matrix = (-((axis[:, None] - axis) ** 2) / (2 * sigma**2)).softmax(dim=1)
        return matrix @ maps @ matrix.T

    student, mask = features(1, size=32).requires_grad_(), some_mask(2, size=32) ** 4
    gradients = []
    for _ in range(2):
        loss = adaptive_smooth_loss(features(0, size=32), student, mask).loss
        gradients.append(torch.autograd.grad(loss, student)[0].flatten())
        monkeypatch.setattr(module, "smooth", at_every_cell)
    assert F.cosine_similarity(*gradients, dim=0) > 0.99


@pytest.mark.parametrize("levels", [(0.0,), (0.0, 1.0, 2.0)])
def test_the_gradient_is_right_to_float64(levels):
    """Against differences; the choice of levels is held fixed by one level or a vast delta."""
    teacher, student = (noise(i, 1, 2, 4, 4, dtype=torch.float64) for i in (0, 1))
    mask = noise(2, 1, 1, 4, 4, dtype=torch.float64).sigmoid()

    def loss(maps):
        return adaptive_smooth_loss(teacher, maps, mask, levels=levels, delta=1e12).loss

    assert torch.autograd.gradcheck(loss, student.requires_grad_(), atol=1e-6)
    assert torch.autograd.gradcheck(
        lambda maps: feature_l2_loss(teacher, maps, mask), student, atol=1e-6
    )


def test_the_adapter_starts_as_the_identity_where_it_can():
    x = features(0)
    assert torch.equal(Adapter(6, 6)(x), x)
    assert Adapter(6, 9)(x).std(dim=(2, 3)).min() > 0


# Responses


def a_frame(seed: int, count: int) -> DetectionTargets:
    """A batch of one frame with objects in cells of their own."""
    random = np.random.default_rng(seed)
    cell = random.permutation(16)[:count]
    boxes = np.ones((count, 7))
    boxes[:, 0] = (cell % 4 - 1.5) * 6 + random.uniform(-1, 1, count)
    boxes[:, 1] = (cell // 4 - 1.5) * 6 + random.uniform(-1, 1, count)
    boxes[:, 3:6] = random.uniform(0.5, 5, (count, 3))
    boxes[:, 6] = random.uniform(-3, 3, count)
    objects = Annotations(
        boxes=boxes,
        velocities=np.zeros((count, 2)),
        labels=random.integers(0, 10, count),
        attributes=np.full(count, -1),
        tokens=tuple(map(str, range(count))),
        num_lidar_points=np.ones(count, dtype=np.int64),
        num_radar_points=np.zeros(count, dtype=np.int64),
    )
    return DetectionTargets(*(value[None] for value in detection_targets(objects, GRID)))


def random_head(seed: int) -> HeadOutput:
    return HeadOutput(
        *(noise(seed + i, 1, n, GRID.size, GRID.size) for i, n in enumerate((10, BOX_VALUES, 2, 8)))
    )


def perfect_teacher(targets: DetectionTargets, seed: int = 0) -> HeadOutput:
    """A teacher that puts every object right and is sure of it, and finds the rest empty."""
    boxes = noise(seed, 1, BOX_VALUES, GRID.size**2)
    index = targets.cells[0, targets.valid[0]]
    boxes[0, :, index] = targets.boxes[0, targets.valid[0]].T
    return HeadOutput(
        heatmap=torch.logit(targets.heatmap, eps=1e-3),
        boxes=boxes.view(1, BOX_VALUES, GRID.size, GRID.size),
        velocity=noise(seed, 1, 2, GRID.size, GRID.size),
        attribute=noise(seed, 1, 8, GRID.size, GRID.size),
    )


def trainable(head: HeadOutput) -> HeadOutput:
    return HeadOutput(*(maps.clone().requires_grad_() for maps in head))


@given(seed=SEEDS, count=st.integers(0, 16))
@few
def test_quality_is_one_for_the_truth_and_falls_with_the_error(seed, count):
    targets = a_frame(seed, count)
    teacher = perfect_teacher(targets, seed)
    best, facing = response_quality(teacher, targets, GRID, 0.5)
    assert (best[targets.valid] > 0.99).all()
    assert (facing[targets.valid] > 0.999).all()
    assert not best[~targets.valid].any()
    worse = [
        response_quality(changed, targets, GRID, 0.5)[0][targets.valid]
        for changed in (
            teacher._replace(boxes=teacher.boxes + 0.1),
            teacher._replace(heatmap=teacher.heatmap - 4),
        )
    ]
    assert all((quality < best[targets.valid]).all() for quality in worse)


@given(seed=SEEDS, alpha=st.sampled_from([0.0, 0.5, 0.9]))
@few
def test_a_teachers_box_that_misses_teaches_nothing(seed, alpha):
    targets = a_frame(seed, 8)
    teacher = perfect_teacher(targets, seed)
    missed = targets.cells[0, 0]
    with torch.no_grad():
        teacher.boxes.flatten(2)[0, :2, missed] += 20.0  # m: IoU 0
    assert response_quality(teacher, targets, GRID, alpha)[0][0, 0] == 0
    student = trainable(random_head(seed + 1))
    losses = response_losses(teacher, student, targets, GRID, alpha)
    sum(losses.values()).backward()
    box, heatmap = (maps.grad.flatten(2)[0] for maps in (student.boxes, student.heatmap))
    assert not box[:, missed].any()
    assert not heatmap[:, missed].any()
    for other in targets.cells[0, 1:8]:
        assert box[:, other].all()
        assert heatmap[:, other].any()


@given(seed=SEEDS, turn=st.sampled_from([0.0, np.pi / 2, np.pi]))
@few
def test_an_answer_that_faces_backwards_teaches_no_box(seed, turn):
    """A barrier has no front, and a cone no heading at all; and each still teaches its place."""
    targets = a_frame(seed, 12)
    teacher = perfect_teacher(targets, seed)
    boxes = teacher.boxes.clone()
    for sine, cosine, angle in ((6, 7, turn), (8, 9, 2 * turn)):  # heading and axis
        was = teacher.boxes[:, sine], teacher.boxes[:, cosine]
        boxes[:, sine] = was[0] * np.cos(angle) + was[1] * np.sin(angle)
        boxes[:, cosine] = was[1] * np.cos(angle) - was[0] * np.sin(angle)
    teacher = teacher._replace(boxes=boxes)
    quality, agreement = response_quality(teacher, targets, GRID, 0.0)
    cars = (1 + np.cos(turn)) / 2
    expected = torch.full_like(agreement, cars)
    expected[targets.labels == CLASSES.index("barrier")] = (1 + np.cos(2 * turn)) / 2
    expected[targets.labels == CLASSES.index("traffic_cone")] = 1.0
    valid = targets.valid
    torch.testing.assert_close(agreement[valid], expected[valid], rtol=0, atol=1e-5)
    assert (quality[valid] > (0.99 if turn != np.pi / 2 else 0)).all()

    student = trainable(random_head(seed + 1))
    sum(response_losses(teacher, student, targets, GRID, 0.0).values()).backward()
    pull = student.boxes.grad.flatten(2)[0][:, targets.cells[0]].abs().amax(dim=0)[valid[0]]
    assert (pull[expected[0, valid[0]] < 1e-6] <= 1e-4 * pull.max()).all()


@given(seed=SEEDS)
@few
def test_responses_cost_nothing_at_equality_and_leave_the_teacher_alone(seed):
    targets, teacher = a_frame(seed, 8), trainable(random_head(seed))
    same = response_losses(teacher, teacher, targets, GRID, 0.5)
    assert all(loss.item() == 0 for loss in same.values())
    student = trainable(random_head(seed + 9))
    losses = response_losses(teacher, student, targets, GRID, 0.5)
    sum(losses.values()).backward()
    assert losses["response_heatmap"].item() > 0
    assert all(maps.grad is None for maps in teacher)


@given(seed=SEEDS, count=st.integers(1, 16))
@few
def test_heatmap_weight_is_the_best_objects_disc_and_a_light_background(seed, count):
    """Against a loop over the objects and cells."""
    targets = a_frame(seed, count)
    quality = noise(seed, *targets.valid.shape).sigmoid() * targets.valid
    teacher = noise(seed + 1, 1, 10, GRID.size, GRID.size) - 4
    weight = heatmap_weight(teacher, quality, targets, GRID)[0, 0]
    inside = targets.heatmap[0].amax(dim=0) > 0
    empty = teacher[0].sigmoid().amax(dim=0) < 0.05
    assert (weight[~inside & empty] == 0.1).all()
    assert not weight[~inside & ~empty].any()
    expected = torch.zeros_like(weight)
    for i in range(count):  # a disc of each object alone is its own frame's heatmap
        alone = torch.zeros_like(quality)
        alone[0, i] = quality[0, i]
        expected = torch.maximum(expected, heatmap_weight(teacher, alone, targets, GRID)[0, 0])
        assert weight.flatten()[targets.cells[0, i]] >= quality[0, i] - 1e-6
    assert torch.equal(weight, expected)
    full = heatmap_weight(teacher, targets.valid.float(), targets, GRID)[0, 0]
    torch.testing.assert_close(full[inside], targets.heatmap[0].amax(dim=0)[inside])


def test_descent_on_the_responses_finds_the_teachers_boxes():
    targets = a_frame(0, 8)
    teacher, student = perfect_teacher(targets), trainable(random_head(5))
    optimizer = torch.optim.Adam([student.heatmap, student.boxes], lr=0.1)
    totals = []
    for _ in range(150):
        total = sum(response_losses(teacher, student, targets, GRID, 0.5).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[1] < totals[0] and totals[-1] < 0.05 * totals[0]


# The objective


def an_objective(
    config: DistillConfig, student_channels: int = 6, teacher_channels: int = 6
) -> DistillationObjective:
    """Of networks with so many channels; six of the teacher's, repeated, are its answer."""
    student, teacher = (
        dataclasses.replace(STUDENT, bev_channels=n, encoder_channels=(n, n, n))
        for n in (student_channels, teacher_channels)
    )

    def answer_to(fused_bev: torch.Tensor) -> HeadOutput:
        return HeadOutput(*fused_bev.repeat(1, 5, 1, 1).split([10, BOX_VALUES, 2, 8], dim=1))

    return DistillationObjective(config, student, teacher, answer_to)


def a_geometry(samples: int = 1) -> FrameGeometry:
    """Of one camera that looks ahead."""
    ahead = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    intrinsics = torch.tensor([[128.0, 0, 127.5], [0, 128, 47.5], [0, 0, 1]])
    matrices, poses = (m.expand(samples, 1, *m.shape) for m in (intrinsics, ahead))
    return frame_geometry(matrices, poses, STUDENT.image_size, STUDENT)


def both_networks(seed: int = 0, student_channels: int = 6, teacher_channels: int = 6):
    """The parts of the two networks' outputs that distillation reads."""

    def maps(i: int, channels: int) -> torch.Tensor:
        return noise(seed + i, 1, channels, GRID.size, GRID.size)

    head = random_head(seed)
    teacher = TeacherAnswer(
        lidar_bev=maps(1, teacher_channels),
        camera_bev=maps(5, teacher_channels),
        fused_bev=maps(2, teacher_channels),
        encoded_bev=maps(6, teacher_channels),
        heatmap=head.heatmap,
        boxes=head.boxes,
    )
    depth = (1, 1, STUDENT.depth.bins, *STUDENT.feature_size)
    student = SimpleNamespace(
        head=trainable(random_head(seed + 10)),
        camera_depth=noise(seed + 7, *depth),
        point_depth=noise(seed + 8, *depth),
        camera_bev=maps(9, student_channels).requires_grad_(),
        point_bev=maps(3, student_channels).requires_grad_(),
        fused_bev=maps(4, student_channels).requires_grad_(),
        encoded_bev=maps(11, student_channels).requires_grad_(),
    )
    return teacher, student


FULL = DistillConfig(cross_modal="adaptive", multi_modal="adaptive", response="soft", ramp_steps=0)


@pytest.mark.parametrize("cross_modal", ["none", "raw", "adaptive_ray"])
@pytest.mark.parametrize("multi_modal", ["none", "l2", "raw", "adaptive_ray", "functional"])
@pytest.mark.parametrize("response", ["none", "soft", "replaces"])
def test_the_objective_has_the_terms_that_its_configuration_asks_for(
    cross_modal, multi_modal, response
):
    config = DistillConfig(cross_modal=cross_modal, multi_modal=multi_modal, response=response)
    terms = an_objective(config)(*both_networks(), a_geometry(), a_frame(0, 8), step=1)
    expected = {"response_heatmap", "response_boxes"} if response == "soft" else set()
    expected |= {"cross_modal"} if cross_modal != "none" else set()
    expected |= {"multi_modal"} if multi_modal != "none" else set()
    assert set(terms) == expected
    assert config.asks_teacher == config.needs_teacher == bool(expected or response != "none")
    assert DistillConfig(initialise=True).needs_teacher


def test_each_place_has_its_own_method():
    config = DistillConfig(cross_modal="l2", multi_modal="adaptive", ramp_steps=0)
    teacher, student = both_networks()
    targets = a_frame(0, 8)
    terms = an_objective(config)(teacher, student, a_geometry(), targets, step=0)
    mask = object_mask(targets, 0.01)
    torch.testing.assert_close(
        terms["cross_modal"], feature_l2_loss(teacher.lidar_bev, student.point_bev, mask)
    )
    torch.testing.assert_close(
        terms["multi_modal"],
        adaptive_smooth_loss(teacher.fused_bev, student.fused_bev, mask).loss,
    )


@given(seed=SEEDS, count=st.integers(1, 16))
@few
def test_a_response_that_replaces_nothing_is_ground_truths_loss(seed, count):
    """Where the teacher finds every object, so that each has its full weight."""
    targets, student = a_frame(seed, count), random_head(seed + 1)
    teacher = perfect_teacher(targets, seed)
    soft = soft_targets(teacher, targets, GRID, 0.5, share=0.0)
    found, plain = (detection_losses(student, targets, s) for s in (soft, None))
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value, rtol=1e-2, atol=1e-4, msg=name)
    assert torch.equal(found["velocity"], plain["velocity"])


@given(seed=SEEDS, share=st.sampled_from([0.3, 1.0]))
@few
def test_a_response_replaces_ground_truth_as_far_as_it_is_good(seed, share):
    """The best heatmap and boxes lie between the two; those of an object that the teacher misses
    are ground truth's alone, with less weight."""
    targets = a_frame(seed, 8)
    teacher = perfect_teacher(targets, seed)
    with torch.no_grad():
        teacher.heatmap.flatten(2)[0, :, targets.cells[0, :8]] -= 4  # it is not sure of any
        teacher.boxes.flatten(2)[0, 2, targets.cells[0, :8]] += 0.5  # m higher: q stays
        teacher.boxes.flatten(2)[0, :2, targets.cells[0, 0]] += 20.0  # m: IoU 0
    quality, agreement = (values[0, :8] for values in response_quality(teacher, targets, GRID, 0.0))
    assert quality[0] == 0 and (quality[1:] > 0.99).all()
    soft = soft_targets(teacher, targets, GRID, 0.0, share)
    cells, labels = targets.cells[0, :8], targets.labels[0, :8]
    peaks = [maps.flatten(2)[0, labels, cells] for maps in (soft.heatmap, soft.heatmap_weight)]
    answer = teacher.heatmap.sigmoid().flatten(2)[0, labels, cells]
    expected = (1 - share * quality) + share * quality * answer
    torch.testing.assert_close(peaks[0], expected, rtol=0, atol=1e-3)
    assert peaks[0][0] == 1 and (peaks[0][1:] < 1).all()
    torch.testing.assert_close(peaks[1], quality.clamp(min=0.3), rtol=0, atol=0.05)

    truth = targets.boxes[0, :8]
    higher = soft.boxes[0, :8, 2] - truth[:, 2]
    torch.testing.assert_close(higher, 0.5 * share * quality * agreement, rtol=0, atol=1e-3)
    assert torch.equal(soft.boxes[0, 0], truth[0])
    assert soft.box_weight[0, 0] == pytest.approx(0.3) and not soft.box_weight[0, 8:].any()


def test_descent_finds_the_replaced_targets():
    targets, student = a_frame(0, 8), trainable(random_head(5))
    teacher = perfect_teacher(targets)
    teacher.heatmap.flatten(2)[0, :, targets.cells[0, :8]] -= 3
    soft = soft_targets(teacher, targets, GRID, 0.0, share=0.5)
    optimizer = torch.optim.Adam([student.heatmap], lr=0.1)
    for _ in range(150):
        loss = detection_losses(student, targets, soft)["heatmap"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    cells, labels = targets.cells[0, :8], targets.labels[0, :8]
    found, asked = (
        maps.flatten(2)[0, labels, cells] for maps in (student.heatmap.sigmoid(), soft.heatmap)
    )
    assert asked.max() < 1
    torch.testing.assert_close(found, asked, rtol=0, atol=0.1)


def test_raw_features_are_simdistills():
    """Means over everything, as they are; of the points at the objects, 100 being its weight."""
    teacher, student = both_networks()
    targets = a_frame(0, 8)
    config = DistillConfig(
        cross_modal="raw", multi_modal="raw", cross_modal_weight=100.0, ramp_steps=0
    )
    objective = an_objective(config)
    terms = objective(teacher, student, a_geometry(), targets, step=0)
    fused, camera = (
        F.mse_loss(getattr(student, name), getattr(teacher, name))
        for name in ("fused_bev", "camera_bev")
    )
    torch.testing.assert_close(terms["multi_modal"], fused + camera)
    discs = targets.heatmap.sum(dim=1, keepdim=True)
    adapted = objective.adapters["cross_modal"](student.point_bev)
    assert adapted.min() == 0  # behind a ReLU
    expected = 100 * F.mse_loss(discs * adapted, discs * teacher.lidar_bev)
    torch.testing.assert_close(terms["cross_modal"], expected)
    lidar_alone = teacher._replace(camera_bev=None)
    without = objective(lidar_alone, student, a_geometry(), targets, step=0)["multi_modal"]
    torch.testing.assert_close(without, fused)
    with pytest.raises(UserError, match="6 channels and the student's 4; with raw they must"):
        an_objective(DistillConfig(multi_modal="raw"), 4, 6)


def test_functional_features_are_those_that_the_teacher_answers_alike():
    teacher, student = both_networks()
    targets = a_frame(0, 8)
    config = DistillConfig(multi_modal="functional", adapters=False, ramp_steps=0, alpha=0.0)
    objective = an_objective(config)
    answer = objective.answer_to(teacher.fused_bev)
    teacher = teacher._replace(heatmap=answer.heatmap, boxes=answer.boxes)
    student.fused_bev = teacher.fused_bev.clone().requires_grad_()
    assert objective(teacher, student, a_geometry(), targets, step=0)["multi_modal"] == 0
    student.fused_bev = (teacher.fused_bev + 1).requires_grad_()
    loss = objective(teacher, student, a_geometry(), targets, step=0)["multi_modal"]
    loss.backward()
    assert loss > 0 and student.fused_bev.grad.any()


def test_an_unweighted_response_mimics_a_box_that_misses():
    targets = a_frame(0, 8)
    teacher = perfect_teacher(targets)
    missed = targets.cells[0, 0]
    with torch.no_grad():
        teacher.boxes.flatten(2)[0, :2, missed] += 20.0  # m: IoU 0
    reached = {}
    for soft in (True, False):
        student = trainable(random_head(1))
        losses = response_losses(teacher, student, targets, GRID, 0.5, soft=soft)
        losses["response_boxes"].backward()
        reached[soft] = bool(student.boxes.grad.flatten(2)[0, :, missed].any())
    assert reached == {True: False, False: True}


def test_each_pair_of_features_is_taught_by_its_own_teacher():
    teacher, student = both_networks(student_channels=4, teacher_channels=6)
    objective = an_objective(FULL, 4, 6)
    targets = a_frame(0, 8)
    terms = objective(teacher, student, a_geometry(), targets, step=0)
    mask = object_mask(targets, 0.01)
    for name, theirs, ours in (
        ("cross_modal", teacher.lidar_bev, student.point_bev),
        ("multi_modal", teacher.fused_bev, student.fused_bev),
    ):
        expected = adaptive_smooth_loss(theirs, objective.adapters[name](ours), mask).loss
        torch.testing.assert_close(terms[name], expected)
    torch.stack(list(terms.values())).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in objective.parameters())
    assert student.point_bev.grad.any() and student.fused_bev.grad.any()


def test_without_adapters_the_features_are_compared_as_they_are():
    teacher, student = both_networks()
    targets = a_frame(0, 8)
    config = dataclasses.replace(FULL, adapters=False)
    objective = an_objective(config)
    assert not list(objective.parameters())
    found = objective(teacher, student, a_geometry(), targets, step=0)["multi_modal"]
    mask = object_mask(targets, config.background_floor)
    assert found == adaptive_smooth_loss(teacher.fused_bev, student.fused_bev, mask).loss
    with pytest.raises(UserError, match="6 channels and the student's 4; without adapters"):
        an_objective(config, 4, 6)


def test_the_weights_ramp_up_and_scale_their_terms():
    teacher, student = both_networks()
    targets = a_frame(0, 8)

    def terms(step: int, **weights: float) -> dict[str, float]:
        torch.manual_seed(0)
        config = dataclasses.replace(FULL, ramp_steps=100, **weights)
        found = an_objective(config)(teacher, student, a_geometry(), targets, step)
        return {name: value.item() for name, value in found.items()}

    full = terms(1000)
    assert not any(terms(0).values())
    assert terms(25) == pytest.approx({name: value / 4 for name, value in full.items()})
    assert terms(100) == full
    twice = terms(100, cross_modal_weight=2.0, multi_modal_weight=2.0, response_weight=2.0)
    assert twice == pytest.approx({name: 2 * value for name, value in full.items()})


def test_a_frame_without_objects_is_finite():
    teacher, student = both_networks()
    config = dataclasses.replace(FULL, background_floor=0.0)
    terms = an_objective(config)(teacher, student, a_geometry(), a_frame(0, 0), step=0)
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    assert torch.isfinite(total)
    assert terms["cross_modal"].item() == 0 and terms["response_boxes"].item() == 0
    assert torch.isfinite(student.point_bev.grad).all()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"cross_modal": "l1"}, "cross_modal is 'l1'; it must be one of none, raw, l2, ad"),
        ({"multi_modal": "soft"}, "multi_modal is 'soft'"),
        ({"response": "l2"}, "response is 'l2'; it must be one of none, unweighted, s"),
        ({"response_weight": -1.0}, "response_weight is -1.0"),
        ({"cross_modal_weight": float("nan")}, "cross_modal_weight is nan"),
        ({"alpha": 1.0}, "alpha is 1.0"),
        ({"delta": 0.0}, "delta is 0.0"),
        ({"tau": 0.0}, "tau is 0.0"),
        ({"background_floor": 1.5}, "background_floor is 1.5"),
        ({"levels": ()}, "levels are"),
        ({"levels": (0.0, 2.0, 1.0)}, "levels are"),
        ({"ramp_steps": -1}, "ramp_steps is -1"),
    ],
)
def test_a_wrong_setting_is_named(values, named):
    with pytest.raises(UserError, match=named):
        DistillConfig(**values)


def _distillation_gradient(student: torch.Tensor, frames: slice) -> torch.Tensor:
    """The gradient of all distillation losses of some of four frames with unequal objects."""
    batches = [a_frame(seed, count) for seed, count in enumerate((1, 9, 0, 4))]
    targets = DetectionTargets(
        *(torch.cat(values)[frames] for values in zip(*batches, strict=True))
    )
    heads = [
        HeadOutput(*map(torch.cat, zip(*rows, strict=True)))
        for rows in (
            [random_head(seed) for seed in range(4)],
            [random_head(seed) for seed in range(9, 13)],
        )
    ]
    theirs, ours = (HeadOutput(*(maps[frames] for maps in head)) for head in heads)
    teacher_bev = noise(5, 4, 6, GRID.size, GRID.size)[frames]
    along_rays = dataclasses.replace(FULL, multi_modal="adaptive_ray")
    count = len(teacher_bev)
    terms = an_objective(along_rays)(
        TeacherAnswer(teacher_bev, None, teacher_bev, teacher_bev, theirs.heatmap, theirs.boxes),
        SimpleNamespace(
            head=ours._replace(heatmap=ours.heatmap + student.mean()),
            point_bev=student[frames],
            encoded_bev=2 * student[frames] + 1,
            fused_bev=None,
            camera_depth=noise(7, 4, 1, STUDENT.depth.bins, *STUDENT.feature_size)[frames],
        ),
        a_geometry(count),
        targets,
        step=1,
    )
    return torch.autograd.grad(sum(terms.values()), student)[0]


def _one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    student = noise(6, 4, 6, GRID.size, GRID.size).requires_grad_()
    gradient = _distillation_gradient(student, slice(2 * rank, 2 * rank + 2))
    torch.distributed.all_reduce(gradient)
    if rank == 0:
        torch.save(gradient / 2, f"{folder}/gradient")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one(tmp_path):
    torch.multiprocessing.spawn(_one_of_two, (str(tmp_path),), nprocs=2)
    student = noise(6, 4, 6, GRID.size, GRID.size).requires_grad_()
    alone = _distillation_gradient(student, slice(0, 4))
    torch.testing.assert_close(torch.load(tmp_path / "gradient"), alone, rtol=1e-3, atol=1e-7)
