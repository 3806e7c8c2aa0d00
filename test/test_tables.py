# SPDX-License-Identifier: Apache-2.0
"""Promise: what cannot be used of a data set is named, or left out and counted, before any work."""

import json
import shutil

import pytest
from tables import change, copy_of, each, table, without_lidar

from asd_perception.errors import UserError
from asd_training.bags.bag_files import open_bag
from asd_training.bags.convert import convert_scene
from asd_training.checking.training_data import with_splits
from asd_training.config.run import StudentRun
from asd_training.data.index import KeyframeIndex
from asd_training.data.nuscenes import (
    all_scene_samples,
    annotated_objects,
    camera_frame,
    open_dataset,
    scene_samples,
    submission_boxes,
)
from asd_training.evaluation.scoring import score
from asd_training.tables.splits import chosen_split, dataset_splits


@pytest.fixture
def root(synthetic_root, tmp_path):
    return copy_of(synthetic_root, tmp_path / "data")


def first(rows, **values):
    rows[0].update(values)


def drop(rows, field):
    del rows[0][field]


ODD = {
    "sample_annotation": {
        "attribute_tokens": (None, "vehicle.moving", [None], ["nowhere"]),
        "num_lidar_pts": (None, 0.5, "3", float("nan"), -7, True),
        "num_radar_pts": (None, 10**30),
        "translation": (None, [1, 2], [1, 2, "3"], [1, 2, float("inf")], [1e300, 0, 0]),
        "size": ([0, 1, 1], [1, -2, 1], [1, 2, float("nan")]),
        "rotation": ([0, 0, 0, 0], [10, 0, 0, 0], [1, 0, 0]),
        "instance_token": (None, "nowhere", 5, ["a"]),
        "prev": (None, "nowhere"),
    },
    "sample_data": {
        "timestamp": (None, "1", -5, float("nan"), 1.5e18),
        "is_key_frame": (None, "false"),
        "filename": (None, "", "a\0b", 7),
        "ego_pose_token": (None, "", "nowhere"),
    },
    "sample": {"timestamp": (None, True), "scene_token": ("nowhere",), "next": (7,)},
    "ego_pose": {"translation": ({},), "rotation": ("0", [0.5, 0.5, 0.5, 0.6])},
    "calibrated_sensor": {"rotation": ([],), "sensor_token": ("x",)},
    "scene": {"name": (None, 3), "first_sample_token": ("",), "last_sample_token": ("x",)},
    "sensor": {"modality": (None,), "channel": ("",)},
    "instance": {"category_token": ("x",)},
    "category": {"name": ({},)},
    "attribute": {"name": (None,)},
}


@pytest.mark.parametrize("name", ODD)
def test_an_unusable_value_is_named_with_table_record_and_field(root, name):
    whole = table(root, name).read_text()
    token = json.loads(whole)[0]["token"]
    for field, values in ODD[name].items():
        for value in values:
            change(root, name, lambda rows, new={field: value}: first(rows, **new))
            with pytest.raises(UserError, match=f"{name} {token}: {field} is .*; it must be "):
                open_dataset(root)
        change(root, name, lambda rows, field=field: drop(rows, field))
        with pytest.raises(UserError, match=f"{name} {token}: {field} is missing; it must be "):
            open_dataset(root)
        table(root, name).write_text(whole)


@pytest.mark.parametrize("value", [None, [], [[1, 0, 0], [0, 1, 0]], [[0, 0, 0]] * 3])
def test_a_camera_needs_its_calibration_and_size(root, value):
    spoiled = []

    def spoil(row):
        if row["camera_intrinsic"]:
            row.update(camera_intrinsic=value)
            spoiled.append(row)

    each(root, "calibrated_sensor", spoil)
    others = len(spoiled) - 1
    with pytest.raises(UserError, match=rf"camera_intrinsic is .* \(and so in {others} other"):
        open_dataset(root)


