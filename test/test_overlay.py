# SPDX-License-Identifier: Apache-2.0
"""Promise: who watches the overlays costs the detections nothing, and gets the newest frame's."""

import threading

import cv2
import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import qos_profile_sensor_data
from robot import PATIENCE, START, TRIGGERS, scene
from sensor_msgs.msg import CompressedImage, Image
from test_pipeline import SECOND, Node

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.cameras.calibration import CameraCalibration
from asd_perception.geometry import box_corners, transform_from
from asd_perception.ros.messages.geometry import stamp_ns
from asd_perception.ros.messages.images import image_from_compressed, image_from_msg
from asd_perception.ros.overlay import WIDEST, OverlayImage, Overlays, overlay_topic
from asd_perception.runtime.detections import Detections
from asd_perception.viewing.boxes import draw_boxes

AHEAD = transform_from([0.5, -0.5, 0.5, -0.5], [0.0, 0.0, 1.5])
CAR = Detections(
    boxes=np.array([[20.0, 0.0, 0.8, 4.5, 1.9, 1.6, 0.4]]),
    scores=np.array([0.7]),
    labels=np.zeros(1, np.int64),
    velocities=np.zeros((1, 2)),
    attributes=np.zeros(1, np.int64),
)


@pytest.fixture
def node(small_model):
    node = Node(small_model)
    node.calibrate()
    yield node
    assert node.pipeline.stop()


def test_the_images_of_watched_cameras_are_drawn_with_their_calibration_and_stamp(node):
    node.watched = ("CAM_BACK", "CAM_FRONT")
    node.detect(0)
    node.until(lambda: node.draw.call_count == 2)
    drawn = [call.args[0] for call in node.draw.call_args_list]
    assert {image.camera for image in drawn} == set(node.watched)
    for image in drawn:
        assert image.frame_id == image.camera
        assert image.stamp == START + TRIGGERS[CAMERAS.index(image.camera)]
        assert image.pixels.shape == (113, 200, 3), "as decoded for the small network"
        assert image.calibration.size == (400, 225)
    assert "overlay" in node.measured


def test_while_nobody_watches_no_pixels_are_kept(node):
    node.detect(0)
    node.until(node.idle)
    node.draw.assert_not_called()
    assert "overlay" not in node.measured


def test_a_slow_viewer_delays_no_detection_and_misses_frames_instead(node):
    node.watched = ("CAM_FRONT",)
    look, begun, drawn = threading.Event(), threading.Event(), []

    def draw(image, detections):
        drawn.append(image.stamp)
        begun.set()
        look.wait(PATIENCE)

    node.draw = draw
    node.detect(0)
    assert begun.wait(PATIENCE)
    for number in (1, 2, 3):
        node.detect(number)
        node.until(node.idle)
    look.set()
    front = START + TRIGGERS[CAMERAS.index("CAM_FRONT")]
    node.until(lambda: drawn == [front, front + 3 * SECOND // 10])


def test_an_overlay_that_cannot_be_drawn_is_told_and_stops_nothing(node):
    node.watched = ("CAM_FRONT", "CAM_BACK")
    node.draw.side_effect = MemoryError("no room for a picture")
    node.detect(0)
    node.until(lambda: node.draw.call_count == 2)  # the other camera's is tried all the same
    node.until(lambda: node.said("frames")[0] == DiagnosticStatus.WARN)
    assert "no overlay of CAM_" in node.said("frames")[1]
    assert "no room for a picture" in node.said("frames")[1]
    node.detect(1)


@pytest.fixture
def graph():
    context = rclpy.Context()
    context.init()
    node = rclpy.create_node("detector", context=context)
    yield node
    node.destroy_node()
    context.shutdown()


def test_each_way_to_look_is_served_while_somebody_does(graph):
    executor = rclpy.executors.SingleThreadedExecutor(context=graph.context)
    executor.add_node(graph)
    overlays = Overlays(["front", "/rear/cam", "left"], graph.create_publisher)
    raw, compressed = [], []
    graph.create_subscription(Image, "/detector/front/overlay", raw.append, qos_profile_sensor_data)
    graph.create_subscription(
        *(CompressedImage, "/detector/rear/cam/overlay/compressed", compressed.append),
        qos_profile_sensor_data,
    )
    lens = CameraCalibration(
        np.array([[900.0, 0, 600], [0, 900, 337], [0, 0, 1]]), (1200, 675), np.zeros(8)
    )
    pixels = np.repeat(np.repeat(scene(1)[0], 3, axis=0), 3, axis=1)
    deadline = graph.get_clock().now().nanoseconds + PATIENCE * SECOND
    while not (raw and compressed) and graph.get_clock().now().nanoseconds < deadline:
        for camera in ("front", "/rear/cam"):
            overlays.publish(OverlayImage(camera, pixels, lens, AHEAD, f"{camera}!", 7), CAR)
        executor.spin_once(timeout_sec=0.1)
    assert overlays.watched("front") and overlays.watched("/rear/cam")
    assert not overlays.watched("left")
    shown = draw_boxes(
        *(cv2.resize(pixels, (600, 338), interpolation=cv2.INTER_AREA), lens),
        *(AHEAD, box_corners(CAR.boxes), CAR.labels, CAR.scores),
    )
    assert shown.shape[1] <= WIDEST
    np.testing.assert_array_equal(image_from_msg(raw[0]), shown)
    decoded = image_from_compressed(compressed[0], (600, 338), (338, 600))
    assert np.abs(decoded.astype(int) - shown).mean() < 5
    for message, frame in ((raw[0], "front!"), (compressed[0], "/rear/cam!")):
        assert stamp_ns(message.header.stamp) == 7
        assert message.header.frame_id == frame


@pytest.mark.parametrize(
    ("camera", "topic"),
    [
        ("CAM_FRONT", "~/CAM_FRONT/overlay"),
        ("/robot/front", "~/robot/front/overlay"),
        ("~/front", "~/front/overlay"),
    ],
)
def test_a_cameras_overlay_is_below_the_nodes_name(camera, topic):
    assert overlay_topic(camera) == topic
