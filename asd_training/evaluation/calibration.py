# SPDX-License-Identifier: Apache-2.0
"""Whether scores are probabilities, and how they become that: reliability, and Platt scaling.

Right is a detection that the devkit's rule matches with an object at 2 m.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from asd_perception.constants import CLASSES
from asd_perception.errors import UserError
from asd_perception.geometry import Array
from asd_training.evaluation.error_analysis import Bools, Boxes, Ints, best_threshold, match
from asd_training.evaluation.scoring import Evaluation

BINS = 10  # of equal width, over the scores
PRIOR = 1.0
"""Weight by which a class's line is drawn to that of all classes together, in detections: it
decides for a class of which nothing was found, and is nothing beside hundreds."""


@dataclass(frozen=True)
class Scored:
    """The detections of an evaluation that count: scores (M,), labels (M,), right (M,) bool.

    objects: how many annotated ones there are.
    """

    scores: Array
    labels: Ints
    right: Bools
    objects: int

    @classmethod
    def of(cls, evaluation: Evaluation) -> Scored:
        tokens = evaluation.truth.sample_tokens
        truth = Boxes.of(evaluation.truth, tokens)
        found = Boxes.of(evaluation.detections, tokens)
        return cls(found.scores, found.labels, match(truth, found) >= 0, len(truth.items))

    def best_threshold(self) -> tuple[float, float]:
        """The best F1 of one threshold for all classes, and that threshold."""
        return best_threshold(self.scores, self.right, self.objects)


@dataclass(frozen=True)
class Reliability:
    """Scores against what came true, in the B bins that hold any detection.

    score (B,): mean. right (B,): share of the detections that are right. count (B,).
    """

    score: Array
    right: Array
    count: Ints

    @classmethod
    def of(cls, scores: Array, right: Bools) -> Reliability:
        """Of detections (M,)."""
        bins = np.clip((scores * BINS).astype(int), 0, BINS - 1)
        count = np.bincount(bins, minlength=BINS)
        used = count > 0
        sums = (np.bincount(bins, weights, BINS)[used] for weights in (scores, right))
        score, share = (total / count[used] for total in sums)
        return cls(score, share, count[used])

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of score and share, by detections."""
        if not len(self.count):
            return float("nan")
        return float(np.average(np.abs(self.score - self.right), weights=self.count))


def fit_lines(scored: Scored) -> tuple[dict[str, float], dict[str, float]]:
    """Scale and offset of each class's logits, of the greatest likelihood.

    Raises UserError where no detection is right.
    """
    if not scored.right.any():
        raise UserError("no detection is right, and so there is nothing to calibrate by")
    clipped = np.clip(scored.scores, 1e-7, 1 - 1e-7)
    logits = np.log(clipped / (1 - clipped))
    common = _fit(logits, scored.right, np.zeros(2))
    scale, offset = {}, {}
    for label, name in enumerate(CLASSES):
        mine = scored.labels == label
        line = _fit(logits[mine], scored.right[mine], common)
        scale[name], offset[name] = float(np.exp(line[0])), float(line[1])
    return scale, offset


def _fit(logits: Array, right: Bools, prior: Array) -> Array:
    """ln scale and offset (2,), drawn to `prior`."""

    def loss(line: Array) -> float:
        calibrated = np.exp(line[0]) * logits + line[1]
        surprise = np.logaddexp(0, calibrated) - right * calibrated
        return float(surprise.sum() + PRIOR * np.sum((line - prior) ** 2))

    bounds = [(-4.0, 3.0), (-20.0, 20.0)]  # rising, and finite
    return np.asarray(minimize(loss, prior, method="L-BFGS-B", bounds=bounds).x, np.float64)
