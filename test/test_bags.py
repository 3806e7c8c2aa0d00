# SPDX-License-Identifier: Apache-2.0
"""Promise: a scene becomes a bag without loss, and published boxes come back as they went in."""

import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nuscenes.eval.detection.utils import category_to_detection_name
from pyquaternion import Quaternion
from rclpy.serialization import deserialize_message
from rosbags.interfaces import QosDurability
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray

from asd_perception.constants import CAMERAS
from asd_perception.detections import Detections
from asd_perception.errors import UserError
from asd_perception.geometry import transform_from, wrap_angle
from asd_perception.ros.conversions import (
    detections_to_msg,
    matrix_from_transform,
    objects_to_cloud,
    stamp_ns,
    time_from_ns,
)
from asd_training.bags.bag_files import create_bag, open_bag, read_messages, read_topic
from asd_training.bags.cli import main
from asd_training.bags.convert import convert_scene, image_topic
from asd_training.bags.evaluate import Coverage, evaluate_bag, submission_of_bag
from asd_training.bags.message_types import message_class
from asd_training.bags.scene import EgoTrack
from asd_training.datasets.nuscenes import annotated_objects, camera_frame, open_dataset
from asd_training.synthetic.generate import synthesize

ANNOTATION_TOPICS = {"topic": "/annotations", "objects_topic": "/annotation_objects"}


@pytest.fixture(scope="module")
def swept_root(tmp_path_factory):
    """A scene with two keyframes and the sweeps between them, in tiny images."""
    root = tmp_path_factory.mktemp("data")
    synthesize(root, {"test": 1}, keyframes=2, seed=1, scale=0.05, sweeps=True, workers=1)
    return root


@pytest.fixture(scope="module")
def swept(swept_root):
    return open_dataset(swept_root)


@pytest.fixture(scope="module", params=["synthetic", "real"])
def nusc(request):
    if request.param == "synthetic":
        return request.getfixturevalue("swept")
    return open_dataset(request.getfixturevalue("keyframe_root"))


@pytest.fixture(scope="module")
def bag(nusc, tmp_path_factory):
    path = tmp_path_factory.mktemp("bag") / "scene"
    convert_scene(nusc, nusc.scene[0]["name"], path)
    return path


def messages(path, topic, message_type):
    with open_bag(path) as reader:
        return list(read_topic(reader, topic, message_type))


def records(nusc, channel):
    return sorted(
        (record for record in nusc.sample_data if record["channel"] == channel),
        key=lambda record: record["timestamp"],
    )


def file_bytes(nusc, record):
    return (Path(nusc.dataroot) / record["filename"]).read_bytes()


# -- conversion --------------------------------------------------------------------------------


def test_images_keep_their_bytes_and_stamps(nusc, bag):
    for camera in CAMERAS:
        expected = records(nusc, camera)
        found = messages(bag, image_topic(camera), CompressedImage)
        assert len(found) == len(expected) > 0
        for (time, message), record in zip(found, expected, strict=True):
            assert time == stamp_ns(message.header.stamp) == record["timestamp"] * 1000
            assert message.header.frame_id == camera
            assert message.format == "jpeg"
            assert message.data.tobytes() == file_bytes(nusc, record)


def test_camera_info_is_the_calibration_at_each_image(nusc, bag):
    for camera in CAMERAS:
        for (time, message), record in zip(
            messages(bag, f"/{camera}/camera_info", CameraInfo), records(nusc, camera), strict=True
        ):
            calibration = nusc.get("calibrated_sensor", record["calibrated_sensor_token"])
            assert time == record["timestamp"] * 1000
            assert np.array_equal(message.k.reshape(3, 3), calibration["camera_intrinsic"])
            assert np.array_equal(message.p.reshape(3, 4)[:, :3], calibration["camera_intrinsic"])
            assert (message.width, message.height) == (record["width"], record["height"])
            assert message.header.frame_id == camera


