# SPDX-License-Identifier: Apache-2.0
"""Tiles of noise that textures are made from, each computed once, looked up by whole texels."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from scipy.spatial import cKDTree

SIZE = 512  # texels, every tile repeats after so many
_MASK = SIZE - 1
PICTURES = 64  # in the atlas
PICTURE = (64, 48)  # rows, columns of each


class Tile(NamedTuple):
    values: np.ndarray  # (SIZE, SIZE)
    feature: float  # texels, what is smaller than that is of little weight


def texels(tile: Tile, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Values of a tile at texel coordinates u, v (N,)."""
    index = ((u.astype(np.int32) & _MASK) << 9) | (v.astype(np.int32) & _MASK)
    return tile.values.ravel().take(index)


def _normal(values: np.ndarray) -> np.ndarray:
    return ((values - values.mean()) / values.std()).astype(np.float32)


def _spectral(seed: int, exponent: float, lowest: float, highest: float) -> np.ndarray:
    """Standard normal noise with amplitudes falling as frequency**-exponent within a band."""
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None]) * SIZE
    white = np.fft.rfft2(np.random.default_rng(seed).normal(size=(SIZE, SIZE)))
    band = (frequency >= lowest) & (frequency <= highest)
    return _normal(np.fft.irfft2(white * band * np.maximum(frequency, 1.0) ** -exponent))


@lru_cache
def cloudy() -> Tile:
    """Noise with features of all sizes, the largest of half a tile."""
    return Tile(_spectral(1, 1.7, 2, 200), 30.0)


@lru_cache
def blotchy() -> Tile:
    """Smooth blobs about 12 texels wide."""
    return Tile(_spectral(2, 0.5, 12, 40), 10.0)


@lru_cache
def grainy() -> Tile:
    """Noise of single texels."""
    return Tile(_normal(np.random.default_rng(3).normal(size=(SIZE, SIZE))), 1.2)


@lru_cache
def chances() -> Tile:
    """Uniform numbers in 0..1 for decisions by cell."""
    return Tile(np.random.default_rng(4).random((SIZE, SIZE), dtype=np.float32), 1.2)


@lru_cache
def _cells() -> tuple[np.ndarray, np.ndarray]:
    """Of irregular cells about 32 texels wide: distance to the edge in texels, and a random value
    in 0..1 for each cell."""
    rng = np.random.default_rng(5)
    seeds = rng.uniform(0, SIZE, (256, 2))
    shifts = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]) * SIZE
    tree = cKDTree((seeds[None] + shifts[:, None]).reshape(-1, 2))
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    grid = np.stack([rows, columns], axis=-1).reshape(-1, 2).astype(float)
    wobble = np.stack([cloudy().values, cloudy().values.T], axis=-1).reshape(-1, 2) * 5.0
    distances, nearest = tree.query(grid + wobble, k=2)
    edge = (distances[:, 1] - distances[:, 0]).reshape(SIZE, SIZE).astype(np.float32)
    values = rng.random(len(seeds), dtype=np.float32)
    return edge, values[nearest[:, 0] % len(seeds)].reshape(SIZE, SIZE)


def cell_edges() -> Tile:
    return Tile(_cells()[0], 16.0)


def cell_values() -> Tile:
    return Tile(_cells()[1], 16.0)


@lru_cache
def cracks() -> Tile:
    """1 on fine branching lines that come and go, 0 elsewhere."""
    line = np.exp(-((cell_edges().values / 1.6) ** 2))
    there = np.clip(0.6 + np.roll(cloudy().values, 99, axis=0), 0.0, 1.0)
    return Tile((line * there).astype(np.float32), 3.0)


@lru_cache
def pictures() -> np.ndarray:
    """Posters and prints (PICTURES, *PICTURE, 3), linear albedo."""
    rng = np.random.default_rng(6)
    rows, columns = PICTURE
    atlas = np.empty((PICTURES, rows, columns, 3), np.float32)
    for picture in atlas:
        paper = _hue(rng) if rng.random() < 0.7 else rng.uniform(0.7, 1.0) * np.ones(3)
        other = _hue(rng)
        ramp = np.linspace(0.0, 1.0, rows)[:, None, None]
        picture[:] = paper * (1 - ramp) + ramp * (other if rng.random() < 0.5 else paper)
        for _ in range(rng.integers(1, 6)):
            color = _hue(rng).tolist()
            a, b = rng.integers(0, columns, 2).tolist(), rng.integers(0, rows, 2).tolist()
            if rng.random() < 0.5:
                cv2.rectangle(picture, (a[0], b[0]), (a[1], b[1]), color, -1)
            else:
                axes = rng.integers(3, 24, 2).tolist()
                cv2.ellipse(picture, (a[0], b[0]), axes, rng.uniform(0, 180), 0, 360, color, -1)
        if rng.random() < 0.35:  # a person
            x, size = int(rng.integers(12, 36)), rng.uniform(0.7, 1.3)
            skin = (np.array([0.9, 0.65, 0.5]) * rng.uniform(0.3, 1.0)).tolist()
            top = int(rows - 48 * size)
            cv2.ellipse(
                picture,
                (x, int(top + 38 * size)),
                (int(11 * size), int(24 * size)),
                0, 0, 360, _hue(rng).tolist(), -1,
            )  # fmt: skip
            cv2.circle(picture, (x, int(top + 8 * size)), int(7 * size), skin, -1)
        ink = _hue(rng).tolist()
        for _ in range(rng.integers(0, 6)):  # lines of writing
            x, y, height = int(rng.integers(2, 14)), int(rng.integers(2, 58)), rng.integers(1, 7)
            while x < rng.integers(20, 46):
                width = int(rng.integers(1, 5))
                cv2.rectangle(picture, (x, y), (x + width, y + int(height)), ink, -1)
                x += width + 2
        if rng.random() < 0.5:  # a photograph: soft, with light and shade
            picture[:] = cv2.GaussianBlur(picture, (0, 0), rng.uniform(1.0, 5.0))
            x, y = rng.integers(0, SIZE - 64, 2)
            picture *= 1.0 + 0.35 * cloudy().values[y : y + rows, x : x + columns, None]
    return np.clip(atlas, 0.01, 0.92) ** np.float32(2.2)


def _hue(rng: np.random.Generator) -> np.ndarray:
    """A colour (3,) in sRGB, most often a dull one."""
    return rng.random() + rng.random() ** 2 * (rng.random(3) - rng.random())
