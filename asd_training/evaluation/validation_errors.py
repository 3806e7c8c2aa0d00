# SPDX-License-Identifier: Apache-2.0
"""How far a student's right detections are from their objects, by class, on validation data.

Right is a detection that the devkit's rule matches with an object at 2 m; those count that the
model shows by its own threshold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nuscenes.eval.common.utils import yaw_diff

from asd_perception.constants import CLASSES
from asd_perception.geometry import Array
from asd_perception.runtime.validation.score_calibration import ScoreCalibration
from asd_perception.runtime.validation.validation_errors import AXES, ValidationErrors
from asd_training.evaluation.error_analysis import Boxes, Ints, match
from asd_training.evaluation.scoring import Evaluation

PRIOR = 10.0
"""Weight by which a class is drawn to all classes together, in detections: it decides for a class
of which nothing was found, and is little beside hundreds."""


def measure(
    evaluation: Evaluation, calibration: ScoreCalibration, provenance: dict[str, Any]
) -> ValidationErrors:
    """The errors of a student's right detections.

    evaluation: of its raw scores. calibration: of these, which says what is shown.
    """
    errors, labels = _errors_of_right(evaluation, calibration)
    squares = by_class(errors**2, labels)
    values = {
        axis: dict(zip(CLASSES, np.sqrt(squares[:, i]).tolist(), strict=True))
        for i, axis in enumerate(AXES)
    }
    return ValidationErrors(**values, provenance=provenance)


def by_class(squares: Array, labels: Ints) -> Array:
    """(10, 4) mean squares by class, drawn to those of all, of squared errors (M, 4), M > 0."""
    common = np.maximum(squares.mean(axis=0), 1e-6)
    sums, counts = np.zeros((len(CLASSES), len(AXES))), np.zeros((len(CLASSES), 1))
    np.add.at(sums, labels, squares)
    np.add.at(counts, labels, 1)
    return np.asarray((sums + PRIOR * common) / (counts + PRIOR))


def _errors_of_right(evaluation: Evaluation, calibration: ScoreCalibration) -> tuple[Array, Ints]:
    """Errors (M, 4) in the order of AXES, and labels (M,), of the detections that count."""
    tokens = evaluation.truth.sample_tokens
    truth, found = Boxes.of(evaluation.truth, tokens), Boxes.of(evaluation.detections, tokens)
    matches = match(truth, found)
    scores = calibration.apply(found.scores, found.labels)
    hits = np.flatnonzero((matches >= 0) & (scores >= calibration.score_threshold))
    shift = found.centres[hits] - truth.centres[matches[hits]]
    away = found.offsets[hits]
    away = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)
    rest = []
    for box, target in zip(hits, matches[hits], strict=True):
        one, other = found.items[box], truth.items[target]
        period = np.pi if one.detection_name == "barrier" else 2 * np.pi  # as in the devkit
        up = one.translation[2] - other.translation[2]
        rest.append((up, yaw_diff(other, one, period)))
    along = np.sum(shift * away, axis=1)
    across = away[:, 0] * shift[:, 1] - away[:, 1] * shift[:, 0]
    return np.column_stack([along, across, np.array(rest).reshape(-1, 2)]), found.labels[hits]


def format_errors(errors: ValidationErrors) -> str:
    """The errors as a table for the terminal."""
    lines = [f"{'errors of what is shown':<24}" + "".join(f"{axis:>8}" for axis in AXES)]
    for name in CLASSES:
        values = [getattr(errors, axis)[name] for axis in AXES]
        lines.append(f"{name:<24}" + "".join(f"{value:>8.2f}" for value in values))
    return "\n".join(lines)
