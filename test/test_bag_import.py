# SPDX-License-Identifier: Apache-2.0
"""Promise: a robot's bags become a data set, and one that became bags comes back as it was."""

import array
import json
import shutil
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from ffmpeg_image_transport_msgs.msg import FFMPEGPacket
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from nuscenes import NuScenes
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from video import encode, moving_street

from asd_perception.cameras.calibration import CameraCalibration
from asd_perception.cameras.preprocessing import preprocess
from asd_perception.cameras.view import view_of
from asd_perception.errors import UserError
from asd_perception.ros.messages.geometry import time_from_ns
from asd_training.bags.bag_files import create_bag, open_bag, read_messages
from asd_training.bags.convert import convert_scene
from asd_training.bags.importing import dataset
from asd_training.bags.importing.dataset import VERSION, import_bags
from asd_training.bags.importing.sensors import image_file, lidar_points
from asd_training.data.index import KeyframeIndex
from asd_training.data.nuscenes import (
    all_scene_samples,
    annotated_objects,
    camera_frame,
    open_dataset,
)
from asd_training.synthetic.generate import synthesize
from asd_training.tables.splits import dataset_splits


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Two scenes of two keyframes with the sweeps between them, in tiny images."""
    root = tmp_path_factory.mktemp("original") / "data"
    synthesize(root, {"test": 2}, keyframes=2, seed=1, scale=0.05, sweeps=True, workers=1)
    return open_dataset(root)


@pytest.fixture(scope="module")
def bags(original, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bags")
    for scene in original.scene:
        convert_scene(original, scene["name"], folder / scene["name"])
    return [folder / scene["name"] for scene in original.scene]


@pytest.fixture(scope="module")
def imported(bags, tmp_path_factory):
    root = tmp_path_factory.mktemp("imported") / "data"
    import_bags(bags, root)
    return open_dataset(root)


def test_what_became_bags_comes_back(original, imported):
    for scene in original.scene:
        ours = all_scene_samples(imported, scene["name"])
        theirs = all_scene_samples(original, scene["name"])
        assert len(ours) == len(theirs) == 2
        for our, their in zip(ours, theirs, strict=True):
            found, frame = camera_frame(imported, our), camera_frame(original, their)
            assert found.stamp_us == frame.stamp_us
            assert found.rig.names == frame.rig.names
            np.testing.assert_allclose(found.global_from_ego, frame.global_from_ego, atol=1e-9)
            np.testing.assert_array_equal(found.rig.intrinsics, frame.rig.intrinsics)
            np.testing.assert_array_equal(found.rig.image_sizes, frame.rig.image_sizes)
            np.testing.assert_allclose(
                found.rig.ego_from_camera, frame.rig.ego_from_camera, atol=1e-9
            )
            for copy, image in zip(found.image_paths, frame.image_paths, strict=True):
                assert copy.read_bytes() == image.read_bytes()
            boxes = annotated_objects(imported, our, found.global_from_ego)
            truth = annotated_objects(original, their, frame.global_from_ego)
            apart = boxes.boxes - truth.boxes[order(truth, boxes)]
            apart[:, 6] = np.sin(apart[:, 6] / 2)  # headings of pi and -pi are the same
            np.testing.assert_allclose(apart, 0, atol=1e-5)
            mine = truth.velocities[order(truth, boxes)]
            np.testing.assert_allclose(boxes.velocities, mine, atol=1e-5)
            np.testing.assert_array_equal(boxes.attributes, truth.attributes[order(truth, boxes)])


def order(truth, boxes):
    """Which of the true boxes each is, by its place."""
    distances = np.linalg.norm(truth.boxes[None, :, :3] - boxes.boxes[:, None, :3], axis=-1)
    nearest = distances.argmin(axis=1)
    assert sorted(nearest) == list(range(len(truth.boxes)))
    return nearest


def test_records_are_all_there_and_in_their_order(original, imported):
    def stamps(nusc, channel):
        return sorted(r["timestamp"] for r in nusc.sample_data if r["channel"] == channel)

    for channel in ("CAM_FRONT", "CAM_BACK", "LIDAR_TOP"):
        assert stamps(imported, channel) == stamps(original, channel)
    index, before = KeyframeIndex.open(imported.dataroot), KeyframeIndex.open(original.dataroot)
    for i in range(len(before)):
        ours, theirs = index.lidar(i), before.lidar(i)
        assert len(ours) == len(theirs)
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_it_becomes_the_same_bags_again(bags, imported, tmp_path):
    def content(path):
        with open_bag(path) as bag:
            kept = [c for c in bag.connections if c.topic.endswith(("compressed", "camera_info"))]
            return [(c.topic, at, bytes(data)) for c, at, data in read_messages(bag, kept)]

    for bag in bags:
        convert_scene(imported, bag.name, tmp_path / bag.name)
        assert content(tmp_path / bag.name) == content(bag)


def test_splits_go_by_bag(bags, imported, tmp_path):
    assert dataset_splits(imported.dataroot, VERSION) == {"train": 1, "val": 1}
    names = json.loads((Path(imported.dataroot) / VERSION / "splits.json").read_text())
    assert names == {"train": [bags[0].name], "val": [bags[1].name]}
    import_bags(bags, tmp_path / "other", val=[bags[0]], keyframes_only=True)
    names = json.loads((tmp_path / "other" / VERSION / "splits.json").read_text())
    assert names == {"train": [bags[1].name], "val": [bags[0].name]}
    nusc = open_dataset(tmp_path / "other")
    assert len(nusc.sample_data) == 2 * 2 * 7
    assert all(record["is_key_frame"] for record in nusc.sample_data)
    with pytest.raises(UserError, match="--val elsewhere is none of the bags"):
        import_bags(bags, tmp_path / "third", val=[Path("elsewhere")])
    assert not (tmp_path / "third").exists()


def test_the_devkit_itself_reads_it(imported):
    nusc = NuScenes(VERSION, imported.dataroot, verbose=False)
    assert len(nusc.sample) == 4
    path, boxes, _ = nusc.get_sample_data(nusc.sample[0]["data"]["CAM_FRONT"])
    assert Path(path).is_file() and boxes


def test_what_cannot_be_used_is_counted(bags, tmp_path, capsys):
    """Boxes of another class, a camera without calibration, a robot without odometry."""
    from vision_msgs.msg import Detection3DArray

    with open_bag(bags[0]) as bag, create_bag(tmp_path / "bag") as writer:
        for item in bag.connections:
            if item.topic not in ("/odometry", "/tf", "/CAM_BACK/camera_info"):
                writer.add_topic(item.topic, item.msgtype)
        for item, at, data in read_messages(bag):
            if item.topic == "/annotations":
                message = deserialize_message(bytes(data), Detection3DArray)
                message.detections[0].results[0].hypothesis.class_id = "tram"
                message.detections[1].bbox.size.x = 0.0
                message.detections[2].results[0].hypothesis.score = 0.3
                data = serialize_message(message)
            if item.topic not in ("/odometry", "/tf", "/CAM_BACK/camera_info"):
                writer.write(item.topic, at, data)
    capsys.readouterr()
    counts = import_bags([tmp_path / "bag"], tmp_path / "data")
    told = capsys.readouterr().err
    assert "the robot is taken to stand still" in told
    assert "left out: 2 boxes of the class 'tram', which is none of the ten" in told
    assert "left out: 2 boxes without a size or place" in told
    assert "messages on /CAM_BACK/image_raw/compressed: no valid camera_info" in told
    assert "2 boxes on /annotations have a score below 1" in told
    nusc = open_dataset(tmp_path / "data")
    assert counts["sample"] == 2
    assert camera_frame(nusc, nusc.sample[0]).rig.names == tuple(
        name for name in camera_frame(nusc, nusc.sample[0]).rig.names if name != "CAM_BACK"
    )
    assert {pose["translation"][0] for pose in nusc.ego_pose} == {0.0}


def test_names_and_frames_may_be_those_of_another_robot(bags, imported, tmp_path, capsys):
    """Frames with a slash, as tf had them, a topic `objects` of another type beside the boxes, a
    transform that is none: the rest is imported as ever, and what is left out is told."""
    names = {"/annotations": "/robot/boxes"}
    with open_bag(bags[0]) as bag, create_bag(tmp_path / bags[0].name) as writer:
        kept = [
            item for item in bag.connections if item.topic not in ("/tf", "/annotation_objects")
        ]
        for item in kept:
            writer.add_topic(names.get(item.topic, item.topic), item.msgtype)
        writer.add_topic("/robot/objects", "std_msgs/msg/String")
        for item, at, data in read_messages(bag, kept):
            if item.topic == "/odometry":
                message = deserialize_message(bytes(data), Odometry)
                message.child_frame_id = "/base_link"
                data = serialize_message(message)
            elif item.topic == "/tf_static":
                message = deserialize_message(bytes(data), TFMessage)
                lamp = TransformStamped(child_frame_id="lamp")
                lamp.header.frame_id = "base_link"
                lamp.transform.rotation.w = 7.0
                message.transforms.append(lamp)
                data = serialize_message(message)
            elif item.topic == "/annotations":
                writer.write("/robot/objects", at, serialize_message(String(data="a car")))
            writer.write(names.get(item.topic, item.topic), at, data)
    capsys.readouterr()
    import_bags([tmp_path / bags[0].name], tmp_path / "data")
    told = capsys.readouterr().err
    assert "base_link to lamp: the rotation [7.0, 0.0, 0.0, 0.0]" in told
    assert "stand still" not in told and "/odometry" not in told
    nusc = open_dataset(tmp_path / "data")
    of_scene = {s["token"] for s in all_scene_samples(imported, bags[0].name)}
    before = [row for row in imported.sample_annotation if row["sample_token"] in of_scene]
    assert {row["token"] for row in nusc.sample_annotation} == {row["token"] for row in before}
    poses = {row["token"]: row["translation"] for row in imported.ego_pose}
    for row in nusc.ego_pose:
        np.testing.assert_allclose(row["translation"], poses[row["token"]], atol=1e-6)


def test_what_no_data_set_can_have_is_left_out(bags, imported, tmp_path, capsys):
    """Odometry that went astray, and an image whose driver did not fill in the stamp."""
    odd = {"/odometry": Odometry, "/CAM_FRONT/image_raw/compressed": CompressedImage}
    with open_bag(bags[0]) as bag, create_bag(tmp_path / bags[0].name) as writer:
        for item in bag.connections:
            writer.add_topic(item.topic, item.msgtype)
        for item, at, data in read_messages(bag):
            if item.topic in odd:
                message = deserialize_message(bytes(data), odd.pop(item.topic))
                if isinstance(message, Odometry):
                    message.pose.pose.position.y = 1e38
                else:
                    message.header.stamp = time_from_ns(0)
                writer.write(item.topic, at, serialize_message(message))
            writer.write(item.topic, at, data)
    capsys.readouterr()
    counts = import_bags([tmp_path / bags[0].name], tmp_path / "data")
    told = capsys.readouterr().err
    assert "1 messages on /odometry: the pose is 1e+38 m away" in told
    assert "1 messages on /CAM_FRONT/image_raw/compressed: no stamp that can be" in told
    assert len(KeyframeIndex.open(tmp_path / "data")) == counts["sample"] == 2
    names = {row["filename"] for row in imported.sample_data if bags[0].name in row["filename"]}
    assert {row["filename"] for row in open_dataset(tmp_path / "data").sample_data} == names


def test_a_bag_that_cannot_be_used_is_told_before_the_images_of_others(bags, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "import_scene", Mock(side_effect=AssertionError("work")))
    with pytest.raises(UserError, match="/nowhere does not exist"):
        import_bags([*bags, Path("/nowhere")], tmp_path / "data")


# -- images and clouds -----------------------------------------------------------------------------


def raw(pixels, encoding="rgb8"):
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.step = pixels.shape[1] * 3
    message.data.frombytes(pixels.tobytes())
    return message


def calibration(distortion=0.0):
    matrix = np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])
    return CameraCalibration(matrix, (320, 240), np.array([distortion, *[0.0] * 13]))


def test_lens_distortion_is_taken_out():
    """A straight line, as the lens bends it, is straight again."""
    lens = calibration(-0.6)
    line = np.array([[x, 60.0] for x in np.linspace(30, 290, 400)])
    rays = np.column_stack([(line - lens.matrix[:2, 2]) / 300.0, np.ones(len(line))])
    bent, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), lens.matrix, lens.distortion)
    pixels = np.full((240, 320, 3), 255, np.uint8)
    cv2.polylines(pixels, [np.round(bent).astype(np.int32)], False, (0, 0, 0), 2)
    data, suffix = image_file(raw(pixels), lens)
    assert suffix == ".jpg"
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    rows = found[20:110, 60:260].argmin(axis=0) + 20
    assert abs(rows - 60).max() <= 2
    straight = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[20:110, 60:260].argmin(axis=0) + 20
    assert np.ptp(straight) >= 3


def test_an_image_of_another_size_is_refused():
    with pytest.raises(UserError, match="the image is 100x50, its camera_info says 320x240"):
        image_file(raw(np.zeros((50, 100, 3), np.uint8)), calibration())


def cloud(points, **changes):
    """A PointCloud2 of double x, y, z, an intensity of one byte and two bytes of padding."""
    layout = np.dtype(
        {
            "names": ["x", "y", "z", "intensity"],
            "formats": ["<f8", "<f8", "<f8", "u1"],
            "offsets": [0, 8, 16, 24],
            "itemsize": 27,
        }
    )
    packed = np.zeros(len(points), layout)
    for column, name in enumerate(layout.names):
        packed[name] = [point[column] for point in points]
    fields = [
        PointField(name=name, offset=layout.fields[name][1], datatype=2 if name[0] == "i" else 8)
        for name in layout.names
    ]
    message = PointCloud2(height=1, width=len(points), point_step=27, row_step=27 * len(points))
    message.fields = fields
    message.data.frombytes(packed.tobytes())
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_clouds_of_any_layout_become_five_columns():
    points = [(1.5, 2.5, -0.5, 200), (float("nan"), 0, 0, 1), (1e6, 0, 0, 1), (3, 4, 5, 6)]
    found = lidar_points(cloud(points))
    assert found.dtype == np.float32
    assert found.tolist() == [[1.5, 2.5, -0.5, 200, 0], [3, 4, 5, 6, 0]]
    with pytest.raises(UserError, match="the cloud has 108 bytes of 540"):
        lidar_points(cloud(points, height=5))
    with pytest.raises(UserError, match="fields lie outside of its points"):
        lidar_points(cloud(points, point_step=20, row_step=80))
    with pytest.raises(UserError, match="has no x, y and z, but x, y, intensity"):
        message = cloud(points)
        message.fields = [field for field in message.fields if field.name != "z"]
        lidar_points(message)


# -- video, and lenses of any kind -----------------------------------------------------------------


def bag_of_one_camera(path, kind, images, model="plumb_bob", coefficients=(), received=None):
    """A camera on a robot that stands still: (stamp in s, message without header) of `images`.

    received: the bag times in s, where they are not the stamps.
    """
    with create_bag(path) as bag:
        bag.add_topic("/tf_static", "tf2_msgs/msg/TFMessage")
        bag.add_topic("/front/camera_info", "sensor_msgs/msg/CameraInfo")
        bag.add_topic("/front/image_raw" + kind[0], kind[1])
        mounting = TransformStamped()
        mounting.header.frame_id, mounting.child_frame_id = "base_link", "lens"
        mounting.transform.rotation.w = 1.0
        bag.write("/tf_static", 0, serialize_message(TFMessage(transforms=[mounting])))
        for at, (seconds, message) in zip(received or [s for s, _ in images], images, strict=True):
            stamp = round(seconds * 1e9)
            matrix = [100.0, 0.0, 159.5, 0.0, 100.0, 89.5, 0.0, 0.0, 1.0]
            info = CameraInfo(width=320, height=180, distortion_model=model, k=matrix)
            info.d = array.array("d", coefficients)
            for topic, item in (("camera_info", info), ("image_raw" + kind[0], message)):
                item.header.stamp = time_from_ns(stamp)
                item.header.frame_id = "lens"
                bag.write(f"/front/{topic}", round(at * 1e9), serialize_message(item))
    return path


def images_of(root):
    """By stamp in us the RGB images of a data set."""
    rows = sorted(open_dataset(root).sample_data, key=lambda row: row["timestamp"])
    return {
        row["timestamp"]: cv2.imread(str(root / row["filename"]))[..., ::-1].astype(int)
        for row in rows
    }


@pytest.mark.parametrize("b_frames", [0, 2])
def test_video_becomes_images_each_with_its_own_stamp(tmp_path, capsys, b_frames):
    """Packets before the first key frame are counted; images are those that were encoded."""
    street = moving_street(12, 320, 180)
    packets = encode(street, gop=4, b_frames=b_frames)[1:]
    messages = [
        (
            1 + p.pts / 10,
            FFMPEGPacket(encoding=p.encoding, flags=p.flags, pts=p.pts, width=320, height=180),
        )
        for p in packets
    ]
    for (_, message), packet in zip(messages, packets, strict=True):
        message.data = array.array("B", packet.data)
    bag_of_one_camera(
        tmp_path / "bag", ("/ffmpeg", "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"), messages
    )
    counts = import_bags([tmp_path / "bag"], tmp_path / "data", period=0.2)
    told = capsys.readouterr().err
    assert "left out: 3 messages on /front/image_raw/ffmpeg: a video begins with a key" in told
    found = images_of(tmp_path / "data")
    assert counts["sample_data"] == len(found) >= 8 - b_frames
    for stamp, image in found.items():
        number = round((stamp - 1_000_000) / 100_000)
        assert np.abs(image - street[number]).mean() < 5
    assert 3 <= counts["sample"] <= 5


def test_a_fisheye_becomes_a_pinhole_camera_as_the_node_makes_one(tmp_path):
    """A network is shown the same, whether it gets the lens's image or the imported one."""
    coefficients = [0.05, -0.01, 0.0, 0.0]
    image = (moving_street(1, 320, 180)[0]).copy()
    bag_of_one_camera(
        tmp_path / "bag",
        ("", "sensor_msgs/msg/Image"),
        [(1.0, raw(image))],
        "equidistant",
        coefficients,
    )
    import_bags([tmp_path / "bag"], tmp_path / "data")
    (found,) = images_of(tmp_path / "data").values()
    record = open_dataset(tmp_path / "data").calibrated_sensor[0]
    matrix = np.array(record["camera_intrinsic"])
    lens = CameraCalibration(
        matrix, (320, 180), np.array([*coefficients, *[0.0] * 10]), equidistant=True
    )
    shown = view_of(lens, None, (), (90, 160)).apply(image)
    again = CameraCalibration(matrix, (320, 180), np.zeros(14))
    same = view_of(again, None, (), (90, 160)).apply(found.astype(np.uint8))
    assert np.abs(shown.astype(int) - same).mean() < 3
    assert np.abs(preprocess(image, (90, 160)).astype(int) - same).mean() > 6