def test_images_need_their_size(root):
    each(root, "sample_data", lambda row: row.pop("width"))
    others = len(list(root.glob("samples/CAM_*/*"))) - 1
    with pytest.raises(UserError, match=rf"width is missing \(and so in {others} other records\)"):
        open_dataset(root)


@pytest.mark.parametrize("content", [b"{}", b"[3]", b"[", b"\xff", b"[{}]", b"[" * 100_000])
def test_a_table_that_is_none_is_named(root, content):
    table(root, "ego_pose").write_bytes(content)
    with pytest.raises(UserError, match="ego_pose"):
        open_dataset(root)


def test_a_record_that_is_there_twice_is_named(root):
    change(root, "sample", lambda rows: rows.append(rows[0]))
    with pytest.raises(UserError, match="sample .*: the token is there twice"):
        open_dataset(root)


def test_a_sensor_records_a_keyframe_once(root):
    change(root, "sample_data", lambda rows: rows.append({**rows[0], "token": "another"}))
    with pytest.raises(UserError, match="sample_data another: sample .* has .* twice; remove one"):
        open_dataset(root)


# -- stamps ----------------------------------------------------------------------------------------


def test_stamps_may_be_fractions_of_microseconds(root, capsys):
    expected = [row["timestamp"] for row in open_dataset(root).sample]
    each(root, "sample", lambda row: row.update(timestamp=float(row["timestamp"])))
    assert [row["timestamp"] for row in open_dataset(root).sample] == expected
    assert not capsys.readouterr().err
    each(root, "sample", lambda row: row.update(timestamp=row["timestamp"] + 0.25))
    assert [row["timestamp"] for row in open_dataset(root).sample] == expected
    assert "6 stamps are no whole microseconds and are rounded" in capsys.readouterr().err


@pytest.mark.parametrize(("factor", "unit"), [(1e-6, "seconds"), (1e-3, "milliseconds")])
def test_stamps_of_another_unit_are_told(root, factor, unit):
    for name in ("sample", "sample_data", "ego_pose"):
        each(root, name, lambda row: row.update(timestamp=row["timestamp"] * factor))
    with pytest.raises(UserError, match=f"timestamp is .*, as in {unit}; it must be microseconds"):
        open_dataset(root)


def test_stamps_rise_along_a_scene(root):
    change(root, "sample", lambda rows: first(rows[1:], timestamp=rows[0]["timestamp"]))
    with pytest.raises(UserError, match="timestamp is .*; it must be later than that of the"):
        open_dataset(root)


# -- chains ----------------------------------------------------------------------------------------


def test_a_scene_ends_at_its_last_sample(root):
    nusc = open_dataset(root)
    name, other = (scene["name"] for scene in nusc.scene)
    tokens = [sample["token"] for sample in scene_samples(nusc, name)]
    begins = scene_samples(nusc, other)[0]["token"]
    for follower in (tokens[0], begins):
        change(
            root,
            "sample",
            lambda rows, follower=follower: [
                {**row, "next": follower} if row["token"] == tokens[-1] else row for row in rows
            ],
        )
        assert [s["token"] for s in all_scene_samples(open_dataset(root), name)] == tokens
    # ... and where another's begin, if its last one is not on the way.
    change(root, "scene", lambda rows: first(rows, last_sample_token=begins))
    assert [s["token"] for s in all_scene_samples(open_dataset(root), name)] == tokens


def test_a_chain_that_leads_back_is_named(root):
    nusc = open_dataset(root)
    samples = all_scene_samples(nusc, nusc.scene[0]["name"])
    change(
        root,
        "sample",
        lambda rows: [
            {**row, "next": samples[0]["token"]} if row["token"] == samples[1]["token"] else row
            for row in rows
        ],
    )
    with pytest.raises(UserError, match=f"sample {samples[1]['token']}: next is .*later sample"):
        open_dataset(root)


