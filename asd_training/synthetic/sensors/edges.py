# SPDX-License-Identifier: Apache-2.0
"""Edges without stairs: a pixel of a real sensor averages its area, here it has but one ray.

More rays would cost more than all else of the image. Instead, light is averaged along strong
straight edges, never across them.
"""

from __future__ import annotations

import cv2
import numpy as np

_CONTRAST = 0.04  # gradient per pixel, of the square root of the exposed light, that is an edge's
_COHERENCE = 0.8  # 1: all gradients nearby have one direction
_TAPS = ((0.0, 0.28), (1.0, 0.22), (-1.0, 0.22), (2.1, 0.14), (-2.1, 0.14))  # way in pixels, weight
_COLUMNS = 256  # OpenCV looks up at most 32767 rows


def smooth_edges(radiance: np.ndarray, exposure: float) -> None:
    """Average linear radiance (H, W, 3) float32 along its edges, in place.

    exposure: the factor that makes it 1 where the image is white.
    """
    grey = np.sqrt(np.minimum(exposure * cv2.cvtColor(radiance, cv2.COLOR_RGB2GRAY), 1.0))
    grey = cv2.GaussianBlur(grey, (5, 5), 0.9)
    x, y = (cv2.Sobel(grey, cv2.CV_32F, *axis, ksize=3, scale=0.125) for axis in ((1, 0), (0, 1)))
    # The structure tensor, whose main direction is that across the edge.
    xx, yy, xy = cv2.split(cv2.GaussianBlur(cv2.merge([x * x, y * y, x * y]), (7, 7), 1.2))
    trace, difference = xx + yy, xx - yy
    coherent = difference**2 + 4.0 * xy**2 > (_COHERENCE * trace) ** 2
    v, u = np.nonzero((trace > _CONTRAST**2) & coherent)
    if not len(u):
        return
    across = 0.5 * np.arctan2(2.0 * xy[v, u], difference[v, u])
    along_u, along_v = -np.sin(across), np.cos(across)
    empty = (0, -len(u) % _COLUMNS)
    average = np.zeros((len(u), 3), np.float32)
    for way, weight in _TAPS:
        u_of, v_of = (
            np.pad((place + way * along).astype(np.float32), empty).reshape(-1, _COLUMNS)
            for place, along in ((u, along_u), (v, along_v))
        )
        found = cv2.remap(radiance, u_of, v_of, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        average += np.float32(weight) * found.reshape(-1, 3)[: len(u)]
    radiance[v, u] = average
