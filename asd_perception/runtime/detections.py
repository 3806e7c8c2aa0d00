# SPDX-License-Identifier: Apache-2.0
"""What the detector finds in one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detections:
    """M objects in base_link at the frame's reference time, best score first.

    boxes: (M, 7) centre x, y, z, length, width, height in m, yaw in rad.
    scores: (M,) in [0, 1].
    labels: (M,) int64, index into constants.CLASSES.
    velocities: (M, 2) vx, vy over ground along the base_link axes in m/s; NaN if unknown.
    attributes: (M,) int64, index into constants.ATTRIBUTES, or NO_ATTRIBUTE.
    simulated_points: (P, 4) float32 x, y, z and confidence in [0, 1], or None.
    """

    boxes: NDArray[np.floating]
    scores: NDArray[np.floating]
    labels: NDArray[np.int64]
    velocities: NDArray[np.floating]
    attributes: NDArray[np.int64]
    simulated_points: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.scores)
