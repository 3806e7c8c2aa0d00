# SPDX-License-Identifier: Apache-2.0
"""Where the detections of an evaluation are wrong: by distance, by class and by frame.

Detections are matched to objects once, by the devkit's own rule at 2 m. Two kinds of score
threshold are applied: one per class, at which the F1 of that class is best, and one for all classes
together, at which their common F1 is best. The node has a single threshold; set it to the latter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.utils import velocity_l2, yaw_diff
from nuscenes.eval.detection.data_classes import DetectionBox

from asd_perception.constants import CLASSES
from asd_perception.geometry import Array
from asd_training.evaluation.scoring import Evaluation

MATCH_DISTANCE = 2.0
"""A detection closer to an object than this (m, between centres on the ground) matches it: the
threshold at which the devkit computes true positive errors."""

RANGES = (0, 10, 20, 30, 40, 50)
"""Edges of the distance bins, in m from the ego origin on the ground."""

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Boxes:
    """M boxes of all frames: frames (M,), labels (M,), centres (M, 2) in the global frame,
    offsets (M, 2) from the ego origin along the global axes, scores (M,)."""

    items: list[DetectionBox]
    frames: Ints
    labels: Ints
    centres: Array
    offsets: Array
    scores: Array

    @classmethod
    def of(cls, boxes: EvalBoxes, tokens: list[str]) -> Boxes:
        """The boxes of the given samples, in their order."""
        items = [box for token in tokens for box in boxes[token]]
        counts = [len(boxes[token]) for token in tokens]
        return cls(
            items,
            np.repeat(np.arange(len(tokens)), counts),
            np.array([CLASSES.index(box.detection_name) for box in items], dtype=np.int64),
            np.array([box.translation[:2] for box in items], dtype=np.float64).reshape(-1, 2),
            np.array([box.ego_translation[:2] for box in items], dtype=np.float64).reshape(-1, 2),
            np.array([box.detection_score for box in items], dtype=np.float64),
        )


@dataclass(frozen=True)
class FrameScore:
    """Counts of one keyframe: annotated objects, detections at or above the common threshold, and
    those of the detections that match an object (right)."""

    token: str
    objects: int
    detections: int
    right: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; defined if there is an object or a detection."""
        return 2 * self.right / (self.objects + self.detections)


@dataclass(frozen=True)
class FoundErrors:
    """Errors of the detections that match an object of one class; NaN where unknown.

    bias: median of the signed radial error (m), positive where detections are too far away.
    radial, tangential (m), yaw, axis (rad), velocity (m/s): median and 90th percentile. axis: the
    yaw's error if front and back count as equal. turned: the share of yaws that are more than 90
    degrees wrong, in [0, 1].
    """

    count: int
    bias: float
    radial: tuple[float, float]
    tangential: tuple[float, float]
    yaw: tuple[float, float]
    axis: tuple[float, float]
    turned: float
    velocity: tuple[float, float]


@dataclass(frozen=True)
class ErrorAnalysis:
    """Error counts of an evaluation; the first axis of each array is CLASSES.

    class_f1, class_threshold (10,): best F1 per class, and the score at which it is reached (NaN
    where no detection is right). f1, threshold: the same over all classes together.
    objects (10, 5): annotated objects per distance bin. found (10, 5): those of them that match a
    detection at or above class_threshold.
    confusion (11, 11): one row per annotated class and a last one for "no object within 2 m"; one
    column per class of the nearest detection within 2 m and a last one for "no detection". Only
    detections at or above `threshold` count.
    errors: one item per class, over the objects counted in `found`.
    frames: in the order of the samples, those that have an object or a detection.
    """

    class_f1: Array
    class_threshold: Array
    f1: float
    threshold: float
    found: Ints
    objects: Ints
    confusion: Ints
    errors: tuple[FoundErrors, ...]
    frames: tuple[FrameScore, ...]


def analyse(evaluation: Evaluation) -> ErrorAnalysis:
    """Match all detections with the objects, and count the errors."""
    tokens = evaluation.truth.sample_tokens
    truth = Boxes.of(evaluation.truth, tokens)
    detections = Boxes.of(evaluation.detections, tokens)
    matches = match(truth, detections)
    right = matches >= 0

    f1, threshold = best_threshold(detections.scores, right, len(truth.items))
    class_f1, class_threshold = np.zeros(len(CLASSES)), np.full(len(CLASSES), np.nan)
    for label in range(len(CLASSES)):
        mine = detections.labels == label
        class_f1[label], class_threshold[label] = best_threshold(
            detections.scores[mine], right[mine], int(np.sum(truth.labels == label))
        )

    finding = right & (detections.scores >= class_threshold[detections.labels])
    found, objects = _by_distance(truth, matches[finding])
    shown = detections.scores >= threshold
    return ErrorAnalysis(
        class_f1,
        class_threshold,
        f1,
        threshold,
        found,
        objects,
        _confusion(truth, detections, shown),
        tuple(
            _found_errors(truth, detections, matches, finding & (detections.labels == label))
            for label in range(len(CLASSES))
        ),
        tuple(_frame_scores(tokens, truth, detections, shown, right)),
    )


def match(truth: Boxes, detections: Boxes, distance: float = MATCH_DISTANCE) -> Ints:
    """The devkit's greedy matching: per detection the index of the object it matches, or -1.

    Within a frame and class, detections are taken in descending order of score, of equal scores the
    later one first, as in the devkit. Each takes the nearest free object whose centre is less than
    `distance` m away. Matches above a score are therefore independent of the detections below it.
    """
    matches = np.full(len(detections.items), -1)
    objects = _groups(truth.frames * len(CLASSES) + truth.labels)
    for key, group in _groups(detections.frames * len(CLASSES) + detections.labels).items():
        if key not in objects:
            continue
        candidates = objects[key]
        order = group[np.lexsort((-group, -detections.scores[group]))]
        distances = _distances(detections.centres[order], truth.centres[candidates])
        for index, row in zip(order, distances, strict=True):
            nearest = int(np.argmin(row))
            if row[nearest] < distance:
                matches[index] = candidates[nearest]
                distances[:, nearest] = np.inf
    return matches


