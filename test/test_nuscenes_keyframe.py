# SPDX-License-Identifier: Apache-2.0
"""Promise: the real nuScenes keyframe passes through our loader as the devkit sees it."""

import numpy as np
import pytest
from nuscenes.utils.geometry_utils import view_points
from pyquaternion import Quaternion

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.errors import UserError
from asd_perception.geometry import box_corners, points_in_box
from asd_perception.runtime.detections import Detections
from asd_training.data.nuscenes import (
    annotated_objects,
    camera_frame,
    lidar_points,
    open_dataset,
    read_images,
    scene_samples,
    split_scenes,
    submission_boxes,
)


@pytest.fixture(scope="module")
def nusc(keyframe_root):
    return open_dataset(keyframe_root)


@pytest.fixture(scope="module")
def sample(nusc):
    return scene_samples(nusc, split_scenes(nusc, "keyframe")[0])[0]


def test_boxes_project_within_a_pixel_of_the_devkit(nusc, sample):
    frame = camera_frame(nusc, sample)
    objects = annotated_objects(nusc, sample, frame.global_from_ego)
    compared = whole = 0
    for index, camera in enumerate(CAMERAS):
        _, boxes, intrinsics = nusc.get_sample_data(sample["data"][camera])
        for box in boxes:
            ours = objects.boxes[objects.tokens.index(box.token)]
            expected = view_points(box.center[:, None], intrinsics, normalize=True)[:2, 0]
            pixel, depth = frame.rig.project(ours[:3], index)
            assert np.linalg.norm(pixel - expected) < 1.0
            assert abs(depth - box.center[2]) < 0.01
            corners, depths = frame.rig.project(box_corners(ours, frame.up)[0], index)
            devkit_corners = view_points(box.corners(), intrinsics, normalize=True)[:2].T
            if depths.min() > 0.5:
                assert np.abs(corners - devkit_corners).max() < 1.0
                whole += 1
            compared += 1
    assert whole > 50
    assert compared > 60


def test_annotations_come_back_from_a_submission(nusc, sample):
    """Also their headings, while the vehicle tilts by 1.4 degrees."""
    frame = camera_frame(nusc, sample)
    objects = annotated_objects(nusc, sample, frame.global_from_ego)
    n = len(objects.boxes)
    found = Detections(
        objects.boxes, np.ones(n), objects.labels, np.zeros((n, 2)), objects.attributes
    )
    for item, token in zip(
        submission_boxes(found, sample["token"], frame.global_from_ego),
        objects.tokens,
        strict=True,
    ):
        record = nusc.get("sample_annotation", token)
        np.testing.assert_allclose(item["translation"], record["translation"], atol=1e-6)
        np.testing.assert_allclose(item["size"], record["size"])
        turn = Quaternion(record["rotation"]).inverse * Quaternion(item["rotation"])
        assert abs(turn.radians) < 1e-3


def test_lidar_points_in_boxes_are_the_stored_counts(nusc, sample):
    # In the global frame, where nuScenes boxes stand upright.
    objects = annotated_objects(nusc, sample, np.eye(4))
    points = lidar_points(nusc, sample, np.eye(4))[:, :3]
    counts = [int(points_in_box(points, box).sum()) for box in objects.boxes]
    np.testing.assert_array_equal(counts, objects.num_lidar_points)
    assert len(counts) == 68


def test_reference_is_the_latest_camera(nusc, sample):
    frame = camera_frame(nusc, sample)
    stamps = [nusc.get("sample_data", sample["data"][camera])["timestamp"] for camera in CAMERAS]
    assert frame.stamp_us == max(stamps)
    assert abs(frame.stamp_us - sample["timestamp"]) < 1000  # the LiDAR's stamp


def test_annotations_come_back_through_a_submission(nusc, sample):
    frame = camera_frame(nusc, sample)
    objects = annotated_objects(nusc, sample, frame.global_from_ego)
    detections = Detections(
        objects.boxes,
        np.ones(len(objects.boxes)),
        objects.labels,
        objects.velocities,
        objects.attributes,
    )
    for box, token in zip(
        submission_boxes(detections, sample["token"], frame.global_from_ego),
        objects.tokens,
        strict=True,
    ):
        record = nusc.get("sample_annotation", token)
        np.testing.assert_allclose(box["translation"], record["translation"], atol=1e-6)
        np.testing.assert_allclose(box["size"], record["size"])


def test_images_are_read_in_rig_order(nusc, sample):
    frame = camera_frame(nusc, sample)
    images = read_images(frame)
    assert [image.shape for image in images] == [(900, 1600, 3)] * 6
    assert all(camera in path.name for camera, path in zip(CAMERAS, frame.image_paths, strict=True))


def test_a_missing_table_is_named(keyframe_root, tmp_path):
    (tmp_path / "v1.0-mini").mkdir()
    for table in (keyframe_root / "v1.0-mini").iterdir():
        if table.name != "ego_pose.json":
            (tmp_path / "v1.0-mini" / table.name).symlink_to(table)
    with pytest.raises(UserError, match="ego_pose.json is missing"):
        open_dataset(tmp_path)


def test_unknown_names_are_told(nusc, keyframe_root, tmp_path):
    with pytest.raises(UserError, match="no scene 'nowhere'"):
        scene_samples(nusc, "nowhere")
    with pytest.raises(UserError, match="no split 'nowhere'"):
        split_scenes(nusc, "nowhere")
    with pytest.raises(UserError, match="is no folder"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(UserError, match="has no version folder, such as v1.0-trainval"):
        open_dataset(tmp_path)
    with pytest.raises(UserError, match="has no version v1.0-trainval; versions there: v1.0-mini"):
        open_dataset(keyframe_root, "v1.0-trainval")


def test_a_keyframe_may_lack_a_camera_but_not_all(nusc, sample):
    cut = {
        **sample,
        "data": {k: v for k, v in sample["data"].items() if k != "CAM_BACK"},
    }
    assert camera_frame(nusc, cut).rig.names == tuple(c for c in CAMERAS if c != "CAM_BACK")
    with pytest.raises(UserError, match="has no camera"):
        camera_frame(nusc, {**sample, "data": {}})
