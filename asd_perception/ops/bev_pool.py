# SPDX-License-Identifier: Apache-2.0
"""BEV pooling: sums weighted features into the cells of a bird's-eye-view grid.

`splat` is the one core. A source (an image feature, a point) carries one feature vector and K
weights, each for a cell; a cell receives the sum of weight * feature over all that name it:

    pooled[b, :, i] = sum of weights[b, s, k] * features[b, s] over (s, k) with cells[b, s, k] = i

Lift-splat pooling (Philion and Fidler, ECCV 2020) is this sum with K = depth bins, and bilinear
splatting of points is it with K = 4.

What depends on the cells alone, a `SplatPlan`, is worked out once and kept as long as they stay:
for lift-splat, as long as the calibration. It lists the E entries (s, k) inside the grid, sorted
by cell. With the plan the sum is a product of a sparse matrix, one row per cell, and the features.
The products weights x features, tens of MB for six small images, are never built; each cell is
summed in one place and written once, always in the same order. On the CPU each cell is one bag of a
weighted embedding bag; on a CUDA GPU `bev_pool_triton` has kernels of our own.

Count, with P = B * S * K entries of which E lie in the grid, S' = B * S sources, C channels and
R = B * rows * columns cells, in float32:
    operations   2 E C, as the sum itself asks
    reads        4 E (weights) + 8 E (their place and their source) + 4 S' C (features: each of
                 their E uses hits the cache, which holds them: 0.3 to 3 MB) + 4 R (starts)
    writes       4 E (weights in the plan's order) + 4 R C
The cumulative-sum trick (as lift-splat wrote it) moves 4 E C bytes seven times over: products
written, gathered into order (read, write), summed up (read, write), and read twice at the cells'
borders; `index_add_` moves 4 P C three times. For 256x704 images at stride 16, 118 bins, 80
channels and 128x128 cells (P = 498,432, E = 233,000) that is 11 MB here, 520 MB for the trick
and 480 MB for `index_add_`.

An exported program (torch.export, ONNX) gets the plain form with every product built: runtimes
beside PyTorch know no weighted embedding bag, but all can add into a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_plain = False  # inside `plain_ops`
_COMPILING_IS_EXPORTING = torch.__version__ < "2.13"
"""Before, `torch.compiler.is_exporting()` is true within `torch.compile`, too."""
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # since 2.7
_TRITON = find_spec("triton") is not None  # it comes with the CUDA builds of torch for Linux


class SplatPlan(NamedTuple):
    """Where every weight goes, and in which order the cells gather them.

    cells (B, S, K) int32, counted through the batch: those of sample b start at b * rows * columns,
    and B * rows * columns means nowhere. order (E) int32: the entries inside the grid, as positions
    in `cells` laid flat, sorted by cell. sources (E) int32 = order // K. starts
    (B * rows * columns + 1) int32: entries starts[i] ... starts[i + 1] - 1 go to cell i; on a GPU
    `order` and `sources` go on behind the last of them with entries outside the grid.
    size: (rows, columns).
    """

    cells: Tensor
    order: Tensor
    sources: Tensor
    starts: Tensor
    size: tuple[int, int]


@contextmanager
def plain_ops() -> Iterator[None]:
    """Within it `splat` is `splat_reference`: the plain network, to measure against."""
    global _plain
    _plain = True
    try:
        yield
    finally:
        _plain = False


def _plain_form() -> bool:
    return _plain or _exporting()


def _exporting() -> bool:
    return _is_exporting() and not (
        _COMPILING_IS_EXPORTING and torch.compiler.is_dynamo_compiling()
    )


def plan_splat(cells: Tensor, size: tuple[int, int]) -> SplatPlan:
    """The plan for cells (B, S, K) int64 = row * columns + column; `drop_cell(size)` is nowhere."""
    batch, _, per_source = cells.shape
    drop = drop_cell(size)
    offset = drop * torch.arange(batch, device=cells.device)[:, None, None]
    cells = torch.where(cells < drop, cells + offset, batch * drop).int()
    if _plain_form():  # which asks for no order
        return SplatPlan(cells, cells, cells, cells, size)
    keys, order = cells.flatten().sort(stable=True)
    every_cell = torch.arange(batch * drop + 1, dtype=torch.int32, device=cells.device)
    starts = torch.searchsorted(keys, every_cell, out_int32=True)
    if cells.device.type == "cpu":  # elsewhere the length would have to be waited for
        order = order[: int(starts[-1])]
    order = order.int()
    return SplatPlan(cells, order, order // per_source, starts, size)


def splat(weights: Tensor, features: Tensor, plan: SplatPlan) -> Tensor:
    """Sum weighted features into cells.

    weights (B, S, K), features (B, S, C). Returns (B, C, rows, columns), channels last, in float32
    (float64 if one of them is), differentiable in weights and features.
    """
    on_cpu = weights.device.type == "cpu"
    if _plain_form() or not (on_cpu or _TRITON):
        return splat_reference(weights, features, plan)
    channels = features.shape[-1]
    if not on_cpu:
        pooled = _triton_splat(weights.flatten(0, 1), features.reshape(-1, channels), plan)
    else:
        dtype = _sum_dtype(weights, features)
        pooled = _EmbeddingBagSplat.apply(
            weights.reshape(-1).to(dtype), features.reshape(-1, channels).to(dtype), plan
        )
    return _as_grid(pooled, plan)


class _EmbeddingBagSplat(torch.autograd.Function):
    """`splat` on flat weights (B * S * K) and features (B * S, C) of one dtype, on the CPU.

    The backward pass needs no sorting: the gradient of source s's feature is the weighted sum of
    the gradients of its K cells, again a weighted bag, and K lie side by side as they are.
    """

    @staticmethod
    def forward(ctx: Any, weights: Tensor, features: Tensor, plan: SplatPlan) -> Tensor:
        ctx.plan = plan
        ctx.save_for_backward(weights, features)
        ordered = weights.index_select(0, plan.order)
        return _bag_sums(features, plan.sources, plan.starts, ordered)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        weights, features = ctx.saved_tensors
        table = F.pad(gradients[0], (0, 0, 0, 1))  # the gradient of nowhere is zero
        cells, per_source = ctx.plan.cells.flatten(), ctx.plan.cells.shape[-1]
        starts = per_source * torch.arange(len(features) + 1, dtype=torch.int32)
        to_features = to_weights = None
        if ctx.needs_input_grad[1]:
            to_features = _bag_sums(table, cells, starts, weights)
        if ctx.needs_input_grad[0]:
            # One dot product per entry, of its source's feature and its cell's gradient: PyTorch's
            # own gradient of a weighted bag, whose incoming gradient is here the feature.
            source = torch.arange(len(features), dtype=torch.int32).repeat_interleave(per_source)
            to_weights = torch.ops.aten._embedding_bag_per_sample_weights_backward(
                features, table, cells, starts[:-1], source, 0
            )
        return to_weights, to_features, None


def _bag_sums(table: Tensor, rows: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """For each bag i the sum of weights[j] * table[rows[j]] over starts[i] <= j < starts[i + 1]."""
    return F.embedding_bag(
        rows, table, starts, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


@torch.compiler.disable  # a compiled network calls it as it is
def _triton_splat(weights: Tensor, features: Tensor, plan: SplatPlan) -> Tensor:
    from asd_perception.ops.bev_pool_triton import TritonSplat

    with torch.cuda.device_of(weights):  # Triton launches on the present device
        return TritonSplat.apply(weights, features, plan)


def splat_reference(weights: Tensor, features: Tensor, plan: SplatPlan) -> Tensor:
    """The same as `splat`, written plainly: build every product, then `index_add_` it to its cell.

    It uses nothing of the plan but the cells.
    """
    dtype = _sum_dtype(weights, features)
    products = weights.to(dtype)[..., None] * features.to(dtype)[:, :, None]  # (B, S, K, C)
    products, cells = products.flatten(0, 2), plan.cells.flatten().long()
    pooled = products.new_zeros(len(plan.cells) * drop_cell(plan.size) + 1, features.shape[-1])
    if _exporting():
        # In ONNX index_add is a ScatterND, in which ONNX Runtime's CPU threads add to one place at
        # once and lose sums (microsoft/onnxruntime#18048). This is a ScatterElements: one thread.
        pooled = pooled.scatter_add(0, cells[:, None].expand_as(products), products)
    else:
        pooled = pooled.index_add(0, cells, products)
    return _as_grid(pooled[:-1], plan)


def splat_cumulative(weights: Tensor, features: Tensor, plan: SplatPlan) -> Tensor:
    """The same as `splat` by the cumulative-sum trick of lift-splat's authors, to compare with.

    Products in the cells' order are summed up once, and a cell's sum is the difference of the
    running sums at its two ends. It loses digits as the running sum grows.
    """
    dtype = _sum_dtype(weights, features)
    ordered = weights.to(dtype).flatten().index_select(0, plan.order)
    products = ordered[:, None] * features.to(dtype).flatten(0, 1).index_select(0, plan.sources)
    running = F.pad(products.cumsum(0), (0, 0, 1, 0))
    return _as_grid(running[plan.starts[1:]] - running[plan.starts[:-1]], plan)


def plan_bev_pool(cells: Tensor, size: tuple[int, int]) -> SplatPlan:
    """The plan of `bev_pool` for cells (B, N, D, h, w) int64 as in `plan_splat`."""
    return plan_splat(_by_pixel(cells), size)


def bev_pool(depth: Tensor, features: Tensor, plan: SplatPlan) -> Tensor:
    """Lift image features along their rays and sum them into BEV cells.

    depth (B, N, D, h, w) probabilities, features (B, N, C, h, w), both read without a copy if they
    lie channels last. Returns (B, C, rows, columns).
    """
    return splat(_by_pixel(depth), _by_pixel(features), plan)


def drop_cell(size: tuple[int, int]) -> int:
    """The cell index that stands for "outside the grid"."""
    return size[0] * size[1]


def _by_pixel(maps: Tensor) -> Tensor:
    """(B, N, K, h, w) to (B, N * h * w, K)."""
    return maps.permute(0, 1, 3, 4, 2).flatten(1, 3)


def _sum_dtype(weights: Tensor, features: Tensor) -> torch.dtype:
    """At least float32: thousands of terms add up in a cell."""
    wider = torch.promote_types(weights.dtype, features.dtype)
    return torch.promote_types(wider, torch.float32)


def _as_grid(pooled: Tensor, plan: SplatPlan) -> Tensor:
    """(B * rows * columns, C) to (B, C, rows, columns), channels last in memory."""
    return pooled.unflatten(0, (len(plan.cells), *plan.size)).permute(0, 3, 1, 2)
