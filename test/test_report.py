# SPDX-License-Identifier: Apache-2.0
"""Promise: the report is one file that opens anywhere, and its numbers are the evaluator's."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from commands import asd_train
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
from test_network import SMALL

from asd_perception.constants import CLASSES
from asd_perception.network import model_directory
from asd_perception.runtime.detections import Detections
from asd_training.config.teacher import TeacherConfig
from asd_training.data.nuscenes import (
    annotated_objects,
    camera_frame,
    ego_boxes,
    open_dataset,
    scene_samples,
    split_scenes,
    submission_boxes,
)
from asd_training.evaluation.error_analysis import (
    Boxes,
    FrameScore,
    analyse,
    best_threshold,
    extreme_frames,
    match,
)
from asd_training.evaluation.metrics_file import Setting, write_metrics
from asd_training.evaluation.report.report import write_report
from asd_training.evaluation.scoring import Evaluation, Metrics, evaluate, write_submission
from asd_training.models.teacher import Teacher

CAR, TRUCK, PEDESTRIAN = (CLASSES.index(name) for name in ("car", "truck", "pedestrian"))
NOTHING = len(CLASSES)
SETTING = Setting("runs/<b>/model", {}, "data", "v1.0", "val", 1, "asd-train evaluate", "today")


class Page(HTMLParser):
    """What a browser would find: tags, the cells of each table row, the text, and open tags."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.rows, self.text = [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def row(self, name, columns):
        """The cells of the row of that name in the table of that many columns."""
        return next(row[1:] for row in self.rows if row[0] == name and len(row) == columns)


def box(token, name, x, y, score=-1.0, **more):
    return DetectionBox(
        token, (x, y, 1.0), (2.0, 4.0, 1.5), (1.0, 0.0, 0.0, 0.0), ego_translation=(x, y, 1.0),
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


# The analysis


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


# The files


@pytest.fixture(scope="module")
def nusc(synthetic_root):
    return open_dataset(synthetic_root)


@pytest.fixture(scope="module")
def samples(nusc):
    scenes = split_scenes(nusc, "synthetic_val")
    return [sample for scene in scenes for sample in scene_samples(nusc, scene)]


def noisy_truth(nusc, samples, perfect=(), empty=(), velocity=0.0):
    """The annotations as a submission: shifted, thinned out, and with wrong boxes among them."""
    random = np.random.default_rng(1)
    submission = {}
    for index, sample in enumerate(samples):
        frame = camera_frame(nusc, sample)
        objects = annotated_objects(nusc, sample, frame.global_from_ego)
        seen = objects.observed
        boxes, labels = objects.boxes[seen].copy(), objects.labels[seen]
        scores = np.ones(len(boxes))
        if index not in perfect:
            boxes[:, :2] += random.normal(0, 1.2, (len(boxes), 2))
            scores = random.uniform(0.05, 1.0, len(boxes))
        chosen = slice(0, 0) if index in empty else slice(None)
        detections = Detections(
            boxes[chosen],
            scores[chosen],
            labels[chosen],
            np.full((len(boxes), 2), velocity)[chosen],
            objects.attributes[seen][chosen],
        )
        token = sample["token"]
        submission[token] = submission_boxes(detections, token, frame.global_from_ego)
    return submission


def write(nusc, submission, path):
    evaluation = evaluate(nusc, submission)
    analysis = analyse(evaluation)
    write_report(path, nusc, SETTING, evaluation, analysis)
    write_metrics(path.with_suffix(".json"), SETTING, evaluation, analysis)
    return evaluation, analysis, path.read_text()


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@pytest.fixture(scope="module")
def report(nusc, samples, tmp_path_factory):
    """The path of a report, and what it is about: the second frame is perfect, the third empty."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    evaluation, analysis, _ = write(nusc, noisy_truth(nusc, samples, perfect=[1], empty=[2]), path)
    return path, evaluation, analysis


def test_the_report_says_what_the_evaluator_says(report, samples):
    path, evaluation, analysis = report
    page = Page(path.read_text())
    metrics, details = evaluation.metrics, evaluation.details
    assert f"NDS{metrics.nds:.4f}" in page.text and f"mAP{metrics.mean_ap:.4f}" in page.text
    counted = [name for name in CLASSES if metrics.ground_truth[name]]
    assert len(counted) > 3
    for name in counted:
        cells = page.row(name.replace("_", " "), 15)
        assert cells[0] == str(metrics.ground_truth[name])
        for cell, distance in zip(cells[2:6], (0.5, 1.0, 2.0, 4.0), strict=True):
            assert cell == f"{details.get_label_ap(name, distance):.3f}"
        assert cells[6] == f"{metrics.class_ap[name]:.3f}"
        assert cells[7] == f"{details.get_label_tp(name, 'trans_err'):.3f}"
    for name in set(CLASSES) - set(counted):
        assert set(page.row(name.replace("_", " "), 15)[2:]) == {"–"}
    mean = page.row("all classes", 15)
    assert mean[6] == f"{metrics.mean_ap:.3f}"
    assert mean[7] == f"{metrics.tp_errors['trans_err']:.3f}"

    numbers = json.loads(path.with_suffix(".json").read_text(), parse_constant=refuse)
    assert numbers["nds"] == metrics.nds and numbers["split"] == "val"
    assert numbers["classes"]["car"]["ap"]["2.0"] == details.get_label_ap("car", 2.0)
    assert numbers["classes"]["traffic_cone"]["errors"]["vel_err"] is None

    assert page.text.index("Worst frames") < page.text.index(samples[2]["token"])
    order = [page.text.index(samples[i]["token"]) for i in (2, 1)]
    assert order[0] < page.text.index("Best frames") < order[1]
    assert len(analysis.frames) == 3


def test_the_report_is_one_well_formed_file_that_fetches_nothing(report):
    text = report[0].read_text()
    page = Page(text)
    assert page.open == []
    tags = {tag for tag, _ in page.tags}
    assert {"svg", "img", "table", "h1", "figcaption"} <= tags
    assert not tags & {"script", "link", "iframe", "object"}
    assert "http:" not in text and "https:" not in text and "@import" not in text
    targets = [
        value for _, attrs in page.tags for key, value in attrs.items()
        if key in ("src", "href", "xlink:href")
    ]  # fmt: skip
    assert all(target.startswith(("data:image/jpeg;base64,", "#")) for target in targets)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(ids)
    assert all(attrs.get("alt") for tag, attrs in page.tags if tag == "img")
    assert all(attrs.get("aria-label") for tag, attrs in page.tags if tag == "svg")
    assert "&lt;b&gt;" in text and "<b>/model" not in text
    assert "prefers-color-scheme" in text


def test_a_submission_without_a_box_still_has_a_report(nusc, samples, tmp_path):
    submission = {sample["token"]: [] for sample in samples}
    _, analysis, text = write(nusc, submission, tmp_path / "report.html")
    assert np.isnan(analysis.threshold) and analysis.found.sum() == 0
    assert "mAP0.0000" in Page(text).text and "nan" not in Page(text).text


def test_a_picture_that_cannot_be_drawn_is_named(nusc, samples, tmp_path, monkeypatch):
    """The numbers are not lost for the sake of a picture."""
    monkeypatch.setattr(nusc, "dataroot", str(tmp_path))
    _, _, text = write(nusc, noisy_truth(nusc, samples), tmp_path / "report.html")
    assert "LIDAR_TOP" in text and "is missing; the dataset is incomplete" in text
    assert Page(text).open == []


def test_one_real_keyframe_has_a_report(keyframe_root, tmp_path):
    """Its annotations have no velocity, and five of the classes no object."""
    real = open_dataset(keyframe_root)
    evaluation, _, text = write(real, noisy_truth(real, real.sample[:1]), tmp_path / "report.html")
    page = Page(text)
    assert page.open == [] and "Worst frames" in page.text and "Best frames" not in page.text
    assert sum(evaluation.metrics.ground_truth.values()) == 33
    assert "nan" not in page.text


def test_an_unknown_velocity_is_neither_right_nor_a_crash(nusc, samples, tmp_path):
    """All unknown: the devkit's error is 1, the worst that counts; a number would claim one."""
    unknown = noisy_truth(nusc, samples, perfect=range(3), velocity=np.nan)
    evaluation = evaluate(nusc, unknown)
    analysis = analyse(evaluation)
    write_metrics(tmp_path / "metrics.json", SETTING, evaluation, analysis)
    numbers = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=refuse)
    assert numbers["classes"]["car"]["errors"]["vel_err"] == 1.0
    assert numbers["classes"]["car"]["found_errors"]["velocity"] == [None, None]
    assert numbers["class_ap"]["car"] == pytest.approx(1.0)


