# SPDX-License-Identifier: Apache-2.0
"""Promise: BEV pooling is the plain sum that its references spell out, gradients included.

How much faster it is than they are, `asd-bench pooling` measures.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd_perception.ops.bev_pool import (
    bev_pool,
    drop_cell,
    plan_bev_pool,
    plan_splat,
    splat,
    splat_cumulative,
    splat_reference,
)

REFERENCES = {"index_add": splat_reference, "cumulative sum": splat_cumulative}


def random_entries(batch, sources, per_source, channels, size, dropped, seed):
    """Weights, features and a plan with a share `dropped` of entries outside the grid."""
    torch.manual_seed(seed)
    cells = torch.randint(drop_cell(size), (batch, sources, per_source))
    cells[torch.rand(cells.shape) < dropped] = drop_cell(size)
    weights = torch.randn(batch, sources, per_source).softmax(dim=-1)
    return weights, torch.randn(batch, sources, channels), plan_splat(cells, size)


def with_gradients(pool, weights, features, plan):
    """The pooled map, and the gradients of a weighted sum of it."""
    weights, features = weights.clone().requires_grad_(), features.clone().requires_grad_()
    pooled = pool(weights, features, plan)
    scale = torch.linspace(-1, 1, pooled.numel(), device=pooled.device).view_as(pooled)
    return pooled, *torch.autograd.grad((pooled * scale).sum(), (weights, features))


@pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES)
@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    sources=st.integers(1, 30),
    per_source=st.integers(1, 7),
    channels=st.integers(1, 9),
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    dropped=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_splatting_equals_its_references_in_values_and_gradients(
    reference, batch, sources, per_source, channels, rows, columns, dropped, seed
):
    entries = random_entries(batch, sources, per_source, channels, (rows, columns), dropped, seed)
    actual = with_gradients(splat, *entries)
    expected = with_gradients(reference, *entries)
    assert actual[0].shape == (batch, channels, rows, columns)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-4, atol=1e-5)
    if dropped == 1.0:
        assert not actual[0].any()


def test_gradients_are_those_of_finite_differences():
    weights, features, plan = random_entries(2, 6, 3, 4, (2, 3), 0.3, seed=1)
    inputs = (weights.double().requires_grad_(), features.double().requires_grad_())
    assert torch.autograd.gradcheck(lambda w, f: splat(w, f, plan), inputs)


def test_bev_pooling_takes_every_depth_bin_of_every_pixel_to_its_cell():
    torch.manual_seed(0)
    batch, cameras, bins, height, width, channels, size = 2, 3, 5, 2, 4, 6, (3, 4)
    cells = torch.randint(drop_cell(size) + 1, (batch, cameras, bins, height, width))
    depth = torch.rand(cells.shape)
    features = torch.randn(batch, cameras, channels, height, width)
    expected = torch.zeros(batch, channels, drop_cell(size) + 1)
    for b, n, k, y, x in torch.cartesian_prod(*map(torch.arange, cells.shape)).tolist():
        expected[b, :, cells[b, n, k, y, x]] += depth[b, n, k, y, x] * features[b, n, :, y, x]
    pooled = bev_pool(depth, features, plan_bev_pool(cells, size))
    torch.testing.assert_close(pooled.flatten(2), expected[..., :-1])


def test_a_sum_done_by_hand():
    weights = torch.tensor([[[0.5, 2.0], [1.0, 4.0]]])
    features = torch.tensor([[[1.0, 10.0], [3.0, 30.0]]])
    cells = torch.tensor([[[4, 1], [4, 6]]])  # of 2 rows x 3 columns; 6 is nowhere
    pooled = splat(weights, features, plan_splat(cells, (2, 3)))
    expected = torch.zeros(1, 2, 2, 3)
    expected[0, :, 1, 1] = torch.tensor([0.5 * 1 + 1 * 3, 0.5 * 10 + 1 * 30])
    expected[0, :, 0, 1] = torch.tensor([2.0, 20.0])
    torch.testing.assert_close(pooled, expected)


def test_samples_do_not_mix():
    torch.manual_seed(0)
    weights, features = torch.rand(2, 5, 3), torch.randn(2, 5, 4)
    cells = torch.randint(0, 13, (2, 5, 3))
    both = splat(weights, features, plan_splat(cells, (3, 4)))
    for i in range(2):
        plan = plan_splat(cells[i : i + 1], (3, 4))
        alone = splat(weights[i : i + 1], features[i : i + 1], plan)
        torch.testing.assert_close(both[i : i + 1], alone)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_features_are_summed_in_single_precision(dtype):
    plan = plan_splat(torch.zeros(1, 4096, 1, dtype=torch.int64), (1, 1))
    weights, features = torch.ones(1, 4096, 1, dtype=dtype), torch.ones(1, 4096, 1, dtype=dtype)
    assert splat(weights, features, plan).item() == 4096
