# SPDX-License-Identifier: Apache-2.0
"""The sky, and what shiny surfaces mirror: sky above, a skyline at the horizon, ground below."""

from __future__ import annotations

import numpy as np

from asd_training.synthetic.rendering import textures
from asd_training.synthetic.world.light import Light


def sky(light: Light, directions: np.ndarray, look: int) -> np.ndarray:
    """Radiance (N, 3) of the sky in directions (N, 3); `look` chooses the clouds."""
    height = np.clip(directions[:, 2], 0.0, 1.0)
    blend = ((1.0 - height) ** 3)[:, None]
    zenith, horizon = light.zenith.astype(np.float32), light.horizon.astype(np.float32)
    color = zenith + blend * (horizon - zenith)
    toward_sun = directions @ light.to_sun.astype(np.float32)
    if light.sun.max() > 0.0:  # the air shines around the sun
        near = np.clip(toward_sun, 0.0, 1.0) ** 2
        near = near * near
        shine = 0.12 * near + 0.5 * near**6 + 1.5 * near**40
        color += shine[:, None] * light.sun.astype(np.float32)
    if light.clouds > 0.03:
        scale = 45.0 / (height + 0.2)
        shift = look % 509
        u, v = directions[:, 0] * scale + shift, directions[:, 1] * scale + shift
        tile = textures.cloudy()
        shape = textures.texels(tile, u, v)
        shape += 0.3 * textures.texels(tile, 3.1 * v + 77.0, 3.1 * u)
        cover = np.clip(shape * 0.55 - 0.75 + 1.9 * light.clouds, 0.0, 1.0)
        # Thick clouds are dark below, thin ones bright at their rims.
        bright = light.ambient.mean() * 0.75 + light.sun.mean() * 0.35
        bright = bright * (1.15 - (0.05 + 0.2 * light.clouds) * np.clip(shape, -0.5, 1.6))
        cloud = bright[:, None] * np.array([1.0, 1.0, 1.02], np.float32)
        cloud += (np.clip(toward_sun, 0.0, 1.0) ** 6 * 0.3)[:, None] * light.sun.astype(np.float32)
        cover = (cover * 0.9 * np.clip(height * 14.0, 0.0, 1.0))[:, None]
        color += cover * (cloud - color)
    return color


def surroundings(light: Light, directions: np.ndarray, ground: np.ndarray, look: int) -> np.ndarray:
    """Radiance (N, 3) that a shiny surface mirrors from directions (N, 3).

    ground: radiance (3,) of the ground.
    """
    azimuth = np.abs(np.arctan2(directions[:, 1], directions[:, 0])) * 40.0
    fine = azimuth * 4.0 + look % 499
    still = np.zeros_like(azimuth)
    skyline = 0.15 + 0.07 * textures.texels(textures.cloudy(), azimuth + look % 503, still)
    skyline += 0.03 * textures.texels(textures.blotchy(), fine, still)
    result = sky(light, directions, look)
    rise = directions[:, 2]
    below = np.flatnonzero(rise < skyline + 0.06)
    tone = 0.2 + 0.12 * textures.texels(textures.blotchy(), fine[below], 90.0 * rise[below])
    wall = np.clip(tone, 0.03, 0.6)[:, None] * (0.6 * light.ambient + 0.25 * light.sun).astype(
        np.float32
    )
    share = np.clip(-rise[below] * 12.0 + 0.5, 0.0, 1.0)[:, None]
    wall += share * (ground.astype(np.float32) - wall)
    edge = np.clip((skyline[below] + 0.06 - rise[below]) / 0.12, 0.0, 1.0)[:, None]
    result[below] += edge * (wall - result[below])
    return result