def test_boxes_come_back_from_a_submission(nusc, samples):
    """The pictures show the boxes where the detector put them."""
    frame = camera_frame(nusc, samples[0])
    random = np.random.default_rng(2)
    boxes = np.column_stack(
        [random.uniform(-40, 40, (9, 3)), random.uniform(1, 5, (9, 3)), random.uniform(-3, 3, 9)]
    )
    zeros = np.zeros(9, dtype=np.int64)
    detections = Detections(boxes, np.ones(9), zeros, np.zeros((9, 2)), zeros)
    records = submission_boxes(detections, frame.sample_token, frame.global_from_ego)
    back = ego_boxes(map(DetectionBox.deserialize, records), frame.global_from_ego)
    np.testing.assert_allclose(back, boxes, atol=1e-6)


# The command


def test_the_command_writes_report_and_metrics_of_a_submission(
    nusc, samples, synthetic_root, tmp_path
):
    write_submission(noisy_truth(nusc, samples), tmp_path / "found.json")
    done = asd_train(
        "evaluate",
        tmp_path / "found.json", synthetic_root,
        "--report", tmp_path / "new" / "r.html", "--metrics", tmp_path / "m.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "m.json").read_text())
    assert f"NDS {numbers['nds']:.4f}" in done.stdout
    assert numbers["command"].startswith("asd-train evaluate ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["found.json", "m.json", "new"]
    assert Page((tmp_path / "new" / "r.html").read_text()).open == []


def test_an_output_that_cannot_be_written_is_told_before_the_work(synthetic_root, tmp_path):
    (tmp_path / "file").touch()
    done = asd_train(
        "evaluate", tmp_path / "no-model", synthetic_root, "--report", tmp_path / "file" / "r.html"
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "file is a file" in done.stderr


def test_the_command_scores_a_teacher_with_its_own_sweeps(samples, synthetic_root, tmp_path):
    teacher = Teacher(TeacherConfig(modality="lidar", sweeps=1, network=SMALL))
    model_directory.save_network(tmp_path / "t", "teacher", teacher, teacher.config, {})
    done = asd_train(
        "evaluate",
        tmp_path / "t", synthetic_root, "--output", tmp_path / "s.json",
        "--report", tmp_path / "r.html", "--metrics", tmp_path / "m.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    submission = json.loads((tmp_path / "s.json").read_text())
    assert set(submission["results"]) == {sample["token"] for sample in samples}
    assert submission["meta"]["use_lidar"] and not submission["meta"]["use_camera"]
    assert json.loads((tmp_path / "m.json").read_text())["samples"] == len(samples)
    assert Page((tmp_path / "r.html").read_text()).open == []
