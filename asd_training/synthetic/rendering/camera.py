# SPDX-License-Identifier: Apache-2.0
"""The camera: from linear radiance to the 8-bit image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Linear light in steps of 1/2048 up to 2 -> sRGB-like 8-bit values with a soft shoulder.
_STEPS = 4096
_light = np.linspace(0.0, 2.0, _STEPS)
_TONE = (255.0 * np.clip(_light / (1.0 + 0.25 * _light**2), 0.0, 1.0) ** (1 / 2.2)).astype(
    np.float32
)
KEY = 0.2  # linear value that the exposure brings the image's log-mean to


@dataclass(frozen=True)
class Optics:
    """One camera's lens and sensor."""

    compensation: float  # factor on the automatic exposure
    noise: float  # standard deviation in 8-bit steps
    vignette: float


def random_optics(rng: np.random.Generator) -> Optics:
    return Optics(
        compensation=float(rng.uniform(0.8, 1.2)),
        noise=float(rng.uniform(0.8, 3.0)),
        vignette=float(rng.uniform(0.0, 0.25)),
    )


def develop(radiance: np.ndarray, optics: Optics, rng: np.random.Generator) -> np.ndarray:
    """RGB image (H, W, 3) uint8 of linear radiance (H, W, 3)."""
    height, width = radiance.shape[:2]
    exposure = optics.compensation * KEY / np.exp(np.log(radiance.mean(axis=2) + 1e-3).mean())
    x = np.linspace(-1.0, 1.0, width, dtype=np.float32)
    y = np.linspace(-height / width, height / width, height, dtype=np.float32)
    falloff = 1.0 - optics.vignette * (x[None, :] ** 2 + y[:, None] ** 2)
    image = radiance * (exposure * falloff[..., None]).astype(np.float32)
    steps = np.clip(image * np.float32((_STEPS - 1) / 2.0), 0.0, _STEPS - 1).astype(np.int16)
    image = _TONE[steps]
    image += rng.standard_normal(image.shape, dtype=np.float32) * np.float32(optics.noise)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
