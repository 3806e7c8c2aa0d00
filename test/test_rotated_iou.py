# SPDX-License-Identifier: Apache-2.0
"""Promise: the overlap of rotated boxes is what exact polygon clipping says, degenerate or not."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon

from asd_perception.geometry import box_corners
from asd_training.losses.rotated_iou import bev_iou

# Round numbers, so that edges and corners often coincide.
position = st.one_of(st.sampled_from([0.0, 0.5, 1.0, 2.0, -40.0]), st.floats(-5, 5))
size = st.one_of(st.sampled_from([1.0, 2.0, 4.0]), st.floats(0.2, 12))
yaw = st.one_of(st.sampled_from([0.0, np.pi / 2, np.pi, -np.pi / 4]), st.floats(-4, 4))
box = st.tuples(position, position, position, size, size, size, yaw)


def reference_iou(first, second) -> float:
    """IoU from above by shapely, one pair of boxes at a time."""
    a, b = (Polygon(box_corners(box)[0, [0, 1, 5, 4], :2]) for box in (first, second))
    return a.intersection(b).area / a.union(b).area


@settings(max_examples=300, deadline=None)
@given(box, box)
def test_it_is_what_exact_clipping_says(first, second):
    iou = bev_iou(torch.tensor(first), torch.tensor(second)).item()
    assert abs(iou - reference_iou(first, second)) < 2e-5
    assert abs(iou - bev_iou(torch.tensor(second), torch.tensor(first)).item()) < 1e-6


@settings(max_examples=30, deadline=None)
@given(box)
def test_a_box_overlaps_itself_wholly_and_a_far_one_not_at_all(values):
    here = torch.tensor(values, dtype=torch.float64)
    assert abs(bev_iou(here, here).item() - 1) < 1e-6
    assert bev_iou(here, here + torch.tensor([20.0, 0, 0, 0, 0, 0, 0.3])).item() == 0


def test_a_miss_by_a_corner_is_exactly_zero():
    """The turned box lies off the corner: its bounding square overlaps, it itself does not."""
    square = torch.tensor([0.0, 0, 0, 2, 2, 2, 0])
    turned = torch.tensor([1.8, 1.8, 0, 2, 2, 2, np.pi / 4])
    assert reference_iou(square, turned) == 0
    assert bev_iou(square, turned).item() == 0


def test_pairs_of_a_batch_are_independent():
    random = np.random.default_rng(0)
    boxes = np.concatenate(
        [
            random.uniform(-2, 2, (2, 4, 25, 3)),
            random.uniform(0.5, 5, (2, 4, 25, 3)),
            random.uniform(-4, 4, (2, 4, 25, 1)),
        ],
        axis=-1,
    )
    iou = bev_iou(*torch.from_numpy(boxes))
    assert iou.shape == (4, 25)
    expected = [reference_iou(*pair) for pair in boxes.reshape(2, 100, 7).transpose(1, 0, 2)]
    np.testing.assert_allclose(iou.flatten(), expected, atol=2e-5)
