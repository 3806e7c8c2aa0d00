# SPDX-License-Identifier: Apache-2.0
"""Promise: a dataset of one to eight cameras of any names is indexed, trained on, evaluated and
turned into bags, also where keyframes lack some of them."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
import yaml
from rigs import EIGHT, FIVE, THREE, with_cameras
from rosbags.rosbag2 import Reader
from small import SMALL

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.cameras.rig import ABSENT_CAMERA
from asd_perception.configuration import to_dict
from asd_perception.errors import UserError
from asd_perception.network import model_directory
from asd_perception.network.center_head import decode
from asd_perception.runtime.detector import Detector, detections_of
from asd_training.bags.convert import cameras_of_topics, convert_scene
from asd_training.bags.live.replay import cameras_of_bags
from asd_training.benchmarks.cameras import missing_camera_curve
from asd_training.config.run import StudentRun, TeacherRun
from asd_training.config.teacher import TeacherConfig
from asd_training.data.cameras import in_rig_order
from asd_training.data.index import KeyframeIndex
from asd_training.data.nuscenes import camera_frame, open_dataset, read_images, scene_samples
from asd_training.data.samples import KeyframeDataset, SampleContents, collate
from asd_training.data.targets import UNKNOWN
from asd_training.evaluation.pictures import cameras_picture
from asd_training.training.student import StudentTraining
from asd_training.training.teacher import TeacherTraining

RUN = StudentRun(
    steps=2, batch_size=2, warmup_steps=0, checkpoint_every=2, loader_workers=0, student=SMALL
)
UP = np.array([0.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def five(synthetic_root, tmp_path_factory):
    """Five cameras, of which two of six keyframes lack one, and one lacks two."""
    root = tmp_path_factory.mktemp("five") / "data"
    return with_cameras(synthetic_root, root, FIVE, {"front": 1, "CAM_BACK_LEFT": 2})


def test_a_rig_has_nuscenes_cameras_first_and_then_others_by_name():
    mixed = ["left", "CAM_BACK", "CAM_FRONT", "back", "CAM_BACK"]
    assert in_rig_order(mixed) == ("CAM_FRONT", "CAM_BACK", "back", "left")
    assert in_rig_order(reversed(CAMERAS)) == CAMERAS


def test_an_index_knows_its_cameras_and_which_keyframes_lack_them(five):
    for _ in range(2):  # built, and from its file
        index = KeyframeIndex.open(five)
        assert index.cameras == ("CAM_BACK_LEFT", "CAM_BACK_RIGHT", "front", "left", "right")
        np.testing.assert_array_equal((~index.has_camera).sum(axis=0), [2, 0, 1, 0, 0])
        sizes = sorted(len(index.frame(i).rig) for i in range(len(index)))
        assert sizes == [3, 4, 5, 5, 5, 5]
    nusc = open_dataset(five)
    for i in range(len(index)):
        frame = index.frame(i)
        other = camera_frame(nusc, nusc.get("sample", frame.sample_token))
        assert frame.rig.names == other.rig.names
        assert frame.image_paths == other.image_paths
        np.testing.assert_array_equal(frame.rig.ego_from_camera, other.rig.ego_from_camera)
        assert frame.stamp_us == other.stamp_us


def test_too_many_cameras_are_named(synthetic_root, tmp_path):
    root = with_cameras(synthetic_root, tmp_path / "data", {**EIGHT, "ninth": "CAM_BACK"})
    with pytest.raises(UserError, match="9 cameras; at most 8"):
        KeyframeIndex.open(root)


def test_what_a_keyframe_lacks_is_black_and_sees_nothing_in_a_sample(five):
    index = KeyframeIndex.open(five)
    (i,) = np.flatnonzero((~index.has_camera).sum(axis=1) == 2)
    sample = KeyframeDataset(index, SMALL, SampleContents())[i]
    there = torch.from_numpy(index.has_camera[i])
    assert sample.images.shape == (5, 3, *SMALL.image_size)
    assert not sample.images[~there].any() and all(image.any() for image in sample.images[there])
    np.testing.assert_allclose(sample.ego_from_camera[~there][0], ABSENT_CAMERA)
    assert (sample.pixels.depth_bins[~there] == UNKNOWN).all()
    assert (sample.pixels.depth_bins[there] != UNKNOWN).any()


@pytest.mark.parametrize("cameras", [{"front": "CAM_FRONT"}, THREE, FIVE, EIGHT], ids=len)
def test_students_and_teachers_learn_from_any_rig_and_detect_as_on_the_robot(
    synthetic_root, tmp_path, cameras
):
    lacking = {next(iter(cameras)): 1} if len(cameras) > 1 else {}
    root = with_cameras(synthetic_root, tmp_path / "data", cameras, lacking)
    index = KeyframeIndex.open(root)
    torch.manual_seed(0)
    student = StudentTraining(RUN, index)
    dataset = KeyframeDataset(index, SMALL, student.contents, RUN.augmentation)
    batch = collate([dataset.sample(i, np.random.default_rng(i)) for i in range(2)])
    assert batch.images.shape[:2] == (2, len(cameras))
    config = TeacherConfig("lidar_camera", sweeps=1, network=SMALL)
    teacher = TeacherTraining(TeacherRun(teacher=config, augmentation=RUN.augmentation), index)
    for module in (student, teacher):
        loss = torch.stack(list(module.losses(batch).values())).sum()
        loss.backward()
        assert torch.isfinite(loss)

    network = student.network.eval()
    detector = Detector(network, cameras=len(cameras))
    for i in range(2):
        frame = index.frame(i)
        found = detector.detect(read_images(frame, detector.views(frame.rig)), frame.rig, 0.0)
        with torch.inference_mode():
            head = student.heads(network, collate([dataset[i]]))
        expected = detections_of(decode(head, SMALL.bev, SMALL.max_objects), 0, 0.0)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


@pytest.mark.slow
def test_a_run_of_five_cameras_says_what_lacks_and_is_evaluated(asd_train, five, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(to_dict(RUN)))
    run = tmp_path / "run"
    done = asd_train("student", five, run, "--config", config)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("2 of 6 keyframes lack CAM_BACK_LEFT") == 1
    assert done.stderr.count("1 of 6 keyframes lack front") == 1
    cameras = ["CAM_BACK_LEFT", "CAM_BACK_RIGHT", "front", "left", "right"]
    assert model_directory.read_document(run / "model")["cameras"] == cameras
    assert json.loads((run / "origin.json").read_text())["data"]["cameras"] == cameras
    for split, said in (("synthetic_train", True), ("synthetic_val", False)):
        done = asd_train("evaluate", run / "model", five, "--split", split, "--device", "cpu")
        assert done.returncode == 0, done.stderr
        assert "keyframes: 3" in done.stdout
        assert ("of 3 keyframes lack CAM_BACK_LEFT" in done.stderr) == said


def test_a_bag_has_the_cameras_of_its_scene_and_is_scored(five, tmp_path):
    from test_bag_evaluation import truth_frames, write_detections

    from asd_training.bags.evaluate import evaluate_bag

    nusc = open_dataset(five)
    scene = nusc.scene[0]["name"]
    counts = convert_scene(nusc, scene, tmp_path / "bag")
    with Reader(tmp_path / "bag") as reader:
        cameras = cameras_of_topics(item.topic for item in reader.connections)
    assert cameras == cameras_of_bags([tmp_path / "bag"]) == KeyframeIndex.open(five).cameras
    samples = scene_samples(nusc, scene)
    for camera in cameras:
        images = sum(camera in sample["data"] for sample in samples)
        assert counts[f"/{camera}/image_raw/compressed"] == images
        assert counts[f"/{camera}/camera_info"] == images
    published = write_detections(tmp_path / "published", truth_frames(nusc, samples))
    metrics, coverage = evaluate_bag(published, nusc)
    assert coverage.detected == coverage.expected == len(samples)
    assert metrics.mean_ap_present == pytest.approx(1.0)


def test_missing_cameras_are_counted_from_none_to_all_but_one(five):
    torch.manual_seed(0)
    nusc = open_dataset(five)
    detector = Detector.from_pretrained(cameras=5)
    samples = [sample for sample in nusc.sample if "front" in sample["data"]][-1:]
    rows = missing_camera_curve(detector, nusc, samples)
    assert [row["missing"] for row in rows] == [0, 1, 2, 3, 4]
    assert all(0 <= row["found_again"] <= 1 for row in rows)


@pytest.mark.parametrize("cameras", range(1, 9))
def test_a_picture_shows_all_cameras_in_two_rows(synthetic_root, cameras):
    index = KeyframeIndex.open(synthetic_root)
    frame = index.frame(0)
    chosen = [i % 6 for i in range(cameras)]
    rig = dataclasses.replace(
        frame.rig.part(chosen), names=tuple(f"camera {i}" for i in range(cameras))
    )
    white = [np.full((180, 320, 3), 255, np.uint8)] * cameras
    nothing = np.zeros((0, 7)), np.zeros(0, np.int64)
    picture = cameras_picture(white, rig, *nothing, UP, camera_width=160)
    columns = -(-cameras // 2)
    assert picture.shape == (180, 320 if cameras == 1 else 160 * columns, 3)
    share = 1.0 if cameras == 1 else cameras / (2 * columns)
    assert (picture > 200).mean() == pytest.approx(share, abs=0.1)  # names are written on them


def test_a_picture_of_cameras_with_images_of_other_shapes_leaves_black_below(synthetic_root):
    rig = KeyframeIndex.open(synthetic_root).frame(0).rig.part([0, 1])
    rig = dataclasses.replace(rig, image_sizes=np.array([[320, 180], [320, 90]]))
    white = [np.full((height, 320, 3), 255, np.uint8) for height in (180, 90)]
    nothing = np.zeros((0, 7)), np.zeros(0, np.int64)
    picture = cameras_picture(white, rig, *nothing, UP, camera_width=320)
    assert picture.shape == (360, 320, 3)
    assert (picture[180:270, 100:] == 255).all() and not picture[270:].any()
