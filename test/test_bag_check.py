# SPDX-License-Identifier: Apache-2.0
"""Promise: a bag of any robot is seen as the detector sees it, and every fault has its remedy."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from ffmpeg_image_transport_msgs.msg import FFMPEGPacket
from rclpy.serialization import serialize_message
from rosbags.typesys.stores import ros2_kilted as ros

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.cameras.calibration import NUSCENES_CAMERAS
from asd_perception.cameras.rig_check import Level
from asd_perception.errors import UserError
from asd_perception.geometry import inverse, level_camera
from asd_perception.ros.check.report import report
from asd_perception.ros.messages.geometry import matrix_from_transform, stamp_ns, time_from_ns
from asd_perception.ros.messages.images import VIDEO
from asd_training.bags.bag_files import create_bag, open_bag, read_messages
from asd_training.bags.check import parameters_from_file, record_bag
from asd_training.bags.check_pictures import cloud_points, lidar_points, write_pictures
from asd_training.bags.convert import convert_scene
from asd_training.bags.message_types import deserialize, serialize
from asd_training.bags.scene_messages import header, transforms
from asd_training.data.nuscenes import open_dataset
from asd_training.synthetic.generate import synthesize

ROOT = Path(__file__).resolve().parents[1]
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A scene with sweeps at 12 Hz, in small images."""
    root = tmp_path_factory.mktemp("data")
    synthesize(root, {"test": 1}, keyframes=3, seed=1, scale=0.05, sweeps=True, workers=1)
    nusc = open_dataset(root)
    bag = tmp_path_factory.mktemp("bag") / "scene"
    convert_scene(nusc, nusc.scene[0]["name"], bag)
    return bag


@pytest.fixture
def changed(good, tmp_path):
    """A copy of the good bag: change(topic, type, message) gives [(topic, type, message)]."""

    def changed(change):
        path = tmp_path / "changed"
        with open_bag(good) as reader, create_bag(path) as bag:
            for connection, at, data in read_messages(reader):
                message = deserialize(data, connection.msgtype)
                for topic, kind, new in change(connection.topic, connection.msgtype, message):
                    if topic not in bag.counts:
                        bag.add_topic(topic, kind)
                    bag.write(topic, at, serialize(new))
        return path

    return changed


def checked(bag, cameras=(), **parameters):
    recording = record_bag(bag, cameras, parameters)
    found = report(recording, NUSCENES_CAMERAS, (96, 256), live=False)
    found.text.encode("ascii")
    return found


def words(found):
    """The text as one line."""
    return " ".join(found.text.split())


def section(found, name):
    return next(item for item in found.sections if item.name == name)


def said(found, name, words, level=Level.ERROR):
    """That the camera's findings have the words, and no other camera is at fault."""
    assert any(words in item.text and item.level == level for item in section(found, name).findings)
    others = [item for item in found.cameras if item.name != name]
    assert {item.verdict for item in others} == {"ok"}


def same(topic, kind, message):
    return [(topic, kind, message)]


# -- a good bag ------------------------------------------------------------------------------------


def test_a_good_bag_is_ok(good):
    found = checked(good)
    assert {item.name for item in found.cameras} == set(CAMERAS)
    assert {item.verdict for item in found.sections} == {"ok"}, found.text
    assert "0 errors, 0 warnings" in words(found)
    for facts in (
        "at 12.0 Hz",
        "jpeg; 80x45",
        "z 1.51 m in base_link",
        "65 x 39 deg",
        "360 of 360",
    ):
        assert facts in words(found), facts


def test_the_real_keyframe_is_ok(keyframe_root, tmp_path):
    nusc = open_dataset(keyframe_root)
    convert_scene(nusc, nusc.scene[0]["name"], tmp_path / "bag")
    found = checked(tmp_path / "bag")
    assert {item.verdict for item in found.sections} == {"ok"}, found.text
    assert "jpeg; 1600x900" in words(found) and "1, of which 1 have all cameras" in words(found)


