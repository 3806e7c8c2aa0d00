# SPDX-License-Identifier: Apache-2.0
"""What stands between the street and a camera's sensor: a lens, dirt and drops on it.

A real lens bends straight lines, and the driver that straightens them resamples the image. Here the
rays are those of the bent image, so that the straightened one is as sharp in the middle and as soft
towards its edges, and exactly the pinhole's.
"""

from __future__ import annotations

import cv2
import numpy as np

from asd_training.synthetic.sensors import rig

GLOW_CELL = 8  # pixels; stray light is soft, and computed on cells of this size


class Lens:
    """One camera's lens in one scene.

    rays (H * W, 3) float32: viewing directions in the camera frame of the bent image, row by row,
    as `spread` and `straighten` take it.
    """

    def __init__(
        self,
        sensor: rig.Sensor,
        scale: float,
        fringe: float,
        rng: np.random.Generator,
        rain: float,
    ) -> None:
        """fringe: pixels by which red and blue part from green at the corners. rain: 0 none .. 1
        heavy."""
        matrix = rig.intrinsics(sensor, scale)
        self._size = width, height = rig.image_size(sensor, scale)
        bend = rng.uniform(0.0, 0.1)  # how far the corners are drawn in
        x = ((np.arange(width) - matrix[0, 2]) / matrix[0, 0]).astype(np.float32)
        y = ((np.arange(height) - matrix[1, 2]) / matrix[1, 1]).astype(np.float32)[:, None]
        square = x**2 + y**2
        k1 = -bend / square.max()
        # As large as the straightened image has no empty edge.
        border = min(square[0].min(), square[-1].min(), square[:, 0].min(), square[:, -1].min())
        zoom = 1.0 / (1.0 + k1 * border)
        bent = np.sqrt(square) / zoom
        radius = bent.copy()
        for _ in range(4):  # Newton's method for radius (1 + k1 radius^2) = bent
            radius -= (radius * (1 + k1 * radius**2) - bent) / (1 + 3 * k1 * radius**2)
        stretch = radius / np.maximum(bent, 1e-9) / zoom
        rays = np.stack([x * stretch, y * stretch, np.ones_like(square)], axis=-1).reshape(-1, 3)
        self.rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)

        shift = fringe / np.hypot(width, height) * 2.0
        factor = zoom * (1.0 + k1 * square)
        u, v = factor * x * matrix[0, 0], factor * y * matrix[1, 1]
        drops, self._blurred = self._drops(rng, rain)
        self._maps = []
        for channel in (-1.0, 0.0, 1.0):
            u_of, v_of = u * (1 + channel * shift), v * (1 + channel * shift)
            source = np.stack([u_of + matrix[0, 2], v_of + matrix[1, 2]], axis=-1) + drops
            source = np.clip(source, 0.0, [width - 1, height - 1]).astype(np.float32)
            self._maps.append(cv2.convertMaps(source, None, cv2.CV_16SC2))

        falloff = rng.uniform(0.0, 0.35) * square / square.max()
        dirt = 0.3 * self._blobs(rng, int(rng.exponential(2.5)), (0.01, 0.05)).clip(0.0, 1.0)
        self._gain = _of_colours((1.0 - falloff) * (1.0 - dirt))
        self._is_dirty = bool(dirt.max() > 0.01)
        self._veil = _of_colours(0.7 * dirt)
        self._glow = float(np.exp(rng.uniform(np.log(0.005), np.log(0.08))))
        self._glow_width = rng.uniform(1.0, 5.0)
        self._defocus = float(
            rng.uniform(0.2, 0.45) if rng.random() < 0.75 else rng.uniform(0.45, 0.9)
        )

    def spread(self, radiance: np.ndarray, shake: tuple[float, float]) -> np.ndarray:
        """Light on the sensor, (H, W, 3) float32, of the radiance (H, W, 3) float32 that the rays
        bring. shake: way of the image along x and y in pixels while the shutter is open."""
        width, height = self._size
        cells = max(1, width // GLOW_CELL), max(1, height // GLOW_CELL)
        soft = cv2.resize(radiance, cells, interpolation=cv2.INTER_AREA)
        around = soft.mean(axis=(0, 1))
        soft = cv2.GaussianBlur(soft, (0, 0), self._glow_width)
        glow = cv2.resize(soft, self._size, interpolation=cv2.INTER_LINEAR)
        light = cv2.addWeighted(radiance, 1.0 - self._glow, glow, self._glow, 0.0)
        light = cv2.GaussianBlur(light, (5, 5), self._defocus)
        length = float(np.hypot(*shake))
        if length > 1.0:
            light = cv2.filter2D(light, -1, _stroke(shake, length))
        light *= self._gain
        if self._is_dirty:
            light += self._veil * around
        return light

    @property
    def has_drops(self) -> bool:
        """Whether drops on it hide parts of the street."""
        return self._blurred is not None

    def straighten(self, image: np.ndarray) -> np.ndarray:
        """The pinhole's image (H, W, 3) uint8 of the bent one (H, W, 3) uint8."""
        if self._blurred is not None:
            soft = cv2.blur(image, (9, 9))
            image = np.where(self._blurred, soft, image)
        channels = cv2.split(image)
        return cv2.merge(
            [
                cv2.remap(channel, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                for channel, maps in zip(channels, self._maps, strict=True)
            ]
        )

    def _blobs(
        self, rng: np.random.Generator, count: int, radii: tuple[float, float]
    ) -> np.ndarray:
        """Sum (H, W) of soft spots of height up to 1; `radii` in widths of the image."""
        width, height = self._size
        v, u = np.mgrid[0:height, 0:width].astype(np.float32)
        result = np.zeros((height, width), np.float32)
        for _ in range(count):
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            a, b = rng.uniform(*radii, 2) * width
            result += rng.uniform(0.2, 1.0) * np.exp(-(((u - x) / a) ** 2) - ((v - y) / b) ** 2)
        return result

    def _drops(self, rng: np.random.Generator, rain: float) -> tuple[np.ndarray, np.ndarray | None]:
        """Where drops on the lens take their light from, as an offset (H, W, 2) of pixels, and
        which pixels (H, W, 1) lie out of focus in one. A drop shows its surroundings upside down.
        """
        width, height = self._size
        offset = np.zeros((height, width, 2), np.float32)
        count = int(rng.poisson(10.0 * rain)) if rng.random() < 0.7 else 0
        count = max(count, int(rng.random() < 0.03))
        if not count:
            return offset, None
        v, u = np.mgrid[0:height, 0:width].astype(np.float32)
        inside = np.zeros((height, width), bool)
        for _ in range(count):
            x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.008, 0.035)
            distance = np.hypot(u - x, (v - y) * rng.uniform(0.7, 1.0)) / (radius * width)
            bulge = np.clip(1.5 - 1.5 * distance, 0.0, 1.0) * rng.uniform(1.5, 4.0)
            offset[..., 0] += bulge * (x - u)
            offset[..., 1] += bulge * (y - v)
            inside |= distance < 1.0
        return offset, inside[..., None]


def _of_colours(values: np.ndarray) -> np.ndarray:
    """Values (H, W) for each of three colours, (H, W, 3) float32: quicker than to broadcast."""
    return np.repeat(values[..., None].astype(np.float32), 3, axis=2)


def _stroke(shake: tuple[float, float], length: float) -> np.ndarray:
    """The kernel of a straight motion of `length` pixels."""
    half = int(np.ceil(length / 2.0))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for step in np.linspace(-0.5, 0.5, 8):
        kernel[round(half + step * shake[1]), round(half + step * shake[0])] += 0.125
    return kernel
