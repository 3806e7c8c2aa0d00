# SPDX-License-Identifier: Apache-2.0
"""Promise: a head that outputs exactly its targets decodes to the annotated boxes."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asd_perception.bev_grid import BevGrid
from asd_perception.constants import ATTRIBUTES, CLASS_ATTRIBUTES, CLASSES, NO_ATTRIBUTE
from asd_perception.geometry import wrap_angle
from asd_perception.network.center_head import BOX_VALUES, HeadOutput, decode
from asd_training.data.nuscenes import Annotations
from asd_training.data.targets import IGNORED, MAX_OBJECTS, UNKNOWN, detection_targets
from asd_training.losses.detection import crps, detection_losses, heatmap_loss

GRID = BevGrid()


def scattered_objects(seed: int, count: int) -> Annotations:
    """Objects far enough from each other that their Gaussian discs do not hide a peak."""
    random = np.random.default_rng(seed)
    cells = random.permutation(36)[:count]
    boxes = np.zeros((count, 7))
    boxes[:, 0] = (cells % 6 - 2.5) * 16 + random.uniform(-3, 3, count)
    boxes[:, 1] = (cells // 6 - 2.5) * 16 + random.uniform(-3, 3, count)
    boxes[:, 2] = random.uniform(-1, 2, count)
    boxes[:, 3:6] = random.uniform(0.4, 8, (count, 3))
    boxes[:, 6] = random.uniform(-np.pi, np.pi, count)
    labels = random.integers(0, len(CLASSES), count)
    attributes = [
        ATTRIBUTES.index(random.choice(names)) if names else NO_ATTRIBUTE
        for names in (CLASS_ATTRIBUTES[CLASSES[label]] for label in labels)
    ]
    return Annotations(
        boxes=boxes,
        velocities=random.normal(0, 5, (count, 2)),
        labels=labels.astype(np.int64),
        attributes=np.array(attributes, dtype=np.int64),
        tokens=tuple(map(str, range(count))),
        num_lidar_points=np.ones(count, dtype=np.int64),
        num_radar_points=np.zeros(count, dtype=np.int64),
    )


def perfect_output(targets) -> HeadOutput:
    """The head's output (batch of 1) that says exactly the targets."""

    def scatter(values):
        maps = torch.zeros(values.shape[1], GRID.size**2)
        maps[:, targets.cells[targets.valid]] = values[targets.valid].T
        return maps.reshape(1, -1, GRID.size, GRID.size)

    known = targets.attributes.clamp(min=0)
    return HeadOutput(
        heatmap=torch.logit(targets.heatmap, eps=1e-6)[None],
        boxes=scatter(targets.boxes),
        velocity=scatter(targets.velocities),
        attribute=scatter(20.0 * torch.nn.functional.one_hot(known, len(ATTRIBUTES)).float()),
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_targets_decode_to_the_boxes(seed, count):
    objects = scattered_objects(seed, count)
    decoded = decode(perfect_output(detection_targets(objects, GRID)), GRID, 50)
    found = {}
    for i in range(count):  # the peaks score 1 and come first
        assert decoded.scores[0, i] > 0.999
        nearest = np.linalg.norm(
            objects.boxes[:, :2] - decoded.boxes[0, i, :2].numpy(), axis=1
        ).argmin()
        found[nearest] = i
    assert len(found) == count
    for index, i in found.items():
        box = decoded.boxes[0, i].numpy()
        np.testing.assert_allclose(box[:6], objects.boxes[index, :6], atol=1e-3)
        assert abs(wrap_angle(box[6] - objects.boxes[index, 6])) < 1e-3
        assert decoded.labels[0, i] == objects.labels[index]
        assert decoded.attributes[0, i] == objects.attributes[index]
        np.testing.assert_allclose(decoded.velocities[0, i], objects.velocities[index], atol=1e-3)


def test_the_perfect_output_costs_almost_nothing():
    targets = detection_targets(scattered_objects(3, 20), GRID)
    batch = type(targets)(*(value[None] for value in targets))
    losses = detection_losses(perfect_output(targets), batch)
    # (The focal loss is not zero at p = target < 1, beside the peaks.)
    assert all(float(loss) < 0.01 for name, loss in losses.items() if name != "heatmap")
    perfect = perfect_output(targets)
    wrong = perfect._replace(boxes=perfect.boxes + 1, heatmap=perfect.heatmap.flip(-1))
    losses_wrong = detection_losses(wrong, batch)
    assert float(losses_wrong["boxes"]) > 0.5
    assert float(losses_wrong["heatmap"]) > 5 * float(losses["heatmap"])


def test_unseen_and_outside_objects_are_left_out():
    """Unseen is what the official evaluator leaves out, too: neither a LiDAR nor a radar point."""
    objects = scattered_objects(0, 10)
    objects.num_lidar_points[[0, 2]] = 0
    objects.num_radar_points[2] = 1
    objects.boxes[1, 0] = 80.0
    targets = detection_targets(objects, GRID)
    assert int(targets.valid.sum()) == 8
    assert int((targets.heatmap == 1).sum()) == 8


def untrained_output() -> HeadOutput:
    size = (GRID.size, GRID.size)
    maps = (torch.zeros(1, n, *size, requires_grad=True) for n in (10, BOX_VALUES, 2, 8))
    return HeadOutput(*maps)


def test_an_empty_frame_has_finite_losses():
    empty = scattered_objects(0, 0)
    targets = detection_targets(empty, GRID)
    batch = type(targets)(*(value[None] for value in targets))
    output = untrained_output()
    loss = sum(detection_losses(output, batch).values())
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(output.boxes.grad).all()


def test_unknown_velocity_teaches_nothing():
    objects = scattered_objects(0, 5)
    objects.velocities[:] = np.nan
    targets = detection_targets(objects, GRID)
    batch = type(targets)(*(value[None] for value in targets))
    output = untrained_output()
    losses = detection_losses(output, batch)
    assert losses["velocity"].item() == 0
    sum(losses.values()).backward()
    assert torch.isfinite(output.velocity.grad).all()


def test_more_objects_than_a_batch_holds_keeps_the_nearest():
    random = np.random.default_rng(0)
    boxes = np.ones((MAX_OBJECTS + 40, 7))
    boxes[:, :2] = random.uniform(-50, 50, (len(boxes), 2))
    n = len(boxes)
    objects = Annotations(
        boxes,
        np.zeros((n, 2)),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        ("",) * n,
        np.ones(n, np.int64),
        np.zeros(n, np.int64),
    )
    targets = detection_targets(objects, GRID)
    assert int(targets.valid.sum()) == MAX_OBJECTS
    peaks = targets.heatmap.flatten()
    assert set((peaks == 1).nonzero().flatten().tolist()) == set(targets.cells.tolist())
    assert 0 < (peaks == np.float32(IGNORED)).sum() <= 40


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_objects_beyond_those_that_a_batch_holds_are_neither_asked_for_nor_punished(seed):
    random = np.random.default_rng(seed)
    n = MAX_OBJECTS + 1
    boxes = np.ones((n, 7))
    boxes[:, :2] = random.uniform(-20, 20, (n, 2))
    boxes[-1, :2] = 48, 48  # the farthest one
    ones = np.ones(n, np.int64)
    objects = Annotations(boxes, np.zeros((n, 2)), 0 * ones, 0 * ones, ("",) * n, ones, ones)
    targets = detection_targets(objects, GRID)
    at = int((48 + GRID.half_extent) // GRID.cell)
    costs = []
    for logit in (-8.0, 8.0):
        heatmap = torch.full((1, len(CLASSES), GRID.size, GRID.size), -8.0)
        heatmap[0, 0, at, at] = logit
        costs.append(heatmap_loss(heatmap, targets.heatmap[None]))
    assert costs[0] == costs[1]


@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
@settings(max_examples=30, deadline=None)
def test_crps_is_the_distance_of_a_sure_answer_and_knows_near_from_far(seed, bins):
    random = np.random.default_rng(seed)
    found, target = random.integers(0, bins, 2).tolist()
    logits = torch.full((1, bins, 1, 1), -50.0)
    logits[0, found] = 50.0
    score = crps(logits, torch.tensor([[[target]]])).item()
    np.testing.assert_allclose(score, abs(found - target), atol=1e-5)
    assert crps(logits, torch.tensor([[[UNKNOWN]]])).item() == 0
    # Of all distributions that it was drawn from, the true one costs least.
    truth = torch.tensor(random.dirichlet(np.ones(bins)))
    other = torch.tensor(random.dirichlet(np.ones(bins)))

    def expected_cost(answer):
        logits = answer.log()[None, :, None, None]
        return sum(p * crps(logits, torch.tensor([[[b]]])).item() for b, p in enumerate(truth))

    assert expected_cost(truth) <= expected_cost(other) + 1e-9