def test_pictures_show_the_rig_and_what_the_network_is_shown(good, tmp_path):
    recording = record_bag(good, [], {})
    found = report(recording, NUSCENES_CAMERAS, (96, 256), live=False)
    write_pictures(recording, found, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"rig.png", "cameras"}
    assert {path.stem for path in (tmp_path / "cameras").iterdir()} == set(CAMERAS)
    files = (tmp_path / "rig.png", tmp_path / "cameras" / "CAM_FRONT.png")
    rig, front = (cv2.imread(str(file)) for file in files)
    assert rig.shape == (900, 900, 3) and front.shape == (288, 768, 3)
    assert len(np.unique(rig.reshape(-1, 3), axis=0)) > 10
    points = lidar_points(recording)
    assert len(points) > 1000
    ground = points[(np.abs(points[:, 0] - 8) < 2) & (np.abs(points[:, 1]) < 2)]
    assert abs(np.median(ground[:, 2])) < 0.2  # in base_link, so at the road's height


# -- bags with faults ------------------------------------------------------------------------------


def test_a_body_frame_in_place_of_the_optical_frame(changed):
    link_from_optical = np.eye(4)
    link_from_optical[:3, :3] = level_camera(0, 0, 0)

    def change(topic, kind, message):
        if topic != "/tf_static":
            return same(topic, kind, message)
        poses = {t.child_frame_id: matrix_from_transform(t.transform) for t in message.transforms}
        poses["CAM_FRONT"] = poses["CAM_FRONT"] @ inverse(link_from_optical)
        return same(topic, kind, transforms(stamp_us(message.transforms[0]), "base_link", poses))

    said(checked(changed(change)), "CAM_FRONT", "has the axes of a camera_link")


def stamp_us(message):
    return stamp_ns(message.header.stamp) // 1000


def test_a_camera_without_camera_info(changed):
    bag = changed(lambda *item: [] if item[0] == "/CAM_BACK/camera_info" else same(*item))
    said(checked(bag), "CAM_BACK", "no camera_info on /CAM_BACK/camera_info")


def test_a_camera_info_that_is_none(changed):
    def change(topic, kind, message):
        if topic == "/CAM_BACK/camera_info":
            message = dataclasses.replace(message, k=np.zeros(9))
        return same(topic, kind, message)

    said(checked(changed(change)), "CAM_BACK", "no focal length in K")


@pytest.mark.parametrize("shift", [-1.0, 0.3])
def test_a_camera_with_a_clock_of_its_own(changed, shift):
    def change(topic, kind, message):
        if topic.startswith("/CAM_BACK/"):
            message.header.stamp = header(stamp_us(message) + int(shift * 1e6), "").stamp
        return same(topic, kind, message)

    found = checked(changed(change))
    where = f"its stamps are {abs(shift):.2f} s {'ahead of' if shift > 0 else 'behind'}"
    said(found, "CAM_BACK", where)
    assert "sweeps lack its images" in section(found, "CAM_BACK").findings[0].text
    assert section(found, "rig").verdict == "warning"


def test_lost_images(changed):
    count = iter(range(1000))

    def change(topic, kind, message):
        lost = topic == "/CAM_BACK/image_raw/compressed" and next(count) % 4 == 3
        return [] if lost else same(topic, kind, message)

    found = checked(changed(change))
    said(found, "CAM_BACK", "of more than 1.5 periods", Level.WARNING)
    said(found, "CAM_BACK", "sweeps lack its images", Level.WARNING)


def test_images_that_are_cut_short(changed):
    def change(topic, kind, message):
        if topic == "/CAM_BACK/image_raw/compressed":
            message = dataclasses.replace(message, data=message.data[:-20])
        return same(topic, kind, message)

    said(checked(changed(change)), "CAM_BACK", "images are refused: image of")


def test_a_calibration_of_another_size(changed):
    def change(topic, kind, message):
        if topic == "/CAM_BACK/camera_info":
            message.width, message.height = 160, 90
        return same(topic, kind, message)

    said(checked(changed(change)), "CAM_BACK", "its images are 80x45, its camera_info says 160x90")


