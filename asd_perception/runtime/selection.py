# SPDX-License-Identifier: Apache-2.0
"""Which of the detected objects are wanted: by score, class and place, each of them once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from asd_perception.constants import CLASSES
from asd_perception.runtime.detections import Detections

EVERYWHERE = (-inf, inf)


@dataclass(frozen=True)
class Selection:
    """What a robot asks of a detector; official scoring keeps all objects of some score.

    score_threshold: lowest score of the classes that `class_thresholds` does not name.
    classes: names of those that are wanted. x, y: from and to in m, in the detections' frame,
    within which an object's centre lies. duplicate_radius: in m; of objects whose centres are
    closer to each other, seen from above and whatever their classes, the best is kept. 0: all are.
    """

    score_threshold: float = 0.0
    class_thresholds: Mapping[str, float] = field(default_factory=dict)
    classes: tuple[str, ...] = CLASSES
    x: tuple[float, float] = EVERYWHERE
    y: tuple[float, float] = EVERYWHERE
    duplicate_radius: float = 0.0

    @property
    def lowest_score(self) -> float:
        """Below this no object is wanted."""
        return min((self._threshold(name) for name in self.classes), default=inf)

    def of(self, detections: Detections) -> Detections:
        """The objects that are wanted, in their order; simulated points stay as they are."""
        thresholds = np.array(
            [self._threshold(name) if name in self.classes else inf for name in CLASSES]
        )
        x, y = detections.boxes[:, 0], detections.boxes[:, 1]
        # As float32, which scores are: 0.3 is not below 0.3.
        kept = detections.scores >= thresholds[detections.labels].astype(detections.scores.dtype)
        kept &= (x >= self.x[0]) & (x <= self.x[1]) & (y >= self.y[0]) & (y <= self.y[1])
        rows = np.flatnonzero(kept)
        if self.duplicate_radius > 0:
            rows = rows[_best_of_each_place(detections.boxes[rows, :2], self.duplicate_radius)]
        if len(rows) == len(detections):
            return detections
        return dataclasses.replace(
            detections,
            boxes=detections.boxes[rows],
            scores=detections.scores[rows],
            labels=detections.labels[rows],
            velocities=detections.velocities[rows],
            attributes=detections.attributes[rows],
        )

    def _threshold(self, name: str) -> float:
        return self.class_thresholds.get(name, self.score_threshold)


def _best_of_each_place(centres: NDArray[np.floating], radius: float) -> NDArray[np.bool_]:
    """Which of centres (M, 2), best first, no better one that is kept lies within `radius` of."""
    kept = np.ones(len(centres), bool)
    for i, centre in enumerate(centres):
        if kept[i]:
            near = np.hypot(*(centres[i + 1 :] - centre).T) < radius
            kept[i + 1 :] &= ~near
    return kept
