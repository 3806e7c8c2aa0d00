# SPDX-License-Identifier: Apache-2.0
"""Promise: messages and arrays turn into each other without loss; a bad message says why."""

import math

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import Pose, Transform, TransformStamped
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from vision_msgs.msg import Detection3DArray

from asd_perception.constants import ATTRIBUTES, CAMERAS, CLASSES
from asd_perception.errors import UserError
from asd_perception.geometry import box_corners, box_transform, interpolate_pose, transform_from
from asd_perception.ros.calibration import MAX_FRAMES, Calibration, StaticTransforms
from asd_perception.ros.messages.cdr import detections_to_cdr
from asd_perception.ros.messages.conversions import (
    camera_model_from_msg,
    detections_to_msg,
    image_from_compressed,
    image_from_msg,
    matrix_from_pose,
    matrix_from_transform,
    objects_to_cloud,
    simulated_points_to_cloud,
    stamp_ns,
    time_from_ns,
)
from asd_perception.ros.messages.markers import markers_from_detections
from asd_perception.ros.messages.objects import detections_from_msg, objects_from_cloud
from asd_perception.ros.odometry import OdometryBuffer
from asd_perception.runtime.detections import Detections

MS = 1_000_000
HEADER = Header(stamp=time_from_ns(1_532_402_927_647_423_000), frame_id="base_link")


def over_the_wire(message):
    return deserialize_message(serialize_message(message), type(message))


def make_detections(count, seed=0):
    rng = np.random.default_rng(seed)
    boxes = np.concatenate(
        [
            rng.uniform(-60, 60, (count, 3)),
            rng.uniform(0.2, 15, (count, 3)),
            rng.uniform(-np.pi, np.pi, (count, 1)),
        ],
        axis=1,
    )
    return Detections(
        boxes=boxes.astype(np.float32),
        scores=np.sort(rng.random(count).astype(np.float32))[::-1],
        labels=rng.integers(0, len(CLASSES), count),
        velocities=rng.normal(0, 5, (count, 2)).astype(np.float32),
        attributes=rng.integers(-1, len(ATTRIBUTES), count),
    )


# -- detections --------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_detections_survive_the_round_trip_exactly(count, seed):
    sent = make_detections(count, seed)
    message = over_the_wire(detections_to_msg(sent, HEADER))
    cloud = over_the_wire(objects_to_cloud(sent, HEADER))
    back = detections_from_msg(message, objects_from_cloud(cloud))
    np.testing.assert_array_equal(back.boxes, sent.boxes)
    np.testing.assert_array_equal(back.scores, sent.scores)
    np.testing.assert_array_equal(back.labels, sent.labels)
    np.testing.assert_array_equal(back.velocities, sent.velocities)
    np.testing.assert_array_equal(back.attributes, sent.attributes)
    assert isinstance(message, Detection3DArray)
    assert (message.header, cloud.header) == (HEADER, HEADER)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 20), st.integers(0, 2**32 - 1), st.text(max_size=9))
def test_the_fast_message_is_the_plain_one(count, seed, frame_id):
    """In every alignment that the lengths of its strings bring about."""
    frame_id = frame_id.replace("\0", "").encode("utf-8", "ignore").decode()
    header = Header(stamp=time_from_ns(1_532_402_927_647_423_001 + seed), frame_id=frame_id)
    detections = make_detections(count, seed)
    fast = deserialize_message(detections_to_cdr(detections, header), Detection3DArray)
    plain = detections_to_msg(detections, header)
    assert fast == plain
    ids = [frame_id[: i % 5] for i in range(count)]
    for detection, name in zip(plain.detections, ids, strict=True):
        detection.id = name
    assert deserialize_message(detections_to_cdr(detections, header, ids), type(plain)) == plain


def test_a_message_shows_the_object_in_ros_conventions():
    """x forward, size.x length; the same corners as our own box, by an independent formula."""
    sent = make_detections(5, seed=1)
    corners = box_corners(sent.boxes)
    for i, detection in enumerate(detections_to_msg(sent, HEADER).detections):
        center, size = detection.bbox.center, detection.bbox.size
        q, p = center.orientation, center.position
        rotation = Rotation.from_quat([q.x, q.y, q.z, q.w])
        corner = rotation.apply([size.x / 2, size.y / 2, size.z / 2])
        np.testing.assert_allclose(np.add(corner, [p.x, p.y, p.z]), corners[i, 0], atol=1e-5)
        result = detection.results[0]
        assert result.hypothesis.class_id == CLASSES[sent.labels[i]]
        assert result.pose.pose == center
        assert detection.header.frame_id == "base_link"