def test_another_frame_in_the_images_and_one_frame_for_two(changed):
    def change(topic, kind, message):
        if topic == "/CAM_BACK/image_raw/compressed":
            message.header.frame_id = "somewhere"
        return same(topic, kind, message)

    said(checked(changed(change)), "CAM_BACK", "in frame 'somewhere'", Level.WARNING)


def test_one_frame_for_two_cameras(changed):
    def change(topic, kind, message):
        if topic.startswith("/CAM_BACK/"):
            message.header.frame_id = "CAM_BACK_LEFT"
        return same(topic, kind, message)

    found = checked(changed(change))
    assert "same frame_id 'CAM_BACK_LEFT' as that of CAM_BACK_LEFT" in words(found)


def test_a_base_frame_that_is_not_there_is_named_beside_those_that_are(good):
    found = checked(good, base_frame="chassis")
    assert {item.verdict for item in found.cameras} == {"error"}
    assert (
        "chassis" in words(found)
        and "base_link" in words(found)
        and "CAM_FRONT_LEFT" in words(found)
    )


def test_a_camera_that_is_not_in_the_bag(good):
    found = checked(good, ["CAM_FRONT", "CAM_ROOF"])
    said(found, "CAM_ROOF", "no image on /CAM_ROOF/image_raw")
    with pytest.raises(UserError, match="none of /CAM_ROOF/image_raw; its image topics are: /CAM_"):
        record_bag(good, ["CAM_ROOF"], {})


# -- other robots ----------------------------------------------------------------------------------


def as_raw(message):
    image = cv2.imdecode(message.data, cv2.IMREAD_COLOR)
    height, width = image.shape[:2]
    return ros.sensor_msgs__msg__Image(
        header=message.header,
        height=height,
        width=width,
        encoding="bgr8",
        is_bigendian=0,
        step=width * 3,
        data=image.ravel(),
    )


def test_cameras_of_another_robot_are_found_by_their_types(changed, tmp_path):
    """Raw images in a namespace, a rectified image beside, and a depth camera, which is none."""

    def change(topic, kind, message):
        name = topic.split("/")[1]
        if name not in ("CAM_FRONT", "CAM_BACK"):
            return [] if topic.startswith("/CAM_") else same(topic, kind, message)
        robot = f"/robot/{name.lower()}"
        if topic.endswith("camera_info"):
            depth = f"/robot/depth_{name.lower()}/camera_info"
            return [(f"{robot}/camera_info", kind, message), (depth, kind, message)]
        raw = as_raw(message)
        depth = dataclasses.replace(
            raw, encoding="16UC1", step=raw.width * 2, data=raw.data[: raw.width * raw.height * 2]
        )
        return [
            (f"{robot}/image_raw", IMAGE, raw),
            (f"{robot}/image_rect", IMAGE, raw),
            (f"/robot/depth_{name.lower()}/image_raw", IMAGE, depth),
        ]

    bag = changed(change)
    found = checked(bag)
    assert [item.name for item in found.cameras] == ["robot/cam_back", "robot/cam_front"]
    assert {item.verdict for item in found.sections} == {"ok"}, found.text
    assert "/robot/cam_back/image_raw," in words(found) and "bgr8; 80x45" in words(found)
    recording = record_bag(bag, [], {})
    write_pictures(recording, found, tmp_path)
    assert (tmp_path / "cameras" / "robot.cam_back.png").is_file()

    found = checked(bag, **{
        "cameras": ["back"],
        "camera.back.image": "/robot/cam_back/image_rect",
        "camera.back.calibration": "rectified",
    })  # fmt: skip
    assert [item.name for item in found.cameras] == ["back"]
    assert found.cameras[0].verdict == "ok" and "; rectified" in words(found)


