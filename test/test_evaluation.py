# SPDX-License-Identifier: Apache-2.0
"""Promise: scores come from the official evaluator, on any samples, for empty answers too."""

import json

import numpy as np
import pytest
from nuscenes.eval.detection.data_classes import DetectionBox

from asd_perception.errors import UserError
from asd_perception.runtime.detections import Detections
from asd_training.data.nuscenes import (
    annotated_objects,
    camera_frame,
    ego_boxes,
    open_dataset,
    submission_boxes,
)
from asd_training.evaluation.scoring import (
    evaluate_submission,
    format_metrics,
    score,
    write_submission,
)


@pytest.fixture(scope="module")
def nusc(keyframe_root):
    return open_dataset(keyframe_root)


def truth_submission(nusc, shift=0.0):
    sample = nusc.sample[0]
    frame = camera_frame(nusc, sample)
    objects = annotated_objects(nusc, sample, frame.global_from_ego)
    # The evaluator drops annotations without points, but not the detections of them.
    seen = objects.observed
    detections = Detections(
        objects.boxes[seen] + [shift, 0, 0, 0, 0, 0, 0],
        np.full(seen.sum(), 0.9),
        objects.labels[seen],
        np.zeros((seen.sum(), 2)),
        objects.attributes[seen],
    )
    return {sample["token"]: submission_boxes(detections, sample["token"], frame.global_from_ego)}


def test_the_truth_scores_one_in_each_class_present(nusc):
    metrics = score(nusc, truth_submission(nusc))
    assert sum(metrics.ground_truth.values()) == 33  # of 68: ranges and boxes without points
    present = [name for name, count in metrics.ground_truth.items() if count]
    assert len(present) == 5
    assert all(metrics.class_ap[name] == pytest.approx(1.0) for name in present)
    assert metrics.mean_ap_present == pytest.approx(1.0)
    assert metrics.tp_errors["trans_err"] < 0.51  # 1 for each absent class, by the devkit's rule


def test_worse_boxes_score_less(nusc):
    assert score(nusc, truth_submission(nusc, shift=3.0)).mean_ap_present < 0.5


def test_no_detection_at_all_scores_zero(nusc):
    metrics = score(nusc, {nusc.sample[0]["token"]: []})
    assert metrics.mean_ap == 0.0
    assert sum(metrics.ground_truth.values()) == 33
    assert "mAP 0.0000" in format_metrics(metrics)


def test_a_submission_of_other_samples_is_refused(nusc, tmp_path):
    path = tmp_path / "submission.json"
    path.write_text(json.dumps({"meta": {}, "results": {"other": []}}))
    with pytest.raises(UserError, match="lacks 1 of the samples to evaluate and has 1 others"):
        evaluate_submission(nusc, path, [nusc.sample[0]["token"]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"detection_name": "cow"}, "the evaluator refuses it: .* cow"),
        ({"translation": [0, float("nan"), 0]}, "the evaluator refuses it: .*NaN"),
        ({"translation": 7}, "a box is incomplete or misshapen"),
        ({"sample_token": "other"}, "has a box of sample other"),
    ],
)
def test_a_wrong_box_is_refused_with_its_sample(nusc, tmp_path, change, message):
    submission = truth_submission(nusc)
    token = nusc.sample[0]["token"]
    submission[token][3].update(change)
    write_submission(submission, tmp_path / "submission.json")
    with pytest.raises(UserError, match=f"submission.json: sample {token}.*{message}"):
        evaluate_submission(nusc, tmp_path / "submission.json", [token])


def test_too_many_boxes_are_refused(nusc, tmp_path):
    token = nusc.sample[0]["token"]
    submission = {token: truth_submission(nusc)[token][:1] * 501}
    write_submission(submission, tmp_path / "submission.json")
    with pytest.raises(UserError, match="submission.json: .* has 501 boxes; 500 are allowed"):
        evaluate_submission(nusc, tmp_path / "submission.json", [token])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"results": 3}', '{"results": []}', '{"meta": {}}']
)
def test_a_file_that_is_no_submission_is_refused(nusc, tmp_path, text):
    (tmp_path / "submission.json").write_text(text)
    with pytest.raises(UserError, match="is not a nuScenes submission"):
        evaluate_submission(nusc, tmp_path / "submission.json", [])


def test_boxes_come_back_from_a_submission(synthetic_root):
    """The pictures show the boxes where the detector put them."""
    nusc = open_dataset(synthetic_root)
    frame = camera_frame(nusc, nusc.sample[0])
    random = np.random.default_rng(2)
    boxes = np.column_stack(
        [random.uniform(-40, 40, (9, 3)), random.uniform(1, 5, (9, 3)), random.uniform(-3, 3, 9)]
    )
    zeros = np.zeros(9, dtype=np.int64)
    detections = Detections(boxes, np.ones(9), zeros, np.zeros((9, 2)), zeros)
    records = submission_boxes(detections, frame.sample_token, frame.global_from_ego)
    back = ego_boxes(map(DetectionBox.deserialize, records), frame.global_from_ego)
    np.testing.assert_allclose(back, boxes, atol=1e-6)