def test_lidar_points_are_those_of_the_file(nusc, bag):
    expected = records(nusc, "LIDAR_TOP")
    found = messages(bag, "/LIDAR_TOP/points", PointCloud2)
    assert len(found) == len(expected) > 0
    for (time, message), record in zip(found, expected, strict=True):
        assert time == stamp_ns(message.header.stamp) == record["timestamp"] * 1000
        points = np.frombuffer(file_bytes(nusc, record), "<f4").reshape(-1, 5)
        rows = np.frombuffer(message.data, np.uint8).reshape(message.width, message.point_step)
        offset = {field.name: field.offset for field in message.fields}
        for column, name in enumerate(("x", "y", "z", "intensity")):
            values = rows[:, offset[name] : offset[name] + 4].copy().view("<f4")[:, 0]
            assert np.array_equal(values, points[:, column])
        rings = rows[:, offset["ring"] : offset["ring"] + 2].copy().view("<u2")[:, 0]
        assert np.array_equal(rings, points[:, 4])


def test_static_transforms_are_the_calibration_and_come_first_and_latched(nusc, bag):
    with open_bag(bag) as reader:
        connection, _, data = next(read_messages(reader))
    assert connection.topic == "/tf_static"
    assert connection.ext.offered_qos_profiles[0].durability == QosDurability.TRANSIENT_LOCAL
    transforms = deserialize_message(data, TFMessage).transforms
    assert {item.child_frame_id for item in transforms} == {*CAMERAS, "LIDAR_TOP"}
    for item in transforms:
        record = records(nusc, item.child_frame_id)[0]
        calibration = nusc.get("calibrated_sensor", record["calibrated_sensor_token"])
        expected = transform_from(calibration["rotation"], calibration["translation"])
        assert item.header.frame_id == "base_link"
        assert np.allclose(matrix_from_transform(item.transform), expected, atol=1e-9)


def test_every_ego_pose_is_sent_once_and_before_the_images_of_its_stamp(nusc, bag):
    poses = {}
    for channel in (*CAMERAS, "LIDAR_TOP"):
        for record in records(nusc, channel):
            pose = nusc.get("ego_pose", record["ego_pose_token"])
            matrix = transform_from(pose["rotation"], pose["translation"])
            poses[record["timestamp"] * 1000] = matrix
    sent = {time: message.transforms[0] for time, message in messages(bag, "/tf", TFMessage)}
    assert sorted(sent) == sorted(poses)
    for time, item in sent.items():
        assert (item.header.frame_id, item.child_frame_id) == ("map", "base_link")
        assert np.allclose(matrix_from_transform(item.transform), poses[time], atol=1e-9)
    posed = set()
    with open_bag(bag) as reader:
        previous = 0
        for connection, time, _ in read_messages(reader):
            assert time >= previous
            previous = time
            if connection.topic == "/odometry":
                assert time not in posed
                posed.add(time)
            elif connection.topic not in ("/tf_static", "/tf"):
                assert time in posed, connection.topic
    assert posed == set(poses)


def test_twist_is_that_of_the_motion():
    """On a circle of radius 20 m at 8 m/s: forward 8 m/s, turning left 0.4 rad/s."""
    stamps = 1_600_000_000_000_000 + np.arange(0, 1_000_000, 7_000)
    angles = 0.4 * (stamps - stamps[0]) * 1e-6
    poses = np.stack(
        [
            transform_from(
                Quaternion(axis=[0, 0, 1], angle=angle).elements,
                [500 + 20 * np.sin(angle), 900 - 20 * np.cos(angle), 0],
            )
            for angle in angles
        ]
    )
    track = EgoTrack(stamps, poses)
    linear, angular = track.twist_at(int(stamps[70]))
    assert linear == pytest.approx([8, 0, 0], abs=1e-3)
    assert angular == pytest.approx([0, 0, 0.4], abs=1e-6)
    linear, _ = track.twist_at(int(stamps[0]))  # one-sided at the ends
    assert linear == pytest.approx([8, 0, 0], abs=0.1)


