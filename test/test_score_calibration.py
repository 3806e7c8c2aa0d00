# SPDX-License-Identifier: Apache-2.0
"""Promise: calibrated scores are probabilities, in each class in the order of the raw ones, and
the same wherever a model runs; a model without calibration is as it was."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from submissions import validation_samples
from test_detector import make_images, make_rig

from asd_perception.configuration import to_dict
from asd_perception.constants import CLASSES
from asd_perception.errors import UserError
from asd_perception.models import TINY
from asd_perception.network import model_directory
from asd_perception.runtime.detector import Detector
from asd_perception.runtime.validation import validation_errors
from asd_perception.runtime.validation.score_calibration import (
    KEY,
    ScoreCalibration,
    read_score_calibration,
)
from asd_training.data.nuscenes import open_dataset
from asd_training.evaluation.calibration import Reliability, Scored, fit_lines
from asd_training.evaluation.detection import detect_samples
from asd_training.evaluation.scoring import evaluate

LABELS = len(CLASSES)


def calibration(scale=1.0, offset=0.0, score_threshold=0.3):
    return ScoreCalibration(
        scale=dict.fromkeys(CLASSES, scale),
        offset=dict.fromkeys(CLASSES, offset),
        score_threshold=score_threshold,
        provenance={"split": "val"},
    )


def calibrated(model, folder, found):
    """A copy of a model directory with this calibration."""
    shutil.copytree(model, folder)
    document = yaml.safe_load((folder / "config.yaml").read_text())
    document[KEY] = to_dict(found)
    (folder / "config.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return folder


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.01, 0.99), min_size=2), st.floats(0.1, 5), st.floats(-5, 5))
def test_the_order_within_a_class_stays(scores, scale, offset):
    raw = np.sort(np.array(scores, np.float32))
    found = calibration(scale, offset).apply(raw, np.zeros(len(raw), np.int64))
    assert found.dtype == raw.dtype
    assert (np.diff(found) >= 0).all() and (found > 0).all() and (found < 1 + 1e-6).all()


def test_no_object_stays_none_and_the_identity_changes_nothing():
    raw, labels = np.array([0.9, 0.2, 0.0], np.float32), np.array([0, 3, 5])
    np.testing.assert_allclose(calibration().apply(raw, labels), raw, rtol=1e-6)
    assert calibration(offset=5.0).apply(raw, labels)[2] == 0


def test_scores_that_are_overconfident_become_probabilities():
    """Detections that are right half as often as their scores say; one class was never found."""
    random = np.random.default_rng(0)
    truth = random.uniform(0.02, 0.98, 20000)
    logits = 2 * np.log(truth / (1 - truth)) + 1
    raw = 1 / (1 + np.exp(-logits))
    labels = random.integers(0, LABELS - 1, len(raw))
    scored = Scored(raw, labels, random.random(len(raw)) < truth, 30000)
    scale, offset = fit_lines(scored)
    for name in CLASSES:
        assert scale[name] == pytest.approx(0.5, abs=0.05)
        assert offset[name] == pytest.approx(-0.5, abs=0.15)
    lines = dataclasses.replace(calibration(), scale=scale, offset=offset)
    found = lines.apply(raw, labels)
    before, after = (Reliability.of(some, scored.right).error for some in (raw, found))
    assert after < 0.02 < 0.1 < before


def test_reliability_of_a_case_made_by_hand():
    found = Reliability.of(np.array([0.05, 0.95, 0.91, 1.0]), np.array([True, True, False, False]))
    np.testing.assert_allclose(found.score, [0.05, (0.95 + 0.91 + 1.0) / 3])
    np.testing.assert_allclose(found.right, [1.0, 1 / 3])
    assert found.count.tolist() == [1, 3]
    assert found.error == pytest.approx((0.95 + 3 * abs(2.86 / 3 - 1 / 3)) / 4)


def test_a_detector_shows_the_same_objects_with_calibrated_scores(small_model, tmp_path):
    random = np.random.default_rng(0)
    lines = ScoreCalibration(
        scale={name: random.uniform(0.5, 2) for name in CLASSES},
        offset={name: random.uniform(-1, 1) for name in CLASSES},
        score_threshold=0.1,
        provenance={},
    )
    model = calibrated(small_model, tmp_path / "model", lines)
    plain, ours = Detector.from_pretrained(small_model), Detector.from_pretrained(model)
    raw, found = (d.detect(make_images(), make_rig(), 0.0) for d in (plain, ours))
    assert (np.diff(found.scores) <= 0).all()
    expected = lines.apply(raw.scores, raw.labels)
    np.testing.assert_array_equal(np.sort(found.scores), np.sort(expected))
    for label in range(LABELS):  # each class in its order
        mine, theirs = found.labels == label, raw.labels == label
        np.testing.assert_array_equal(found.boxes[mine], raw.boxes[theirs])
    assert (plain.score_threshold, ours.score_threshold) == (0.05, 0.1)
    shown = ours.detect(make_images(), make_rig())
    assert len(shown) == (found.scores >= 0.1).sum()


def test_the_ap_stays_the_same(synthetic_root, small_model, tmp_path):
    nusc = open_dataset(synthetic_root)
    samples = validation_samples(nusc)[:2]
    model = calibrated(small_model, tmp_path / "model", calibration(2.0, -3.0))
    before, after = (
        evaluate(nusc, detect_samples(Detector.from_pretrained(some), nusc, samples)).metrics
        for some in (small_model, model)
    )
    assert after.class_ap == pytest.approx(before.class_ap, abs=1e-9)


def test_a_model_directory_keeps_it(small_model, tmp_path):
    assert read_score_calibration(small_model) is None
    found = calibration(0.5, -1.0)
    assert read_score_calibration(calibrated(small_model, tmp_path / "m", found)) == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"scale": dict.fromkeys(CLASSES, -1.0)},
            r"score_calibration.scale.\w+ is -1.0; it must be above 0",
        ),
        ({"offset": {"car": 0.0}}, "score_calibration.offset names car; it needs each class"),
        ({"score_threshold": 2.0}, "score_calibration.score_threshold is 2.0"),
        ({"scales": {}}, "score_calibration.scales"),
    ],
)
def test_a_calibration_that_does_not_fit_is_named(small_model, tmp_path, change, message):
    folder = calibrated(small_model, tmp_path / "m", calibration())
    document = yaml.safe_load((folder / "config.yaml").read_text())
    document[KEY] |= change
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(UserError, match=message):
        Detector.from_pretrained(folder)


def test_the_command_writes_what_a_detector_reads(asd_train, synthetic_root, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(TINY, model)
    found_before = tmp_path / "found.json"
    done = asd_train(
        "evaluate", model, synthetic_root, "--device", "cpu", "--calibrate",
        "--output", found_before,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = Detector.from_pretrained(model).score_calibration
    assert found is not None and found.provenance["split"] == "synthetic_val"
    assert f"calibrated scores from {found.score_threshold:.3f} on" in done.stdout
    before, after = (model_directory.read_document(folder) for folder in (TINY, model))
    assert after.pop(KEY) != before.pop(KEY)
    errors = Detector.from_pretrained(model).validation_errors
    assert errors.provenance == found.provenance
    assert to_dict(errors) == after.pop(validation_errors.KEY)
    before.pop(validation_errors.KEY, None)
    assert after == before

    nusc = open_dataset(synthetic_root)
    detector = Detector.from_pretrained(model, "cpu")
    again = detect_samples(detector, nusc, validation_samples(nusc)[:1])
    written = json.loads(found_before.read_text())["results"]
    for token, boxes in again.items():  # the calibrated model finds what was scored
        scores = sorted(box["detection_score"] for box in written[token])
        here = sorted(box["detection_score"] for box in boxes)[-len(scores) :]
        np.testing.assert_allclose(here, scores, atol=1e-5)


def test_nothing_right_cannot_be_calibrated():
    with pytest.raises(UserError, match="no detection is right"):
        fit_lines(Scored(np.array([0.5]), np.array([0]), np.array([False]), 3))
