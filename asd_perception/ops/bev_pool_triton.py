# SPDX-License-Identifier: Apache-2.0
"""BEV pooling on a CUDA GPU: the two passes of `bev_pool.splat` as Triton kernels.

Forward, one program per cell: it walks through its entries in the plan's order, gathers weight and
feature, adds up in float32 registers, and writes the cell once; empty cells write their zeros
themselves, so nothing is cleared beforehand. Backward, one program per source: it reads its feature
once, walks through its K cells' gradients, and writes the gradient of its feature and of its K
weights once. No atomics: the order of every sum is fixed, and so is its last bit.

From device memory each weight, index and feature comes once (all features together, 0.3 to 3 MB,
stay in the L2 cache between their uses) and each result goes once; the count is in `bev_pool`. The
backward pass moves 8 B S K (cells, weights) + 4 R C (the cells' gradient) + 4 S C (features) bytes
in, and 4 B S K + 4 S C out, for twice the forward pass's operations.

`triton` is no requirement of this package: the CUDA builds of torch bring the one that fits them,
and a CPU build has no use for its 0.9 GB. Where it is installed, TRITON_INTERPRET=1 runs these
kernels on the CPU, as the tests do.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from asd_perception.ops.bev_pool import SplatPlan

ENTRIES = 32
"""Entries that a program takes at a time."""


class TritonSplat(torch.autograd.Function):
    """`splat` on weights (B * S, K) and features (B * S, C): (B * rows * columns, C) float32."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, features: Tensor, plan: SplatPlan) -> Tensor:
        weights, features = weights.contiguous(), features.contiguous()
        ctx.plan = plan
        ctx.save_for_backward(weights, features)
        channels = features.shape[1]
        block_c = triton.next_power_of_2(channels)
        pooled = features.new_empty(len(plan.starts) - 1, channels, dtype=torch.float32)
        _sum_into_cells[(len(pooled),)](
            weights,
            features,
            plan.order,
            plan.sources,
            plan.starts,
            pooled,
            channels,
            BLOCK_E=ENTRIES,
            BLOCK_C=block_c,
            num_warps=max(1, block_c // 128),  # most cells have few entries: more warps wait
        )
        return pooled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        weights, features = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        to_weights, to_features = torch.empty_like(weights), torch.empty_like(features)
        channels = features.shape[1]
        _gather_gradients[(len(features),)](
            weights,
            features,
            ctx.plan.cells,
            gradient,
            to_weights,
            to_features,
            weights.shape[1],
            channels,
            len(gradient),
            BLOCK_E=ENTRIES,
            BLOCK_C=triton.next_power_of_2(channels),
        )
        return to_weights, to_features, None


@triton.jit
def _sum_into_cells(
    weights,
    features,
    order,
    sources,
    starts,
    pooled,
    channels,
    BLOCK_E: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    cell = tl.program_id(0)
    begin = tl.load(starts + cell)
    end = tl.load(starts + cell + 1)
    channel = tl.arange(0, BLOCK_C)
    real = channel < channels
    total = tl.zeros((BLOCK_C,), tl.float32)
    for first in range(begin, end, BLOCK_E):
        entry = first + tl.arange(0, BLOCK_E)
        mine = entry < end
        where = tl.load(order + entry, mask=mine, other=0)
        weight = tl.load(weights + where, mask=mine, other=0.0).to(tl.float32)
        source = tl.load(sources + entry, mask=mine, other=0).to(tl.int64)
        feature = tl.load(
            features + source[:, None] * channels + channel[None, :],
            mask=mine[:, None] & real[None, :],
            other=0.0,
        ).to(tl.float32)
        total += tl.sum(weight[:, None] * feature, axis=0)
    tl.store(pooled + cell.to(tl.int64) * channels + channel, total, mask=real)


@triton.jit
def _gather_gradients(
    weights,
    features,
    cells,
    gradient,
    to_weights,
    to_features,
    per_source,
    channels,
    nowhere,
    BLOCK_E: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    source = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, BLOCK_C)
    real = channel < channels
    feature = tl.load(features + source * channels + channel, mask=real, other=0.0).to(tl.float32)
    total = tl.zeros((BLOCK_C,), tl.float32)
    for first in range(0, per_source, BLOCK_E):
        k = first + tl.arange(0, BLOCK_E)
        mine = k < per_source
        entry = source * per_source + k
        cell = tl.load(cells + entry, mask=mine, other=nowhere).to(tl.int64)
        incoming = tl.load(
            gradient + cell[:, None] * channels + channel[None, :],
            mask=(cell < nowhere)[:, None] & real[None, :],
            other=0.0,
        )
        weight = tl.load(weights + entry, mask=mine, other=0.0).to(tl.float32)
        total += tl.sum(weight[:, None] * incoming, axis=0)
        tl.store(to_weights + entry, tl.sum(incoming * feature[None, :], axis=1), mask=mine)
    tl.store(to_features + source * channels + channel, total, mask=real)
