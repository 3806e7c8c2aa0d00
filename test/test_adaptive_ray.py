# SPDX-License-Identifier: Apache-2.0
"""Promise: adaptive target smoothing has the properties that its docstring claims, and follows what
the student's depth and features know."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd_perception.bev_grid import BevGrid
from asd_perception.network.config import StudentConfig
from asd_perception.network.view_transform import depth_bin_centres, frame_geometry
from asd_training.config.distillation import DistillConfig
from asd_training.data.nuscenes import Annotations
from asd_training.data.targets import DetectionTargets, detection_targets
from asd_training.losses.adaptive_ray import SHARES, adaptive_ray_loss, smoothed_along_rays
from asd_training.losses.adaptive_ray_reference import adaptive_ray_reference
from asd_training.losses.distillation import DistillationObjective
from asd_training.losses.features import ChannelScale
from asd_training.losses.ray_uncertainty import RayUncertainty, ray_uncertainty
from asd_training.models.teacher import TeacherAnswer

SEEDS = st.integers(0, 2**31)
few = settings(max_examples=12, deadline=None)
SIZE, CHANNELS = 16, 5


class Case:
    """Teacher, student and rays, from a seed; the teacher's channels have scales of their own."""

    def __init__(self, seed: int, samples: int = 2) -> None:
        random = torch.Generator().manual_seed(seed)

        def noise(*shape: int) -> torch.Tensor:
            return torch.randn(samples, *shape, generator=random)

        self.mean, scale = noise(CHANNELS)[0], noise(CHANNELS)[0].exp()
        self.variance = scale.square()
        maps = noise(2 * CHANNELS, SIZE, SIZE).split(CHANNELS, dim=1)
        self.teacher, self.other = (
            self.mean[:, None, None] + scale[:, None, None] * m for m in maps
        )
        self.mask = noise(1, SIZE, SIZE).sigmoid()
        angle = noise(SIZE, SIZE)
        self.ray = RayUncertainty(
            1 + 5 * noise(SIZE, SIZE).sigmoid(), torch.stack([angle.cos(), angle.sin()], dim=1)
        )

    def loss(self, student, **changes):
        inputs = {"mask": self.mask, "ray": self.ray, "mean": self.mean, "variance": self.variance}
        return adaptive_ray_loss(self.teacher, student, **(inputs | changes))

    def smoothed(self, share: float) -> torch.Tensor:
        sigma = self.ray.sigma.clamp(max=4)
        return smoothed_along_rays(self.teacher, sigma, self.ray.direction, [share])[0]


