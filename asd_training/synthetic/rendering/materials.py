# SPDX-License-Identifier: Apache-2.0
"""What the 32 materials look like: texture, mirroring, light of their own, LiDAR reflectivity."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.meshes import mesh as m
from asd_training.synthetic.rendering import textures
from asd_training.synthetic.rendering.facades import facade
from asd_training.synthetic.rendering.hits import Hits, brick, mixed, toned, weathered
from asd_training.synthetic.rendering.textures import texels

# Reflection seen straight on; it grows to one at grazing views. NaN: none.
MIRROR = np.full(m.MATERIAL_COUNT, np.nan, np.float32)
MIRROR[[m.PAINT, m.GLASS, m.CHROME, m.WATER]] = 0.045, 0.09, 0.55, 0.03
MIRROR[[m.HEADLAMP, m.TAIL_LAMP, m.PLASTIC, m.TILES, m.SHEET]] = 0.06, 0.05, 0.015, 0.01, 0.03
# Echo of a surface hit at a right angle, 1: a white matt board. NaN: its albedo says it.
REFLECTIVITY = np.full(m.MATERIAL_COUNT, np.nan, np.float32)
REFLECTIVITY[[m.RETRO, m.HEADLAMP, m.TAIL_LAMP, m.LAMP]] = 2.5, 1.2, 1.5, 0.5
REFLECTIVITY[[m.FOLIAGE, m.GRASS, m.HAIR, m.SKIN]] = 0.3, 0.3, 0.2, 0.45
REFLECTIVITY[[m.GLASS, m.WATER, m.RUBBER, m.CHROME]] = 0.06, 0.02, 0.05, 0.35


def textured(material: int, hits: Hits) -> np.ndarray:
    """Albedo (N, 3) with the texture of a material."""
    painter = _PAINTERS.get(material)
    if painter is None:
        return hits.albedo * (1.0 + 0.08 * hits.noise(textures.cloudy(), 40.0))[:, None]
    return painter(hits)


def _plaster(hits: Hits) -> np.ndarray:
    return toned(hits, weathered(hits))


def _walls_of_brick(hits: Hits) -> np.ndarray:
    return brick(hits, weathered(hits, 0.1))


def _concrete(hits: Hits) -> np.ndarray:
    tone = weathered(hits, 0.13)
    size = 1.2 + 2.0 * hits.chance(1)
    a, b = hits.along / size, hits.up / (0.5 * size + 0.4)
    tone += 0.12 * (texels(textures.chances(), np.floor(a), np.floor(b)) - 0.5)
    wide = 0.012 + 0.4 * hits.blur
    joint = (np.mod(a, 1.0) * size < wide) | (np.mod(b, 1.0) * size < wide)
    return toned(hits, tone - 0.4 * joint * hits.shows(0.03))


def _stone(hits: Hits) -> np.ndarray:
    scale = 40.0 + 60.0 * hits.chance(1)
    u, v = hits.along * scale, hits.up * scale * 1.4
    tone = weathered(hits, 0.1) + 0.35 * (texels(textures.cell_values(), u, v) - 0.5)
    joint = texels(textures.cell_edges(), u, v) < 2.0
    return toned(hits, tone - 0.45 * joint * hits.shows(0.1))


def _tiles(hits: Hits) -> np.ndarray:
    row = np.floor(hits.height / 0.22)
    one = texels(textures.chances(), row, np.floor(hits.along / 0.3)) - 0.5
    tone = weathered(hits, 0.12) + 0.35 * one * hits.shows(0.2)
    return toned(hits, tone - 0.3 * (hits.height / 0.22 - row < 0.2) * hits.shows(0.08))


def _sheet(hits: Hits) -> np.ndarray:
    width = 0.12 + 0.3 * hits.chance(1)
    wave = np.mod(hits.along / width, 1.0)
    ribbed = (hits.chance(2) < 0.7) * hits.shows(0.25)
    tone = weathered(hits, 0.08) + ribbed * (0.16 * np.sin(6.2832 * wave) - 0.3 * (wave < 0.12))
    rust = hits.noise(textures.cloudy(), 30.0, stretch=2.5) - 2.6 + 1.8 * hits.chance(3)
    return mixed(toned(hits, tone), 1.5 * rust, np.array([0.2, 0.085, 0.04], np.float32))


def _wood(hits: Hits) -> np.ndarray:
    plank = np.floor(hits.up / 0.14)
    tone = weathered(hits, 0.1) + 0.4 * (texels(textures.chances(), plank, plank * 3) - 0.5)
    tone += 0.2 * texels(textures.cloudy(), 12.0 * hits.along, 150.0 * hits.up)
    return toned(hits, tone - 0.4 * (hits.up / 0.14 - plank < 0.12) * hits.shows(0.05))


def _bark(hits: Hits) -> np.ndarray:
    tone = 1.0 + 0.3 * hits.noise(textures.blotchy(), 150.0, stretch=6.0)
    return toned(hits, tone + 0.2 * hits.noise(textures.cloudy(), 60.0))


def _cloth(hits: Hits) -> np.ndarray:
    # Most cloth is plain.
    kind, size = 2.0 * hits.chance(1) - 1.0, 0.03 + 0.09 * hits.chance(2)
    # Folds, broad and narrow.
    tone = 1.0 + 0.16 * hits.noise(textures.blotchy(), 100.0, stretch=2.5)
    tone += 0.08 * hits.noise(textures.grainy(), 90.0)
    other = np.stack([hits.chance(3), hits.chance(4), hits.chance(5)], axis=1) ** 2
    across = np.mod(hits.up / size, 1.0) < 0.5
    down = np.mod(hits.along / size, 1.0) < 0.4
    printed = (kind > 0.6) & (kind < 0.72) & across  # stripes
    printed |= (kind > 0.72) & (kind < 0.77) & down
    printed |= (kind > 0.77) & (kind < 0.84) & (across ^ down)  # checks
    printed |= (kind > 0.84) & (kind < 0.92) & (hits.noise(textures.blotchy(), 130.0) > 0.5)
    printed |= (kind > 0.92) & (np.abs(hits.along) < 0.12) & (np.abs(hits.up - 0.35) < 0.13)
    share = printed * (0.2 + 0.7 * hits.chance(6)) * hits.shows(0.1)
    return mixed(hits.albedo, share, other) * np.clip(tone, 0.3, 1.8)[:, None]


def _skin(hits: Hits) -> np.ndarray:
    return toned(hits, 1.0 + 0.1 * hits.noise(textures.blotchy(), 200.0))


def _hair(hits: Hits) -> np.ndarray:
    return toned(hits, 1.0 + 0.3 * hits.noise(textures.blotchy(), 400.0, stretch=5.0))


def _paint(hits: Hits) -> np.ndarray:
    """Lacquer, dusty all over and splashed below; some vehicles are clean, some filthy."""
    dirty = hits.chance(1) ** 3
    cloud = hits.noise(textures.cloudy(), 50.0)
    dust = np.array([0.2, 0.17, 0.13], np.float32)
    splash = np.clip(0.75 - hits.height, 0.0, 0.5) * (0.25 + 1.6 * dirty)
    share = 0.35 * dirty * (0.6 + 0.4 * cloud) + splash * (1.0 + 0.5 * cloud)
    return mixed(toned(hits, 1.0 + 0.03 * cloud), 0.7 * share, dust)


def _glass(hits: Hits) -> np.ndarray:
    """What is dimly seen behind a pane: seats, people, curtains."""
    behind = hits.noise(textures.blotchy(), 35.0) + 0.5 * hits.noise(textures.cloudy(), 60.0)
    return hits.albedo * np.clip(0.6 + 0.5 * behind, 0.1, 2.5)[:, None]


def _rubber(hits: Hits) -> np.ndarray:
    dust = np.array([0.16, 0.14, 0.12], np.float32)
    share = 0.25 + 0.25 * hits.noise(textures.cloudy(), 60.0)
    return mixed(hits.albedo, share * hits.chance(1), dust)


def _tarpaulin(hits: Hits) -> np.ndarray:
    """Folds and straps, and on some a large picture or a firm's name."""
    tone = weathered(hits, 0.12) + 0.14 * hits.noise(textures.blotchy(), 18.0, stretch=5.0)
    tone -= 0.2 * (np.mod(hits.along, 0.62) < 0.05) * hits.shows(0.1) * (hits.chance(1) < 0.6)
    result = toned(hits, tone)
    index = np.flatnonzero((hits.chance(2) < 0.3) & hits.upright)
    if len(index):
        result[index] = 0.85 * _picture(hits, index, 4.0, 2.4) + 0.15 * result[index]
    return result


