# SPDX-License-Identifier: Apache-2.0
"""Scoring by the official nuScenes evaluator (nuscenes-devkit, detection_cvpr_2019)."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes import NuScenes
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.loaders import (
    add_center_dist,
    filter_eval_boxes,
    load_gt_of_sample_tokens,
)
from nuscenes.eval.detection.data_classes import (
    DetectionBox,
    DetectionMetricDataList,
    DetectionMetrics,
)
from nuscenes.eval.detection.evaluate import DetectionEval

from asd_perception.constants import CLASSES
from asd_perception.errors import UserError
from asd_perception.files import atomic_file

Submission = dict[str, list[dict[str, Any]]]
"""Per sample token, the boxes in nuScenes' submission format."""


TP_ERRORS = {
    "ATE": "trans_err",
    "ASE": "scale_err",
    "AOE": "orient_err",
    "AVE": "vel_err",
    "AAE": "attr_err",
}
"""The true positive errors, by the name under which they are published, with the devkit's name."""


@dataclass(frozen=True)
class Metrics:
    """The official metrics of one submission.

    mean_ap, nds: over the ten classes. class_ap: AP averaged over the four distance thresholds.
    tp_errors: mean ATE, ASE, AOE, AVE, AAE under the devkit's names ("trans_err", ...).
    ground_truth: annotated boxes per class that the evaluator kept; a class without any scores 0
    and lowers the mean, so read `mean_ap_present` on small sets.
    """

    samples: int
    mean_ap: float
    nds: float
    class_ap: dict[str, float]
    tp_errors: dict[str, float]
    ground_truth: dict[str, int]

    @property
    def mean_ap_present(self) -> float:
        """mAP over the classes that the samples contain."""
        present = [ap for name, ap in self.class_ap.items() if self.ground_truth[name]]
        return float(np.mean(present)) if present else 0.0


@dataclass(frozen=True)
class Evaluation:
    """One submission as the official evaluator saw it.

    details: AP and errors per class; curves: precision, recall and confidence per class and
    distance threshold; truth and detections: the boxes that counted, by sample token (in range of
    their class, annotations with at least one LiDAR or radar point, no cycles in bicycle racks).
    """

    metrics: Metrics
    details: DetectionMetrics
    curves: DetectionMetricDataList
    truth: EvalBoxes
    detections: EvalBoxes


class _BoxEvaluation(DetectionEval):
    """The devkit's evaluation of given boxes, where its own constructor knows only splits."""

    def __init__(self, truth: EvalBoxes, detections: EvalBoxes) -> None:
        self.verbose = False
        self.cfg = config_factory("detection_cvpr_2019")
        self.gt_boxes, self.pred_boxes = truth, detections
        self.sample_tokens = truth.sample_tokens


def _counting(
    nusc: NuScenes, predictions: EvalBoxes, sample_tokens: list[str]
) -> tuple[EvalBoxes, EvalBoxes]:
    """The annotations and the predictions of these samples that count. Raises UserError."""
    config = config_factory("detection_cvpr_2019")
    for token, boxes in predictions.boxes.items():
        if len(boxes) > config.max_boxes_per_sample:
            raise UserError(
                f"sample {token} has {len(boxes)} boxes; {config.max_boxes_per_sample} are allowed"
            )
    with contextlib.redirect_stderr(io.StringIO()):  # the devkit's progress bar
        truth = load_gt_of_sample_tokens(nusc, sample_tokens, DetectionBox)
    if not truth.all:
        raise UserError("these samples have no annotated object of the ten classes")
    if not predictions.all:
        # filter_eval_boxes cannot take an empty submission: give it a box to filter away.
        predictions.add_boxes(sample_tokens[0], [_out_of_range_box(sample_tokens[0])])

    def in_range(boxes: EvalBoxes) -> EvalBoxes:
        boxes = add_center_dist(nusc, boxes)
        return filter_eval_boxes(nusc, boxes, config.class_range, verbose=False)

    return in_range(truth), in_range(predictions)


def evaluate_submission(nusc: NuScenes, path: str | Path, sample_tokens: list[str]) -> Evaluation:
    """Evaluate a submission file over the given samples.

    Raises UserError if the file is no submission, or lacks or adds samples.
    """
    path = Path(path)
    try:
        results = json.loads(path.read_text())["results"]
        tokens = set(results.keys())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a nuScenes submission ({error})") from error
    if tokens != set(sample_tokens):
        raise UserError(
            f"{path} lacks {len(set(sample_tokens) - tokens)} of the samples to evaluate "
            f"and has {len(tokens - set(sample_tokens))} others"
        )
    predictions = EvalBoxes()
    for token in sample_tokens:
        predictions.add_boxes(token, _read_boxes(results[token], token, path))
    try:
        truth, detections = _counting(nusc, predictions, sample_tokens)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return _evaluated(truth, detections)


