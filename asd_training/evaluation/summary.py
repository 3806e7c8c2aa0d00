# SPDX-License-Identifier: Apache-2.0
"""What `asd-train evaluate` prints: of the classes that have objects, and how sure it is."""

from __future__ import annotations

import numpy as np

from asd_perception.constants import CLASSES
from asd_perception.geometry import Array
from asd_training.evaluation.bootstrap import Intervals
from asd_training.evaluation.error_analysis import RANGES, ErrorAnalysis
from asd_training.evaluation.scoring import Evaluation, format_means

NEAR = 30
"""A second recall is of the objects nearer than this, in m."""


def format_evaluation(evaluation: Evaluation, analysis: ErrorAnalysis, errors: Intervals) -> str:
    """A table for the terminal: AP and recall per class with their intervals, then the means."""
    metrics, near = evaluation.metrics, RANGES.index(NEAR)
    lines = [
        f"{'class':<22}{'AP':>6}{'':15}{'recall':>6}{'':15}"
        f"{f'to {NEAR} m':>8}{'at score':>10}{'objects':>9}"
    ]
    absent = []
    for label, name in enumerate(CLASSES):
        count = metrics.ground_truth[name]
        if not count:
            absent.append(name)
            continue
        found, objects = analysis.found[label], analysis.objects[label]
        recalls = [
            f"{found[:bins].sum() / total:.2f}" if (total := objects[:bins].sum()) else "-"
            for bins in (len(objects), near)
        ]
        score = analysis.class_threshold[label]
        lines.append(
            f"{name:<22}{metrics.class_ap[name]:>6.3f}{_interval(errors.class_ap[label]):15}"
            f"{recalls[0]:>6}{_interval(errors.class_recall[label]):15}{recalls[1]:>8}"
            f"{'-' if np.isnan(score) else f'{score:.3f}':>10}{count:>9}"
        )
    if absent:
        lines.append(f"no object: {', '.join(absent)} (each counts as 0 in mAP and NDS)")
    lines.append(
        f"over the classes present: mAP {metrics.mean_ap_present:.4f}"
        f"{_interval(errors.mean_ap_present)}"
    )
    lines.append(format_means(metrics))
    lines.append(
        "recall: of the objects, found within 2 m at the score of the class's best F1; brackets: "
        f"95 % of bootstrap draws of the {errors.units}"
    )
    return "\n".join(lines)


def _interval(bounds: Array) -> str:
    return "" if np.isnan(bounds).any() else f" [{bounds[0]:.2f}, {bounds[1]:.2f}]"