def test_a_stamp_that_comes_again_later_is_left_out(tmp_path, capsys):
    """As in a bag that was recorded of a player in a loop."""
    image = moving_street(1, 320, 180)[0]
    messages = [(seconds, raw(image)) for seconds in (1.0, 1.5, 2.0, 1.0, 1.5)]
    bag_of_one_camera(tmp_path / "bag", ("", "sensor_msgs/msg/Image"), messages)
    counts = import_bags([tmp_path / "bag"], tmp_path / "data")
    assert counts["sample"] == counts["sample_data"] == 3
    told = capsys.readouterr().err
    assert "left out: 2 messages on /front/image_raw: the same stamp as that of" in told
    assert open_dataset(tmp_path / "data").sample


@pytest.mark.parametrize(
    ("seconds", "step"),
    [
        ((5.0, 6.0, 1e9, 1e9 + 1), "ahead by 999999994.0 s"),
        ((5.0, 6.0, 2.0, 3.0), "back by 4.0 s"),
        ((5.0, 6.0, 7.0), None),
    ],
)
def test_a_clock_that_jumps_is_told(tmp_path, capsys, seconds, step):
    image = moving_street(1, 320, 180)[0]
    messages = [(at, raw(image)) for at in seconds]
    kind, received = ("", "sensor_msgs/msg/Image"), range(1, len(seconds) + 1)
    bag_of_one_camera(tmp_path / "bag", kind, messages, received=received)
    counts = import_bags([tmp_path / "bag"], tmp_path / "data")
    assert counts["sample"] == len(seconds)
    told = capsys.readouterr().err
    assert f"stamps go {step}" in told if step else "stamps go" not in told


# -- a whole life ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_student_learns_from_it(bags, tmp_path, monkeypatch, capfd):
    import yaml
    from commands import asd_train_here
    from small import SMALL

    from asd_perception.configuration import to_dict
    from asd_training.commands import asd_bag
    from asd_training.config.run import StudentRun

    monkeypatch.setattr("sys.argv", ["asd-bag", "import", *map(str, bags), str(tmp_path / "data")])
    with pytest.raises(SystemExit) as stopped:
        asd_bag.main()
    assert stopped.value.code == 0
    assert "2 scenes, 4 keyframes" in capfd.readouterr().out
    config = StudentRun(steps=2, batch_size=1, warmup_steps=0, student=SMALL)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(to_dict(config)))
    status, _, error = asd_train_here(
        *(monkeypatch, capfd, "student", tmp_path / "data", tmp_path / "run"),
        *("--config", tmp_path / "small.yaml"),
    )
    assert status == 0, error
    status, said, _ = asd_train_here(
        monkeypatch, capfd, "evaluate", tmp_path / "run" / "model", tmp_path / "data"
    )
    assert status == 0 and "keyframes: 2" in said
    shutil.rmtree(tmp_path / "data")
    assert Counter(bag.exists() for bag in bags) == {True: 2}
