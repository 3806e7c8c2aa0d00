# SPDX-License-Identifier: Apache-2.0
"""Promise: a scene becomes a bag without loss, and published boxes come back as they went in."""

import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nuscenes.eval.detection.utils import category_to_detection_name
from pyquaternion import Quaternion
from rclpy.serialization import deserialize_message
from rosbags.interfaces import QosDurability
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.errors import UserError
from asd_perception.geometry import transform_from, wrap_angle
from asd_perception.ros.messages.geometry import matrix_from_transform, stamp_ns
from asd_training.bags.bag_files import open_bag, read_messages
from asd_training.bags.convert import convert_scene, image_topic
from asd_training.bags.evaluate import submission_of_bag
from asd_training.bags.scene import EgoTrack
from asd_training.data.nuscenes import camera_frame, open_dataset, read_images
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
    """(bag time, message) of a topic, as a ROS install reads them."""
    with open_bag(path) as reader:
        connections = [item for item in reader.connections if item.topic == topic]
        return [
            (time, deserialize_message(data, message_type))
            for _, time, data in read_messages(reader, connections)
        ]


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


def test_a_png_image_under_another_name_is_read_and_called_png(tmp_path):
    root = tmp_path / "data"
    synthesize(root, {"test": 1}, keyframes=1, seed=1, scale=0.05, sweeps=False, workers=1)
    nusc = open_dataset(root)
    frame = camera_frame(nusc, nusc.sample[0])
    expected, path = read_images(frame)[0], frame.image_paths[0]
    path.write_bytes(cv2.imencode(".png", expected[..., ::-1])[1].tobytes())
    assert path.suffix == ".jpg"
    np.testing.assert_array_equal(read_images(frame)[0], expected)
    convert_scene(nusc, nusc.scene[0]["name"], tmp_path / "bag")
    formats = [
        messages(tmp_path / "bag", image_topic(camera), CompressedImage)[0][1].format
        for camera in CAMERAS
    ]
    assert formats == ["png", *["jpeg"] * 5]


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
            package, _, name = connection.msgtype.split("/")
            share = Path(sys.prefix) / "share" / package / "msg" / f"{name}.json"
            hashes = {
                item["type_name"]: item["hash_string"]
                for item in json.loads(share.read_text())["type_hashes"]
            }
            assert connection.digest == hashes[connection.msgtype], connection.msgtype
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