def _rust(hits: Hits) -> np.ndarray:
    scale = hits.noise(textures.cloudy(), 60.0)
    return mixed(
        toned(hits, 1.0 + 0.2 * scale),
        0.35 + 0.5 * scale,
        np.array([0.17, 0.07, 0.035], np.float32),
    )


def _picture(
    hits: Hits, index: np.ndarray, width: float | np.ndarray, height: float | np.ndarray
) -> np.ndarray:
    """Pictures (len(index), 3) side by side, one for each pattern."""
    rows, columns = textures.PICTURE
    u = np.mod(hits.along[index] / width + 0.5, 1.0) * columns
    v = (1.0 - np.mod(hits.up[index] / height + 0.5, 1.0)) * rows
    which = (hits.pattern[index].astype(np.int64) * 2654435761 >> 7) % textures.PICTURES
    return textures.pictures()[which, np.minimum(v, rows - 1).astype(np.int32), u.astype(np.int32)]


def _poster(hits: Hits) -> np.ndarray:
    size = 1.2 * 2.0 ** np.floor(3.0 * hits.chance(1))
    result = _picture(hits, np.arange(len(hits.along)), size, 1.3 * size)
    return result * (1.0 + 0.05 * hits.noise(textures.cloudy(), 30.0))[:, None]


