# SPDX-License-Identifier: Apache-2.0
"""Promise: heterogeneous fusion leans on the camera, and without points is the camera alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd_perception.network.fusion import HeterogeneousFusion, SymmetricFusion
from asd_perception.network.layers import conv_of_parts

CHANNELS = 8


def trained_fusion(seed: int) -> HeterogeneousFusion:
    """A fusion whose every parameter and statistic has some value."""
    torch.manual_seed(seed)
    fusion = HeterogeneousFusion(CHANNELS).eval()
    with torch.no_grad():
        for value in (*fusion.parameters(), *fusion.buffers()):
            if value.is_floating_point():
                value.copy_(
                    torch.randn_like(value).abs() + 0.1
                    if value.dim() == 1
                    else 0.5 * torch.randn_like(value)
                )
    return fusion


def bev(seed: int, channels: int = CHANNELS) -> torch.Tensor:
    return torch.randn(2, channels, 32, 32, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_without_points_the_result_depends_on_the_camera_alone(seed):
    fusion, camera = trained_fusion(seed), bev(seed + 1)
    no_points = torch.zeros_like(camera)
    results = [fusion(camera, no_points, bev(seed + i, 1).sigmoid())[0] for i in (2, 3)]
    assert torch.equal(*results)
    assert not torch.allclose(results[0], fusion(bev(seed + 4), no_points, bev(5, 1))[0])


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_with_a_closed_gate_the_result_depends_on_the_camera_alone(seed):
    fusion, camera = trained_fusion(seed), bev(seed + 1)
    with torch.no_grad():
        fusion.gate[-1].bias.fill_(-1e6)
    evidence = torch.ones(2, 1, 32, 32)
    (first, gate), (second, _) = (fusion(camera, bev(seed + i), evidence) for i in (2, 3))
    assert not gate.any()
    assert torch.equal(first, second)


def test_points_act_where_they_are():
    fusion, camera, points = trained_fusion(0), bev(1), torch.zeros(2, CHANNELS, 32, 32)
    evidence = torch.zeros(2, 1, 32, 32)
    without = fusion(camera, points, evidence)[0]
    points[:, :, 8, 8] = 1.0
    changed = (fusion(camera, points, evidence)[0] != without).any(dim=1)
    assert changed[:, 8, 8].all()
    rows, columns = changed.any(dim=0).nonzero().unbind(-1)
    assert max((rows - 8).abs().max(), (columns - 8).abs().max()) <= 6


def test_it_starts_as_the_camera_with_a_mostly_closed_gate():
    torch.manual_seed(0)
    fusion, camera = HeterogeneousFusion(CHANNELS), bev(1)
    fused, gate = fusion(camera, bev(2), torch.rand(2, 1, 32, 32))
    assert gate.min() > 0 and gate.max() < 0.2
    assert torch.equal(fusion(camera, torch.zeros_like(camera), gate)[0], camera)
    assert (fused - camera).std() < 0.2 * camera.std()


@pytest.mark.parametrize("kind", [HeterogeneousFusion, SymmetricFusion])
def test_both_fusions_learn_from_both_modalities(kind):
    torch.manual_seed(0)
    inputs = [bev(i).requires_grad_() for i in range(2)]
    fused, _ = kind(CHANNELS)(*inputs, torch.rand(2, 1, 32, 32))
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(fused.square().sum(), inputs))


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 2)])
def test_a_convolution_of_parts_is_that_of_their_concatenation(kernel, stride):
    torch.manual_seed(0)
    parts = [torch.randn(2, channels, 8, 8, requires_grad=True) for channels in (5, 4, 1)]
    conv = torch.nn.Conv2d(10, 6, kernel, stride, padding=kernel // 2)
    joined = conv(torch.cat(parts, dim=1))
    torch.testing.assert_close(conv_of_parts(conv, *parts), joined)
    wanted = torch.autograd.grad(joined.square().sum(), [*parts, conv.weight])
    found = torch.autograd.grad(conv_of_parts(conv, *parts).square().sum(), [*parts, conv.weight])
    torch.testing.assert_close(found, wanted)
