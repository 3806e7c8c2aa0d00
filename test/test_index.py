# SPDX-License-Identifier: Apache-2.0
"""Promise: the keyframe index says what the devkit path says; its file is never trusted wrongly."""

import dataclasses
import json
import os
import re
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nuscenes.utils.data_classes import LidarPointCloud
from tables import copy_of, table

from asd_perception.constants import CLASSES
from asd_perception.errors import UserError
from asd_perception.geometry import inverse, transform_points
from asd_training.benchmarks.index import measure
from asd_training.config.teacher import MAX_SWEEPS
from asd_training.data import index as index_module
from asd_training.data.index import KeyframeIndex, index_files
from asd_training.data.nuscenes import (
    annotated_objects,
    camera_frame,
    global_from_ego,
    open_dataset,
    reference_from_sensor,
    scene_samples,
    split_scenes,
)


@pytest.fixture(scope="module")
def sweeps_root(tmp_path_factory):
    """Two keyframes of a drive, with the LiDAR sweeps between them."""
    from asd_training.synthetic.generate import synthesize

    root = tmp_path_factory.mktemp("sweeps") / "data"
    synthesize(root, {"val": 1}, 2, seed=3, scale=0.03, sweeps=True, workers=1)
    return root


@pytest.fixture(params=["synthetic_root", "keyframe_root"])
def dataset(request, tmp_path):
    """The synthetic dataset and the real keyframe, each in a folder that may be written."""
    return copy_of(request.getfixturevalue(request.param), tmp_path / "data")


@pytest.fixture
def root(synthetic_root, tmp_path):
    return copy_of(synthetic_root, tmp_path / "data")


@pytest.fixture
def builds(monkeypatch):
    """A list that grows by one at every build."""
    calls = []
    build = index_module._build
    monkeypatch.setattr(index_module, "_build", lambda *a: calls.append(a) or build(*a))
    return calls


def assert_same(ours, theirs):
    """Two dataclasses agree bit by bit, types and array types included."""
    assert type(ours) is type(theirs)
    for field in dataclasses.fields(theirs):
        a, b = getattr(ours, field.name), getattr(theirs, field.name)
        if dataclasses.is_dataclass(b):
            assert_same(a, b)
        elif isinstance(b, np.ndarray):
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), field.name
        else:
            assert type(a) is type(b)
            assert a == b, field.name


def assert_same_index(ours, theirs):
    for name in index_module._ARRAYS:
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


# --- The same as the devkit path


def test_frames_and_objects_are_those_of_the_devkit_path(dataset):
    KeyframeIndex.open(dataset)
    index = KeyframeIndex.open(dataset)  # from its file
    nusc = open_dataset(dataset)
    samples = [s for scene in nusc.scene for s in scene_samples(nusc, scene["name"])]
    assert len(index) == len(samples) == len(nusc.sample)
    for i, sample in enumerate(samples):
        frame = camera_frame(nusc, sample)
        assert_same(index.frame(i), frame)
        objects = annotated_objects(nusc, sample, frame.global_from_ego)
        assert_same(index.objects(i), objects)
        assert index.scene_name(i) == nusc.get("scene", sample["scene_token"])["name"]
        counts = Counter(CLASSES[label] for label in objects.labels)
        assert index.class_counts()[i].tolist() == [counts[name] for name in CLASSES]


@pytest.mark.parametrize("split", ["synthetic_train", "synthetic_val", "synthetic_test", "val"])
def test_splits_are_those_of_the_devkit_path(root, split):
    index, nusc = KeyframeIndex.open(root), open_dataset(root)
    expected = [s["token"] for n in split_scenes(nusc, split) for s in scene_samples(nusc, n)]
    assert [index.frame(i).sample_token for i in index.split(split)] == expected
    assert len(expected) == (3 if split in ("synthetic_train", "synthetic_val") else 0)


def test_splits_are_read_as_they_are_now(root, builds):
    KeyframeIndex.open(root)
    nusc = open_dataset(root)
    name = nusc.scene[1]["name"]
    (root / nusc.version / "splits.json").write_text(f'{{"mine": ["{name}"]}}')
    index = KeyframeIndex.open(root)
    assert {index.scene_name(i) for i in index.split("mine")} == {name}
    with pytest.raises(UserError, match="no split 'synthetic_val'; it has mine \\(1 scene\\)$"):
        index.split("synthetic_val")
    for damaged in ("[]", '{"mine": "scene-1"}', '{"mine": [[]]}'):
        (root / nusc.version / "splits.json").write_text(damaged)
        with pytest.raises(UserError, match="splits.json is damaged"):
            index.split("mine")
    (root / nusc.version / "splits.json").write_text("{")
    with pytest.raises(UserError, match="splits.json is not valid JSON"):
        index.split("mine")
    assert len(builds) == 1