def test_without_the_cloud_velocity_and_attribute_are_unknown():
    back = detections_from_msg(detections_to_msg(make_detections(3), HEADER))
    assert np.isnan(back.velocities).all() and (back.attributes == -1).all()


def test_bad_detections_are_refused():
    sent = make_detections(2)
    message = detections_to_msg(sent, HEADER)
    with pytest.raises(UserError, match="2 detections but 1 objects"):
        detections_from_msg(message, make_detections(1))
    message.detections[1].results[0].hypothesis.class_id = "unicorn"
    with pytest.raises(UserError, match="unicorn"):
        detections_from_msg(message)
    message.detections[1].results = []
    with pytest.raises(UserError, match="no hypothesis"):
        detections_from_msg(message)
    cloud = objects_to_cloud(sent, HEADER)
    cloud.fields[-1].name = "colour"
    with pytest.raises(UserError, match="attribute"):
        objects_from_cloud(cloud)
    cloud = objects_to_cloud(sent, HEADER)
    cloud.width = 3
    with pytest.raises(UserError, match="3 packed points"):
        objects_from_cloud(cloud)


def test_simulated_points_are_an_ordinary_cloud():
    points = np.random.default_rng(0).random((50, 4)).astype(np.float32)
    cloud = over_the_wire(simulated_points_to_cloud(points, HEADER))
    assert isinstance(cloud, PointCloud2)
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "confidence"]
    np.testing.assert_array_equal(np.frombuffer(cloud.data, "<f4").reshape(-1, 4), points)


def test_markers_clear_the_old_ones_first_and_show_box_and_motion():
    sent = make_detections(3, seed=2)
    sent.velocities[0] = 0
    sent.velocities[1] = np.nan
    first, *markers = markers_from_detections(sent, HEADER).markers
    assert first.action == first.DELETEALL
    cubes = [marker for marker in markers if marker.type == marker.CUBE]
    assert [cube.ns for cube in cubes] == [CLASSES[label] for label in sent.labels]
    for cube, box in zip(cubes, sent.boxes, strict=True):
        np.testing.assert_allclose(matrix_from_pose(cube.pose), box_transform(box), atol=1e-6)
        np.testing.assert_allclose([cube.scale.x, cube.scale.y, cube.scale.z], box[3:6])
    arrows = [marker for marker in markers if marker.type == marker.ARROW]
    assert [arrow.id for arrow in arrows] == [2]  # the others stand still or are unknown
    over_the_wire(markers_from_detections(sent, HEADER))


# -- images ------------------------------------------------------------------------------------


def raw_image(pixels, encoding, padding=0):
    rows = pixels.reshape(pixels.shape[0], -1)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    message = Image(
        height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=rows.shape[1]
    )
    message.data.frombytes(rows.tobytes())
    return message


def compressed_image(pixels, suffix=".jpg"):
    message = CompressedImage(format="jpeg")
    message.data.frombytes(cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1])
    return message


@pytest.fixture(scope="module")
def rgb():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("padding", [0, 3])
def test_plain_encodings_give_rgb(rgb, padding):
    for encoding, convert in (
        ("rgb8", None),
        ("bgr8", cv2.COLOR_RGB2BGR),
        ("rgba8", cv2.COLOR_RGB2RGBA),
        ("bgra8", cv2.COLOR_RGB2BGRA),
    ):
        pixels = rgb if convert is None else cv2.cvtColor(rgb, convert)
        np.testing.assert_array_equal(image_from_msg(raw_image(pixels, encoding, padding)), rgb)
    gray = rgb[..., :1]
    seen = image_from_msg(raw_image(gray, "mono8", padding))
    np.testing.assert_array_equal(seen, np.repeat(gray, 3, axis=2))


def test_rgb8_is_not_copied(rgb):
    message = raw_image(rgb, "rgb8")
    image = image_from_msg(message)
    message.data[0] ^= 0xFF
    assert image[0, 0, 0] != rgb[0, 0, 0]