def test_keyframes_that_no_scene_leads_to_are_counted(root, capsys):
    nusc = open_dataset(root)
    samples = all_scene_samples(nusc, nusc.scene[0]["name"])
    change(root, "scene", lambda rows: first(rows, last_sample_token=samples[1]["token"]))
    open_dataset(root)
    assert "1 of 6 keyframes are in no scene's chain" in capsys.readouterr().err


def test_neighbours_of_an_annotation_are_the_same_object_before_and_after(root):
    rows = json.loads(table(root, "sample_annotation").read_text())
    number = next(i for i, row in enumerate(rows) if row["next"])
    other = next(r for r in rows if r["instance_token"] != rows[number]["instance_token"])
    for follower in (rows[number]["token"], other["token"]):
        rows[number]["next"] = follower
        table(root, "sample_annotation").write_text(json.dumps(rows))
        with pytest.raises(UserError, match="next is .*a later annotation of the same instance"):
            open_dataset(root)


# -- what is left out, and counted -----------------------------------------------------------------


def test_what_nuscenes_does_not_know_is_left_out_and_counted(root, capsys):
    def rename(row):
        row["name"] = {"vehicle.moving": "car.moving", "vehicle.car": "car"}.get(*[row["name"]] * 2)

    each(root, "attribute", rename)
    each(root, "category", rename)
    nusc = open_dataset(root)
    told = capsys.readouterr().err
    assert "attributes that nuScenes does not have are left out: car.moving (" in told
    assert "objects of categories that nuScenes does not have are left out: car (" in told
    frame = camera_frame(nusc, nusc.sample[0])
    objects = annotated_objects(nusc, nusc.sample[0], frame.global_from_ego)
    assert len(objects.labels)


def test_a_dataset_needs_no_maps_logs_or_visibilities(root):
    for name in ("map", "log", "visibility"):
        table(root, name).unlink()
    (root / "maps").unlink()
    each(root, "sample_annotation", lambda row: row.pop("visibility_token"))
    assert len(KeyframeIndex.open(root)) == 6


# -- camera-only data sets -------------------------------------------------------------------------


def test_a_dataset_needs_no_annotations(root, tmp_path, capsys):
    """As one's own data before anybody annotated it."""
    for name in ("sample_annotation", "instance", "category", "attribute"):
        table(root, name).unlink()
    assert not any(sample["anns"] for sample in open_dataset(root).sample)
    assert "sample_annotation.json: it is taken to be empty" in capsys.readouterr().err
    assert not len(KeyframeIndex.open(root).object_labels)
    nusc = open_dataset(root)
    counts = convert_scene(nusc, nusc.scene[0]["name"], tmp_path / "bag")
    assert counts["/annotations"] == 3
    table(root, "sensor").unlink()
    with pytest.raises(UserError, match="sensor.json is missing"):
        open_dataset(root)


def test_what_is_meant_all_the_same_is_taken(root, capsys):
    """Flags as numbers, paths of Windows, a byte order mark, a scene without a sample."""
    whole = KeyframeIndex.open(root).digest()
    each(root, "sample_data", lambda row: row.update(is_key_frame=int(row["is_key_frame"])))
    each(root, "sample_data", lambda row: row.update(filename=row["filename"].replace("/", "\\")))
    empty = {"token": "e", "name": "empty", "first_sample_token": "", "last_sample_token": ""}
    change(root, "scene", lambda rows: [*rows, {**rows[0], **empty}])
    for name in ("scene", "sample_data"):
        table(root, name).write_bytes(b"\xef\xbb\xbf" + table(root, name).read_bytes())
    capsys.readouterr()
    assert KeyframeIndex.open(root).digest() == whole
    told = capsys.readouterr().err
    assert "1 scenes without a sample are left out" in told
    assert "filenames have backslashes, which are taken for /" in told