def test_annotations_hold_every_object_of_the_ten_classes_under_its_instance(nusc, bag):
    found = messages(bag, "/annotations", Detection3DArray)
    assert len(found) == len(nusc.sample)
    for (time, message), sample in zip(found, nusc.sample, strict=True):
        assert message.header.frame_id == "base_link"
        assert time == stamp_ns(message.header.stamp) == camera_frame(nusc, sample).stamp_us * 1000
        expected = Counter()
        for token in sample["anns"]:
            annotation = nusc.get("sample_annotation", token)
            name = category_to_detection_name(annotation["category_name"])
            if name is not None:
                expected[name, annotation["instance_token"]] += 1
        assert expected
        assert expected == Counter(
            (item.results[0].hypothesis.class_id, item.id) for item in message.detections
        )


def test_stored_definitions_are_the_installed_types(bag):
    """What Foxglove and other machines read the messages by: the type hashes of upstream."""
    with open_bag(bag) as reader:
        for connection in reader.connections:
            message_type = message_class(connection.msgtype)
            package, _, name = connection.msgtype.split("/")
            share = Path(sys.prefix) / "share" / package / "msg" / f"{name}.json"
            hashes = {
                item["type_name"]: item["hash_string"]
                for item in json.loads(share.read_text())["type_hashes"]
            }
            assert connection.digest == hashes[connection.msgtype], message_type
            assert connection.msgdef.data


def test_converting_again_overwrites_nothing(nusc, bag):
    before = sorted((path, path.stat().st_mtime_ns) for path in bag.iterdir())
    with pytest.raises(UserError, match="exists already"):
        convert_scene(nusc, nusc.scene[0]["name"], bag)
    assert sorted((path, path.stat().st_mtime_ns) for path in bag.iterdir()) == before


# -- published boxes come back -----------------------------------------------------------------

angles = st.floats(-np.pi, np.pi)
positions = st.tuples(st.floats(-2000, 2000), st.floats(-2000, 2000), st.floats(-5, 5))
in_range = st.tuples(*[st.floats(-60, 60)] * 3)  # from the ego vehicle: float32 keeps 4 um there
sizes = st.tuples(*[st.floats(0.2, 20)] * 3)
motions = st.tuples(st.floats(-10, 10), st.floats(-10, 10), st.just(0.0))


def quaternion_about_z(yaw):
    return Quaternion(axis=[0, 0, 1], angle=yaw).elements.tolist()


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_box_comes_back_from_the_bag_as_it_was_annotated(editable, tmp_path, data):
    """Global frame -> base_link -> message -> bag -> message -> base_link -> global frame."""
    nusc = editable
    first = next(
        annotation
        for annotation in nusc.sample_annotation
        if not annotation["prev"]
        and annotation["next"]
        and category_to_detection_name(annotation["category_name"])
    )
    sample = nusc.get("sample", first["sample_token"])
    ego, yaw = data.draw(positions), data.draw(angles)
    for number, pose in enumerate(nusc.ego_pose):  # every pose another: a wrong choice would show
        pose["translation"] = [ego[0] + number, ego[1], ego[2]]
        pose["rotation"] = quaternion_about_z(yaw + number)
    ego = camera_frame(nusc, sample).global_from_ego[:3, 3]
    moved = data.draw(motions)
    first["translation"] = (ego + data.draw(in_range)).tolist()
    first["rotation"] = quaternion_about_z(data.draw(angles))
    first["size"] = data.draw(sizes)
    following = nusc.get("sample_annotation", first["next"])
    following["translation"] = np.add(first["translation"], moved).tolist()

    bag = tmp_path / "bag"
    shutil.rmtree(bag, ignore_errors=True)
    scene = nusc.get("scene", sample["scene_token"])["name"]
    convert_scene(nusc, scene, bag)
    submission, _ = submission_of_bag(bag, nusc, **ANNOTATION_TOPICS)

    name = category_to_detection_name(first["category_name"])
    box = min(
        (box for box in submission[sample["token"]] if box["detection_name"] == name),
        key=lambda box: np.linalg.norm(np.subtract(box["translation"], first["translation"])),
    )
    assert box["translation"] == pytest.approx(first["translation"], abs=1e-5)
    assert box["size"] == pytest.approx(first["size"], rel=1e-6)
    turn = Quaternion(box["rotation"]).inverse * Quaternion(first["rotation"])
    assert wrap_angle(turn.yaw_pitch_roll[0]) == pytest.approx(0, abs=1e-6)
    assert box["velocity"] == pytest.approx(np.array(moved[:2]) / 0.5, abs=1e-5)