def best_threshold(scores: Array, right: Bools, objects: int) -> tuple[float, float]:
    """The best F1 = 2 right / (detections + objects) over all score thresholds, and the highest
    threshold that reaches it; (0, NaN) if no detection is right.

    scores, right (M,): of the detections. objects: number of annotated objects.
    """
    if not right.any():
        return 0.0, float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    f1 = 2 * np.cumsum(right[order]) / (np.arange(1, len(ranked) + 1) + objects)
    f1[:-1][ranked[:-1] == ranked[1:]] = 0.0  # a threshold cannot separate equal scores
    best = int(np.argmax(f1))
    return float(f1[best]), float(ranked[best])


def extreme_frames(
    frames: tuple[FrameScore, ...], count: int
) -> tuple[list[FrameScore], list[FrameScore]]:
    """Up to `count` worst and `count` best frames, none in both; of equal F1 the fullest first."""
    worst = sorted(frames, key=lambda frame: (frame.f1, -frame.objects - frame.detections))
    worst = worst[: min(count, (len(frames) + 1) // 2)]
    rest = [frame for frame in frames if frame not in worst]
    return worst, sorted(rest, key=lambda frame: (-frame.f1, -frame.objects))[:count]


def _groups(keys: Ints) -> dict[int, Ints]:
    """Per key, its indices in ascending order."""
    order = np.argsort(keys, kind="stable")
    edges = np.flatnonzero(np.diff(keys[order])) + 1
    return {int(keys[group[0]]): group for group in np.split(order, edges) if len(group)}


def _distances(a: Array, b: Array) -> Array:
    return np.linalg.norm(a[:, None] - b[None], axis=-1)  # (A, B)


def _by_distance(truth: Boxes, found: Ints) -> tuple[Ints, Ints]:
    """(10, 5) found objects and (10, 5) all objects; `found` are indices into `truth`."""
    bins = np.digitize(np.linalg.norm(truth.offsets, axis=1), RANGES[1:-1])
    counts = []
    for chosen in (found, np.arange(len(truth.items))):
        table = np.zeros((len(CLASSES), len(RANGES) - 1), dtype=np.int64)
        np.add.at(table, (truth.labels[chosen], bins[chosen]), 1)
        counts.append(table)
    return counts[0], counts[1]


def _confusion(truth: Boxes, detections: Boxes, shown: Bools) -> Ints:
    nothing = len(CLASSES)
    table = np.zeros((nothing + 1, nothing + 1), dtype=np.int64)
    objects, seen = _groups(truth.frames), _groups(detections.frames)
    none = np.empty(0, dtype=np.int64)
    for frame in sorted(objects.keys() | seen.keys()):
        rows, columns = objects.get(frame, none), seen.get(frame, none)
        columns = columns[shown[columns]]
        distances = _distances(truth.centres[rows], detections.centres[columns])
        near = distances < MATCH_DISTANCE
        for row, hits, line in zip(rows, near, distances, strict=True):
            column = detections.labels[columns[np.argmin(line)]] if hits.any() else nothing
            table[truth.labels[row], column] += 1
        np.add.at(table[nothing], detections.labels[columns[~near.any(axis=0)]], 1)
    return table


def _frame_scores(
    tokens: list[str], truth: Boxes, detections: Boxes, shown: Bools, right: Bools
) -> Iterator[FrameScore]:
    n = len(tokens)
    objects = np.bincount(truth.frames, minlength=n)
    seen = np.bincount(detections.frames[shown], minlength=n)
    hits = np.bincount(detections.frames[shown & right], minlength=n)
    for index, token in enumerate(tokens):
        if objects[index] + seen[index]:
            yield FrameScore(token, int(objects[index]), int(seen[index]), int(hits[index]))


def _found_errors(truth: Boxes, detections: Boxes, matches: Ints, chosen: Bools) -> FoundErrors:
    hits = np.flatnonzero(chosen)
    found = matches[hits]
    shift = detections.centres[hits] - truth.centres[found]
    away = truth.offsets[found]
    away = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)
    radial = np.sum(shift * away, axis=1)
    tangential = away[:, 0] * shift[:, 1] - away[:, 1] * shift[:, 0]
    pairs = [(truth.items[i], detections.items[j]) for i, j in zip(found, hits, strict=True)]
    yaw, velocity = [], []
    for target, box in pairs:
        name = target.detection_name  # periods and exceptions as in the devkit
        if name != "traffic_cone":
            yaw.append(yaw_diff(target, box, np.pi if name == "barrier" else 2 * np.pi))
        if name not in ("traffic_cone", "barrier"):
            velocity.append(velocity_l2(target, box))
    yaws = np.array(yaw)
    return FoundErrors(
        len(hits),
        _quantiles(radial)[0],
        _quantiles(np.abs(radial)),
        _quantiles(np.abs(tangential)),
        _quantiles(yaws),
        _quantiles(np.minimum(yaws, np.pi - yaws)),
        float(np.mean(yaws > np.pi / 2)) if len(yaws) else float("nan"),
        _quantiles(np.array(velocity)),
    )


def _quantiles(values: Array) -> tuple[float, float]:
    """Median and 90th percentile of the known values; NaN if there is none."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    return float(np.median(known)), float(np.quantile(known, 0.9))
