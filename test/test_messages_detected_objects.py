# SPDX-License-Identifier: Apache-2.0
"""Promise: Autoware's trackers get the objects in Autoware's conventions, over real DDS."""

import sys
import time

import numpy as np
import pytest
import rclpy
from rclpy.serialization import deserialize_message, serialize_message
from robot import PATIENCE, START
from std_msgs.msg import Header
from test_messages_detections import HEADER, make_detections
from test_validation_errors import errors

from asd_perception.constants import CLASSES
from asd_perception.geometry import box_transform
from asd_perception.ros.messages.geometry import matrix_from_pose, stamp_ns, time_from_ns
from asd_perception.ros.messages.published import detected_objects
from asd_perception.ros.messages.published.detected_objects import detected_objects_to_msg
from asd_perception.ros.node import DetectorNode

autoware = pytest.importorskip(
    "autoware_perception_msgs.msg", reason="make setup generates autoware_perception_msgs"
)


def over_the_wire(message):
    return deserialize_message(serialize_message(message), type(message))


def test_an_object_is_told_in_autowares_conventions():
    detections = make_detections(40)
    detections.velocities[3] = np.nan
    covariances = errors().covariances(detections.boxes, detections.labels)
    message = over_the_wire(detected_objects_to_msg(detections, HEADER, covariances))
    assert message.header == HEADER and len(message.objects) == 40
    for i, (found, box) in enumerate(zip(message.objects, detections.boxes, strict=True)):
        assert found.existence_probability == pytest.approx(detections.scores[i])
        kinematics = found.kinematics
        pose = kinematics.pose_with_covariance
        np.testing.assert_allclose(pose.covariance, covariances[i].ravel(), atol=1e-12)
        assert kinematics.has_position_covariance and not kinematics.has_twist_covariance
        matrix = matrix_from_pose(pose.pose)
        expected = box_transform(box)
        if CLASSES[detections.labels[i]] == "traffic_cone":  # without a heading
            expected[:3, :3] = np.eye(3)
        np.testing.assert_allclose(matrix, expected, atol=1e-5)
        assert found.shape.type == autoware.Shape.BOUNDING_BOX
        size = found.shape.dimensions
        np.testing.assert_allclose([size.x, size.y, size.z], box[3:6], atol=1e-6)
        assert kinematics.has_twist == (i != 3)
        if i != 3:  # turned back by the pose, the twist is the velocity over ground
            linear = kinematics.twist_with_covariance.twist.linear
            ground = matrix[:3, :3] @ [linear.x, linear.y, linear.z]
            np.testing.assert_allclose(ground[:2], detections.velocities[i], atol=1e-4)


def test_classes_and_headings_are_those_that_autoware_knows():
    detections = make_detections(len(CLASSES))
    detections.labels[:] = range(len(CLASSES))
    message = detected_objects_to_msg(detections, HEADER)
    (unknown, available) = (
        autoware.ObjectClassification.UNKNOWN,
        autoware.DetectedObjectKinematics.AVAILABLE,
    )
    of_class = {
        "car": (autoware.ObjectClassification.CAR, available),
        "truck": (autoware.ObjectClassification.TRUCK, available),
        "bus": (autoware.ObjectClassification.BUS, available),
        "trailer": (autoware.ObjectClassification.TRAILER, available),
        "construction_vehicle": (unknown, available),
        "pedestrian": (autoware.ObjectClassification.PEDESTRIAN, available),
        "motorcycle": (autoware.ObjectClassification.MOTORCYCLE, available),
        "bicycle": (autoware.ObjectClassification.BICYCLE, available),
        "traffic_cone": (unknown, autoware.DetectedObjectKinematics.UNAVAILABLE),
        "barrier": (unknown, autoware.DetectedObjectKinematics.SIGN_UNKNOWN),
    }
    for name, found in zip(CLASSES, message.objects, strict=True):
        (classification,) = found.classification
        told = classification.label, found.kinematics.orientation_availability
        assert told == of_class[name], name
        assert classification.probability == 1.0
        assert not found.kinematics.has_position_covariance
        assert not any(found.kinematics.pose_with_covariance.covariance)


def test_they_are_published_while_somebody_listens(small_model, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "asd_perception.ros.node.detected_objects_to_msg",
        lambda *given: asked.append(given) or detected_objects_to_msg(*given),
    )
    found, heard = make_detections(3), []
    rclpy.init(args=["--ros-args", "-p", f"model:={small_model}", "-p", "device:=cpu"])
    try:
        node = DetectorNode()
        assert node.start()
        node._publish("base_link", None, found, START)
        assert not asked  # nobody listens
        node.create_subscription(autoware.DetectedObjects, "~/detected_objects", heard.append, 10)
        deadline = time.monotonic() + PATIENCE
        while not heard and time.monotonic() < deadline:
            node._publish("base_link", None, found, START)
            rclpy.spin_once(node, timeout_sec=0.1)
        node.trigger_shutdown()
        node.destroy_node()
    finally:
        rclpy.shutdown()
    header = Header(stamp=time_from_ns(START), frame_id="base_link")
    assert heard[0] == detected_objects_to_msg(found, header)
    assert stamp_ns(heard[0].header.stamp) == START


def test_a_machine_without_autoware_does_without_the_topic(small_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "autoware_perception_msgs.msg", None)
    assert detected_objects.detected_objects_type() is None
    rclpy.init(args=["--ros-args", "-p", f"model:={small_model}", "-p", "device:=cpu"])
    try:
        node = DetectorNode()
        assert node.start()
        node._publish("base_link", None, make_detections(3), START)
        topics = [name for name, _ in node.get_topic_names_and_types()]
        assert "/detector/detections" in topics and "/detector/detected_objects" not in topics
        node.trigger_shutdown()
        node.destroy_node()
    finally:
        rclpy.shutdown()
