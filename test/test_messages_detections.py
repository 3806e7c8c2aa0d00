# SPDX-License-Identifier: Apache-2.0
"""Promise: objects turn into messages and back without loss; a bad message says why."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from vision_msgs.msg import Detection3DArray

from asd_perception.constants import ATTRIBUTES, CLASSES
from asd_perception.errors import UserError
from asd_perception.geometry import box_corners, box_transform
from asd_perception.ros.messages.clouds import simulated_points_to_cloud
from asd_perception.ros.messages.geometry import matrix_from_pose, time_from_ns
from asd_perception.ros.messages.published import cdr_check
from asd_perception.ros.messages.published.cdr import detections_to_cdr
from asd_perception.ros.messages.published.cdr_check import cdr_matches_rclpy
from asd_perception.ros.messages.published.detections import detections_from_msg, detections_to_msg
from asd_perception.ros.messages.published.markers import LIFETIME, markers_from_detections
from asd_perception.ros.messages.published.objects import objects_from_cloud, objects_to_cloud
from asd_perception.runtime.detections import Detections

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
    for covariances in (None, np.random.default_rng(seed).random((count, 6, 6))):
        fast = detections_to_cdr(detections, header, covariances)
        plain = detections_to_msg(detections, header, covariances)
        assert deserialize_message(fast, Detection3DArray) == plain
    ids = [frame_id[: i % 5] for i in range(count)]
    for detection, name in zip(plain.detections, ids, strict=True):
        detection.id = name
    fast = detections_to_cdr(detections, header, covariances, ids=ids)
    assert deserialize_message(fast, Detection3DArray) == plain


def test_what_this_ros_reads_of_the_fast_message_is_checked(monkeypatch):
    assert cdr_matches_rclpy()

    def another_value(detections, header, covariances):
        return detections_to_cdr(detections, header, covariances, ids=["a"] * len(detections))

    def another_field(detections, header, covariances):
        data = detections_to_cdr(detections, header, covariances)
        return data[:12] + bytes(8) + data[12:]

    def cut_short(detections, header, covariances):
        return detections_to_cdr(detections, header, covariances)[:100]

    def without_covariances(detections, header, covariances):
        return detections_to_cdr(detections, header)

    for wrong in (another_value, another_field, cut_short, without_covariances):
        monkeypatch.setattr(cdr_check, "detections_to_cdr", wrong)
        assert not cdr_matches_rclpy(), wrong.__name__


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
        assert detection.id == f"1532402927.647423000-{i}"


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
    cloud = objects_to_cloud(sent, HEADER)
    cloud.fields[-1].offset = 47
    with pytest.raises(UserError, match="fields lie outside of its points of 48 bytes"):
        objects_from_cloud(cloud)
    message = detections_to_msg(sent, HEADER)
    message.detections[0].bbox.center.position.x = 1e300  # no float32
    with pytest.raises(UserError, match="not finite"):
        detections_from_msg(message)


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
    assert all(marker.lifetime.sec == LIFETIME for marker in markers)
    cubes = [marker for marker in markers if marker.type == marker.CUBE]
    assert [cube.ns for cube in cubes] == [CLASSES[label] for label in sent.labels]
    for cube, box in zip(cubes, sent.boxes, strict=True):
        np.testing.assert_allclose(matrix_from_pose(cube.pose), box_transform(box), atol=1e-6)
        np.testing.assert_allclose([cube.scale.x, cube.scale.y, cube.scale.z], box[3:6])
    arrows = [marker for marker in markers if marker.type == marker.ARROW]
    assert [arrow.id for arrow in arrows] == [2]  # the others stand still or are unknown
    over_the_wire(markers_from_detections(sent, HEADER))
