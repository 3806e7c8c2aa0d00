# SPDX-License-Identifier: Apache-2.0
"""Promise: a model's covariances are its errors on validation data, turned as the object lies."""

import shutil

import numpy as np
import pytest
import yaml
from test_messages_detections import make_detections

from asd_perception.configuration import to_dict
from asd_perception.constants import CLASSES
from asd_perception.errors import UserError
from asd_perception.geometry import transform_from
from asd_perception.runtime.validation.score_calibration import ScoreCalibration
from asd_perception.runtime.validation.validation_errors import (
    AXES,
    KEY,
    ValidationErrors,
    read_validation_errors,
)
from asd_training.data.nuscenes import (
    camera_frame,
    open_dataset,
    scene_samples,
    split_scenes,
)
from asd_training.evaluation.scoring import evaluate
from asd_training.evaluation.validation_errors import PRIOR, by_class, measure

CALIBRATION = ScoreCalibration(
    scale=dict.fromkeys(CLASSES, 1.0),
    offset=dict.fromkeys(CLASSES, 0.0),
    score_threshold=0.5,
    provenance={},
)


def errors(along=1.0, across=0.5, up=0.2, yaw=0.1):
    of_each = (dict.fromkeys(CLASSES, value) for value in (along, across, up, yaw))
    return ValidationErrors(*of_each, provenance={"split": "val"})


def test_a_covariance_lies_along_the_way_to_its_object():
    detections = make_detections(20)
    covariances = errors().covariances(detections.boxes, detections.labels)
    assert covariances.shape == (20, 6, 6)
    for box, covariance in zip(detections.boxes, covariances, strict=True):
        heading = np.arctan2(box[1], box[0])
        turn = transform_from([np.cos(heading / 2), 0, 0, np.sin(heading / 2)], [0, 0, 0])[:3, :3]
        expected = turn @ np.diag([1.0, 0.5, 0.2]) ** 2 @ turn.T
        np.testing.assert_allclose(covariance[:3, :3], expected, atol=1e-6)
        rest = covariance.copy()
        rest[:3, :3] = 0
        np.testing.assert_allclose(rest, np.diag([0, 0, 0, 0, 0, 0.01]), atol=1e-9)


def test_each_class_has_its_own():
    values = errors()
    values.along["bus"] = 2.0
    detections = make_detections(50)
    detections.boxes[:, :2] = [10, 0]
    bus = detections.labels == CLASSES.index("bus")
    found = values.covariances(detections.boxes, detections.labels)[:, 0, 0]
    assert bus.any() and not bus.all()
    assert (found[bus] == 4.0).all() and (found[~bus] == 1.0).all()


def test_what_is_measured_is_how_far_detections_are_shifted(synthetic_root):
    """Annotations, moved by a known way as seen from the vehicle, are found again as that."""
    nusc = open_dataset(synthetic_root)
    submission = {}
    for sample in scene_samples(nusc, split_scenes(nusc, "synthetic_val")[0]):
        origin = camera_frame(nusc, sample).global_from_ego[:2, 3]
        boxes = submission.setdefault(sample["token"], [])
        for token in sample["anns"]:
            annotation = nusc.get("sample_annotation", token)
            if not annotation["category_name"].startswith("vehicle.car"):
                continue
            x, y, z = annotation["translation"]
            away = np.subtract([x, y], origin) / np.linalg.norm(np.subtract([x, y], origin))
            x, y = [x, y] + 0.6 * away + 0.3 * np.array([-away[1], away[0]])
            box = {
                "sample_token": sample["token"],
                "translation": [x, y, z - 0.2],
                "size": annotation["size"],
                "rotation": annotation["rotation"],
                "velocity": [0.0, 0.0],
                "detection_name": "car",
                "attribute_name": "vehicle.parked",
            }
            hidden = {**box, "translation": [x, y, z + 5.0], "detection_score": 0.4}
            boxes += [{**box, "detection_score": 0.9}, hidden]
    found = measure(evaluate(nusc, submission), CALIBRATION, {"split": "val"})
    for axis, expected in zip(AXES, (0.6, 0.3, 0.2, 1e-3), strict=True):
        # The ego origin is that of the images here, and that of the LiDAR in the devkit.
        assert getattr(found, axis)["car"] == pytest.approx(expected, abs=0.03)
        assert getattr(found, axis)["bus"] == pytest.approx(expected, abs=0.03)  # none: as all


def test_a_class_that_was_found_rarely_is_drawn_to_all():
    squares = np.concatenate([np.full((1000, 4), 1.0), np.full((10, 4), 4.0)])
    found = by_class(squares, np.repeat([0, 1], [1000, 10]))
    common = squares.mean()
    np.testing.assert_allclose(found[0], (1000 + PRIOR * common) / (1000 + PRIOR))
    np.testing.assert_allclose(found[1], (40 + PRIOR * common) / (10 + PRIOR))
    np.testing.assert_allclose(found[2:], common)


def test_a_model_directory_keeps_them_and_needs_none(small_model, tmp_path):
    assert read_validation_errors(small_model) is None
    folder = tmp_path / "model"
    shutil.copytree(small_model, folder)
    document = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**document, KEY: to_dict(errors())}))
    assert read_validation_errors(folder) == errors()
    document[KEY] = {**to_dict(errors()), "along": {"car": 1.0}}
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(UserError, match="validation_errors.along names car; it needs each class"):
        read_validation_errors(folder)