@given(seed=SEEDS, distance=st.sampled_from([0.1, 0.5, 1.0]), levels=st.integers(1, 4))
@few
def test_it_is_the_reference(seed, distance, levels):
    case, shares = Case(seed), SHARES[:levels]
    student = case.teacher.lerp(case.other, distance).requires_grad_()
    fast = case.loss(student, shares=shares).loss
    plain = adaptive_ray_reference(
        *(case.teacher, student, case.mask, case.ray, case.mean, case.variance), shares=shares
    )
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-6)
    gradients = [torch.autograd.grad(loss, student)[0] for loss in (fast, plain)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


@given(seed=SEEDS)
@few
def test_at_equality_it_is_zero_and_at_the_finest_level(seed):
    case = Case(seed)
    same, other = case.loss(case.teacher.clone()), case.loss(case.other)
    assert same.loss.item() < 1e-6 < 0.1 < other.loss.item()
    assert same.granularity.max() < 1e-3 and same.smoothing.max() < 1e-3
    assert not same.discrepancy.any()


@given(seed=SEEDS)
@few
def test_no_gradient_reaches_the_teacher_or_the_rays(seed):
    case = Case(seed)
    inputs = [case.teacher, *case.ray]
    for tensor in (*inputs, case.other):
        tensor.requires_grad_()
    case.loss(case.other).loss.backward()
    assert all(tensor.grad is None for tensor in inputs)
    assert case.other.grad.abs().sum() > 0


@given(seed=SEEDS, share=st.sampled_from(SHARES[1:]))
@few
def test_a_student_that_cannot_know_more_is_asked_no_more(seed, share):
    """At what its depth leaves of the teacher there is next to no loss, and none at K = 0 only."""
    case = Case(seed)
    student = case.smoothed(share)
    found = case.loss(student)
    assert found.loss < 0.01 * case.loss(student, shares=(0.0,)).loss
    level = SHARES.index(share)
    assert (found.granularity - level).abs().mean() < 0.1


@given(seed=SEEDS)
@few
def test_the_level_falls_as_the_student_learns(seed):
    """From what a depth without a clue leaves to the teacher itself; and as depth becomes sure."""
    case = Case(seed)
    blurred = case.smoothed(1.0)
    learnt = [case.loss(blurred.lerp(case.teacher, share)) for share in (0.0, 0.3, 0.7, 1.0)]
    for maps in ("granularity", "smoothing", "discrepancy"):
        means = [float(getattr(found, maps).mean()) for found in learnt]
        assert means == sorted(means, reverse=True) and means[-1] < 0.1 * means[0]
    surer = case.loss(blurred, ray=case.ray._replace(sigma=0.2 * case.ray.sigma))
    assert surer.smoothing.mean() < 0.5 * learnt[0].smoothing.mean()
    assert surer.loss > learnt[0].loss  # it now asks for more


@given(seed=SEEDS)
@few
def test_scale_and_offset_of_a_channel_do_not_matter(seed):
    case = Case(seed)
    before = case.loss(case.other)
    scale = torch.linspace(0.1, 30, CHANNELS)
    case.teacher, student = (scale[:, None, None] * maps + 7 for maps in (case.teacher, case.other))
    changed = case.loss(student, mean=scale * case.mean + 7, variance=scale**2 * case.variance)
    torch.testing.assert_close(changed.loss, before.loss, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(changed.granularity, before.granularity, rtol=1e-2, atol=1e-2)


@given(seed=SEEDS)
@few
def test_with_one_level_it_is_the_plain_masked_loss(seed):
    case = Case(seed)
    plain = ((case.other - case.teacher).square() / case.variance[:, None, None]).mean(dim=1)
    found = case.loss(case.other, shares=(0.0,))
    expected = (case.mask[:, 0] * plain).sum() / case.mask.sum()
    torch.testing.assert_close(found.loss, expected, rtol=1e-4, atol=1e-6)
    assert not found.granularity.any()


def test_a_channel_that_is_constant_in_the_teacher_teaches_nothing():
    case = Case(0)
    variance = case.variance.clone()
    variance[2] = 0.0
    student = case.other.requires_grad_()
    case.loss(student, variance=variance).loss.backward()
    assert not student.grad[:, 2].any() and student.grad[:, 1].any()


def test_an_autocast_region_changes_nothing():
    case = Case(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = case.loss(case.other).loss
    assert torch.equal(inside, case.loss(case.other).loss)


def test_it_smooths_along_the_ray_and_not_across():
    impulse = torch.zeros(1, 1, 33, 33)
    impulse[..., 16, 16] = 1.0
    sigma, columns = torch.full((1, 33, 33), 3.0), torch.arange(33.0) - 16
    for direction, axis in (((1.0, 0.0), 0), ((0.0, 1.0), 1)):
        along = torch.tensor(direction)[:, None, None].expand(1, 2, 33, 33)
        sharp, half, full = (
            maps[0, 0] for maps in smoothed_along_rays(impulse, sigma, along, (0.0, 0.5, 1.0))
        )
        assert torch.equal(sharp, impulse[0, 0])
        for maps, expected in ((half, 1.5), (full, 3.0)):
            profile = maps.sum(dim=axis)
            assert maps.sum(dim=1 - axis)[columns != 0].max() < 1e-5
            assert abs(profile.sum() - 1) < 1e-3
            deviation = (profile * columns.square()).sum().sqrt()
            assert 0.85 * expected < deviation < 1.05 * expected  # cut off at two sigma


def test_the_scale_is_that_of_all_batches_so_far():
    batches = [torch.randn(2, 3, 4, 4) * 3 + i for i in range(3)]
    scale = ChannelScale(3)
    for batch in batches:
        mean, variance = scale(batch)
    together = torch.cat(batches)
    torch.testing.assert_close(mean, together.mean(dim=(0, 2, 3)))
    expected = together.var(dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(variance, expected, rtol=1e-4, atol=1e-4)
    fixed = scale.eval()(torch.zeros(1, 3, 4, 4))
    assert torch.equal(fixed[0], mean) and torch.equal(fixed[1], variance)


# What a student's depth leaves open

CONFIG = StudentConfig(bev=BevGrid(half_extent=25.6, cell=0.8))  # 64 x 64 cells
DEPTHS = depth_bin_centres(CONFIG.depth)


def looking(yaw: float):
    """The geometry of one camera at the origin, 1.5 m high, that looks along this yaw in rad."""
    c, s = torch.tensor(yaw).cos(), torch.tensor(yaw).sin()
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[s, 0, c], [-c, 0, s], [0, -1, 0]])
    pose[2, 3] = 1.5
    intrinsics = torch.tensor([[128.0, 0, 127.5], [0, 128, 47.5], [0, 0, 1]])
    return frame_geometry(intrinsics[None, None], pose[None, None], CONFIG.image_size, CONFIG)


def depth_logits(at: float, deviation: float) -> torch.Tensor:
    """Each pixel's depth is a Gaussian."""
    logits = -((DEPTHS - at) ** 2) / (2 * deviation**2)
    return logits[:, None, None].expand(1, 1, -1, *CONFIG.feature_size)


@given(at=st.floats(6, 20), deviation=st.floats(1, 4), yaw=st.floats(-3, 3))
@few
def test_it_is_the_depths_deviation_along_the_cameras_ray(at, deviation, yaw):
    sigma, direction = ray_uncertainty(
        depth_logits(at, deviation), looking(yaw), CONFIG.depth, CONFIG.bev
    )
    probability = depth_logits(at, deviation)[0, 0, :, 0, 0].softmax(dim=0)
    mean = (probability * DEPTHS).sum()
    expected = (probability * (DEPTHS - mean) ** 2).sum().sqrt() / CONFIG.bev.cell
    ahead = at * torch.tensor([yaw]).cos(), at * torch.tensor([yaw]).sin()
    column, row = (int((x + 25.6) / 0.8) for x in ahead)
    assert expected * 0.95 < sigma[0, row, column] < expected * 1.1  # rays beside it are longer
    place = torch.stack([*ahead])[:, 0] / at
    torch.testing.assert_close(direction[0, :, row, column], place, rtol=0, atol=0.1)
    behind = [int((25.6 - x) / 0.8) for x in ahead]
    assert sigma[0, behind[1], behind[0]] == 0


def test_a_sure_depth_leaves_nothing_open_and_a_vague_one_much():
    sure, vague = (
        ray_uncertainty(depth_logits(14.5, deviation), looking(0.0), CONFIG.depth, CONFIG.bev).sigma
        for deviation in (0.05, 100.0)
    )
    assert sure.max() < 0.05 and vague[0, 32, 50] > 15


def test_no_gap_between_rays_counts_as_sure():
    """Far away, feature pixels lie several cells apart."""
    sigma, _ = ray_uncertainty(depth_logits(20, 3.0), looking(0.0), CONFIG.depth, CONFIG.bev)
    far = sigma[0, 25:39, 58:63]
    assert far.min() > 0.7 * far.max()


def two_objects(near: float, far: float) -> DetectionTargets:
    """One ahead on the left, one farther ahead on the right."""
    boxes = np.ones((2, 7))
    boxes[:, 0], boxes[:, 1], boxes[:, 6] = (near, far), (near / 3, -far / 3), 0.0
    objects = Annotations(
        boxes=boxes,
        velocities=np.zeros((2, 2)),
        labels=np.zeros(2, dtype=np.int64),
        attributes=np.full(2, -1),
        tokens=("near", "far"),
        num_lidar_points=np.ones(2, dtype=np.int64),
        num_radar_points=np.zeros(2, dtype=np.int64),
    )
    return DetectionTargets(*(v[None] for v in detection_targets(objects, CONFIG.bev)))


def test_near_objects_are_compared_more_finely_than_far_ones():
    """By a student that sees as much as its depth, worse far away, allows; a run's log shows it."""
    near, far = 6.5, 21.0
    logits = depth_logits(near, 0.3).clone()
    right = CONFIG.feature_size[1] // 2
    logits[..., right:] = depth_logits(far, 3.0)[..., right:]
    geometry, targets = looking(0.0), two_objects(near, far)
    teacher = torch.randn(1, CHANNELS, 64, 64, generator=torch.Generator().manual_seed(0))
    ray = ray_uncertainty(logits, geometry, CONFIG.depth, CONFIG.bev)
    student = smoothed_along_rays(teacher, ray.sigma, ray.direction, (1.0,))[0]

    architecture = dataclasses.replace(CONFIG, encoder_channels=(CHANNELS, 8, 8))
    config = DistillConfig(multi_modal="adaptive_ray", ramp_steps=0)
    objective = DistillationObjective(config, architecture, architecture, lambda maps: maps)
    nothing = torch.zeros(0)
    answer = TeacherAnswer(nothing, None, nothing, teacher, nothing, nothing)
    output = SimpleNamespace(fused_bev=None, encoded_bev=student, camera_depth=logits)
    objective(answer, output, geometry, targets, step=0)
    noted = {name: float(value) for name, value in objective.statistics.items()}
    assert noted["multi_modal_smoothing_near"] < 0.5 < 1.5 < noted["multi_modal_smoothing_far"]
    assert noted["multi_modal_granularity_near"] < noted["multi_modal_granularity_far"]

    knowing = SimpleNamespace(**vars(output) | {"encoded_bev": teacher.clone()})
    objective(answer, knowing, geometry, targets, step=0)
    assert objective.statistics["multi_modal_smoothing_far"] < 0.1
