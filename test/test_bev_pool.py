# SPDX-License-Identifier: Apache-2.0
"""Promise: BEV pooling is the plain sum that its reference spells out, gradients included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd_perception.ops.bev_pool import (
    bev_pool,
    bev_pool_reference,
    drop_cell,
    splat,
)


def with_gradients(pool, depth, features, cells, size):
    """The pooled map, and the gradients of a weighted sum of it."""
    depth, features = depth.clone().requires_grad_(), features.clone().requires_grad_()
    pooled = pool(depth, features, cells, size)
    weight = torch.linspace(-1, 1, pooled.numel()).view_as(pooled)
    return pooled, *torch.autograd.grad((pooled * weight).sum(), (depth, features))


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    cameras=st.integers(1, 3),
    bins=st.integers(1, 7),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    channels=st.integers(1, 9),
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    dropped=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_pooling_equals_its_reference_in_values_and_gradients(
    batch, cameras, bins, height, width, channels, rows, columns, dropped, seed
):
    torch.manual_seed(seed)
    size = (rows, columns)
    maps = (batch, cameras, bins, height, width)
    cells = torch.randint(drop_cell(size), maps)
    cells[torch.rand(maps) < dropped] = drop_cell(size)
    depth = torch.randn(maps).softmax(dim=2)
    features = torch.randn(batch, cameras, channels, height, width)

    actual = with_gradients(bev_pool, depth, features, cells, size)
    expected = with_gradients(bev_pool_reference, depth, features, cells, size)
    assert actual[0].shape == (batch, channels, rows, columns)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-4, atol=1e-5)
    if dropped == 1.0:
        assert not actual[0].any()


def test_a_sum_done_by_hand():
    weights = torch.tensor([[[0.5, 2.0], [1.0, 4.0]]])
    features = torch.tensor([[[1.0, 10.0], [3.0, 30.0]]])
    cells = torch.tensor([[[4, 1], [4, 6]]])  # of 2 rows x 3 columns; 6 is nowhere
    pooled = splat(weights, features, cells, (2, 3))
    expected = torch.zeros(1, 2, 2, 3)
    expected[0, :, 1, 1] = torch.tensor([0.5 * 1 + 1 * 3, 0.5 * 10 + 1 * 30])
    expected[0, :, 0, 1] = torch.tensor([2.0, 20.0])
    torch.testing.assert_close(pooled, expected)


def test_samples_do_not_mix():
    torch.manual_seed(0)
    weights, features = torch.rand(2, 5, 3), torch.randn(2, 5, 4)
    cells = torch.randint(0, 13, (2, 5, 3))
    both = splat(weights, features, cells, (3, 4))
    for i in range(2):
        alone = splat(weights[i : i + 1], features[i : i + 1], cells[i : i + 1], (3, 4))
        torch.testing.assert_close(both[i : i + 1], alone)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_features_are_summed_in_single_precision(dtype):
    weights, cells = torch.full((1, 4096, 1), 1.0), torch.zeros(1, 4096, 1, dtype=torch.int64)
    pooled = splat(weights.to(dtype), torch.ones(1, 4096, 1, dtype=dtype), cells, (1, 1))
    assert pooled.item() == 4096
