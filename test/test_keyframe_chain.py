# SPDX-License-Identifier: Apache-2.0
"""Promise: a real nuScenes keyframe goes through bag, node and evaluator without special cases.

The detections are those of the shipped student, which was trained on synthetic scenes only: what
is tested is that the node publishes exactly what the offline run finds.
"""

import numpy as np
import pytest

from asd_perception.models import TINY
from asd_perception.runtime.detector import Detector
from asd_training.bags.convert import convert_scene
from asd_training.bags.evaluate import submission_of_bag
from asd_training.bags.live.replay import replay_to_detector
from asd_training.data.nuscenes import camera_frame, open_dataset, read_images, submission_boxes
from asd_training.evaluation.scoring import score

THRESHOLD = 0.02


@pytest.mark.slow
def test_the_node_publishes_what_the_offline_run_finds(keyframe_root, tmp_path):
    nusc = open_dataset(keyframe_root)
    convert_scene(nusc, nusc.scene[0]["name"], tmp_path / "bag")
    replay_to_detector(
        [tmp_path / "bag"],
        tmp_path / "published",
        TINY,
        THRESHOLD,
        tmp_path / "log",
    )
    online, coverage = submission_of_bag(tmp_path / "published", nusc)
    assert (coverage.expected, coverage.detected, coverage.inexact) == (1, 1, 0)

    frame = camera_frame(nusc, nusc.sample[0])
    detector = Detector.from_pretrained()
    found = detector.detect(read_images(frame, detector.views(frame.rig)), frame.rig, THRESHOLD)
    offline = {
        frame.sample_token: submission_boxes(found, frame.sample_token, frame.global_from_ego)
    }

    assert len(online[frame.sample_token]) > 10
    for ours, theirs in zip(online[frame.sample_token], offline[frame.sample_token], strict=True):
        assert ours["detection_name"] == theirs["detection_name"]
        assert ours["attribute_name"] == theirs["attribute_name"]
        for key in ("translation", "size", "velocity", "detection_score"):
            np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-4, atol=1e-3)
    assert abs(score(nusc, online).mean_ap - score(nusc, offline).mean_ap) < 0.002