@pytest.fixture
def editable(synthetic_root):
    """A dataset of its own, whose tables may be changed."""
    return open_dataset(synthetic_root)


# -- evaluation --------------------------------------------------------------------------------


def detect_the_truth(nusc, sample, global_from_ego=None):
    """The annotations of a keyframe that the evaluator keeps, as detections."""
    if global_from_ego is None:
        global_from_ego = camera_frame(nusc, sample).global_from_ego
    truth = annotated_objects(nusc, sample, global_from_ego)
    seen = truth.num_lidar_points > 0
    return Detections(
        truth.boxes[seen],
        np.ones(seen.sum()),
        truth.labels[seen],
        truth.velocities[seen],
        truth.attributes[seen],
    )


def write_detections(path, frames, frame_id="base_link", clouds=True):
    """A bag as `asd-bag record` makes it, of (stamp in ns, Detections) in the order received."""
    with create_bag(path) as writer:
        writer.add_topic("/detector/detections", "vision_msgs/msg/Detection3DArray")
        writer.add_topic("/detector/objects", "sensor_msgs/msg/PointCloud2")
        for received, (stamp, detections) in enumerate(frames):
            header = Header(stamp=time_from_ns(stamp), frame_id=frame_id)
            message = detections_to_msg(detections, header)
            writer.write_message("/detector/detections", received, message)
            if clouds:
                cloud = objects_to_cloud(detections, header)
                writer.write_message("/detector/objects", received, cloud)
    return path


def reference_ns(nusc, sample):
    return camera_frame(nusc, sample).stamp_us * 1000


def truth_frames(nusc, samples):
    return [(reference_ns(nusc, item), detect_the_truth(nusc, item)) for item in samples]


def positions_of(boxes):
    return np.array([box["translation"] for box in boxes])


def test_published_truth_scores_one_in_each_class_present(nusc, tmp_path):
    bag = write_detections(tmp_path / "bag", truth_frames(nusc, nusc.sample))
    metrics, coverage = evaluate_bag(bag, nusc, output=tmp_path / "results")
    assert coverage == Coverage(len(nusc.sample), len(nusc.sample), 0, 0)
    present = [name for name, count in metrics.ground_truth.items() if count]
    assert len(present) >= 5
    for name in present:
        assert metrics.class_ap[name] == pytest.approx(1.0), name
    results = json.loads((tmp_path / "results" / "metrics.json").read_text())
    assert results["mean_ap"] == metrics.mean_ap
    submission = json.loads((tmp_path / "results" / "submission.json").read_text())["results"]
    assert set(submission) == {sample["token"] for sample in nusc.sample}


def test_a_keyframe_without_a_message_counts_as_empty(swept, tmp_path):
    bag = write_detections(tmp_path / "bag", truth_frames(swept, swept.sample[1:]))
    submission, coverage = submission_of_bag(bag, swept)
    assert coverage == Coverage(expected=2, detected=1, inexact=0, without_velocity=0)
    assert submission[swept.sample[0]["token"]] == []
    assert submission[swept.sample[1]["token"]]


