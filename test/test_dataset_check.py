# SPDX-License-Identifier: Apache-2.0
"""Promise: `asd-train check` says what a data set holds, and what of it cannot be read."""

import json
import shutil

import cv2
from commands import asd_train_here
from tables import change, copy_of, each, table, without_lidar


def test_a_good_dataset_is_described_and_drawn(synthetic_root, tmp_path, monkeypatch, capfd):
    root = copy_of(synthetic_root, tmp_path / "data")
    status, said, error = asd_train_here(
        monkeypatch, capfd, "check", root, "--output", tmp_path / "pictures"
    )
    assert status == 0, error
    assert "6 keyframes of 2 scenes" in said
    assert "split synthetic_train: 1 scenes, 3 keyframes" in said
    assert "CAM_FRONT: 6 images of 320x180" in said
    assert "LIDAR_TOP: 6 keyframes" in said
    assert "every file can be read" in said and "WARN" not in said
    pictures = list((tmp_path / "pictures").iterdir())
    assert len(pictures) == 6
    assert all(cv2.imread(str(picture)).std() > 5 for picture in pictures)


def test_what_cannot_be_read_is_named_and_the_rest_is_drawn(
    synthetic_root, tmp_path, monkeypatch, capfd
):
    root = shutil.copytree(synthetic_root, tmp_path / "data")
    image = sorted(root.glob("samples/CAM_BACK/*"))[0]
    image.write_bytes(image.read_bytes()[:200])
    sweep = sorted(root.glob("samples/LIDAR_TOP/*"))[-1]
    sweep.unlink()
    status, said, _ = asd_train_here(
        monkeypatch, capfd, "check", root, "--output", tmp_path / "pictures"
    )
    assert status == 1
    faults = [line for line in said.splitlines() if line.startswith("ERROR: ")]
    assert len(faults) == 2
    assert any(str(image) in fault for fault in faults)
    assert any(f"{sweep} is missing" in fault for fault in faults)
    assert len(list((tmp_path / "pictures").iterdir())) == 4


def test_a_dataset_without_lidar_and_objects_that_race_are_told(
    synthetic_root, tmp_path, monkeypatch, capfd
):
    root = copy_of(synthetic_root, tmp_path / "data")
    without_lidar(root)
    moved = iter(range(10**6))
    each(root, "sample_annotation", lambda row: row.update(translation=[1e4 * next(moved), 0, 0]))
    change(
        root, "scene", lambda rows: rows[0].update(last_sample_token=rows[0]["first_sample_token"])
    )
    status, said, error = asd_train_here(monkeypatch, capfd, "check", root)
    assert status == 0, error
    assert "no LIDAR_TOP" in said
    assert "objects are faster than 60 m/s, as sample_annotation" in said
    assert "no object has points" not in said
    assert "2 of 6 keyframes are in no scene's chain" in error


def test_what_cannot_be_right_is_told(synthetic_root, tmp_path, monkeypatch, capfd):
    """Mountings of another frame, intrinsics of a larger image, categories of another data set."""
    root = copy_of(synthetic_root, tmp_path / "data")
    rows = json.loads(table(root, "calibrated_sensor").read_text())
    wide, fallen = [row["token"] for row in rows if row["camera_intrinsic"]][:2]

    def spoil(row, factor):
        if row["token"] == wide:
            for line in row["camera_intrinsic"][:2]:
                line[:] = [factor * value for value in line]
        if row["token"] == fallen:
            row["rotation"] = [1.0, 0.0, 0.0, 0.0]  # of a body, x forward, and no optical frame

    each(root, "calibrated_sensor", lambda row: spoil(row, 1.5))
    each(root, "category", lambda row: row.update(name=f"my.{row['name']}"))
    status, said, error = asd_train_here(monkeypatch, capfd, "check", root)
    assert status == 1, error
    assert "no object has points: there is nothing to learn" in said
    assert "K seems to be that of a " in said
    assert [line for line in said.splitlines() if line.startswith("ERROR: ")]
    each(root, "calibrated_sensor", lambda row: spoil(row, 4.0))
    status, _, error = asd_train_here(monkeypatch, capfd, "check", root)
    assert status == 2
    assert f"calibrated_sensor {wide}: camera_intrinsic has the principal point" in error


def test_a_part_of_a_dataset_is_told_as_one(synthetic_root, tmp_path, monkeypatch, capfd):
    """Of nuScenes' ten blobs one; and splits that name scenes which are not there."""
    root = shutil.copytree(synthetic_root, tmp_path / "data")
    for image in root.glob("samples/CAM_*/*train*"):
        image.unlink()
    image = sorted(root.glob("samples/CAM_BACK/*"))[0]
    image.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    splits = json.loads(table(root, "splits").read_text())
    table(root, "splits").write_text(json.dumps(splits | {"rest": ["scene-1", "scene-2"]}))
    monkeypatch.setattr("asd_training.checking.dataset._MOST_FAULTS", 2)
    status, said, _ = asd_train_here(monkeypatch, capfd, "check", root)
    assert status == 1
    assert said.count("ERROR: ") == 2 and "... and 2 others" in said
    assert "4 keyframes that cannot be read; 0 of 2 scenes are whole" in said
    assert "split rest: 0 scenes (2 others are not there), 0 keyframes" in said


def test_boxes_of_another_frame_and_lidars_of_another_name_are_told(
    synthetic_root, tmp_path, monkeypatch, capfd
):
    root = copy_of(synthetic_root, tmp_path / "data")
    each(root, "ego_pose", lambda row: row.update(translation=[5e6, 6e5, 400]))
    each(
        root,
        "sensor",
        lambda row: row.update(channel=row["channel"].replace("LIDAR_TOP", "LIDAR_LEFT")),
    )
    status, said, _ = asd_train_here(monkeypatch, capfd, "check", root)
    assert status == 0
    assert "objects are farther than 300 m from the vehicle, as sample_annotation" in said
    assert "translation must be in the global frame of ego_pose" in said
    assert "LIDAR_LEFT: not read; the one LiDAR that is, is LIDAR_TOP" in said
