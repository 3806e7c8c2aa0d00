# SPDX-License-Identifier: Apache-2.0
"""Promise: `asd-bag check` finds the cameras of any bag, and says what it leaves out."""

import numpy as np
import pytest
from rosbags.typesys.stores import ros2_kilted as ros

from asd_perception.cameras.calibration import NUSCENES_CAMERAS
from asd_perception.geometry import level_camera
from asd_perception.ros.check.report import report
from asd_training.bags.bag_files import create_bag
from asd_training.bags.check import record_bag
from asd_training.bags.check_pictures import write_pictures
from asd_training.bags.message_types import serialize
from asd_training.bags.scene_messages import camera_info, header, transforms

IMAGE, CAMERA_INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
WIDTH, HEIGHT = 160, 90
INTRINSICS = np.array([[126.0, 0, 79.5], [0, 126.0, 44.5], [0, 0, 1]])
START, PERIOD, COUNT = 1_700_000_000_000_000, 100_000, 5  # us


def image(stamp_us, frame_id, encoding="bgr8"):
    pixel = {"bgr8": 3, "16UC1": 2}[encoding]
    data = np.zeros(HEIGHT * WIDTH * pixel, np.uint8)
    head = header(stamp_us, frame_id)
    return ros.sensor_msgs__msg__Image(head, HEIGHT, WIDTH, encoding, 0, WIDTH * pixel, data)


def camera(image_topic, info_topic=None, frame_id=None):
    """[(topic, type, stamp in us, message)] of one camera."""
    info_topic = info_topic or f"{image_topic.rpartition('/')[0]}/camera_info"
    frame_id = frame_id or image_topic.strip("/").replace("/", "_")
    items = []
    for stamp in START + PERIOD * np.arange(COUNT):
        stamp = int(stamp)
        info = camera_info(stamp, frame_id, INTRINSICS, WIDTH, HEIGHT)
        items.append((info_topic, CAMERA_INFO, stamp, info))
        items.append((image_topic, IMAGE, stamp, image(stamp, frame_id)))
    return items


def mountings(*frame_ids):
    """/tf_static of cameras around a robot."""
    poses = {}
    for i, frame_id in enumerate(frame_ids):
        poses[frame_id] = np.eye(4)
        poses[frame_id][:3, :3] = level_camera(2 * np.pi * i / len(frame_ids), 0, 0)
        poses[frame_id][:3, 3] = 1, 0, 1.5
    message = transforms(START, "base_link", poses)
    return [("/tf_static", "tf2_msgs/msg/TFMessage", START, message)]


@pytest.fixture
def bag(tmp_path):
    """bag(items, ...) writes a bag of all items."""

    def bag(*parts):
        path = tmp_path / "bag"
        with create_bag(path) as writer:
            for topic, kind, stamp, message in sorted(sum(parts, []), key=lambda item: item[2]):
                if topic not in writer.counts:
                    writer.add_topic(topic, kind)
                data = message if isinstance(message, bytes) else serialize(message)
                writer.write(topic, stamp * 1000, data)
        return path

    return bag


def checked(path, cameras=(), trained=NUSCENES_CAMERAS, **parameters):
    recording = record_bag(path, cameras, parameters)
    return recording, report(recording, trained, (96, 256), live=False)


def verdicts(found):
    return {section.name: section.verdict for section in found.cameras}


# -- pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("trained", [NUSCENES_CAMERAS, ()])
def test_pictures_need_no_lidar_and_no_trained_cameras(bag, tmp_path, trained):
    path = bag(camera("/front/image_raw"), mountings("front_image_raw"))
    recording, found = checked(path, trained=trained)
    assert verdicts(found) == {"front": "ok"}
    write_pictures(recording, found, tmp_path)
    assert (tmp_path / "rig.png").is_file()
    assert (tmp_path / "cameras" / "front.png").is_file()


def test_each_camera_has_a_picture_whatever_its_name(bag, tmp_path):
    topics = [f"/{name}/image_raw" for name in ("rig", "a/b", "a_b")]
    frames = {topic: f"frame_{i}" for i, topic in enumerate(topics)}
    items = [camera(topic, frame_id=frame) for topic, frame in frames.items()]
    recording, found = checked(bag(*items, mountings(*frames.values())))
    assert verdicts(found) == dict.fromkeys(["a/b", "a_b", "rig"], "ok")
    write_pictures(recording, found, tmp_path)
    assert {file.name for file in tmp_path.glob("*.png")} == {"rig.png"}
    pictures = {file.name for file in (tmp_path / "cameras").iterdir()}
    assert pictures == {"a.b.png", "a_b.png", "rig.png"}
