# SPDX-License-Identifier: Apache-2.0
"""Promise: `asd-train check` says what a data set holds, and what of it cannot be read."""

import shutil

import cv2
from commands import asd_train_here
from tables import change, copy_of, each, without_lidar


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
    assert "2 of 6 keyframes are in no scene's chain" in error
