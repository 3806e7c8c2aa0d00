# SPDX-License-Identifier: Apache-2.0
"""Submissions made from annotations, for the tests of scores and reports."""

import numpy as np

from asd_perception.runtime.detections import Detections
from asd_training.data.nuscenes import (
    annotated_objects,
    camera_frame,
    scene_samples,
    split_scenes,
    submission_boxes,
)


def validation_samples(nusc):
    """The keyframes of the synthetic validation split."""
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