def test_video_is_looked_at_as_images_are(good, tmp_path):
    path = tmp_path / "video"
    with open_bag(good) as reader, create_bag(path) as bag:
        for connection, at, data in read_messages(reader):
            topic, kind = connection.topic, connection.msgtype
            if kind == COMPRESSED:
                image = deserialize(data, kind)
                packet = FFMPEGPacket(encoding="h264;yuv420p;bgr8;bgr8", width=80, height=45)
                packet.header.stamp = time_from_ns(stamp_ns(image.header.stamp))
                packet.header.frame_id = image.header.frame_id
                data, kind = serialize_message(packet), VIDEO
                topic = topic.replace("/compressed", "/ffmpeg")
            if topic not in bag.counts:
                bag.add_topic(topic, kind)
            bag.write(topic, at, data)
    for parameters in ({}, {"cameras": list(CAMERAS)}, {"image_transport": "ffmpeg"}):
        found = checked(path, **parameters)
        assert {item.name for item in found.cameras} == set(CAMERAS)
        assert {item.verdict for item in found.sections} == {"ok"}, found.text
        assert "/CAM_FRONT/image_raw/ffmpeg, " in words(found) and "80x45" in words(found)


def test_an_unknown_transport_is_refused(good):
    with pytest.raises(
        UserError, match="image_transport: 'theora' is not raw or compressed or ffmpeg"
    ):
        record_bag(good, ["CAM_BACK"], {"image_transport": "theora"})


def test_a_rectified_topic_with_a_raw_calibration(changed):
    def change(topic, kind, message):
        if topic == "/CAM_BACK/camera_info":
            message = dataclasses.replace(message, d=np.array([-0.2, 0.02, 0, 0, 0]))
        return same(topic.replace("image_raw", "image_rect_color"), kind, message)

    bag = changed(change)
    parameters = {f"camera.{name}.image": f"{name}/image_rect_color" for name in CAMERAS}
    said(checked(bag, CAMERAS, **parameters), "CAM_BACK", "a second time", Level.WARNING)
    assert section(checked(bag), "CAM_BACK").verdict == "ok"  # taken by its name


def test_the_nodes_parameter_file_is_read(good, tmp_path):
    parameters = parameters_from_file(ROOT / "config/detector.yaml")
    assert parameters["cameras"] == list(CAMERAS) and parameters["sync.tolerance"] == 0.06
    found = checked(good, **{**parameters, "image_transport": "compressed", "sync.tolerance": 0.2})
    assert [item.name for item in found.cameras] == list(CAMERAS)
    (finding,) = section(found, "rig").findings
    assert "sync.tolerance is 200 ms" in finding.text
    other = tmp_path / "other.yaml"
    other.write_text("a: {ros__parameters: {base_frame: b}}")
    with pytest.raises(UserError, match="no ros__parameters of the node detector"):
        parameters_from_file(other)
    other.write_text(
        "/**: {ros__parameters: {base_frame: b}}\n"
        "/robot/detector: {ros__parameters: {sync: {tolerance: 0.02}}}\n"
        "other: {ros__parameters: {base_frame: c}}"
    )
    assert parameters_from_file(other) == {"base_frame": "b", "sync.tolerance": 0.02}


@pytest.mark.parametrize("value", [0, 2, "much", True])
def test_a_parameter_out_of_range_is_named(good, value):
    with pytest.raises(UserError, match="sync.tolerance: .* is not a number from 0.001 to 0.5"):
        record_bag(good, [], {"sync.tolerance": value})


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        ({"calibration": "rectifed"}, "calibration: 'rectifed' is not raw or rectified"),
        ({"sync.min_cameras": 9}, "sync.min_cameras: 9 is not a whole number from 1 to 8"),
        (
            {"cameras": ["CAM_BACK"], "sync.min_cameras": 2},
            "sync.min_cameras is 2, but cameras has",
        ),
        ({"camera.CAM_BACK.calibration": "K"}, "camera.CAM_BACK.calibration: 'K' is not raw or"),
        ({"cameras": "CAM_BACK"}, "cameras: 'CAM_BACK' is not a list of names"),
    ],
)
def test_what_the_node_refuses_is_refused(good, parameters, line):
    with pytest.raises(UserError, match=line):
        record_bag(good, [], parameters)


