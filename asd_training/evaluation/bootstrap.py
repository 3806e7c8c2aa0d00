# SPDX-License-Identifier: Apache-2.0
"""How far the scores of an evaluation could be off because it saw few keyframes: bootstrap.

The keyframes are drawn anew, with replacement, many times. Of fewer than `FEW_KEYFRAMES` these are
too few to draw from: then each object (with what was matched to it) and each false detection is
drawn by itself, which leaves out that those of one keyframe resemble each other. The real interval
is then wider.

The matches are the evaluator's; detections do not compete across keyframes, so that only their
weights change between the draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nuscenes.eval.detection.algo import calc_ap
from nuscenes.eval.detection.data_classes import DetectionMetricData

from asd_perception.constants import CLASSES
from asd_perception.geometry import Array
from asd_training.evaluation.error_analysis import Bools, Boxes, ErrorAnalysis, Ints, match
from asd_training.evaluation.scoring import Evaluation

FEW_KEYFRAMES = 30
DRAWS = 300
QUANTILES = (0.025, 0.975)


@dataclass(frozen=True)
class Intervals:
    """95 % intervals, as (lowest, highest) along the last axis; NaN for a class without objects.

    class_ap (10, 2), class_recall (10, 2): within 2 m at the class's score of the best F1.
    mean_ap_present (2,). units: what was drawn, "keyframes" or "objects".
    """

    class_ap: Array
    class_recall: Array
    mean_ap_present: Array
    units: str


def intervals(evaluation: Evaluation, analysis: ErrorAnalysis) -> Intervals:
    """The intervals of an evaluation's scores; the same ones each time."""
    tokens = evaluation.truth.sample_tokens
    truth, detections = Boxes.of(evaluation.truth, tokens), Boxes.of(evaluation.detections, tokens)
    random = np.random.default_rng(0)
    if len(tokens) < FEW_KEYFRAMES:
        units = "objects"
        of_objects = np.arange(len(truth.items))
        of_detections = len(truth.items) + np.arange(len(detections.items))
        weights = random.poisson(1.0, (DRAWS, len(truth.items) + len(detections.items)))
    else:
        units = "keyframes"
        of_objects, of_detections = truth.frames, detections.frames
        even = np.full(len(tokens), 1 / len(tokens))
        weights = random.multinomial(len(tokens), even, DRAWS)

    aps = _class_aps(evaluation, truth, detections, weights, of_objects, of_detections)
    recalls = np.full((DRAWS, len(CLASSES)), np.nan)
    matches = match(truth, detections)
    finding = (matches >= 0) & (detections.scores >= analysis.class_threshold[detections.labels])
    for label in range(len(CLASSES)):
        objects = _counts(weights, of_objects[truth.labels == label])
        mine = matches[finding & (detections.labels == label)]
        there = objects > 0
        recalls[there, label] = _counts(weights, of_objects[mine])[there] / objects[there]
    some = ~np.isnan(aps).all(axis=1)
    return Intervals(
        _quantiles(aps), _quantiles(recalls), _quantiles(np.nanmean(aps[some], axis=1)), units
    )


def _counts(weights: Ints, units: Ints) -> Ints:
    """How many there are in each draw (D,), of things (M,) that belong to these units."""
    return weights @ np.bincount(units, minlength=weights.shape[1])


def _class_aps(
    evaluation: Evaluation,
    truth: Boxes,
    detections: Boxes,
    weights: Ints,
    of_objects: Ints,
    of_detections: Ints,
) -> Array:
    """AP of each class (D, 10), averaged over the match distances, in each of D draws.

    weights (D, U): how often each unit was drawn. of_objects (T,), of_detections (M,): the unit of
    each; a detection that is matched counts with its object. NaN where a class has no object.
    """
    config = evaluation.details.cfg
    aps = np.full((len(weights), len(CLASSES)), np.nan)
    order = np.lexsort((-np.arange(len(detections.scores)), -detections.scores))  # the devkit's
    all_matches = [match(truth, detections, distance)[order] for distance in config.dist_ths]
    labels = detections.labels[order]
    for label in range(len(CLASSES)):
        mine = labels == label
        objects = _counts(weights, of_objects[truth.labels == label])
        ranked = []  # the unit of each detection, and whether it is right, for each distance
        for matches in all_matches:
            right = matches[mine] >= 0
            units = of_detections[order[mine]].copy()
            units[right] = of_objects[matches[mine][right]]
            ranked.append((units, right))
        for draw in np.flatnonzero(objects):
            aps[draw, label] = np.mean(
                [
                    _average_precision(evaluation, weights[draw][units], right, objects[draw])
                    for units, right in ranked
                ]
            )
    return aps


def _average_precision(evaluation: Evaluation, weights: Ints, right: Bools, objects: int) -> float:
    """The devkit's AP of ranked detections (M,) that count so often."""
    hits = np.cumsum(weights * right)
    if not len(hits) or not hits[-1]:
        return 0.0
    curve = _curve(hits / objects, hits / np.maximum(np.cumsum(weights), 1))
    config = evaluation.details.cfg
    return float(calc_ap(curve, config.min_recall, config.min_precision))


def _curve(recall: Array, precision: Array) -> DetectionMetricData:
    """What the devkit's AP is computed of."""
    places = np.linspace(0, 1, DetectionMetricData.nelem)
    unused = np.ones(DetectionMetricData.nelem)
    return DetectionMetricData(
        recall=places,
        precision=np.interp(places, recall, precision, right=0),
        confidence=unused,
        trans_err=unused,
        vel_err=unused,
        scale_err=unused,
        orient_err=unused,
        attr_err=unused,
    )


def _quantiles(values: Array) -> Array:
    """(2,) of values (D,), or (10, 2) of (D, 10); NaN where none is known."""
    known = [column[~np.isnan(column)] for column in np.atleast_2d(values.T)]
    pairs = [np.quantile(column, QUANTILES) if len(column) else [np.nan] * 2 for column in known]
    return np.array(pairs).reshape(*values.shape[1:], 2)
