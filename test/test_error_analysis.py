# SPDX-License-Identifier: Apache-2.0
"""Promise: errors are counted on the devkit's own matching, by distance, by class and by frame."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.utils import center_distance
from nuscenes.eval.detection.algo import accumulate
from nuscenes.eval.detection.data_classes import (
    DetectionBox,
    DetectionMetricDataList,
    DetectionMetrics,
)

from asd_perception.constants import CLASSES
from asd_training.evaluation.error_analysis import (
    Boxes,
    FrameScore,
    analyse,
    best_threshold,
    extreme_frames,
    match,
)
from asd_training.evaluation.scoring import Evaluation, Metrics

CAR, TRUCK, PEDESTRIAN = (CLASSES.index(name) for name in ("car", "truck", "pedestrian"))
NOTHING = len(CLASSES)


def box(token, name, x, y, score=-1.0, yaw=0.0, **more):
    turn = (np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))
    return DetectionBox(
        token, (x, y, 1.0), (2.0, 4.0, 1.5), turn, ego_translation=(x, y, 1.0),
        detection_name=name, detection_score=score, **more,
    )  # fmt: skip


def boxes_of(*boxes, tokens=("a", "b")):
    result = EvalBoxes()
    for token in tokens:
        result.add_boxes(token, [item for item in boxes if item.sample_token == token])
    return result


def evaluation_of(truth, detections):
    """An evaluation with nothing but boxes: the analysis needs no more."""
    details = DetectionMetrics(config_factory("detection_cvpr_2019"))
    metrics = Metrics(len(truth.sample_tokens), 0.0, 0.0, {}, {}, {})
    return Evaluation(metrics, details, DetectionMetricDataList(), truth, detections)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(1, 40), st.booleans())
def test_the_matching_is_the_devkits(seed, objects, count, ties):
    """Precision and recall that follow from our matching are the devkit's, ties included."""
    random = np.random.default_rng(seed)

    def scatter(n, scored):
        return boxes_of(
            *(
                box(
                    random.choice(["a", "b"]).item(),
                    random.choice(["car", "truck"]).item(),
                    *random.uniform(-6, 6, 2).tolist(),
                    score=round(random.uniform(), 1 if ties else 9) if scored else -1.0,
                )
                for _ in range(n)
            )
        )

    truth, found = scatter(objects, False), scatter(count, True)
    t, d = (Boxes.of(item, ["a", "b"]) for item in (truth, found))
    matches = match(t, d)
    taken = matches[matches >= 0]
    assert len(set(taken)) == len(taken)
    for label, name in ((CAR, "car"), (TRUCK, "truck")):
        positives = np.sum(t.labels == label)
        curve = accumulate(truth, found, name, center_distance, 2.0)
        mine = d.labels == label
        right = matches[mine] >= 0
        if not right.any():
            assert not curve.precision.any()
            continue
        order = np.lexsort((-np.arange(mine.sum()), -d.scores[mine]))
        hits = np.cumsum(right[order])
        precision = np.interp(
            curve.recall, hits / positives, hits / np.arange(1, len(hits) + 1), right=0
        )
        np.testing.assert_allclose(curve.precision, precision)


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.9]), st.booleans()), max_size=12),
    st.integers(0, 3),
)
def test_the_best_threshold_is_the_best_of_all(pairs, missed):
    scores = np.array([score for score, _ in pairs])
    right = np.array([hit for _, hit in pairs], dtype=bool)
    objects = int(right.sum()) + missed
    f1, threshold = best_threshold(scores, right, objects)
    every = {s: 2 * right[scores >= s].sum() / ((scores >= s).sum() + objects) for s in set(scores)}
    if right.any():
        assert f1 == pytest.approx(max(every.values()))
        assert f1 == pytest.approx(every[threshold])
    else:
        assert (f1, np.isnan(threshold)) == (0.0, True)