def test_a_keyframe_out_of_range_is_no_other_keyframe(root):
    index = KeyframeIndex.open(root)
    for call in (index.frame, index.objects, index.lidar, index.lidar_sweeps, index.scene_name):
        for i in (-1, len(index)):
            with pytest.raises(IndexError, match="of 6"):
                call(i)


# --- LiDAR


@pytest.mark.parametrize("source", ["sweeps_root", "keyframe_root"])
def test_lidar_points_are_those_of_the_devkits_multisweep(source, request, tmp_path):
    root = copy_of(request.getfixturevalue(source), tmp_path / "data")
    index, nusc = KeyframeIndex.open(root), open_dataset(root)
    for i in range(len(index)):
        frame = index.frame(i)
        sample = nusc.get("sample", frame.sample_token)
        cloud, lags = LidarPointCloud.from_file_multisweep(
            nusc, sample, "LIDAR_TOP", "LIDAR_TOP", nsweeps=10
        )
        key = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
        ego_from_lidar = reference_from_sensor(nusc, key, frame.global_from_ego)
        ours = index.lidar(i)
        assert ours.dtype == np.float32
        moved = transform_points(inverse(ego_from_lidar), ours[:, :3])
        np.testing.assert_allclose(moved, cloud.points[:3].T, atol=1e-4)
        np.testing.assert_array_equal(ours[:, 3], cloud.points[3])
        # The devkit counts from the LiDAR's stamp, and with its own rounding of 1e9 seconds.
        after = 1e-6 * (frame.stamp_us - key["timestamp"])
        np.testing.assert_allclose(ours[:, 4], lags[0] + after, atol=1e-6)


def test_sweeps_are_those_at_hand_each_once(sweeps_root, tmp_path):
    root = copy_of(sweeps_root, tmp_path / "data")
    nusc = open_dataset(root)
    index = KeyframeIndex.open(root)
    chains = [index.lidar_sweeps(i) for i in range(2)]
    assert [len(chain) for chain in chains] == [1, MAX_SWEEPS]  # of the 11 that there are
    assert [len({sweep.path for sweep in chain}) for chain in chains] == [1, MAX_SWEEPS]
    assert "samples" in chains[1][0].path.parts
    lags = [sweep.time_lag for sweep in chains[1]]
    np.testing.assert_allclose(lags, 0.05 * np.arange(MAX_SWEEPS), atol=2e-3)
    for count in (1, 3, MAX_SWEEPS):
        assert len(np.unique(index.lidar(1, count)[:, 4])) == count
    # Ego motion: the sensor at the oldest sweep, in the global frame, is where the tables say.
    oldest, frame = chains[1][-1], index.frame(1)
    record = nusc.get("sample_data", nusc.sample[1]["data"]["LIDAR_TOP"])
    for _ in range(MAX_SWEEPS - 1):
        record = nusc.get("sample_data", record["prev"])
    expected = reference_from_sensor(nusc, record, np.eye(4))
    np.testing.assert_allclose(frame.global_from_ego @ oldest.ego_from_lidar, expected, atol=1e-9)
    assert np.linalg.norm((global_from_ego(nusc, record) - frame.global_from_ego)[:3, 3]) > 0.5


def own_lidar_file(index: KeyframeIndex, i: int) -> Path:
    """The keyframe's LiDAR file, in a folder that may be changed."""
    path = index.lidar_sweeps(i)[0].path
    samples = index.root / "samples"
    target = samples.resolve()
    samples.unlink()
    shutil.copytree(target, samples)
    return path


def test_a_sweep_from_before_a_clock_was_set_is_none_of_a_keyframe(root):
    token = json.loads(table(root, "scene").read_text())[0]["first_sample_token"]
    for name, field in (("sample", "token"), ("sample_data", "sample_token")):
        rows = json.loads(table(root, name).read_text())
        for row in rows:
            row["timestamp"] -= 1_500_000_000_000_000 * (row[field] == token)
        table(root, name).write_text(json.dumps(rows))
    index = KeyframeIndex.open(root)
    assert [len(index.lidar_sweeps(i)) for i in range(3)] == [1, 1, 2]


