# SPDX-License-Identifier: Apache-2.0
"""Class-balanced sampling of keyframes, so that rare classes are seen as often as cars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def class_balanced_weights(counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """The probability with which to draw each keyframe, as TrainingStream does.

    counts: (K, C) objects of each class in each keyframe. Returns (K,), summing to 1.

    Each of the classes that occur at all takes an equal share of the draws and spreads it evenly
    over the keyframes that show it: the expected form of DS sampling in CBGS (Zhu et al. 2019,
    arXiv 1908.09492), which draws a fixed list. As there, a keyframe without objects is not drawn;
    only where none has any are all drawn alike.
    """
    shows = np.asarray(counts) > 0  # (K, C)
    keyframes = shows.sum(axis=0)
    shows, keyframes = shows[:, keyframes > 0], keyframes[keyframes > 0]
    if len(keyframes) == 0:
        return np.full(len(shows), 1 / max(1, len(shows)))
    return (shows / keyframes).sum(axis=1) / len(keyframes)