def test_a_token_that_is_no_text_is_named(root):
    change(root, "category", lambda rows: first(rows, token=5))
    with pytest.raises(UserError, match="category: the token of record 0 is 5; it must be a text"):
        open_dataset(root)


@pytest.mark.parametrize(
    ("name", "how", "line"),
    [
        (
            "sample_annotation",
            lambda row: row.update(size=[row["size"][1], row["size"][0], row["size"][2]]),
            "cars, trucks and buses are wider than long, as sample_annotation ",
        ),
        (
            "sample_annotation",
            lambda row: row.update(rotation=[*row["rotation"][1:], row["rotation"][0]]),
            "rows of sample_annotation lie on their side or upside down, as ",
        ),
        (
            "ego_pose",
            lambda row: row.update(rotation=[0.0, 1.0, 0.0, 0.0]),
            "rows of ego_pose lie on their side or upside down, as ",
        ),
        (
            "calibrated_sensor",
            lambda row: row.update(camera_distortion=[-0.3, 0.1, 0, 0, 0]),
            "camera_distortion is not used, as that of calibrated_sensor ",
        ),
    ],
)
def test_what_is_hardly_meant_is_told(root, capsys, name, how, line):
    open_dataset(root)
    assert "wider than long" not in (told := capsys.readouterr().err) and "lie on" not in told
    each(root, name, how)
    open_dataset(root)
    assert line in capsys.readouterr().err


def test_a_version_may_have_any_name(root):
    table(root, "scene").parent.rename(root / "train_data")
    assert open_dataset(root, "train_data").scene
    with pytest.raises(UserError, match="has no version folder, such as v1.0-trainval"):
        open_dataset(root)
    with pytest.raises(UserError, match="has no version other; versions there: none"):
        open_dataset(root, "other")


def test_a_bag_is_made_of_the_keyframes_where_nothing_else_was_copied(root, tmp_path, capsys):
    """nuScenes' keyframe blobs come without the sweeps. What is no part of a bag is told, too."""
    sensors = json.loads(table(root, "sensor").read_text())
    lidar = next(row["token"] for row in sensors if row["modality"] == "lidar")
    radar = {"token": "radar", "channel": "RADAR_FRONT", "modality": "radar"}
    table(root, "sensor").write_text(json.dumps([*sensors, radar]))
    mountings = json.loads(table(root, "calibrated_sensor").read_text())
    of_lidar = next(row for row in mountings if row["sensor_token"] == lidar)
    mountings.append({**of_lidar, "token": "of radar", "sensor_token": "radar"})
    table(root, "calibrated_sensor").write_text(json.dumps(mountings))

    def more(rows):
        sweeps = [
            {
                **row,
                "token": f"sweep {row['token']}",
                "is_key_frame": False,
                "filename": row["filename"].replace("samples", "sweeps"),
                "timestamp": row["timestamp"] + 50_000,
            }
            for row in rows
        ]
        of_radar = {**rows[0], "token": "r", "calibrated_sensor_token": "of radar"}
        return [*rows, *sweeps, of_radar]

    nusc = open_dataset(root)
    scene = nusc.scene[0]["name"]
    before = convert_scene(nusc, scene, tmp_path / "before")
    change(root, "sample_data", more)
    capsys.readouterr()
    assert convert_scene(open_dataset(root), scene, tmp_path / "bag") == before
    told = capsys.readouterr().err
    assert "left out: RADAR_FRONT; cameras and LIDAR_TOP are converted" in told
    assert (
        "left out: 21 of 42 images and sweeps, all between keyframes, whose files are not" in told
    )


