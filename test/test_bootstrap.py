# SPDX-License-Identifier: Apache-2.0
"""Promise: intervals are of the evaluator's own scores, and wide where little was seen."""

import dataclasses

import numpy as np
import pytest
from submissions import noisy_truth, validation_samples

from asd_perception.constants import CLASSES
from asd_perception.errors import UserError
from asd_training.data.nuscenes import open_dataset
from asd_training.evaluation import bootstrap
from asd_training.evaluation.bootstrap import _class_aps, intervals
from asd_training.evaluation.error_analysis import Boxes, analyse
from asd_training.evaluation.scoring import evaluate, pooled
from asd_training.evaluation.summary import format_evaluation


@pytest.fixture(scope="module")
def nusc(synthetic_root):
    return open_dataset(synthetic_root)


@pytest.fixture(scope="module")
def submission(nusc):
    return noisy_truth(nusc, validation_samples(nusc))


@pytest.fixture(scope="module")
def evaluation(nusc, submission):
    return evaluate(nusc, submission)


def test_where_everything_counts_once_the_ap_is_the_evaluators(evaluation):
    tokens = evaluation.truth.sample_tokens
    truth, found = Boxes.of(evaluation.truth, tokens), Boxes.of(evaluation.detections, tokens)
    once = np.ones((1, len(tokens)), int)
    (aps,) = _class_aps(evaluation, truth, found, once, truth.frames, found.frames)
    counted = 0
    for name, ap in zip(CLASSES, aps, strict=True):
        if evaluation.metrics.ground_truth[name]:
            assert ap == pytest.approx(evaluation.metrics.class_ap[name], abs=1e-9)
            counted += 1
        else:
            assert np.isnan(ap)
    assert counted > 3


@pytest.mark.parametrize("units", ["objects", "keyframes"])
def test_intervals_hold_the_scores(evaluation, monkeypatch, units):
    monkeypatch.setattr(bootstrap, "FEW_KEYFRAMES", 1000 if units == "objects" else 0)
    analysis = analyse(evaluation)
    errors = intervals(evaluation, analysis)
    assert errors.units == units
    low, high = errors.mean_ap_present
    assert low < evaluation.metrics.mean_ap_present < high
    for label, name in enumerate(CLASSES):
        if not evaluation.metrics.ground_truth[name]:
            assert np.isnan(errors.class_ap[label]).all()
            continue
        recall = analysis.found[label].sum() / analysis.objects[label].sum()
        assert errors.class_recall[label, 0] <= recall <= errors.class_recall[label, 1]


def test_more_objects_make_them_narrower(nusc, submission):
    def width(tokens):
        found = evaluate(nusc, {token: submission[token] for token in tokens})
        return np.ptp(intervals(found, analyse(found)).mean_ap_present)

    tokens = list(submission)
    assert width(tokens) < width(tokens[:1])


def test_evaluations_pooled_are_the_evaluation_of_all_their_keyframes(nusc, submission, evaluation):
    tokens = list(submission)
    parts = [
        evaluate(nusc, {token: submission[token] for token in some})
        for some in (tokens[:1], tokens[1:])
    ]
    assert pooled(parts).metrics == evaluation.metrics
    with pytest.raises(UserError, match="two of the data sets hold the sample"):
        pooled([parts[0], parts[0]])


def test_classes_without_objects_are_named_and_not_tabled(nusc, submission):
    found = evaluate(nusc, dict(list(submission.items())[:1]))
    found = dataclasses.replace(
        found,
        metrics=dataclasses.replace(
            found.metrics, ground_truth={**found.metrics.ground_truth, "bus": 0}
        ),
    )
    analysis = analyse(found)
    lines = format_evaluation(found, analysis, intervals(found, analysis)).splitlines()
    assert not any(line.startswith("bus") for line in lines)
    (absent,) = (line for line in lines if line.startswith("no object: "))
    assert "bus" in absent
    (mean,) = (line for line in lines if line.startswith("over the classes present: mAP"))
    assert f"{found.metrics.mean_ap_present:.4f}" in mean