def test_unusual_encodings_go_through_cv_bridge():
    bayer = np.full((4, 4, 1), 77, np.uint8)
    np.testing.assert_array_equal(image_from_msg(raw_image(bayer, "bayer_rggb8")), 77)


def decompress(message, size=(48, 32)):
    return image_from_compressed(message, size, size[::-1])


def test_compressed_images_give_rgb():
    color = np.zeros((32, 48, 3), np.uint8)
    color[..., 0] = 200
    for suffix in (".jpg", ".png"):
        image = decompress(compressed_image(color, suffix))
        assert image.shape == (32, 48, 3)
        np.testing.assert_allclose(image[16, 24], [200, 0, 0], atol=3)


def without_end(message, count):
    del message.data[-count:]
    return message


def zero_padded(message):
    message.data.frombytes(bytes(16))
    return message


def test_a_zero_padded_jpeg_is_whole(rgb):
    image = decompress(zero_padded(compressed_image(rgb)), rgb.shape[1::-1])
    assert image.shape == rgb.shape


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda rgb: Image(encoding="rgb8"), "zero size"),
        (lambda rgb: raw_image(rgb, "spam8"), "spam8"),
        (lambda rgb: raw_image(rgb, "rgba8"), "step"),
        (lambda rgb: without_end(raw_image(rgb, "rgb8"), 1), "bytes"),
        (lambda rgb: CompressedImage(), "no JPEG or PNG"),
        (lambda rgb: without_end(compressed_image(rgb), 30), "truncated"),
        (lambda rgb: without_end(compressed_image(rgb), 1), "truncated"),
        (lambda rgb: without_end(compressed_image(rgb, ".png"), 30), "truncated"),
    ],
)
def test_bad_images_are_refused(rgb, make, reason):
    message = make(rgb)
    convert = image_from_msg if isinstance(message, Image) else decompress
    with pytest.raises(UserError, match=reason) as caught:
        convert(message)
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=64), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]))
def test_junk_bytes_are_refused(junk, magic):
    message = CompressedImage()
    message.data.frombytes(magic + junk)
    with pytest.raises(UserError):
        decompress(message)


# -- calibration -------------------------------------------------------------------------------


def camera_info(**changes):
    values = {
        "header": Header(frame_id="optical"),
        "width": 1600,
        "height": 900,
        "k": [1266.0, 0.0, 816.0, 0.0, 1266.0, 491.0, 0.0, 0.0, 1.0],
        "distortion_model": "plumb_bob",
        "d": [0.1, 0.2, 0.3, 0.4, 0.5],
        **changes,
    }
    return CameraInfo(**values)


def test_camera_info_gives_intrinsics_and_distortion():
    model = camera_model_from_msg(over_the_wire(camera_info()))
    assert (model.frame_id, model.width, model.height) == ("optical", 1600, 900)
    np.testing.assert_array_equal(model.intrinsics[0], [1266, 0, 816])
    np.testing.assert_array_equal(model.distortion, [0.1, 0.2, 0.3, 0.4, 0.5, 0, 0, 0])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"k": [math.nan] * 9}, "not finite"),
        ({"k": [0.0] * 9}, "focal length"),
        ({"width": 0}, "zero image size"),
        ({"d": [math.inf] * 5}, "not finite"),
        ({"distortion_model": "equidistant"}, "equidistant"),
        ({"distortion_model": "equidistant", "d": [0.0] * 4}, "equidistant"),
        ({"k": [1266.0, 0.0, 816.0, 0.0, 1266.0, 491.0, 0.0, 0.0, 0.0]}, "0 0 1"),
        ({"k": [1266.0, 0.0, 1e9, 0.0, 1266.0, 491.0, 0.0, 0.0, 1.0]}, "far outside"),
        ({"k": [1e-300, 0.0, 816.0, 0.0, 1266.0, 491.0, 0.0, 0.0, 1.0]}, "focal lengths 1e-300"),
        ({"k": [1266.0, 0.0, 816.0, 0.0, 1e9, 491.0, 0.0, 0.0, 1.0]}, "focal lengths 1266 and"),
        ({"d": [0.1, 1e30, 0.0, 0.0, 0.0]}, "beyond any lens"),
        ({"distortion_model": "rational_polynomial", "d": [0.1] * 12}, "thin prism"),
        ({"binning_x": 2}, "binning"),
        ({"header": Header()}, "frame_id"),
    ],
)
def test_bad_camera_info_is_refused(changes, reason):
    with pytest.raises(UserError, match=reason):
        camera_model_from_msg(camera_info(**changes))


