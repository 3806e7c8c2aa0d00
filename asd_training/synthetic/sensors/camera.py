# SPDX-License-Identifier: Apache-2.0
"""The camera: from linear radiance to the JPEG file, by lens, exposure, noise, tone and colour."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from asd_training.synthetic.sensors import rig
from asd_training.synthetic.sensors.edges import smooth_edges
from asd_training.synthetic.sensors.lens import Lens

KEY = 0.2  # linear value that the exposure brings the image to
DAYLIGHT = 0.35  # radiance of a street at noon, for which it needs no amplification
MOST_AMPLIFIED = 8.0
_STEPS = 2048
_ROOT = np.linspace(0.0, 2.0, _STEPS)  # square roots of the linear values in the tone table


class Camera:
    """One camera of one scene.

    make: draws what cameras of one make have in common, alike for all of a rig. own: draws what
    differs between them. rain: on its lens, 0 none .. 1 heavy.
    """

    def __init__(
        self,
        sensor: rig.Sensor,
        scale: float,
        make: np.random.Generator,
        own: np.random.Generator,
        rain: float,
    ) -> None:
        self.sensor = sensor
        self.size = rig.image_size(sensor, scale)
        self.intrinsics = rig.intrinsics(sensor, scale)
        self._tone = _tone_table(make)
        self._adaptation = make.uniform(0.65, 0.92)
        self._balance = make.uniform(0.3, 0.9)
        self._tint = np.exp(make.normal(0.0, 0.035, 3))
        self._saturation = make.uniform(0.45, 1.05)
        self._shot, self._read = 10.0 ** make.uniform(-5.3, -3.8), 10.0 ** make.uniform(-4.3, -3.3)
        self._sharpening = make.uniform(0.0, 1.0)
        self._quality = int(95 - 35 * make.random() ** 2)
        fringe = make.normal(0.0, 0.3)
        self._lens = Lens(sensor, scale, fringe, own, rain)
        self._compensation = np.exp(own.normal(0.0, 0.2))

    @property
    def rays(self) -> np.ndarray:
        """Viewing directions (H * W, 3) float32 in the camera frame, row by row, whose radiance
        `develop` takes."""
        return self._lens.rays

    def develop(self, radiance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """RGB image (H, W, 3) uint8 of linear radiance (H, W, 3) float32, which it uses up."""
        level = 0.5 * np.log(np.maximum(radiance.mean(), 1e-5))
        level = np.exp(level + 0.5 * np.log(radiance[::4, ::4].mean(axis=2) + 1e-5).mean())
        bright = self._compensation * KEY * (DAYLIGHT / level) ** self._adaptation / DAYLIGHT
        amplified = min(max(1.0, bright * DAYLIGHT / KEY) ** 0.6, MOST_AMPLIFIED)
        smooth_edges(radiance, bright)
        shake = rng.normal(0.0, 0.25 * amplified, 2) * (1.0, 0.4)
        light = self._lens.spread(radiance, (float(shake[0]), float(shake[1])))

        mean = np.array(cv2.mean(light)[:3]) + 1e-6
        gains = np.clip((mean.mean() / mean) ** self._balance, 0.75, 1.3) * self._tint
        mixing = self._saturation * np.eye(3) + (1.0 - self._saturation) * np.array(
            [0.3, 0.59, 0.11]
        )
        light = cv2.transform(light, (bright * mixing * gains).astype(np.float32))
        np.maximum(light, 0.0, out=light)
        variance = light * np.float32(self._shot * amplified**2)
        variance += np.float32((self._read * amplified) ** 2)
        light += np.sqrt(variance, out=variance) * _noise(light.shape, rng)

        root = np.sqrt(np.maximum(light, 0.0, out=light), out=light)
        root *= np.float32((_STEPS - 1) / 2.0)
        image = self._tone[np.minimum(root, _STEPS - 1).astype(np.int16)]
        if self._sharpening:
            soft = cv2.GaussianBlur(image, (3, 3), 0.8)
            image = cv2.addWeighted(image, 1.0 + self._sharpening, soft, -self._sharpening, 0.0)
        return self._lens.straighten(np.clip(np.rint(image), 0, 255).astype(np.uint8))

    def encode(self, image: np.ndarray) -> bytes:
        """The JPEG file of an RGB image (H, W, 3) uint8."""
        options = [cv2.IMWRITE_JPEG_QUALITY, self._quality]
        return cv2.imencode(".jpg", image[..., ::-1], options)[1].tobytes()


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Standard normal noise (H, W, 3) float32."""
    supply = _noise_supply()
    return np.resize(supply[rng.integers(len(supply) // 2) :], shape)


@lru_cache
def _noise_supply() -> np.ndarray:
    """Noise of which images take stretches: to draw it anew takes as long as all else of them."""
    return np.random.default_rng(11).standard_normal(1 << 20, dtype=np.float32)


def _tone_table(rng: np.random.Generator) -> np.ndarray:
    """8-bit values (2048,) float32 of linear ones, whose square roots are evenly spaced to 2."""
    light = _ROOT**2
    knee = rng.uniform(0.4, 0.95)  # where highlights begin to be compressed
    shoulder = knee + (1.0 - knee) * (1.0 - np.exp(-(light - knee) / (1.0 - knee)))
    value = np.where(light < knee, light, shoulder) ** (1.0 / rng.uniform(2.0, 2.4))
    value += rng.uniform(-0.1, 0.6) * (value**2 * (3.0 - 2.0 * value) - value)  # contrast
    black = rng.uniform(0.0, 0.06)
    return (255.0 * (black + (1.0 - black) * value)).astype(np.float32)
