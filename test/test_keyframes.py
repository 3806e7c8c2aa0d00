# SPDX-License-Identifier: Apache-2.0
"""Promise: a training sample holds what its run asked for, and nothing else is read."""

from __future__ import annotations

import multiprocessing
import shutil
import sys
from functools import partial

import cv2
import numpy as np
import pytest
import torch

from asd_perception.errors import UserError
from asd_perception.network.config import StudentConfig
from asd_training.config.augmentation import AugmentationConfig
from asd_training.data.index import KeyframeIndex
from asd_training.data.samples import KeyframeDataset, SampleContents, begin_loader_process, collate
from asd_training.data.targets import UNKNOWN

assert_same = partial(torch.testing.assert_close, rtol=0, atol=0, equal_nan=True)
ALL_CHANGES = AugmentationConfig(
    resize=(0.8, 1.2), rotation=10.0, bev_flip=True, bev_rotation=45.0, camera_dropout=0.5
)


@pytest.fixture(scope="module")
def root(synthetic_root, tmp_path_factory):
    copy = tmp_path_factory.mktemp("keyframes") / "data"
    shutil.copytree(synthetic_root, copy)
    return copy


@pytest.fixture(scope="module")
def index(root):
    return KeyframeIndex.open(root)


@pytest.fixture(scope="module")
def whole(index):
    return KeyframeDataset(index, StudentConfig(), SampleContents(sweeps=1))[0]


@pytest.mark.parametrize(
    ("loads", "folder"),
    [
        (SampleContents(sweeps=1, images=False), "CAM_FRONT"),
        (SampleContents(pixel_targets=False), "LIDAR_TOP"),
    ],
    ids=["LiDAR alone", "images alone"],
)
def test_files_that_a_run_does_not_need_may_be_missing(root, index, whole, loads, folder):
    hidden = root / "samples" / "hidden"
    (root / "samples" / folder).rename(hidden)
    try:
        sample = KeyframeDataset(index, StudentConfig(), loads)[0]
        with pytest.raises(UserError, match="is missing"):
            KeyframeDataset(index, StudentConfig(), SampleContents())[0]
    finally:
        hidden.rename(root / "samples" / folder)
    if folder == "CAM_FRONT":
        assert_same((sample.points, sample.objects), (whole.points, whole.objects))
        assert sample.images.shape == (0, 3, 96, 256)
    else:
        assert_same(sample[:3], whole[:3])
        assert not len(sample.points)
        assert all((tensor == UNKNOWN).all() for tensor in sample.pixels)
        assert_same(sample.objects, whole.objects)


@pytest.mark.parametrize("cameras", [True, False])
@pytest.mark.parametrize("pixels", [True, False])
@pytest.mark.parametrize("sweeps", [0, 1])
def test_every_choice_makes_batches_augmented_or_not(index, sweeps, cameras, pixels):
    dataset = KeyframeDataset(
        index, StudentConfig(), SampleContents(cameras, sweeps, pixels), ALL_CHANGES
    )
    batch = collate([dataset[0], dataset.sample(1, np.random.default_rng(0))])
    assert batch.images.shape == (2, 6 * cameras, 3, 96, 256)
    assert len(batch.intrinsics) == len(batch.ego_from_camera) == 2
    assert bool(len(batch.points)) == bool(sweeps)
    assert batch.objects.valid.any()
    known = (batch.pixels.depth_bins != UNKNOWN).any() and (batch.pixels.classes != UNKNOWN).any()
    assert known == (cameras and pixels)
    assert batch.keyframe.tolist() == [0, 1]


def test_an_image_of_another_size_than_the_tables_say_is_named(root, index):
    path = index.frame(0).image_paths[2]
    content = path.read_bytes()
    path.write_bytes(cv2.imencode(".jpg", np.zeros((9, 16, 3), np.uint8))[1].tobytes())
    try:
        with pytest.raises(
            UserError, match=f"{path.name}: image is 16x9, its calibration says 320x180"
        ):
            KeyframeDataset(index, StudentConfig(), SampleContents())[0]
    finally:
        path.write_bytes(content)


def _fails(error):
    begin_loader_process(0)
    try:
        raise error
    except Exception:
        sys.excepthook(*sys.exc_info())  # as multiprocessing's thread does


@pytest.mark.parametrize("error", [ConnectionResetError(), EOFError(), ValueError("a defect")])
def test_a_loader_process_whose_batch_nobody_takes_says_nothing(error, capfd):
    process = multiprocessing.get_context("fork").Process(target=_fails, args=(error,))
    process.start()
    process.join()
    assert ("ValueError: a defect" in capfd.readouterr().err) == isinstance(error, ValueError)
