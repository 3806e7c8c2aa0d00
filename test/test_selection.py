# SPDX-License-Identifier: Apache-2.0
"""Promise: what is published is what was asked for: scores, classes, region, each object once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asd_perception.constants import CLASSES
from asd_perception.runtime.detections import Detections
from asd_perception.runtime.selection import Selection

# Class, score, x, y; best first.
SCENE = [
    ("truck", 0.9, 20.0, 0.0),
    ("bus", 0.6, 20.4, 0.3),
    ("car", 0.5, 19.5, 0.0),
    ("pedestrian", 0.3, 5.0, 8.0),
    ("car", 0.2, -30.0, -4.0),
    ("pedestrian", 0.1, 6.0, 8.0),
]


def detections(rows):
    n = len(rows)
    boxes = np.ones((n, 7), np.float32)
    boxes[:, :2] = np.array([row[2:] for row in rows]).reshape(n, 2)
    return Detections(
        boxes=boxes,
        scores=np.array([row[1] for row in rows], np.float32),
        labels=np.array([CLASSES.index(row[0]) for row in rows], np.int64),
        velocities=np.arange(2.0 * n).reshape(n, 2),
        attributes=np.arange(n),
        simulated_points=np.zeros((3, 4), np.float32),
    )


def kept(**wanted):
    """The rows of SCENE that a selection keeps."""
    return Selection(**wanted).of(detections(SCENE)).attributes.tolist()


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"score_threshold": 0.3}, [0, 1, 2, 3]),
        ({"score_threshold": 0.3, "class_thresholds": {"pedestrian": 0.05}}, [0, 1, 2, 3, 5]),
        ({"class_thresholds": {"car": 0.4, "truck": 0.95}}, [1, 2, 3, 5]),
        ({"classes": ("pedestrian", "bus")}, [1, 3, 5]),
        ({"classes": ()}, []),
        ({"x": (0.0, 10.0)}, [3, 5]),
        ({"y": (-5.0, 0.0)}, [0, 2, 4]),
        ({"duplicate_radius": 0.45}, [0, 1, 2, 3, 4, 5]),
        ({"duplicate_radius": 0.7}, [0, 3, 4, 5]),
        ({"duplicate_radius": 1.5}, [0, 3, 4]),
        ({"duplicate_radius": 0.7, "classes": ("bus", "car")}, [1, 2, 4]),
    ],
)
def test_a_wish_keeps_these_rows(wanted, rows):
    assert kept(**wanted) == rows


def test_an_object_keeps_its_values_and_the_points_stay():
    before = detections(SCENE)
    after = Selection(score_threshold=0.3).of(before)
    for name in ("boxes", "scores", "labels", "velocities", "attributes"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name)[:4])
    assert after.simulated_points is before.simulated_points
    assert len(Selection(duplicate_radius=1.0).of(detections([]))) == 0


def test_nothing_that_is_wanted_has_less_than_the_lowest_score():
    selection = Selection(0.3, {"pedestrian": 0.05, "bus": 0.01}, ("car", "pedestrian"))
    assert selection.lowest_score == 0.05
    assert Selection(classes=()).lowest_score > 1.0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-9, 9, width=32), st.floats(-9, 9, width=32)), max_size=40),
    st.floats(0.5, 4.0),
)
def test_what_is_left_out_as_a_duplicate_lies_near_a_better_one_that_is_kept(centres, radius):
    rows = [("car", 1 - i / 100, *centre) for i, centre in enumerate(centres)]
    all_of_them = detections(rows)
    found = set(Selection(duplicate_radius=radius).of(all_of_them).attributes.tolist())
    distance = np.linalg.norm(
        all_of_them.boxes[:, None, :2] - all_of_them.boxes[None, :, :2], axis=-1
    )
    for row in range(len(rows)):
        near = {other for other in found if other < row and distance[row, other] < radius - 1e-4}
        nearly = {other for other in found if other < row and distance[row, other] < radius + 1e-4}
        assert not near if row in found else nearly