def test_points_on_the_own_vehicle_are_left_out(root):
    index = KeyframeIndex.open(root)
    points = np.zeros((4, 5), np.float32)
    points[:, :2] = [(0.9, -0.9), (-1.0, 0), (0.2, 1.5), (-0.99, 0.99)]
    points[:, 3] = range(4)
    own_lidar_file(index, 0).write_bytes(points.tobytes())
    assert index.lidar(0)[:, 3].tolist() == [1, 2]


def test_a_missing_or_damaged_lidar_file_is_named(root):
    index = KeyframeIndex.open(root)
    path = own_lidar_file(index, 0)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match=f"{path.name} has .* bytes, not a multiple of 20"):
        index.lidar(0)
    path.unlink()
    with pytest.raises(UserError, match=f"{path.name} is missing"):
        index.lidar(0)


def drop_channel(root: Path, channel: str) -> None:
    table = next(root.glob("v1.0*")) / "sample_data.json"
    rows = [row for row in json.loads(table.read_text()) if channel not in row["filename"]]
    table.write_text(json.dumps(rows))


def test_a_dataset_without_lidar_has_an_index_and_says_so(root):
    drop_channel(root, "LIDAR_TOP")
    index = KeyframeIndex.open(root)
    assert index.lidar_sweeps(0) == []
    with pytest.raises(UserError, match="has no LIDAR_TOP"):
        index.lidar(0)


def test_keyframes_without_any_camera_are_left_out_and_counted(root, capsys):
    before = KeyframeIndex.open(root).sample_tokens
    table = next(root.glob("v1.0*")) / "sample_data.json"
    blind = before[1].decode()
    rows = [
        row
        for row in json.loads(table.read_text())
        if row["sample_token"] != blind or "CAM_" not in row["filename"]
    ]
    table.write_text(json.dumps(rows))
    capsys.readouterr()
    index = KeyframeIndex.open(root)
    assert index.sample_tokens.tolist() == [before[0], *before[2:]]
    told = [line for line in capsys.readouterr().err.splitlines() if "no camera" in line]
    assert told == [f"1 of {len(before)} keyframes have no camera and are left out"]
    nusc = open_dataset(root)
    samples = [s["token"] for scene in nusc.scene for s in scene_samples(nusc, scene["name"])]
    assert blind not in samples and len(samples) == len(index)


# --- The file


def test_radar_points_are_kept_too(root):
    table = root / KeyframeIndex.open(root).version / "sample_annotation.json"
    text = re.sub('"num_(lidar|radar)_pts": [0-9]+', r'"num_\1_pts": 0', table.read_text())
    table.write_text(text.replace('"num_radar_pts": 0', '"num_radar_pts": 7', 1))
    index = KeyframeIndex.open(root)
    assert sorted(index.object_radar_points)[-2:] == [0, 7]
    assert sum(index.objects(i).observed.sum() for i in range(len(index))) == 1


def test_it_is_built_once_and_again_when_a_table_changes(root, builds, capsys):
    KeyframeIndex.open(root)
    first = KeyframeIndex.open(root)
    assert len(builds) == 1
    assert index_files(root, first.version)[0].is_file()
    table = root / first.version / "sample_annotation.json"

    os.utime(table, ns=(1, 1))  # another time, the same content: as after a copy
    assert_same_index(KeyframeIndex.open(root), first)
    assert len(builds) == 1

    table.write_text(table.read_text().replace('"num_lidar_pts": ', '"num_lidar_pts": 1'))
    changed = KeyframeIndex.open(root)
    assert len(builds) == 2
    assert (changed.object_lidar_points > first.object_lidar_points).all()
    assert "no usable index" not in capsys.readouterr().err


def test_after_a_copy_the_tables_are_hashed_once(root, builds, monkeypatch):
    version = KeyframeIndex.open(root).version
    os.utime(root / version / "sample.json", ns=(1, 1))
    KeyframeIndex.open(root)
    monkeypatch.setattr(index_module, "_digests", lambda _: pytest.fail("hashed again"))
    KeyframeIndex.open(root)
    assert len(builds) == 1