def test_only_the_scenes_that_the_bag_covers_are_expected(editable, tmp_path):
    scene = editable.scene[-1]
    sample = editable.get("sample", scene["first_sample_token"])
    bag = write_detections(tmp_path / "bag", truth_frames(editable, [sample]))
    submission, coverage = submission_of_bag(bag, editable)
    assert coverage.expected == scene["nbr_samples"] < len(editable.sample)
    scenes = {editable.get("sample", token)["scene_token"] for token in submission}
    assert scenes == {scene["token"]}


def test_a_near_stamp_is_matched_with_the_ego_pose_of_its_own_time(swept, tmp_path):
    sample = swept.sample[0]
    stamp = reference_ns(swept, sample) + 30_000_000
    pose = EgoTrack.of_records(swept, swept.sample_data).pose_at(stamp / 1000)
    exact = camera_frame(swept, sample).global_from_ego
    assert np.linalg.norm((pose - exact)[:3, 3]) > 0.05  # the vehicle drives
    bag = write_detections(tmp_path / "bag", [(stamp, detect_the_truth(swept, sample, pose))])
    submission, coverage = submission_of_bag(bag, swept)
    assert (coverage.detected, coverage.inexact) == (1, 1)
    truth = [
        swept.get("sample_annotation", token)["translation"]
        for token in sample["anns"]
        if swept.get("sample_annotation", token)["num_lidar_pts"]
    ]
    assert np.allclose(positions_of(submission[sample["token"]]), truth, atol=1e-4)


@pytest.mark.parametrize("order", [1, -1])
def test_a_keyframe_takes_the_nearest_message_only(swept, tmp_path, order):
    sample = swept.sample[0]
    stamp, truth = truth_frames(swept, [sample])[0]
    other = Detections(*(value[:1] for value in vars(truth).values() if value is not None))
    frames = [(stamp - 20_000_000, other), (stamp, truth), (stamp + 5_000_000, other)]
    bag = write_detections(tmp_path / "bag", frames[::order])
    submission, coverage = submission_of_bag(bag, swept)
    assert len(submission[sample["token"]]) == len(truth) > 1
    assert (coverage.detected, coverage.inexact) == (1, 0)


def test_without_an_objects_cloud_velocity_is_unknown(swept, tmp_path):
    bag = write_detections(tmp_path / "bag", truth_frames(swept, swept.sample), clouds=False)
    submission, coverage = submission_of_bag(bag, swept)
    assert coverage.without_velocity == 2
    boxes = [box for boxes in submission.values() for box in boxes]
    assert np.isnan([box["velocity"] for box in boxes]).all()
    assert {box["attribute_name"] for box in boxes} == {""}


# -- bad input ---------------------------------------------------------------------------------


def run_command(monkeypatch, capfd, *arguments):
    """Exit status of asd-bag and what it wrote to stderr."""
    monkeypatch.setattr(sys, "argv", ["asd-bag", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code, capfd.readouterr().err


@pytest.fixture
def broken_root(swept_root, tmp_path):
    """A copy of the dataset, to break."""
    root = tmp_path / "data"
    shutil.copytree(swept_root, root)
    return root


def image_of(root):
    return next((root / "samples" / "CAM_BACK").iterdir())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "v1.0-synthetic" / "ego_pose.json").unlink(), "ego_pose.json is mis"),
        (lambda root: (root / "v1.0-synthetic" / "sample.json").write_text("[{"), "not valid JSON"),
        (lambda root: image_of(root).unlink(), ".jpg is missing"),
        (lambda root: image_of(root).write_bytes(b""), ".jpg is empty"),
        (lambda root: shutil.rmtree(root), "is no folder"),
    ],
)
def test_a_broken_dataset_is_told_in_one_line(
    broken_root, tmp_path, monkeypatch, capfd, damage, message
):
    scene = open_dataset(broken_root).scene[0]["name"]
    damage(broken_root)
    output = tmp_path / "out" / "bag"
    status, error = run_command(
        monkeypatch, capfd, "convert", broken_root, output, "--scene", scene
    )
    assert status == 2
    assert error.startswith("asd-bag convert: error: ") and error.count("\n") == 1
    assert message in error
    assert not output.parent.exists() or not list(output.parent.iterdir())


