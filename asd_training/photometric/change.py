# SPDX-License-Identifier: Apache-2.0
"""Changes of images that leave every object where it is: of light, camera, style and coverage.

A network that is to work in a world that it has not seen must not lean on the colours, the contrast
or the sharpness of the one that it was trained in. Each step stands for what makes real images
differ, in the order in which it arises: light and exposure (a smooth field of gains for each
colour), the lens and the camera's sharpening (a 3x3 convolution of each colour), the sensor's
noise, its colours (a 3x3 mix of them), the tone curve (contrast and gamma), compression, and things
that cover a part of the view.

What a whole rig shares (the weather, the model of its cameras) is drawn once for it; each camera
adds a smaller change of its own. `Photometric` holds numbers only, so that the same draw can be
applied elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from asd_perception.geometry import Array

LIGHT_GRID = (3, 4)  # rows and columns of the light's gains: shadows and glare, no texture
CUT_OUTS = 3  # places for covering rectangles in each image

# Spreads at strength 1, chosen by eye: the objects of six images at 96x256 can still be told in
# nearly every draw.
EXPOSURE, CAMERA_EXPOSURE = 0.25, 0.1  # of ln gain: a third of a stop, and between cameras less
WHITE_BALANCE = 0.1  # of ln gain, each colour: between daylight and shade
LIGHT = 0.25  # of ln gain, each point of the grid
TINTED_LIGHT = 0.06  # of ln gain, in addition for each colour
COLOUR_MIX, CAMERA_COLOUR_MIX = 0.12, 0.04  # of each entry of the 3x3 mix
SATURATION = (0.2, 1.5)  # from almost grey to what a phone's camera does
GAMMA, CAMERA_GAMMA = 0.45, 0.08  # of ln gamma: the first either way, evenly
CONTRAST = 0.3  # either way, about mid-grey
BLUR, SHARPEN = 1.0, 0.8  # shares of the 3x3 binomial put in, and taken away
RANDOM_KERNEL = 0.12  # of each entry
FILTERED = 0.6  # share of the cameras whose image is blurred, sharpened or randomly convolved
NOISE = 14.0  # largest standard deviation on the 0-255 scale, of a small sensor at night
COMPRESSED, QUALITY = 0.15, (30, 90)  # share of the cameras, JPEG's quality; blocks of input pixels
COVERED, COVER = 0.3, 0.25  # share of the cameras, largest part of each side of the image

_BINOMIAL = np.outer([1, 2, 1], [1, 2, 1]) / 16
_IDENTITY = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], float)
_LUMINANCE = np.array([0.299, 0.587, 0.114])  # of red, green and blue


@dataclass(frozen=True)
class Photometric:
    """A drawn change of the images of N cameras. Numbers are float64.

    gains (N, 3, 4, 3): of LIGHT_GRID's points, for each colour. kernels (N, 3, 3, 3): the
    convolution of each colour (its axis first), a correlation as in OpenCV and PyTorch. noise (N,):
    standard deviation, 0-255; noise_start (N,): where in `standard_noise` it is read. mixes
    (N, 3, 3): new colours of old. gamma, contrast (N,). quality (N,): JPEG's; 0: not compressed.
    covers (N, CUT_OUTS, 4): left, top, right and bottom as parts of the image's size, right and
    bottom excluded; empty where there is none. cover_colours (N, CUT_OUTS, 3), 0-255.
    """

    gains: Array
    kernels: Array
    noise: Array
    noise_start: Array
    mixes: Array
    gamma: Array
    contrast: Array
    quality: Array
    covers: Array
    cover_colours: Array

    @classmethod
    def draw(cls, strength: float, cameras: int, random: np.random.Generator) -> Photometric:
        """A random one; strength in (0, 1] scales every spread, and every share of the cameras."""
        n = cameras
        exposure = random.normal(0, EXPOSURE) + random.normal(0, CAMERA_EXPOSURE, n)
        balance = random.normal(0, WHITE_BALANCE, 3)
        light = random.normal(0, LIGHT, (n, *LIGHT_GRID, 1))
        tint = random.normal(0, TINTED_LIGHT, (n, *LIGHT_GRID, 3))
        gains = np.exp(strength * (exposure[:, None, None, None] + balance + light + tint))

        mixes: Array = random.normal(0, CAMERA_COLOUR_MIX, (n, 3, 3))
        mixes += random.normal(0, COLOUR_MIX, (3, 3))
        mixes -= mixes.mean(axis=2, keepdims=True)  # grey stays grey: the balance is in the gains
        low, high = SATURATION
        saturation = 1 + strength * (random.uniform(low, high) - 1)
        grey = np.tile(_LUMINANCE, (3, 1))
        saturated: Array = saturation * np.eye(3) + (1 - saturation) * grey
        mixes = np.asarray((np.eye(3) + strength * mixes) @ saturated, np.float64)

        gamma = random.uniform(-GAMMA, GAMMA) + random.normal(0, CAMERA_GAMMA, n)
        contrast = 1 + strength * random.uniform(-CONTRAST, CONTRAST)

        blur = random.uniform(-SHARPEN, BLUR, n)[:, None, None, None] * (_BINOMIAL - _IDENTITY)
        odd = random.normal(0, RANDOM_KERNEL, (n, 3, 3, 3))
        odd -= odd.mean(axis=(2, 3), keepdims=True)  # even surfaces keep their colour
        change = np.where(random.random((n, 1, 1, 1)) < 0.5, blur, odd)
        filtered = random.random((n, 1, 1, 1)) < strength * FILTERED
        kernels = _IDENTITY + np.where(filtered, strength * change, 0.0)

        noise = strength * NOISE * random.random(n) ** 2  # little, mostly
        start = random.integers(0, _NOISE_STARTS, n).astype(float)
        compressed = random.random(n) < strength * COMPRESSED
        quality = np.where(compressed, random.integers(*QUALITY, n), 0).astype(float)
        size = random.uniform(0, COVER, (n, CUT_OUTS, 2))
        size *= (random.random((n, 1, 1)) < strength * COVERED) * (
            np.arange(CUT_OUTS)[:, None] < random.integers(1, CUT_OUTS + 1, (n, 1, 1))
        )
        corner = random.random((n, CUT_OUTS, 2)) * (1 - size)
        return cls(
            gains=gains,
            kernels=kernels,
            noise=noise,
            noise_start=start,
            mixes=mixes,
            gamma=np.exp(strength * gamma),
            contrast=np.full(n, contrast),
            quality=quality,
            covers=np.concatenate([corner, corner + size], axis=2),
            cover_colours=random.integers(0, 256, (n, CUT_OUTS, 3)).astype(float),
        )

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The changed images (N, rows, columns, 3) of RGB images of that shape."""
        changed = [self._changed(i, image) for i, image in enumerate(images)]
        return np.array(changed, np.uint8).reshape(images.shape)

    def _changed(self, i: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        rows, columns = image.shape[:2]
        light = cv2.resize(self.gains[i].astype(np.float32), (columns, rows))
        image = cv2.multiply(image, light, dtype=cv2.CV_8U)
        kernels = self.kernels[i]
        if (kernels != _IDENTITY).any():
            border = cv2.BORDER_REPLICATE
            planes = zip(cv2.split(image), kernels, strict=True)
            image = cv2.merge([cv2.filter2D(p, -1, k, borderType=border) for p, k in planes])
        start = int(self.noise_start[i])
        noise = standard_noise(image.size)[start : start + image.size].reshape(image.shape)
        image = cv2.addWeighted(image, 1, noise, self.noise[i], 0, dtype=cv2.CV_8U)
        image = cv2.LUT(cv2.transform(image, self.mixes[i]), self._tone_curve(i))
        if self.quality[i]:
            how = [cv2.IMWRITE_JPEG_QUALITY, int(self.quality[i])]
            # Taken for BGR here: colours are compressed a little otherwise, and that is all.
            image = cv2.imdecode(cv2.imencode(".jpg", image, how)[1], cv2.IMREAD_COLOR)
        spans = (self.covers[i] * [columns, rows, columns, rows]).round().astype(int)
        for (left, top, right, bottom), colour in zip(spans, self.cover_colours[i], strict=True):
            image[top:bottom, left:right] = colour
        return image.astype(np.uint8, copy=False)

    def _tone_curve(self, i: int) -> NDArray[np.uint8]:
        """The new value (256,) of each value of an image."""
        levels = np.linspace(0, 1, 256) ** self.gamma[i]
        levels = 0.5 + self.contrast[i] * (levels - 0.5)
        return (255 * levels.clip(0, 1)).round().astype(np.uint8)


_NOISE_STARTS = 1 << 16


@lru_cache(maxsize=2)
def standard_noise(values: int) -> NDArray[np.float32]:
    """Normal numbers of deviation 1, read from a start below 2^16 on for an image of `values`.

    Always the same ones: to draw each image's would take most of this augmentation's time.
    """
    random = np.random.default_rng(0)
    return random.standard_normal(_NOISE_STARTS + values, dtype=np.float32)


def jitter_colour(
    images: NDArray[np.uint8], gain: NDArray[np.float64], offset: float
) -> NDArray[np.uint8]:
    """Images (N, H, W, 3) with another exposure: a gain per colour channel (3,), one offset."""
    levels = np.arange(256)[:, None] * gain + offset
    table = np.clip(levels.round(), 0, 255).astype(np.uint8)  # (256, 3)
    if not len(images):
        return images
    rows = images.reshape(-1, *images.shape[2:])  # OpenCV takes one image
    return cv2.LUT(rows, table[None]).reshape(images.shape)
