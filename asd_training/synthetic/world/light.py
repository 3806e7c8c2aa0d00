# SPDX-License-Identifier: Apache-2.0
"""The light and the weather of a scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Share of scenes of each kind; many of those without a clear sky are wet.
CLEAR, HAZY, OVERCAST, DUSK, NIGHT = range(5)
_SHARES = (0.45, 0.14, 0.22, 0.07, 0.12)
_SUN_HEIGHT = ((12.0, 80.0), (15.0, 75.0), (20.0, 70.0), (2.0, 9.0), (30.0, 60.0))  # degrees
_CLOUDS = ((0.0, 0.5), (0.0, 0.7), (0.3, 1.0), (0.0, 0.8), (0.0, 0.0))  # cover of the sky


@dataclass(frozen=True)
class Light:
    """Sun, sky, air and wetness of one scene. Colours (3,) are linear RGB."""

    to_sun: np.ndarray  # unit vector (3,)
    sun: np.ndarray  # what a white surface that faces the sun reflects of it
    ambient: np.ndarray  # what a white level surface reflects of the sky
    zenith: np.ndarray  # radiance of the sky
    horizon: np.ndarray
    clouds: float  # 0 clear .. 1 covered
    visibility: float  # m at which haze has taken 63 %
    night: bool  # lamps, headlights and windows are lit
    wetness: float  # 0 dry .. 1 water stands on the ground
    rain: float  # 0 none .. 1 heavy


def random_light(rng: np.random.Generator) -> Light:
    kind = int(rng.choice(5, p=_SHARES))
    elevation, azimuth = np.radians(rng.uniform(*_SUN_HEIGHT[kind])), rng.uniform(-np.pi, np.pi)
    overcast = float(
        {
            CLEAR: rng.uniform(0.0, 0.3),
            HAZY: rng.uniform(0.3, 0.7),
            OVERCAST: rng.uniform(0.85, 1.0),
            DUSK: rng.uniform(0.0, 0.9),
            NIGHT: 1.0,
        }[kind]
    )
    warm = np.clip((np.radians(28.0) - elevation) / np.radians(24.0), 0.0, 1.0)
    sun = np.array([1.0, 0.95, 0.87]) * (1 - warm) + np.array([1.0, 0.68, 0.4]) * warm
    sun = sun * rng.uniform(2.4, 4.2) * max(0.0, 1.0 - overcast / 0.85) ** 1.2
    tint = rng.normal(0.0, 0.05) * np.array([1.0, 0.1, -1.0]) + 1.0
    blue = np.array([0.5, 0.6, 0.76]) * rng.uniform(0.5, 1.1)
    ambient = (blue * (1 - overcast) + np.array([1.1, 1.12, 1.16]) * overcast) * tint
    grey = np.array([0.9, 0.93, 0.98]) * tint * rng.uniform(0.75, 1.4)
    zenith = np.array([0.16, 0.33, 0.7]) * rng.uniform(0.7, 1.4)
    zenith = zenith * (1 - overcast) + grey * rng.uniform(0.6, 1.0) * overcast
    horizon = np.array([0.75, 0.85, 0.98]) * rng.uniform(0.8, 1.4) * (1 - overcast)
    horizon += grey * rng.uniform(0.9, 1.3) * overcast
    if kind == DUSK:
        horizon = horizon * 0.5 + np.array([0.95, 0.6, 0.4]) * rng.uniform(0.3, 0.9)
        dim = rng.uniform(0.2, 0.8)
        sun, ambient, zenith = sun * dim * 0.7, ambient * 0.6 * dim, zenith * 0.7 * dim
    elif kind == NIGHT:
        glow = np.array([1.0, 0.7, 0.45]) * (1 - (mix := rng.random())) + mix * 0.8
        level = np.exp(rng.uniform(np.log(0.005), np.log(0.04)))
        sun, ambient = sun * 0.0, glow * level
        zenith, horizon = glow * level * 0.15, glow * level * rng.uniform(0.3, 1.3)
    far = float(np.exp(rng.uniform(np.log(900.0), np.log(9000.0))))
    near = float(np.exp(rng.uniform(np.log(100.0), np.log(800.0))))
    foggy = rng.random() < (0.02, 0.35, 0.2, 0.15, 0.15)[kind]
    wet = rng.random() < (0.06, 0.12, 0.4, 0.25, 0.4)[kind]
    wetness = float(rng.uniform(0.25, 1.0)) if wet else 0.0
    return Light(
        to_sun=np.array(
            [
                np.cos(elevation) * np.cos(azimuth),
                np.cos(elevation) * np.sin(azimuth),
                np.sin(elevation),
            ]
        ),
        sun=sun,
        ambient=ambient,
        zenith=zenith,
        horizon=horizon,
        clouds=float(rng.uniform(*_CLOUDS[kind])),
        visibility=near if foggy else far,
        night=kind == NIGHT or (kind == DUSK and rng.random() < 0.5),
        wetness=wetness,
        rain=float(rng.uniform(0.1, 1.0)) if wet and overcast > 0.5 and rng.random() < 0.6 else 0.0,
    )
