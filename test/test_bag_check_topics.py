# SPDX-License-Identifier: Apache-2.0
"""Promise: `asd-bag check` finds the cameras of any bag, and says what it leaves out."""

from itertools import chain

import cv2
import numpy as np
import pytest
from rosbags.typesys.stores import ros2_kilted as ros

from asd_perception.cameras.calibration import NUSCENES_CAMERAS
from asd_perception.errors import UserError
from asd_perception.geometry import level_camera
from asd_perception.ros.check.report import report
from asd_perception.ros.messages.images import COMPRESSED, IMAGE
from asd_training.bags.bag_files import create_bag
from asd_training.bags.check import record_bag
from asd_training.bags.check_pictures import write_pictures
from asd_training.bags.discovery import CAMERA_INFO
from asd_training.bags.message_types import serialize
from asd_training.bags.scene_messages import camera_info, header, lidar_cloud, transforms

WIDTH, HEIGHT = 160, 90
INTRINSICS = np.array([[126.0, 0, 79.5], [0, 126.0, 44.5], [0, 0, 1]])
START, PERIOD, COUNT = 1_700_000_000_000_000, 100_000, 5  # us


def image(stamp_us, frame_id, encoding="bgr8"):
    pixel = {"bgr8": 3, "16UC1": 2}[encoding]
    data = np.zeros(HEIGHT * WIDTH * pixel, np.uint8)
    head = header(stamp_us, frame_id)
    return ros.sensor_msgs__msg__Image(head, HEIGHT, WIDTH, encoding, 0, WIDTH * pixel, data)


def png(stamp_us, frame_id, message_format):
    data = cv2.imencode(".png", np.zeros((HEIGHT, WIDTH), np.uint16))[1].ravel()
    return ros.sensor_msgs__msg__CompressedImage(header(stamp_us, frame_id), message_format, data)


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
            for topic, kind, stamp, message in sorted(chain(*parts), key=lambda item: item[2]):
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


# -- which topics are cameras ----------------------------------------------------------------------


def stereo():
    """Two image topics and one camera_info in one namespace."""
    left = camera("/stereo/left_image", frame_id="left")
    right = [item for item in camera("/stereo/right_image") if item[1] == IMAGE]
    return [*left, *right, *mountings("left", "right")]


def test_two_images_in_one_namespace_are_one_camera_and_one_that_is_named(bag):
    _, found = checked(bag(stereo()))
    assert verdicts(found) == {"stereo": "ok"}
    text = " ".join(found.text.split())
    assert (
        "left out /stereo/right_image is not looked at: choose it by --cameras /stereo/right_image"
    ) in text
    assert "/stereo/left_image is not" not in text


def test_two_cameras_with_one_topic_are_refused_as_by_the_node(bag):
    path = bag(stereo())
    with pytest.raises(UserError, match="the same camera_info topic /stereo/camera_info; set cam"):
        checked(path, ["/stereo/left_image", "/stereo/right_image"])
    parameters = {f"camera.{name}.image": "stereo/left_image" for name in "ab"}
    with pytest.raises(UserError, match="the same image topic /stereo/left_image; set camera.b.im"):
        checked(path, **{"cameras": ["a", "b"], **parameters})


@pytest.mark.parametrize("items", [[], camera("/front/image_raw")[::2]], ids=["empty", "no image"])
def test_a_bag_without_any_camera_is_told_so(bag, items):
    with pytest.raises(UserError, match=r"has no camera; its image topics are: none \(choose by"):
        checked(bag(items))


NINE = [f"camera_{i}" for i in range(9)]


def test_all_names_that_discovery_prints_can_be_given(bag):
    topics = [f"/{name}/image_color" for name in NINE]
    path = bag(
        *map(camera, topics), mountings(*(topic.strip("/").replace("/", "_") for topic in topics))
    )
    with pytest.raises(UserError, match=f"choose by --cameras from {', '.join(NINE)}"):
        checked(path)
    with pytest.raises(UserError, match="its image topics are: /camera_0/image_color, "):
        checked(path, ["roof"])
    for names in (NINE[:2], topics[:2], ["camera_0", "/camera_1/image_color"]):
        recording, found = checked(path, names)
        assert verdicts(found) == dict.fromkeys(names, "ok")
        assert [record.topics.image for record in recording.cameras.values()] == topics[:2]
        assert len(recording.left_out) == 7


@pytest.mark.parametrize(
    ("topic", "message_format"),
    [
        ("/depth/image_raw", None),
        ("/depth/image_raw/compressed", "16UC1; png compressed "),
        ("/depth/image_raw/compressed", "32FC1; compressedDepth png"),
        ("/depth/image_raw/compressedDepth", "16UC1; compressedDepth png"),
    ],
)
def test_depth_images_are_no_camera(bag, topic, message_format):
    depth = [
        (topic, IMAGE, START, image(START, "depth", "16UC1"))
        if message_format is None
        else (topic, COMPRESSED, START, png(START, "depth", message_format)),
        ("/depth/camera_info", CAMERA_INFO, START, camera_info(START, "depth", INTRINSICS, 16, 9)),
    ]
    recording, found = checked(bag(camera("/front/image_raw"), depth, mountings("front_image_raw")))
    assert verdicts(found) == {"front": "ok"}
    assert recording.left_out == {topic: "its images are depths"}


# -- damaged messages ------------------------------------------------------------------------------


def test_damaged_messages_are_counted_and_the_others_used(bag):
    points = np.zeros((4, 5), np.float32)
    clouds = [
        ("/points", "sensor_msgs/msg/PointCloud2", stamp, lidar_cloud(stamp, "base_link", points))
        for stamp in (START, START + 1)
    ]
    parts = camera("/front/image_raw"), mountings("front_image_raw") * 2, clouds
    items = []
    for topic in ("/front/image_raw", "/front/camera_info", "/tf_static", "/points"):
        first, *others = (item for item in chain(*parts) if item[0] == topic)
        items += [(*first[:3], serialize(first[3])[:40]), *others]
    recording, found = checked(bag(items))
    assert verdicts(found) == {"front": "warning"}
    text = " ".join(found.text.split())
    for line in (
        "1 of 5 images are refused: message on /front/image_raw is damaged",
        "/front/camera_info: message on /front/camera_info is damaged",
        "1 bad transform: message on /tf_static is damaged",
        "1 bad cloud: message on /points is damaged",
    ):
        assert line in text, line
    assert len(recording.frames) == COUNT - 1 and set(recording.clouds) == {"/points"}