def test_an_unknown_scene_is_told_with_those_there_are(swept_root, tmp_path, monkeypatch, capfd):
    status, error = run_command(
        monkeypatch, capfd, "convert", swept_root, tmp_path / "bag", "--scene", "scene-0061"
    )
    assert status == 2
    assert "has no scene 'scene-0061'; it has synthetic_test-1-0000" in error
    assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_made_is_told(swept_root, swept, tmp_path, monkeypatch, capfd):
    (tmp_path / "file").write_text("in the way")
    scene = swept.scene[0]["name"]
    status, error = run_command(
        monkeypatch, capfd, "convert", swept_root, tmp_path / "file" / "bag", "--scene", scene
    )
    assert status == 2
    assert f"{tmp_path / 'file'}" in error and error.count("\n") == 1


def truncate(bag):
    with next(bag.glob("*.mcap")).open("r+b") as file:
        file.truncate(file.seek(0, 2) * 2 // 3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "is damaged or truncated"),
        (lambda bag: next(bag.glob("*.mcap")).write_bytes(b""), "is damaged or truncated"),
        (lambda bag: next(bag.glob("*.mcap")).unlink(), "is damaged or truncated"),
        (lambda bag: (bag / "metadata.yaml").write_text("a: ["), "is damaged or truncated"),
        (lambda bag: (bag / "metadata.yaml").unlink(), "holds no metadata.yaml"),
        (shutil.rmtree, "does not exist"),
    ],
)
def test_a_broken_bag_is_told_in_one_line(
    swept_root, swept, tmp_path, monkeypatch, capfd, damage, message
):
    bag = write_detections(tmp_path / "bag", truth_frames(swept, swept.sample))
    damage(bag)
    output = tmp_path / "results"
    status, error = run_command(monkeypatch, capfd, "evaluate", bag, swept_root, "--output", output)
    assert status == 2
    assert error.startswith("asd-bag evaluate: error: ") and error.count("\n") == 1
    assert message in error
    assert not output.exists()


def test_every_byte_of_a_bag_may_be_wrong(swept, tmp_path):
    """Damage anywhere ends in a UserError or in a submission, never in another exception."""
    bag = write_detections(tmp_path / "bag", truth_frames(swept, swept.sample))
    file = next(bag.glob("*.mcap"))
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for start in rng.integers(0, len(content), 30):
        damaged = bytearray(content)
        damaged[start : start + 8] = rng.bytes(8)
        file.write_bytes(damaged[: len(content)])
        try:
            submission_of_bag(bag, swept)
        except UserError:
            refused += 1
    assert refused


@pytest.mark.parametrize(
    ("shift_ns", "options", "message"),
    [
        (60_000_000, {}, "none of the 2 messages on /detector/detections has the stamp of a key"),
        (0, {"frame_id": "map"}, "the frame is 'map', not 'base_link'"),
    ],
)
def test_detections_that_cannot_be_scored_are_refused(swept, tmp_path, shift_ns, options, message):
    frames = [(stamp + shift_ns, found) for stamp, found in truth_frames(swept, swept.sample)]
    bag = write_detections(tmp_path / "bag", frames, **options)
    with pytest.raises(UserError, match=message):
        submission_of_bag(bag, swept)


def test_a_topic_that_is_absent_or_of_another_type_is_refused(swept, tmp_path):
    bag = write_detections(tmp_path / "bag", truth_frames(swept, swept.sample))
    with pytest.raises(UserError, match="has no topic /detections; it has /detector/detections"):
        submission_of_bag(bag, swept, topic="/detections")
    with pytest.raises(UserError, match="carries sensor_msgs/msg/PointCloud2, not Detection3DArr"):
        submission_of_bag(bag, swept, topic="/detector/objects")