def test_recall_by_distance_of_a_case_made_by_hand():
    truth = boxes_of(
        box("a", "car", 5, 0), box("a", "car", 10, 0), box("a", "car", 0, 45),
        box("b", "car", -15, 0), box("b", "pedestrian", 25, 0),
    )  # fmt: skip
    found = boxes_of(
        box("a", "car", 6.5, 0, 0.9),  # 1.5 m off: found, in the first bin
        box("a", "car", 12.0, 0, 0.8),  # exactly 2 m off: not found
        box("a", "car", 0, 46, 0.7),  # 1 m too far: found, in the last bin
        box("b", "car", -15, 0.5, 0.6),  # found, in the second bin
        box("a", "car", 10, 0, 0.05),  # right, yet under the score of the best F1
        *(box("a", "car", 30, y, 0.1) for y in range(-6, 6)),
        box("b", "truck", 25, 1, 0.9),  # another class
    )
    analysis = analyse(evaluation_of(truth, found))
    assert analysis.class_threshold[CAR] == 0.6
    assert analysis.class_f1[CAR] == pytest.approx(2 * 3 / (4 + 4))
    assert analysis.objects[CAR].tolist() == [1, 2, 0, 0, 1]
    assert analysis.found[CAR].tolist() == [1, 1, 0, 0, 1]
    assert analysis.objects[PEDESTRIAN].tolist() == [0, 0, 1, 0, 0]
    assert analysis.found[PEDESTRIAN].sum() == 0 and np.isnan(analysis.class_threshold[PEDESTRIAN])

    errors = analysis.errors[CAR]
    assert errors.count == 3
    assert errors.bias == pytest.approx(1.0)  # of +1.5, +1.0 and 0
    assert errors.tangential == pytest.approx((0.0, 0.4))  # of 0, 0 and 0.5
    assert errors.yaw == (0.0, 0.0)

    confusion = analysis.confusion  # at 0.6, the best for all classes together
    assert analysis.threshold == 0.6
    assert confusion[CAR, CAR] == 3 and confusion[CAR, NOTHING] == 1
    assert confusion[PEDESTRIAN, TRUCK] == 1
    assert confusion[NOTHING].sum() == confusion[NOTHING, CAR] == 1  # the one 2 m off
    assert confusion.sum() == 5 + 1


@pytest.mark.parametrize("name", ["car", "barrier", "traffic_cone"])
def test_headings_that_are_turned_round_keep_their_axis(name):
    """A barrier has no front to be turned round, and a cone no heading."""
    places = [10, 20, 30, 40]
    yaws = [0.1, np.pi - 0.2, 0.3 - np.pi, -0.4]
    found = [box("a", name, x, 0, 0.9, yaw) for x, yaw in zip(places, yaws, strict=True)]
    truth = [box("a", name, x, 0) for x in places]
    errors = analyse(evaluation_of(boxes_of(*truth), boxes_of(*found))).errors[CLASSES.index(name)]
    assert errors.count == 4
    if name == "traffic_cone":
        assert np.isnan([*errors.yaw, *errors.axis, errors.turned]).all()
        return
    assert errors.axis == pytest.approx((0.25, 0.37))
    assert errors.turned == (0.5 if name == "car" else 0.0)
    assert errors.yaw[0] == pytest.approx((0.4 + np.pi - 0.3) / 2 if name == "car" else 0.25)


def test_an_empty_frame_is_worst_and_a_perfect_one_best():
    truth = boxes_of(*(box(t, "car", x, 0) for t in "abcd" for x in (10, 20, 30)), tokens="abcdef")
    found = boxes_of(
        *(box("b", "car", x, 0, 0.9) for x in (10, 20, 30)),
        *(box("c", "car", x, 0, 0.9) for x in (10, 20)),
        *(box("d", "car", x, 0, 0.9) for x in (10, 20, 30, 40)),
        box("e", "car", 20, 0, 0.9),
        tokens="abcdef",
    )
    frames = analyse(evaluation_of(truth, found)).frames
    assert frames[0] == FrameScore("a", objects=3, detections=0, right=0)
    assert [frame.token for frame in frames] == list("abcde")  # f has nothing to be right about
    worst, best = extreme_frames(frames, 2)
    assert [frame.token for frame in worst] == ["a", "e"]  # of equals, the fuller
    assert [frame.token for frame in best] == ["b", "d"]
    assert [frame.f1 for frame in best] == pytest.approx([1.0, 6 / 7])
    assert extreme_frames(frames[:1], 2) == ([frames[0]], [])
