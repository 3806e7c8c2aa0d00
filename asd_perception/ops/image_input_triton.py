# SPDX-License-Identifier: Apache-2.0
"""From camera images on a CUDA GPU to the network's normalised input, in one Triton kernel.

`image_input` is the same as `preprocessing.preprocess` and the normalisation after it: channel
order, crop along the lower edge, area averaging, rounding to whole levels, (level - mean) / std.
`view_input` is the same as `View.apply` and the normalisation, for any other camera: its look-up
table in place of the crop. A program makes a stretch of one output row, reads the pixels that it
averages over, and writes three channels side by side (channels last).

Bytes of `image_input`: the rows below the crop, 3 N W H' in, once from device memory, since
neighbours share pixels through the cache; 6 N h w out in half precision. Six 1600x900 images for
256x704: 16.8 MB + 6.5 MB. Operations: one multiplication and addition per channel and pixel read, 2
to 4 each way: 40 million.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from asd_perception.cameras.preprocessing import input_from_image

COLUMNS = 128
"""Output columns that a program makes."""


def image_input(
    images: Tensor,
    input_size: tuple[int, int],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    *,
    bgr: bool = False,
    out: Tensor | None = None,
    dtype: torch.dtype = torch.float16,
) -> Tensor:
    """Images (N, H, W, 3) uint8 to the normalised input (N, 3, *input_size), channels last.

    mean, std: of R, G, B on the 0-255 scale. bgr: the images' channels are B, G, R. out: where to
    write it, of that shape and order in memory; None: into a new tensor of `dtype`.
    W must be at least the input's width: area averaging only shrinks. Raises ValueError.
    """
    images = images.contiguous()
    count, height, width, _ = images.shape
    rows, columns = input_size
    if images.dtype != torch.uint8 or images.shape[3] != 3:
        raise ValueError(f"images are {images.dtype} {tuple(images.shape)}, not uint8 (N, H, W, 3)")
    if width < columns:
        raise ValueError(f"images are {width} wide, less than the network's input, {columns}")
    input_matrix = input_from_image(width, height, input_size)
    scale_x, scale_y = 1 / input_matrix[0, 0], 1 / input_matrix[1, 1]
    result = _channels_last(out, images, (count, rows, columns, 3), dtype)
    _resize_normalise[(count * rows, triton.cdiv(columns, COLUMNS))](
        images,
        result,
        height,
        width,
        rows,
        columns,
        round(height - rows * scale_y),  # negative where black rows stand for missing sky
        float(scale_x),
        float(scale_y),
        math.ceil(scale_x) + 1,
        math.ceil(scale_y) + 1,
        *mean,
        *std,
        BGR=bgr,
        BLOCK=COLUMNS,
    )
    return result.permute(0, 3, 1, 2)


def _channels_last(
    out: Tensor | None, images: Tensor, shape: tuple[int, int, int, int], dtype: torch.dtype
) -> Tensor:
    """Where to write: a new tensor (N, H, W, 3) beside the images, or `out` seen like that."""
    if out is None:
        return images.new_empty(shape, dtype=dtype)
    result = out.permute(0, 2, 3, 1)
    if result.shape != shape or not result.is_contiguous():
        raise ValueError(f"out is {tuple(out.shape)}, or not channels last")
    return result


@triton.jit
def _store_level(out, level, mean, std, mask):
    """Round to a whole level, as 8 bit images have it, and write it normalised."""
    normalised = (tl.floor(level + 0.5) - mean) / std
    tl.store(out, normalised.to(out.dtype.element_ty), mask=mask)


# Compiled once for all sizes of images, before the first camera's are known.
@triton.jit(
    do_not_specialize=["height", "width", "rows", "columns", "top", "taps_x", "taps_y"],
)
def _resize_normalise(
    images,
    result,
    height,
    width,
    rows,
    columns,
    top,
    scale_x,
    scale_y,
    taps_x,
    taps_y,
    mean_r,
    mean_g,
    mean_b,
    std_r,
    std_g,
    std_b,
    BGR: tl.constexpr,
    BLOCK: tl.constexpr,
):
    line = tl.program_id(0)
    image = (line // rows).to(tl.int64)
    y = line % rows
    x = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    # Output pixel x covers [x * scale, (x + 1) * scale) of the source; a source pixel's weight is
    # its overlap with that.
    low_y = y * scale_y
    low_x = x * scale_x
    first_y = tl.floor(low_y).to(tl.int32)
    first_x = tl.floor(low_x).to(tl.int32)
    r = tl.zeros((BLOCK,), tl.float32)
    g = tl.zeros((BLOCK,), tl.float32)
    b = tl.zeros((BLOCK,), tl.float32)
    for i in range(taps_y):
        source_y = first_y + i
        weight_y = tl.maximum(
            tl.minimum(source_y + 1.0, low_y + scale_y) - tl.maximum(source_y * 1.0, low_y), 0.0
        )
        row = top + source_y
        there = (row >= 0) & (row < height)
        for j in range(taps_x):
            source_x = first_x + j
            weight = weight_y * tl.maximum(
                tl.minimum(source_x + 1.0, low_x + scale_x) - tl.maximum(source_x * 1.0, low_x), 0.0
            )
            pixel = images + ((image * height + row) * width + source_x) * 3
            mask = there & (source_x < width) & (x < columns)
            r += weight * tl.load(pixel + (2 if BGR else 0), mask=mask, other=0).to(tl.float32)
            g += weight * tl.load(pixel + 1, mask=mask, other=0).to(tl.float32)
            b += weight * tl.load(pixel + (0 if BGR else 2), mask=mask, other=0).to(tl.float32)
    area = scale_x * scale_y
    out = result + ((image * rows + y) * columns + x) * 3
    _store_level(out, r / area, mean_r, std_r, x < columns)
    _store_level(out + 1, g / area, mean_g, std_g, x < columns)
    _store_level(out + 2, b / area, mean_b, std_b, x < columns)


def view_input(
    image: Tensor,
    u: Tensor,
    v: Tensor,
    size: tuple[int, int],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    *,
    bgr: bool = False,
    out: Tensor | None = None,
    dtype: torch.dtype = torch.float16,
) -> Tensor:
    """An image (H, W, 3) uint8 of any lens to the normalised input (1, 3, h, w), channels last.

    u, v (h, w) float32 and size: as `cameras.view.SourceMap` has them. Everything else as for
    `image_input`. Raises ValueError.

    Bytes: the pixels that the view shows, about once, and 8 h w of the map. Operations: 2 per
    channel and pixel read, of which there are (2 b)^2 per pixel of the input where b x b pixels are
    averaged; neighbours share them through the cache.
    """
    image, u, v = image.contiguous(), u.contiguous(), v.contiguous()
    rows, columns = u.shape
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image is {image.dtype} {tuple(image.shape)}, not uint8 (H, W, 3)")
    if u.dtype != torch.float32 or v.dtype != torch.float32 or v.shape != u.shape:
        raise ValueError(f"u and v are {u.dtype} {tuple(u.shape)} and {v.dtype} {tuple(v.shape)}")
    height, width, _ = image.shape
    step_x, step_y = width / size[0], height / size[1]
    result = _channels_last(out, image, (1, rows, columns, 3), dtype)
    _view_normalise[(rows, triton.cdiv(columns, COLUMNS))](
        image,
        u,
        v,
        result,
        height,
        width,
        columns,
        *size,
        float(step_x),
        float(step_y),
        math.ceil(step_x) + 1,
        math.ceil(step_y) + 1,
        *mean,
        *std,
        BGR=bgr,
        BLOCK=COLUMNS,
    )
    return result.permute(0, 3, 1, 2)


@triton.jit(
    do_not_specialize=[
        *("height", "width", "columns", "averaged_columns", "averaged_rows", "taps_x", "taps_y")
    ],
)
def _view_normalise(
    image,
    u,
    v,
    result,
    height,
    width,
    columns,
    averaged_columns,
    averaged_rows,
    step_x,
    step_y,
    taps_x,
    taps_y,
    mean_r,
    mean_g,
    mean_b,
    std_r,
    std_g,
    std_b,
    BGR: tl.constexpr,
    BLOCK: tl.constexpr,
):
    y = tl.program_id(0)
    x = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = x < columns
    column = tl.load(u + y * columns + x, mask=inside, other=0.0)
    row = tl.load(v + y * columns + x, mask=inside, other=0.0)
    left = tl.floor(column)
    top = tl.floor(row)
    r = tl.zeros((BLOCK,), tl.float32)
    g = tl.zeros((BLOCK,), tl.float32)
    b = tl.zeros((BLOCK,), tl.float32)
    # Bilinear between four pixels of the averaged image, the edge's own beyond it; each of them is
    # an area of the image, whose pixels count by their overlap with it.
    for down in tl.static_range(2):
        cell_y = tl.minimum(tl.maximum(top + down, 0.0), averaged_rows - 1.0)
        low_y = cell_y * step_y
        first_y = tl.floor(low_y).to(tl.int32)
        share_y = 1.0 - tl.abs(row - top - down)
        for right in tl.static_range(2):
            cell_x = tl.minimum(tl.maximum(left + right, 0.0), averaged_columns - 1.0)
            low_x = cell_x * step_x
            first_x = tl.floor(low_x).to(tl.int32)
            share = share_y * (1.0 - tl.abs(column - left - right))
            for i in range(taps_y):
                source_y = first_y + i
                weight_y = share * tl.maximum(
                    tl.minimum(source_y + 1.0, low_y + step_y) - tl.maximum(source_y * 1.0, low_y),
                    0.0,
                )
                for j in range(taps_x):
                    source_x = first_x + j
                    weight = weight_y * tl.maximum(
                        tl.minimum(source_x + 1.0, low_x + step_x)
                        - tl.maximum(source_x * 1.0, low_x),
                        0.0,
                    )
                    pixel = image + (source_y.to(tl.int64) * width + source_x) * 3
                    mask = inside & (source_y < height) & (source_x < width)
                    level = tl.load(pixel + (2 if BGR else 0), mask=mask, other=0)
                    r += weight * level.to(tl.float32)
                    g += weight * tl.load(pixel + 1, mask=mask, other=0).to(tl.float32)
                    level = tl.load(pixel + (0 if BGR else 2), mask=mask, other=0)
                    b += weight * level.to(tl.float32)
    area = step_x * step_y
    out = result + (y * columns + x) * 3
    _store_level(out, r / area, mean_r, std_r, inside)
    _store_level(out + 1, g / area, mean_g, std_g, inside)
    _store_level(out + 2, b / area, mean_b, std_b, inside)
