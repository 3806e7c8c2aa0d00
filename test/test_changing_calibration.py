# SPDX-License-Identifier: Apache-2.0
"""Promise: where a scene's calibration changes, each image keeps its own: offline, bag and node."""

import json

import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.models import TINY
from asd_perception.ros.messages.geometry import matrix_from_transform
from asd_perception.runtime.detector import Detector
from asd_training.bags.bag_files import open_bag, read_messages
from asd_training.bags.convert import convert_scene
from asd_training.bags.evaluate import submission_of_bag
from asd_training.bags.live.replay import replay_to_detector
from asd_training.data.nuscenes import ego_from_sensor, open_dataset
from asd_training.evaluation.detection import detect_samples
from asd_training.synthetic.generate import synthesize

KEYFRAMES = 4
TURN = np.deg2rad(1.0)  # per keyframe, about the vertical axis
ZOOM = 1.01  # per keyframe
THRESHOLD = 0.02


@pytest.fixture(scope="module")
def nusc(tmp_path_factory):
    """A scene whose records have mountings and intrinsics of their own in each keyframe."""
    root = tmp_path_factory.mktemp("data")
    synthesize(root, {"test": 1}, KEYFRAMES, seed=5, scale=0.25, sweeps=False, workers=2)
    tables = root / "v1.0-synthetic"
    data = json.loads((tables / "sample_data.json").read_text())
    sensors = {
        row["token"]: row for row in json.loads((tables / "calibrated_sensor.json").read_text())
    }
    order = sorted({record["timestamp"] for record in data})
    seen, calibrations = {}, []
    for record in sorted(data, key=lambda record: order.index(record["timestamp"])):
        sensor = dict(sensors[record["calibrated_sensor_token"]])
        number = seen[sensor["token"]] = seen.get(sensor["token"], -1) + 1
        sensor["token"] = record["calibrated_sensor_token"] = f"{sensor['token']}-{number}"
        w, x, y, z = sensor["rotation"]
        turned = Rotation.from_rotvec([0, 0, number * TURN]) * Rotation.from_quat([x, y, z, w])
        x, y, z, w = turned.as_quat().tolist()
        sensor["rotation"] = [w, x, y, z]
        if sensor["camera_intrinsic"]:
            zoomed = np.array(sensor["camera_intrinsic"])
            zoomed[[0, 1], [0, 1]] *= ZOOM**number
            sensor["camera_intrinsic"] = zoomed.tolist()
        calibrations.append(sensor)
    (tables / "sample_data.json").write_text(json.dumps(data))
    (tables / "calibrated_sensor.json").write_text(json.dumps(calibrations))
    return open_dataset(root)


@pytest.fixture(scope="module")
def bag(nusc, tmp_path_factory):
    path = tmp_path_factory.mktemp("bag") / "scene"
    convert_scene(nusc, nusc.scene[0]["name"], path)
    return path


def test_before_each_image_of_the_bag_lies_its_own_calibration(nusc, bag):
    own = {(r["channel"], r["timestamp"] * 1000): r for r in nusc.sample_data}
    known, intrinsics, checked = {}, {}, 0
    with open_bag(bag) as reader:
        for connection, stamp, data in read_messages(reader):
            channel = connection.topic.split("/")[1]
            if connection.topic == "/tf_static":
                message = deserialize_message(data, TFMessage)
                known = {
                    t.child_frame_id: matrix_from_transform(t.transform) for t in message.transforms
                }
                assert set(known) == {*CAMERAS, "LIDAR_TOP"}, "what comes late gets the last alone"
            elif connection.topic.endswith("/camera_info"):
                intrinsics[channel] = deserialize_message(data, CameraInfo).k.reshape(3, 3)
            elif connection.topic.endswith(("/image_raw/compressed", "/points")):
                record = own[channel, stamp]
                np.testing.assert_allclose(known[channel], ego_from_sensor(nusc, record), atol=1e-9)
                sensor = nusc.get("calibrated_sensor", record["calibrated_sensor_token"])
                if channel in CAMERAS:
                    np.testing.assert_array_equal(intrinsics[channel], sensor["camera_intrinsic"])
                checked += 1
    assert checked == len(nusc.sample_data) == 7 * KEYFRAMES


@pytest.mark.slow
def test_the_node_detects_in_the_bag_what_the_offline_run_finds(nusc, bag, tmp_path):
    model = TINY
    replay_to_detector([bag], tmp_path / "published", model, THRESHOLD, tmp_path / "log")
    online, coverage = submission_of_bag(tmp_path / "published", nusc)
    assert (coverage.detected, coverage.inexact) == (KEYFRAMES, 0)
    offline = detect_samples(Detector.from_pretrained(), nusc, nusc.sample, THRESHOLD)
    for token, expected in offline.items():
        assert len(expected) > 10
        for ours, theirs in zip(online[token], expected, strict=True):
            assert ours["detection_name"] == theirs["detection_name"]
            for key in ("translation", "size", "velocity", "detection_score"):
                np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-4, atol=1e-3)