def test_a_camera_only_dataset_becomes_a_bag_and_is_scored(root, tmp_path):
    without_lidar(root)
    nusc = open_dataset(root)
    name = nusc.scene[0]["name"]
    counts = convert_scene(nusc, name, tmp_path / "bag")
    assert counts["/CAM_FRONT/image_raw/compressed"] == 3
    with open_bag(tmp_path / "bag") as bag:
        assert "/LIDAR_TOP/points" not in {item.topic for item in bag.connections}
    submission = {}
    for sample in scene_samples(nusc, name):
        frame = camera_frame(nusc, sample)
        truth = annotated_objects(nusc, sample, frame.global_from_ego)
        assert truth.observed.all()
        found = _certain(truth)
        submission[sample["token"]] = submission_boxes(
            found, sample["token"], frame.global_from_ego
        )
    metrics = score(nusc, submission)
    assert metrics.mean_ap_present > 0.9


def _certain(truth):
    import numpy as np

    from asd_perception.runtime.detections import Detections

    return Detections(
        boxes=truth.boxes,
        scores=np.ones(len(truth.labels)),
        labels=truth.labels,
        velocities=truth.velocities,
        attributes=truth.attributes,
    )


# -- splits ----------------------------------------------------------------------------------------


def test_the_default_split_is_one_that_the_dataset_has(root):
    version = "v1.0-synthetic"
    assert dataset_splits(root, version) == {"synthetic_train": 1, "synthetic_val": 1}
    assert chosen_split(root, version, "auto", "val") == "synthetic_val"
    splits = root / version / "splits.json"
    own = json.loads(splits.read_text())
    splits.write_text(json.dumps({"all": [*own["synthetic_train"], *own["synthetic_val"]]}))
    assert chosen_split(root, version, "auto", "train") == "all"
    splits.write_text(json.dumps({"a": own["synthetic_train"], "b": own["synthetic_val"]}))
    there = r"it has a \(1 scene\), b \(1 scene\)"
    with pytest.raises(UserError, match=f"which split is for val\\? {there}"):
        chosen_split(root, version, "auto", "val")
    with pytest.raises(UserError, match=f"no split 'c'; {there}"):
        chosen_split(root, version, "c", "val")
    with pytest.raises(UserError, match=f"it has no scene of mini_val; {there}"):
        chosen_split(root, version, "mini_val", "val")
    splits.unlink()
    with pytest.raises(UserError, match=r"it has no split: name its scenes in splits\.json"):
        chosen_split(root, version, "auto", "val")


@pytest.mark.parametrize("version", ["v1.0-mini", "v1.0-trainval"])
def test_official_splits_are_chosen_by_what_is_there(tmp_path, version):
    from nuscenes.utils.splits import create_splits_scenes

    official = create_splits_scenes()
    names = ("mini_train", "mini_val") if version == "v1.0-mini" else ("train", "val")
    (tmp_path / version).mkdir()
    scenes = [{"name": scene} for name in names for scene in official[name]]
    (tmp_path / version / "scene.json").write_text(json.dumps(scenes))
    assert chosen_split(tmp_path, version, "auto", "train") == names[0]
    assert chosen_split(tmp_path, version, "auto", "val") == names[1]


def test_a_wrong_split_is_told_before_any_table_is_read(root, monkeypatch, capfd):
    from commands import asd_train_here

    table(root, "sample_data").write_text("[")
    for arguments in (["evaluate", "model", root], ["student", root, root.parent / "run", "--set"]):
        option = "val_split=mini" if arguments[0] == "student" else "--split=mini"
        extra = ["--set", "validate_every=1"] if arguments[0] == "student" else []
        status, _, error = asd_train_here(monkeypatch, capfd, *arguments, option, *extra)
        assert status == 2
        assert "no split 'mini'; it has synthetic_train (1 scene)" in error
    assert not (root.parent / "run").exists()
    shutil.rmtree(root)


def test_scenes_that_are_in_both_splits_are_told_before_a_training(root, capsys):
    scene = json.loads(table(root, "scene").read_text())[0]["name"]
    table(root, "splits").write_text(json.dumps({"train": [scene], "val": [scene]}))
    with_splits(StudentRun(), root, "v1.0-synthetic")
    assert f"1 scenes, such as {scene}, are in both train and val" in capsys.readouterr().err
