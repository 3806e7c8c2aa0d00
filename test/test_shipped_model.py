# SPDX-License-Identifier: Apache-2.0
"""Promise: the shipped student is small, says where it comes from, and sees in unseen scenes."""

import pytest

from asd_perception.models import TINY
from asd_perception.network import model_directory
from asd_perception.runtime.detector import Detector
from asd_training.data.nuscenes import open_dataset
from asd_training.evaluation.detection import detect_samples
from asd_training.evaluation.scoring import score
from asd_training.synthetic.generate import synthesize

MAX_BYTES = 12_000_000
UNSEEN_SEED = 4711


def provenance():
    return model_directory.read_document(TINY)["provenance"]


def test_it_is_small_and_loads():
    assert (TINY / "model.safetensors").stat().st_size <= MAX_BYTES
    assert len(Detector.from_pretrained().config.image_size) == 2


def test_it_says_where_it_comes_from():
    source = provenance()
    assert source["command"].startswith("asd-train student")
    assert source["data"]["synthesis"]["seed"] != UNSEEN_SEED
    assert source["versions"]["commit"]
    assert source["validation"]["samples"] >= 50


@pytest.mark.slow
def test_it_sees_the_common_classes_in_scenes_of_another_seed(tmp_path):
    synthesize(tmp_path / "data", {"test": 4}, 4, UNSEEN_SEED, 0.25, False, None)
    nusc = open_dataset(tmp_path / "data")
    metrics = score(nusc, detect_samples(Detector.from_pretrained(), nusc, nusc.sample))
    for name, least in (("car", 0.1), ("pedestrian", 0.03), ("barrier", 0.05)):
        assert metrics.ground_truth[name] > 10
        assert metrics.class_ap[name] > least, (name, metrics.class_ap)