def pooled(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The evaluation of all of their samples together. Raises UserError if two share one."""
    truth, detections = EvalBoxes(), EvalBoxes()
    for one in evaluations:
        for token in one.truth.sample_tokens:
            if token in truth.boxes:
                raise UserError(f"two of the data sets hold the sample {token}; give each once")
            truth.add_boxes(token, one.truth[token])
            detections.add_boxes(token, one.detections[token])
    return _evaluated(truth, detections)


def _evaluated(truth: EvalBoxes, detections: EvalBoxes) -> Evaluation:
    """The evaluation of boxes that count."""
    details, curves = _BoxEvaluation(truth, detections).evaluate()
    summary = details.serialize()
    counts = Counter(box.detection_name for box in truth.all)
    metrics = Metrics(
        samples=len(truth.sample_tokens),
        mean_ap=float(summary["mean_ap"]),
        nds=float(summary["nd_score"]),
        class_ap={name: float(summary["mean_dist_aps"][name]) for name in CLASSES},
        tp_errors={name: float(error) for name, error in summary["tp_errors"].items()},
        ground_truth={name: counts[name] for name in CLASSES},
    )
    return Evaluation(metrics, details, curves, truth, detections)


def evaluate(
    nusc: NuScenes,
    submission: Submission,
    path: str | Path | None = None,
    modalities: Collection[str] = ("camera",),
) -> Evaluation:
    """Evaluate a submission over its own samples; keep its file at `path` if given."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(path or Path(folder) / "submission.json")
        write_submission(submission, file, modalities)
        return evaluate_submission(nusc, file, list(submission))


def score(nusc: NuScenes, submission: Submission, path: str | Path | None = None) -> Metrics:
    """The metrics of a submission over its own samples; keep its file at `path` if given."""
    return evaluate(nusc, submission, path).metrics


def write_submission(
    submission: Submission, path: str | Path, modalities: Collection[str] = ("camera",)
) -> None:
    """Write a nuScenes submission file, atomically. modalities: what the detector saw.

    A velocity that is not known stays NaN, which only Python's dialect of JSON can write: it is
    what the devkit reads. It leaves such a box out of the velocity error (1 where all of a class
    are unknown); null would crash it, and 0 would claim that the object stands.
    """
    known = ("camera", "lidar", "radar", "map", "external")
    meta = {f"use_{name}": name in modalities for name in known}
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps({"meta": meta, "results": submission}))


def format_metrics(metrics: Metrics) -> str:
    """A table for the terminal: AP per class, then the means."""
    lines = [f"{'class':<22}{'AP':>7}{'objects':>10}"]
    for name, ap in metrics.class_ap.items():
        count = metrics.ground_truth[name]
        lines.append(f"{name:<22}{ap if count else float('nan'):>7.3f}{count:>10}")
    return "\n".join([*lines, format_means(metrics)])


def format_means(metrics: Metrics) -> str:
    """The means, in two lines for the terminal."""
    errors = "  ".join(f"m{name} {metrics.tp_errors[key]:.3f}" for name, key in TP_ERRORS.items())
    return (
        f"mAP {metrics.mean_ap:.4f} (over the classes present {metrics.mean_ap_present:.4f})  "
        f"NDS {metrics.nds:.4f}  keyframes: {metrics.samples}\n{errors}"
    )


def _read_boxes(records: Any, token: str, path: Path) -> list[DetectionBox]:
    """One sample's boxes of a submission. Raises UserError."""
    place = f"{path}: sample {token}"
    try:
        boxes = [DetectionBox.deserialize(record) for record in records]
    except AssertionError as error:  # an unknown class, a NaN
        raise UserError(f"{place}: the evaluator refuses it: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{place}: a box is incomplete or misshapen ({error!r})") from error
    for box in boxes:
        if box.sample_token != token:
            raise UserError(f"{place} has a box of sample {box.sample_token}")
    return boxes


def _out_of_range_box(sample_token: str) -> DetectionBox:
    return DetectionBox(
        sample_token=sample_token,
        translation=(1e6, 1e6, 0.0),
        detection_name=CLASSES[0],
        detection_score=0.0,
        attribute_name="vehicle.parked",
    )
