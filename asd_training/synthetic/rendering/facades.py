# SPDX-License-Identifier: Apache-2.0
"""Fronts of houses: windows with frames, curtains and reveals, glass fronts, shops."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.rendering import textures
from asd_training.synthetic.rendering.hits import Hits, brick, mixed, toned, weathered
from asd_training.synthetic.rendering.textures import texels

PANE = 0.09  # reflection seen straight on


def facade(hits: Hits) -> np.ndarray:
    """Albedo (N, 3) of a house's front; its panes mirror, some glow at night.

    The pattern chooses the kind of house: single windows, bands of windows, or glass all over.
    """
    kind = hits.chance(1)
    storey = 2.8 + 1.2 * hits.chance(2)
    period = 1.4 + 3.0 * hits.chance(3) ** 1.5
    wide, high = 0.35 + 0.4 * hits.chance(4), 0.4 + 0.3 * hits.chance(5)
    bands, glassy = (kind > 0.55) & (kind < 0.7), kind > 0.7
    wide = np.where(bands, 0.97, np.where(glassy, 0.96, wide))
    high = np.where(glassy, 0.9, high)
    column, row = np.floor(hits.along / period), np.floor(hits.height / storey)
    u, v = hits.along / period - column, hits.height / storey - row
    shop = (row == 0) & (hits.chance(6) < 0.65)
    wide, high = np.where(shop, 0.9, wide), np.where(shop, 0.72, high)
    x, y = (u - 0.5) / wide, (v - np.where(shop, 0.42, 0.54)) / high
    inside = (np.abs(x) < 0.5) & (np.abs(y) < 0.5) & hits.upright

    # The wall.
    tone = weathered(hits, 0.06 + 0.1 * hits.chance(7))
    tone -= 0.2 * ((v < 0.05) & (hits.chance(8) < 0.4)) * hits.shows(0.2)  # ledges
    albedo = toned(hits, tone)
    bricks = np.flatnonzero(hits.chance(9) < 0.3)
    albedo[bricks] = brick(hits.only(bricks), tone[bricks])
    sign = (row == 0) & (v > 0.8) & (hits.chance(6) < 0.65) & hits.upright
    board = _colors(column // 3 + hits.pattern, row)
    letter = texels(textures.chances(), hits.along / 0.22, column + 5.0) > 0.45
    letter &= (v > 0.85) & (v < 0.95)
    albedo = mixed(
        albedo,
        0.85 * sign,
        np.where(letter[:, None], 0.6, board),
    )
    around = (np.abs(x) < 0.5 + 0.06 / wide) & (np.abs(y) < 0.5 + 0.05 / high) & hits.upright
    trim = np.where(hits.chance(10) < 0.5, 0.5, 0.06)[:, None].astype(np.float32)
    albedo = mixed(albedo, 0.7 * (around & ~inside) * hits.shows(0.25), trim)

    # The panes.
    index = np.flatnonzero(inside)
    window = hits.only(index)
    x, y, column, row = x[index], y[index], column[index], row[index]
    chance = texels(textures.chances(), column + window.pattern, row * 3.0)
    other = texels(textures.chances(), column * 5.0 + 3.0, row + window.pattern)
    room = (0.012 + 0.05 * other**2)[:, None] * np.array([1.0, 1.0, 1.05], np.float32)
    deep = window.noise(textures.blotchy(), 22.0)
    pane = room * np.clip(1.0 + 0.6 * deep, 0.2, 3.0)[:, None]
    blind = (y > 0.5 - 1.1 * chance**2) | (np.abs(x) > 0.5 - 0.35 * (other > 0.6) * chance)
    cloth = (0.15 + 0.5 * other)[:, None] * np.array([1.0, 0.95, 0.85], np.float32)
    drawn = blind & (chance < 0.75) & ~shop[index] & ~glassy[index]
    pane = mixed(pane, 0.75 * drawn, cloth)
    shown = shop[index] & (y < -0.1 + 0.4 * deep) & (chance > 0.3)
    goods = _colors(window.along / 0.25 + window.pattern, window.up / 0.3)
    pane = mixed(pane, 0.7 * shown, 0.5 * goods)
    bars = np.abs(np.mod((x + 0.5) * (1.0 + np.rint(2.0 * window.chance(11))), 1.0) - 0.5) > 0.47
    bars |= np.abs(np.mod((y + 0.5) * (1.0 + np.rint(window.chance(12))), 1.0) - 0.5) > 0.47
    pane = mixed(pane, bars * window.shows(0.1), trim[index])
    reveal = (y > 0.44) | (x > 0.45)
    pane *= (1.0 - 0.6 * reveal * window.shows(0.15))[:, None]
    albedo[index] = pane
    hits.mirror[index] = np.where(bars, 0.02, PANE * (0.6 + 2.2 * window.chance(13)))
    lit = (texels(textures.chances(), column * 11.0 + window.pattern, row * 17.0) < 0.3) | shop[
        index
    ]
    hue = np.stack([np.full_like(other, 0.3), 0.2 + 0.1 * chance, 0.08 + 0.25 * chance**2], 1)
    hits.glow[index] = (lit * (0.2 + 1.2 * other) * ~bars)[:, None] * hue
    return albedo


def _colors(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Random colours (N, 3) by cell, most of them dull."""
    grey, dull = texels(textures.chances(), u, v), texels(textures.chances(), v + 50.0, u)
    hues = np.stack([texels(textures.chances(), u + 9.0 * i, v + 5.0) for i in range(3)], axis=1)
    return mixed(hues**2, np.sqrt(dull), grey[:, None] ** 2)