def test_parameters_that_the_node_does_not_know_are_named(good, capsys):
    unknown = {"sync.tolerence": 0.1, "camera.CAM_BCK.image": "x"}
    record_bag(good, [], {**unknown, "use_sim_time": True, "qos_overrides./tf.depth": 1})
    told = [line for line in capsys.readouterr().err.splitlines() if "no effect" in line]
    assert told == [
        "unknown parameter sync.tolerence has no effect; did you mean sync.tolerance?",
        "camera.CAM_BCK, which is not in cameras, has no effect; did you mean CAM_BACK?",
    ]


def test_more_cameras_than_the_detector_takes(good):
    with pytest.raises(UserError, match="--cameras: there are 9 names; give 1 to 8"):
        record_bag(good, [f"a{i}" for i in range(9)], {})


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_points_of_any_cloud(kind, order):
    layout = np.dtype(
        [("ring", "u2"), ("z", order + kind), ("x", order + kind), ("y", order + kind)]
    )
    points = np.zeros(6, layout)
    points["x"], points["y"], points["z"] = np.arange(6), 10, [1, 2, 3, 4, 5, np.nan]
    rows = points.view(np.uint8).reshape(2, -1)
    padded = np.pad(rows, ((0, 0), (0, 5)))
    fields = [
        ros.sensor_msgs__msg__PointField(name, layout.fields[name][1], {"f4": 7, "f8": 8}[kind], 1)
        for name in ("z", "x", "y")
    ]
    message = ros.sensor_msgs__msg__PointCloud2(
        header(1, "lidar"), 2, 3, fields, order == ">", layout.itemsize, padded.shape[1],
        padded.ravel(), False,
    )  # fmt: skip
    np.testing.assert_array_equal(cloud_points(message)[:, 0], np.arange(5))
    np.testing.assert_array_equal(cloud_points(message)[:, 2], [1, 2, 3, 4, 5])
    with pytest.raises(UserError, match="no fields"):
        cloud_points(dataclasses.replace(message, fields=fields[:2]))
    for wrong in ({"height": 3}, {"point_step": 4}, {"data": padded.ravel()[:20]}):
        with pytest.raises(UserError, match="do not fit together"):
            cloud_points(dataclasses.replace(message, **wrong))
    assert len(cloud_points(dataclasses.replace(message, width=0, data=padded.ravel()[:0]))) == 0


# -- the command -----------------------------------------------------------------------------------


MAIN = "from asd_training.commands.asd_bag import main; main()"


def asd_bag_check(*arguments):
    """In a terminal that knows no UTF-8."""
    return subprocess.run(
        [sys.executable, "-c", MAIN, "check", *map(str, arguments)],
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
        check=False,
    )


def test_the_command_prints_writes_and_exits(good, changed, tmp_path):
    done = asd_bag_check(good, "--output", tmp_path / "pictures")
    assert done.returncode == 0, done.stderr
    assert b"0 errors, 0 warnings" in done.stdout
    assert (tmp_path / "pictures" / "rig.png").is_file()
    again = asd_bag_check(good, "--output", tmp_path / "pictures")
    assert again.returncode == 2 and b"exists already" in again.stderr and not again.stdout
    bag = changed(lambda *item: [] if item[0] == "/CAM_BACK/camera_info" else same(*item))
    done = asd_bag_check(bag, "--model", ROOT / "asd_perception/models/tiny")
    assert done.returncode == 1
    assert b"CAM_BACK: error" in done.stdout and b"1 error, 0 warnings" in done.stdout


def test_bad_bags_are_one_line(good, tmp_path):
    for bag in (tmp_path / "nowhere", tmp_path):
        done = asd_bag_check(bag)
        assert done.returncode == 2 and done.stderr.count(b"\n") == 1
        assert done.stderr.startswith(b"asd-bag check: error: ")
