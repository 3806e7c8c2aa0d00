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
from asd_training.evaluation.error_analysis import Boxes, ErrorAnalysis, Ints, match
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
        of_objects = random.poisson(1.0, (DRAWS, len(truth.items)))
        of_detections = random.poisson(1.0, (DRAWS, len(detections.items)))
    else:
        units = "keyframes"
        of_frames = random.multinomial(len(tokens), np.full(len(tokens), 1 / len(tokens)), DRAWS)
        of_objects, of_detections = of_frames[:, truth.frames], of_frames[:, detections.frames]

    aps = _class_aps(evaluation, truth, detections, of_objects, of_detections)
    recalls = np.full((DRAWS, len(CLASSES)), np.nan)
    matches = match(truth, detections)
    finding = (matches >= 0) & (detections.scores >= analysis.class_threshold[detections.labels])
    for label in range(len(CLASSES)):
        objects = of_objects[:, truth.labels == label].sum(axis=1)
        found = of_objects[:, matches[finding & (detections.labels == label)]].sum(axis=1)
        there = objects > 0
        recalls[there, label] = found[there] / objects[there]
    some = ~np.isnan(aps).all(axis=1)
    return Intervals(
        _quantiles(aps), _quantiles(recalls), _quantiles(np.nanmean(aps[some], axis=1)), units
    )


def _class_aps(
    evaluation: Evaluation,
    truth: Boxes,
    detections: Boxes,
    of_objects: Ints,
    of_detections: Ints,
) -> Array:
    """AP of each class (D, 10), averaged over the match distances, with D draws' weights.

    of_objects (D, T), of_detections (D, M): how often each counts; a detection that is matched
    counts as often as its object. NaN where a class has no object.
    """
    config = evaluation.details.cfg
    aps = np.full((len(of_objects), len(CLASSES)), np.nan)
    order = np.lexsort((-np.arange(len(detections.scores)), -detections.scores))  # the devkit's
    all_matches = [match(truth, detections, distance)[order] for distance in config.dist_ths]
    labels = detections.labels[order]
    for label in range(len(CLASSES)):
        mine, objects = labels == label, of_objects[:, truth.labels == label].sum(axis=1)
        of_mine = of_detections[:, order[mine]]
        for draw in np.flatnonzero(objects):
            over_distances = []
            for matches in all_matches:
                matched = matches[mine]
                right = matched >= 0
                weights = np.where(right, of_objects[draw][matched], of_mine[draw])
                hits = np.cumsum(weights * right)
                if not len(hits) or not hits[-1]:
                    over_distances.append(0.0)
                    continue
                precision = hits / np.maximum(np.cumsum(weights), 1)
                curve = _curve(hits / objects[draw], precision)
                over_distances.append(calc_ap(curve, config.min_recall, config.min_precision))
            aps[draw, label] = np.mean(over_distances)
    return aps


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
