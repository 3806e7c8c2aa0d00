# SPDX-License-Identifier: Apache-2.0
"""Whether scores are probabilities, and how they become that: reliability, and Platt scaling.

Right is a detection that the devkit's rule matches with an object at 2 m.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.optimize import minimize

from asd_perception.configuration import to_dict
from asd_perception.constants import CLASSES
from asd_perception.errors import UserError
from asd_perception.files import atomic_file
from asd_perception.geometry import Array
from asd_perception.network import model_directory
from asd_perception.runtime.validation import validation_errors
from asd_perception.runtime.validation.score_calibration import (
    KEY,
    SCORE_THRESHOLD,
    ScoreCalibration,
)
from asd_perception.runtime.validation.validation_errors import ValidationErrors
from asd_training.evaluation.error_analysis import Bools, Boxes, Ints, best_threshold, match
from asd_training.evaluation.scoring import Evaluation, Submission

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


def fit(evaluation: Evaluation, provenance: dict[str, Any]) -> ScoreCalibration:
    """The calibration, and the best threshold under it, of a student's raw scores.

    provenance: on what data. Raises UserError where no detection is right.
    """
    raw = Scored.of(evaluation)
    scale, offset = fit_lines(raw)
    lines = ScoreCalibration(scale=scale, offset=offset, score_threshold=0.0, provenance=provenance)
    _, threshold = _calibrated(raw, lines).best_threshold()
    # A little less than the score itself, which float32 may round down.
    return dataclasses.replace(lines, score_threshold=0.9999 * threshold)


def write(model: Path, calibration: ScoreCalibration, errors: ValidationErrors) -> None:
    """Put what was found on validation data into a model directory's config.yaml, atomically."""
    document = model_directory.read_document(model)
    document[KEY] = to_dict(calibration)
    document[validation_errors.KEY] = to_dict(errors)
    with atomic_file(model / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(document, sort_keys=False))


def with_calibrated_scores(submission: Submission, calibration: ScoreCalibration) -> Submission:
    """A submission of raw scores as the calibrated model would have made it."""
    result = {}
    for token, boxes in submission.items():
        raw = np.array([box["detection_score"] for box in boxes], np.float32)
        labels = np.array([CLASSES.index(box["detection_name"]) for box in boxes], np.int64)
        scores = calibration.apply(raw, labels).tolist()
        result[token] = [
            {**box, "detection_score": score} for box, score in zip(boxes, scores, strict=True)
        ]
    return result


def format_calibration(evaluation: Evaluation, calibration: ScoreCalibration) -> str:
    """What a calibration changes, in lines for the terminal. evaluation: of the raw scores."""
    raw, keyframes = Scored.of(evaluation), evaluation.metrics.samples
    scored = _calibrated(raw, calibration)
    errors = [Reliability.of(some.scores, some.right).error for some in (raw, scored)]
    lines = [f"mean error of the scores: {errors[0]:.3f}, calibrated {errors[1]:.3f}"]
    for what, some, least in (
        ("raw", raw, SCORE_THRESHOLD),
        ("calibrated", scored, calibration.score_threshold),
    ):
        shown = some.scores >= least
        counts = np.array([shown.sum(), (shown & some.right).sum(), some.objects]) / keyframes
        lines.append(
            f"{what} scores from {least:.3f} on: {counts[0]:.1f} objects a keyframe, "
            f"{counts[1]:.1f} of them right, of {counts[2]:.1f} annotated"
        )
    return "\n".join(lines)


def _calibrated(raw: Scored, calibration: ScoreCalibration) -> Scored:
    return dataclasses.replace(raw, scores=calibration.apply(raw.scores, raw.labels))


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
