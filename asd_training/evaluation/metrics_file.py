# SPDX-License-Identifier: Apache-2.0
"""The numbers of an evaluation as a JSON file, for tables and continuous integration."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asd_perception import __version__
from asd_perception.constants import CLASSES
from asd_perception.files import atomic_file
from asd_training.evaluation.bootstrap import Intervals
from asd_training.evaluation.error_analysis import RANGES, ErrorAnalysis
from asd_training.evaluation.scoring import TP_ERRORS, Evaluation


@dataclass(frozen=True)
class Setting:
    """What was evaluated, on what, and how.

    source: model directory or submission file. provenance: of the model; None for a submission.
    """

    source: str
    provenance: dict[str, Any] | None
    dataset: str
    version: str
    split: str
    scenes: int
    command: str
    date: str


def write_metrics(
    path: str | Path,
    setting: Setting,
    evaluation: Evaluation,
    analysis: ErrorAnalysis,
    errors: Intervals,
) -> None:
    """Write the numbers as strict JSON (null for unknown values), atomically."""
    document = _without_nan(_document(setting, evaluation, analysis, errors))
    with atomic_file(path) as temporary:
        # YAML reads a date in a hand-written provenance as a date object: written as text.
        text = json.dumps(document, indent=2, allow_nan=False, default=str)
        temporary.write_text(text + "\n")


def class_numbers(evaluation: Evaluation, name: str) -> dict[str, Any]:
    """The official metrics of one class, as plain values; "ap" per match distance."""
    details = evaluation.details
    return {
        "ground_truth": evaluation.metrics.ground_truth[name],
        "detections": sum(box.detection_name == name for box in evaluation.detections.all),
        "ap": {str(d): float(details.get_label_ap(name, d)) for d in details.cfg.dist_ths},
        "mean_ap": evaluation.metrics.class_ap[name],
        "errors": {key: float(details.get_label_tp(name, key)) for key in TP_ERRORS.values()},
    }


def _document(
    setting: Setting, evaluation: Evaluation, analysis: ErrorAnalysis, errors: Intervals
) -> dict[str, Any]:
    """The whole file as plain values; unknown numbers are NaN."""
    classes = {}
    for label, name in enumerate(CLASSES):
        classes[name] = {
            **class_numbers(evaluation, name),
            "mean_ap_interval": errors.class_ap[label].tolist(),
            "recall_interval": errors.class_recall[label].tolist(),
            "best_f1": float(analysis.class_f1[label]),
            "score_threshold": float(analysis.class_threshold[label]),
            "objects_by_distance": analysis.objects[label].tolist(),
            "found_by_distance": analysis.found[label].tolist(),
            "found_errors": asdict(analysis.errors[label]),
        }
    return {
        "asd_perception": __version__,
        **asdict(setting),
        **asdict(evaluation.metrics),
        "mean_ap_present": evaluation.metrics.mean_ap_present,
        "mean_ap_present_interval": errors.mean_ap_present.tolist(),
        "intervals_of": errors.units,
        "best_f1": analysis.f1,
        "score_threshold": analysis.threshold,
        "distance_edges": list(RANGES),
        "classes": classes,
        "confusion": analysis.confusion.tolist(),
    }


def _without_nan(value: Any) -> Any:
    """The same plain value with None for each NaN, which strict JSON cannot express."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