def transform_stamped(parent, child, matrix):
    message = TransformStamped(header=Header(frame_id=parent), child_frame_id=child)
    x, y, z, w = Rotation.from_matrix(matrix[:3, :3]).as_quat().tolist()
    rotation, translation = message.transform.rotation, message.transform.translation
    rotation.x, rotation.y, rotation.z, rotation.w = x, y, z, w
    translation.x, translation.y, translation.z = matrix[:3, 3].tolist()
    return message


def random_transform(seed):
    rng = np.random.default_rng(seed)
    return transform_from(rng.normal(size=4), rng.normal(size=3))


def test_static_transforms_chain_up_and_down_the_tree():
    graph = StaticTransforms()
    base_from_mast, mast_from_camera, root_from_base = map(random_transform, range(3))
    graph.add(transform_stamped("mast", "camera", mast_from_camera))
    graph.add(transform_stamped("/base_link", "mast", base_from_mast))
    graph.add(transform_stamped("root", "base_link", root_from_base))
    expected = base_from_mast @ mast_from_camera
    np.testing.assert_allclose(graph.lookup("base_link", "camera"), expected, atol=1e-12)
    np.testing.assert_allclose(
        graph.lookup("camera", "base_link"), np.linalg.inv(expected), atol=1e-12
    )
    np.testing.assert_array_equal(graph.lookup("camera", "camera"), np.eye(4))
    with pytest.raises(UserError, match="does not connect lidar to base_link"):
        graph.lookup("base_link", "lidar")
    graph.add(transform_stamped("camera", "root", np.eye(4)))
    with pytest.raises(UserError, match="loop"):
        graph.lookup("base_link", "lidar")


def test_bad_transforms_are_refused():
    message = transform_stamped("a", "b", np.eye(4))
    message.transform.rotation.w = math.nan
    with pytest.raises(UserError, match=r"a to b: .*not finite"):
        StaticTransforms().add(message)
    with pytest.raises(UserError, match="unit quaternion"):
        transform = Transform()
        transform.rotation.w = 0.0
        matrix_from_transform(transform)
    with pytest.raises(UserError, match="not finite"):
        pose = Pose()
        pose.position.x = math.inf
        matrix_from_pose(pose)


def test_a_frame_that_gets_another_parent_is_named_and_the_newest_one_is_used():
    graph = StaticTransforms()
    graph.add(transform_stamped("base_link", "camera", random_transform(0)))
    graph.add(transform_stamped("base_link", "camera", random_transform(1)))  # calibrated again
    graph.add(transform_stamped("base_link", "mast", np.eye(4)))
    assert not graph.contradictions
    graph.add(transform_stamped("mast", "camera", random_transform(2)))
    assert "gives camera the parent mast, before it was base_link" in graph.contradictions["camera"]
    np.testing.assert_allclose(graph.lookup("base_link", "camera"), random_transform(2), atol=1e-12)
    graph.add(transform_stamped("mast", "camera", random_transform(3)))
    assert not graph.contradictions


def test_the_graph_of_transforms_is_bounded():
    graph = StaticTransforms()
    for number in range(MAX_FRAMES):
        graph.add(transform_stamped("base_link", f"frame_{number}", np.eye(4)))
    with pytest.raises(UserError, match="one_more is ignored"):
        graph.add(transform_stamped("base_link", "one_more", np.eye(4)))
    graph.add(transform_stamped("base_link", "frame_0", random_transform(0)))


