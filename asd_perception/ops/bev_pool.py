# SPDX-License-Identifier: Apache-2.0
"""BEV pooling: sums weighted features into the cells of a bird's-eye-view grid.

`splat` is the one core. A source (an image feature, a point) carries one feature vector and K
weights, each for a cell; a cell receives the sum of weight * feature over all that name it:

    pooled[b, :, i] = sum of weights[b, s, k] * features[b, s] over (s, k) with cells[b, s, k] = i

Lift-splat pooling (Philion and Fidler, ECCV 2020) is this sum with K = depth bins, and bilinear
splatting of points is it with K = 4. The product weights x features, tens of MB for six small
images, is never built: entries are sorted by cell, and each cell is one bag of a weighted
embedding bag.

An exported program (torch.export, ONNX) gets the plain form with every product built: runtimes
beside PyTorch know no weighted embedding bag, but all can add into a table.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def splat(weights: Tensor, features: Tensor, cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Sum weighted features into cells.

    weights (B, S, K), features (B, S, C), cells (B, S, K) int64 = row * columns + column, where
    rows * columns (`drop_cell(size)`) means nowhere; size: (rows, columns).
    Returns (B, C, rows, columns) in float32, differentiable in weights and features.
    """
    if torch.compiler.is_exporting():
        return splat_reference(weights, features, cells, size)
    batch, sources, per_source = cells.shape
    order, starts = _sorted_by_cell(cells, size)
    pooled = F.embedding_bag(
        order // per_source,
        features.reshape(batch * sources, -1).float(),
        starts,
        mode="sum",
        per_sample_weights=weights.reshape(-1).float().index_select(0, order),
        include_last_offset=True,
    )
    return _as_grid(pooled, batch, size)


def splat_reference(
    weights: Tensor, features: Tensor, cells: Tensor, size: tuple[int, int]
) -> Tensor:
    """The same as `splat`, written plainly: build every product, then add it to its cell."""
    products = weights[..., None] * features[:, :, None]  # (B, S, K, C)
    pooled = features.new_zeros(len(cells) * drop_cell(size) + 1, features.shape[-1])
    pooled = pooled.index_add(0, _unique_over_batch(cells, size), products.flatten(0, 2))
    return _as_grid(pooled, len(cells), size)


def bev_pool(depth: Tensor, features: Tensor, cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Lift image features along their rays and sum them into BEV cells.

    depth (B, N, D, h, w) probabilities, features (B, N, C, h, w), cells (B, N, D, h, w) as in
    `splat`. Returns (B, C, rows, columns).
    """
    return splat(_by_pixel(depth), _by_pixel(features), _by_pixel(cells), size)


def bev_pool_reference(
    depth: Tensor, features: Tensor, cells: Tensor, size: tuple[int, int]
) -> Tensor:
    """The same as `bev_pool`, through `splat_reference`."""
    return splat_reference(_by_pixel(depth), _by_pixel(features), _by_pixel(cells), size)


def drop_cell(size: tuple[int, int]) -> int:
    """The cell index that stands for "outside the grid"."""
    return size[0] * size[1]


def _by_pixel(maps: Tensor) -> Tensor:
    """(B, N, K, h, w) to (B, N * h * w, K)."""
    return maps.permute(0, 1, 3, 4, 2).flatten(1, 3)


def _unique_over_batch(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Flat cell indices (B * S * K) counted through the batch; the last one drops."""
    batch, drop = len(cells), drop_cell(size)
    offset = drop * torch.arange(batch, device=cells.device)[:, None, None]
    return torch.where(cells < drop, cells + offset, batch * drop).flatten()


def _sorted_by_cell(cells: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The order that sorts all entries by cell, and where in it each cell's entries start."""
    keys, order = _unique_over_batch(cells, size).sort(stable=True)
    bags = len(cells) * drop_cell(size) + 1
    return order, torch.searchsorted(keys, torch.arange(bags + 1, device=cells.device))


def _as_grid(pooled: Tensor, batch: int, size: tuple[int, int]) -> Tensor:
    """(B * rows * columns + 1, C), the last row dropped, to (B, C, rows, columns) channels last."""
    return pooled[:-1].unflatten(0, (batch, *size)).permute(0, 3, 1, 2)