def test_a_moved_dataset_keeps_its_index(root, builds, tmp_path):
    KeyframeIndex.open(root)
    moved = root.rename(tmp_path / "moved")
    index = KeyframeIndex.open(moved)
    assert len(builds) == 1
    assert all(path.is_file() for path in index.frame(0).image_paths)
    assert index.frame(0).image_paths[0].is_relative_to(moved)
    assert len(index.lidar(0))


def test_opening_it_reads_no_table(root, monkeypatch):
    KeyframeIndex.open(root)
    monkeypatch.setattr(index_module, "open_dataset", lambda *_: pytest.fail("tables were read"))
    monkeypatch.setattr(index_module, "_digests", lambda _: pytest.fail("tables were hashed"))
    assert len(KeyframeIndex.open(root).split("synthetic_val")) == 3


def test_a_root_that_cannot_be_written_uses_the_users_cache(root, builds, tmp_path, monkeypatch):
    (root / ".asd_index").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = KeyframeIndex.open(root)
    assert_same_index(KeyframeIndex.open(root), first)
    assert len(builds) == 1
    (kept,) = (tmp_path / "cache" / "asd_perception").iterdir()
    assert kept.name.endswith(f"-{first.version}.npz")


def test_without_any_place_for_its_file_it_is_there_and_says_so(
    root, monkeypatch, tmp_path, capsys
):
    (root / ".asd_index").write_text("")
    (tmp_path / "cache").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert len(KeyframeIndex.open(root)) == 6
    assert "the index cannot be kept" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "npy", "pickle", "format", "lacking"])
def test_a_file_that_is_no_index_is_replaced_with_one_line(root, builds, capsys, damage):
    first = KeyframeIndex.open(root)
    file = index_files(root, first.version)[0]
    content = file.read_bytes()
    arrays = dict(np.load(file))
    with file.open("wb") as stream:
        if damage == "cut":
            stream.write(content[: len(content) // 2])
        elif damage == "text":
            stream.write(b"not an archive")
        elif damage == "npy":
            np.save(stream, np.zeros(3))
        elif damage == "pickle":
            np.savez(stream, **{**arrays, "sample_tokens": np.array([{}], dtype=object)})
        elif damage == "format":
            np.savez(stream, **{**arrays, "identity": np.array(b"[0]")})
        elif damage == "lacking":
            np.savez(stream, **{k: v for k, v in arrays.items() if k != "object_boxes"})
    capsys.readouterr()
    assert_same_index(KeyframeIndex.open(root), first)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith(str(file))]
    assert len(told) == 1
    assert "is no usable index" in told[0]
    assert_same_index(KeyframeIndex.open(root), first)
    assert len(builds) == 2
    assert "usable" not in capsys.readouterr().err


@pytest.fixture(scope="module")
def module_root(synthetic_root, tmp_path_factory):
    return copy_of(synthetic_root, tmp_path_factory.mktemp("index") / "data")


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_changed_byte_of_the_file_changes_the_index(module_root, data):
    first = KeyframeIndex.open(module_root)
    file = index_files(module_root, first.version)[0]
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    assert_same_index(KeyframeIndex.open(module_root), first)


def test_builders_at_the_same_time_do_not_disturb_each_other(root, builds):
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: KeyframeIndex.open(root), range(4)))
    for index in opened[1:]:
        assert_same_index(index, opened[0])
    assert_same_index(KeyframeIndex.open(root), opened[0])
    assert len(builds) == 1  # the others waited
    assert len(list((root / ".asd_index").iterdir())) == 1  # no lock and no temporary file


# --- Bad input


def test_wrong_arguments_and_tables_are_told(root, tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        KeyframeIndex.open(tmp_path / "absent")
    table = next(root.glob("v1.0*")) / "ego_pose.json"
    poses = table.read_text()
    table.write_text("[]")
    with pytest.raises(UserError, match="sample_data .*: ego_pose_token is .*a token of ego_pose"):
        KeyframeIndex.open(root)
    table.write_text(poses)
    drop_channel(root, "CAM_")
    with pytest.raises(UserError, match="has no camera: .*; give a dataset with 1 to 8 cameras"):
        KeyframeIndex.open(root)
    assert not (root / ".asd_index").exists()


def test_the_benchmark_measures_and_leaves_the_dataset_alone(root):
    result = measure(root, None, repeat_to=20)
    assert result["keyframes"] == 6
    assert result["projected"]["keyframes"] == 20
    assert result["projected"]["index_bytes"] > 2 * (result["index_bytes"] - 10_000)
    assert not (root / ".asd_index").exists()