def _lit_sign(hits: Hits) -> np.ndarray:
    """Writing on a board of the sign's colour."""
    letter = texels(
        textures.chances(), np.floor(hits.along / 0.16), hits.pattern.astype(np.int32) & 511
    )
    inner = np.mod(hits.along / 0.16, 1.0)
    band = np.mod(hits.up / 0.7, 1.0)
    stroke = (letter > 0.25) & (inner > 0.2) & (band > 0.3) & (band < 0.72)
    stroke &= texels(textures.chances(), hits.along / 0.05, hits.up / 0.09) > 0.3
    ink = np.where(hits.albedo.mean(axis=1) > 0.25, 0.03, 0.8)[:, None].astype(np.float32)
    return mixed(hits.albedo, stroke * hits.shows(0.12), ink)


def _foliage(hits: Hits) -> np.ndarray:
    shift = (hits.pattern * np.float32(7.3)) % np.float32(512.0)
    # Through all three axes, so that no side shows streaks.
    a = hits.along + 0.7 * hits.height + shift
    b = hits.up - 0.6 * hits.height - 0.5 * hits.along
    leaves = 0.5 * texels(textures.grainy(), 14.0 * a, 14.0 * b) * hits.shows(0.08)
    tufts = texels(textures.blotchy(), 36.0 * a, 36.0 * b) * hits.shows(0.3)
    boughs = texels(textures.blotchy(), 11.0 * b, 11.0 * a)
    tone = np.clip(0.95 + 0.3 * leaves + 0.26 * tufts + 0.22 * boughs, 0.06, 2.2)[:, None]
    light = np.clip(0.3 * tufts + 0.2 * leaves, 0.0, 0.6)
    yellow = hits.albedo * np.array([1.5, 1.25, 0.7], np.float32)
    return mixed(0.9 * hits.albedo + 0.012, light, yellow) * tone


def _soil(hits: Hits) -> np.ndarray:
    tone = 1.0 + 0.22 * hits.noise(textures.cloudy(), 60.0)
    return toned(hits, tone + 0.15 * hits.noise(textures.blotchy(), 90.0))


def _gravel(hits: Hits) -> np.ndarray:
    stone = hits.noise(textures.grainy(), 18.0) * hits.shows(0.06)
    return toned(hits, 1.0 + 0.25 * stone + 0.12 * hits.noise(textures.cloudy(), 40.0))


def _grass(hits: Hits) -> np.ndarray:
    tone = (
        1.0
        + 0.18 * hits.noise(textures.blotchy(), 60.0)
        + 0.2 * hits.noise(textures.cloudy(), 30.0)
    )
    return toned(hits, tone)


def _water(hits: Hits) -> np.ndarray:
    return toned(hits, 1.0 + 0.3 * hits.noise(textures.cloudy(), 20.0))


_PAINTERS = {
    m.PAINT: _paint,
    m.GLASS: _glass,
    m.FACADE: facade,
    m.FOLIAGE: _foliage,
    m.PLASTER: _plaster,
    m.BRICK: _walls_of_brick,
    m.CONCRETE: _concrete,
    m.STONE: _stone,
    m.TILES: _tiles,
    m.SHEET: _sheet,
    m.WOOD: _wood,
    m.BARK: _bark,
    m.CLOTH: _cloth,
    m.SKIN: _skin,
    m.HAIR: _hair,
    m.RUBBER: _rubber,
    m.TARPAULIN: _tarpaulin,
    m.RUST: _rust,
    m.LIT_SIGN: _lit_sign,
    m.POSTER: _poster,
    m.SOIL: _soil,
    m.GRAVEL: _gravel,
    m.GRASS: _grass,
    m.WATER: _water,
}
