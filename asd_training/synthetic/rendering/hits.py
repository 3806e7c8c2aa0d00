# SPDX-License-Identifier: Apache-2.0
"""Surface points that a texture is painted on, and what the painters share."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from asd_training.synthetic.rendering import textures
from asd_training.synthetic.rendering.textures import Tile, texels


@dataclass
class Hits:
    """Surface points of one material (N,), in the frame that their texture moves with."""

    albedo: np.ndarray  # (N, 3)
    along: np.ndarray  # m, level along an upright surface, else x
    up: np.ndarray  # m, height on an upright surface, else y
    height: np.ndarray  # m above the ground
    upright: np.ndarray  # bool
    pattern: np.ndarray  # numbers 0..65535
    blur: np.ndarray  # m that a pixel covers
    mirror: np.ndarray  # reflection seen straight on, NaN for none; a painter may change it
    glow: np.ndarray  # (N, 3) radiance of its own at night, 0 for none; a painter may set it

    def only(self, index: np.ndarray) -> Hits:
        """Some of the points; changes to them do not come back."""
        return Hits(*(getattr(self, field.name)[index] for field in fields(self)))

    def noise(self, tile: Tile, per_metre: float, stretch: float = 1.0) -> np.ndarray:
        """Values (N,) of a tile of noise, fainter where a pixel covers many texels; `stretch` > 1
        draws it out upwards."""
        shift = (self.pattern * np.float32(7.3)) % np.float32(512.0)
        u, v = per_metre * self.along + shift, per_metre / stretch * self.up + 3.0 * shift
        fade = np.clip(tile.feature / (per_metre * self.blur), 0.0, 1.0)
        return texels(tile, u, v) * fade

    def chance(self, number: int) -> np.ndarray:
        """A uniform number in 0..1 by pattern, another one for each `number`."""
        pattern = self.pattern.astype(np.int32)
        return texels(textures.chances(), pattern >> 5, pattern * 5 + 31 * number)

    def shows(self, size: float) -> np.ndarray:
        """How well something of `size` metres can be made out, 0..1."""
        return np.clip(1.5 * size / self.blur - 0.4, 0.0, 1.0)


def toned(hits: Hits, tone: np.ndarray) -> np.ndarray:
    return hits.albedo * np.clip(tone, 0.1, 2.5)[:, None]


def mixed(albedo: np.ndarray, share: np.ndarray, color: np.ndarray) -> np.ndarray:
    return albedo + np.clip(share, 0.0, 1.0)[:, None] * (color - albedo)


def weathered(hits: Hits, amount: float | np.ndarray = 0.12) -> np.ndarray:
    """Tone (N,) of a wall: clouds, stains that run down, splashes near the ground."""
    tone = 1.0 + amount * hits.noise(textures.cloudy(), 12.0)
    tone += 0.6 * amount * hits.noise(textures.cloudy(), 60.0)
    run = hits.noise(textures.blotchy(), 45.0, stretch=25.0)
    tone -= 1.3 * amount * np.clip(run - 0.7, 0.0, 1.5) * hits.upright
    return tone - 2.0 * amount * np.clip(0.5 - hits.height + 0.1 * run, 0.0, 0.5)


def brick(hits: Hits, tone: np.ndarray) -> np.ndarray:
    """Albedo (N, 3) of brickwork with tones (N,)."""
    tone = tone.copy()
    row = np.floor(hits.up / 0.085)
    place = hits.along / 0.26 + 0.5 * np.mod(row, 2.0)
    column = np.floor(place)
    one = texels(textures.chances(), row, column) - 0.5
    tone += 0.7 * one * hits.shows(0.07) + 0.12 * hits.noise(textures.blotchy(), 20.0)
    joint = (hits.up / 0.085 - row < 0.16) | (place - column < 0.06)
    mortar = np.array([0.38, 0.36, 0.33], np.float32)
    return mixed(toned(hits, tone), joint * hits.shows(0.04) + 0.12, mortar)