def test_the_calibration_names_what_it_lacks_and_what_contradicts():
    calibration = Calibration(CAMERAS, "base_link")
    assert "CAM_BACK/camera_info" in calibration.fault("CAM_BACK")
    for camera in CAMERAS:
        info = camera_info(header=Header(frame_id=camera))
        calibration.models[camera] = camera_model_from_msg(info)
        if camera != "CAM_BACK":
            transform = transform_stamped("base_link", camera, random_transform(len(camera)))
            calibration.transforms.add(transform)
    assert "CAM_BACK to base_link" in calibration.fault("CAM_BACK")
    assert calibration.fault("CAM_FRONT") is None
    for seed in (9, 10):  # the newest one counts
        mounting = random_transform(seed)
        calibration.transforms.add(transform_stamped("base_link", "CAM_BACK", mounting))
        found = calibration.mounting(calibration.models["CAM_BACK"])
        np.testing.assert_allclose(found, mounting, atol=1e-12)
    info = camera_info(header=Header(frame_id="CAM_FRONT"))
    calibration.models["CAM_BACK"] = camera_model_from_msg(info)
    assert "same frame_id 'CAM_FRONT' as that of CAM_FRONT" in calibration.fault("CAM_BACK")


# -- odometry ----------------------------------------------------------------------------------


def moving_pose(time_s):
    """A constant twist: 10 m/s forward while turning by 0.5 rad/s."""
    yaw = 0.5 * time_s
    position = [20 * math.sin(yaw), 20 * (1 - math.cos(yaw)), 0]
    return transform_from([math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)], position)


START = 1_532_402_927_000_000_000


@pytest.fixture
def odometry():
    buffer = OdometryBuffer()
    for step in range(21):  # 50 Hz for 0.4 s
        buffer.add(START + step * 20 * MS, moving_pose(step * 0.02))
    return buffer


def test_the_pose_is_exact_at_the_stamp_of_a_message(odometry):
    np.testing.assert_array_equal(odometry.pose_at(START + 100 * MS), moving_pose(0.1))


@pytest.mark.parametrize("time_ms", [-90, 7, 250, 399, 480])
def test_the_pose_between_and_shortly_beyond_messages_follows_the_motion(odometry, time_ms):
    pose = odometry.pose_at(START + time_ms * MS)
    expected = moving_pose(time_ms / 1000)
    np.testing.assert_allclose(pose[:3, :3], expected[:3, :3], atol=1e-9)
    np.testing.assert_allclose(pose[:3, 3], expected[:3, 3], atol=0.04)


def test_interpolation_is_that_of_the_geometry_module(odometry):
    """The offline evaluation interpolates by the same function."""
    expected = interpolate_pose(0.25, 0, moving_pose(0.1), 1, moving_pose(0.12))
    pose = odometry.pose_at(START + 105 * MS)
    np.testing.assert_allclose(pose, expected, atol=1e-12)


def test_odometry_says_nothing_about_times_that_it_does_not_cover(odometry):
    assert OdometryBuffer().pose_at(START) is None
    assert odometry.pose_at(START + 600 * MS) is None
    odometry.add(START + 5000 * MS, moving_pose(5))
    assert odometry.pose_at(START + 2500 * MS) is None, "a hole of 4.6 s"


def test_odometry_in_any_order_and_from_the_start_again(odometry):
    shuffled = OdometryBuffer()
    for step in np.random.default_rng(0).permutation(21):
        shuffled.add(START + int(step) * 20 * MS, moving_pose(step * 0.02))
    for time_ms in (-50, 130, 450):
        np.testing.assert_array_equal(
            shuffled.pose_at(START + time_ms * MS), odometry.pose_at(START + time_ms * MS)
        )
    shuffled.add(START - 9000 * MS, np.eye(4))
    assert len(shuffled) == 1, "the clock jumped back, the old poses are of no use"


def test_odometry_whose_clock_steps_back_a_little_is_not_taken_for_motion(odometry):
    """By 0.3 s, while the robot goes on: between the poses of two times there is no motion."""
    for step in range(21, 41):
        odometry.add(START + step * 20 * MS - 300 * MS, moving_pose(step * 0.02))
    for time_ms in (300, 385, 495):
        pose = odometry.pose_at(START + time_ms * MS)
        expected = moving_pose(time_ms / 1000 + 0.3)
        np.testing.assert_allclose(pose[:3, 3], expected[:3, 3], atol=0.01)


def test_stamps_are_exact_to_the_nanosecond():
    for nanoseconds in (0, 1, 999_999_999, 1_532_402_927_647_423_001):
        assert stamp_ns(over_the_wire(time_from_ns(nanoseconds))) == nanoseconds
