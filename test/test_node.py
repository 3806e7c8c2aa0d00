# SPDX-License-Identifier: Apache-2.0
"""Promise: the node process detects over real DDS, survives bad input, and obeys its lifecycle."""

import gc
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import rclpy
import torch
import yaml
from commands import detector_here
from lifecycle_msgs.msg import Transition
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import qos_profile_sensor_data
from robot import (
    MOUNTINGS,
    MS,
    PATIENCE,
    RIG,
    START,
    TRIGGERS,
    assert_same,
    camera_info,
    decoded,
    jpeg,
    raw,
    scene,
    wait_for_exit,
)
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from test_score_calibration import calibrated, calibration
from test_validation_errors import errors
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import Marker

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.cameras.rig import CameraRig, compensate
from asd_perception.configuration import to_dict
from asd_perception.frames.worker import LatestWorker
from asd_perception.geometry import transform_from
from asd_perception.ros import node as node_module
from asd_perception.ros import pipeline as pipeline_module
from asd_perception.ros.messages.geometry import stamp_ns, time_from_ns
from asd_perception.ros.messages.published import cdr_check
from asd_perception.ros.messages.published.cdr import detections_to_cdr
from asd_perception.ros.messages.published.detections import detections_to_msg
from asd_perception.ros.node import DetectorNode
from asd_perception.ros.parameters.table import CLASS_THRESHOLDS, PARAMETERS
from asd_perception.runtime.detections import Detections
from asd_perception.runtime.detector import Detector
from asd_perception.runtime.selection import Selection
from asd_perception.runtime.validation import validation_errors


def test_a_models_own_threshold_and_errors_are_used(start, robot, small_model, tmp_path):
    """Of a calibrated model, where no threshold is given; the log says which it is."""
    lines = calibration(scale=0.5, offset=-1.0, score_threshold=0.27)
    model = calibrated(small_model, tmp_path / "model", lines)
    document = yaml.safe_load((model / "config.yaml").read_text())
    document[validation_errors.KEY] = to_dict(errors())
    (model / "config.yaml").write_text(yaml.safe_dump(document))
    process = start(model=model, device="cpu", image_transport="compressed")
    robot.await_subscriptions(CompressedImage)
    said = "score_threshold 0.27 (the model's own, of val)"
    robot.until(lambda: said in process.log.read_text(), "the line of the log at configure")
    images = scene(1)
    robot.connect([jpeg(image) for image in images])
    detector = Detector.from_pretrained(model)
    shown = [decoded(image, detector) for image in images]
    for given, least in ((None, None), (0.0, 0.0), (-1.0, None)):
        if given is not None:
            assert robot.set_parameter("score_threshold", given).successful
        answer, online = robot.detect([jpeg(image) for image in images])
        assert_same(online, detector.detect(shown, RIG, least))
        covariances = [found.results[0].pose.covariance for found in answer.detections]
        expected = errors().covariances(online.boxes, online.labels).reshape(-1, 36)
        np.testing.assert_allclose(covariances, expected, atol=1e-6)
    process.send_signal(signal.SIGTERM)
    assert wait_for_exit(process) == 0


def test_jpeg_frames_are_detected_and_faults_are_named(start, robot, small_model, offline_detector):
    """One process: calibration, JPEG, ego motion, parameters, bad messages, SIGTERM."""
    process = start(
        model=small_model, device="cpu", image_transport="compressed", score_threshold=0.0
    )
    robot.await_subscriptions(CompressedImage)

    # Without calibration nothing is detected, and the diagnostics say what is missing.
    robot.send([jpeg(image) for image in scene(0)], robot.next_stamps())
    robot.diagnosis("CAM_FRONT", "CAM_FRONT/camera_info")
    robot.infos["CAM_BACK"].publish(camera_info("CAM_BACK", k=np.full(9, np.nan)))
    robot.diagnosis("CAM_BACK", "not finite")
    images = scene(1)
    robot.connect([jpeg(image) for image in images])

    # What is published is what the detector finds offline, with stamp, frame, and order.
    message, online = robot.detect([jpeg(image) for image in images])
    offline = offline_detector.detect(
        [decoded(image, offline_detector) for image in images], RIG, score_threshold=0.0
    )
    assert message.header.frame_id == "base_link"
    assert len(online) == 50
    assert_same(online, offline)
    assert robot.received["detector/markers"][-1].markers[0].action == Marker.DELETEALL
    points = robot.received["detector/simulated_points"][-1]
    assert points.width == len(offline.simulated_points)
    assert robot.received["/diagnostics"][0].status[0].name == "detector: state"

    # What runs is said: the model, the device, and why ONNX Runtime is not used.
    state = robot.received["/diagnostics"][-1].status[0]
    running = {item.key: item.value for item in state.values}
    assert running["model"] == str(small_model)
    assert running["device"].startswith("cpu (")
    assert running["threads"] == "1"
    assert "the model has no ONNX graphs" in running["convolutions"]
    (line,) = [line for line in process.log.read_text().splitlines() if "configured: " in line]
    assert all(f"{key} {running[key]}" in line for key in offline_detector.describe())

    # Ego motion from odometry is folded into the rig.
    def moving(stamp):
        return transform_from([1, 0, 0, 0], [30.0 * (stamp - START) / 1e9, 0, 0])

    _, online = robot.detect([jpeg(image) for image in images], odometry=moving)
    poses = np.stack([moving(START + trigger) for trigger in TRIGGERS])
    moved = compensate(MOUNTINGS, poses, moving(START + max(TRIGGERS)))
    moved_rig = CameraRig(CAMERAS, RIG.intrinsics, moved, RIG.image_sizes, RIG.distortion)
    expected = offline_detector.detect(
        [decoded(image, offline_detector) for image in images], moved_rig, 0.0
    )
    assert not np.allclose(expected.scores, offline.scores, atol=1e-4), "the test shows nothing"
    assert_same(online, expected)

    # A threshold acts on the next frame; senseless values are refused with a reason.
    assert robot.set_parameter("score_threshold", 1.0).successful
    message, _ = robot.detect([jpeg(image) for image in images])
    assert message.detections == [], "an empty frame is published, too"
    assert not robot.set_parameter("score_threshold", 1.5).successful
    refused = robot.set_parameter("image_transport", "smoke")
    assert not refused.successful
    assert "smoke" in refused.reason
    assert robot.set_parameter("score_threshold", 0).successful, "whole numbers are numbers"

    # So do the wishes for classes, places, and each object once.
    wishes = {
        "classes": ["car", "pedestrian", "barrier", "bus", "trailer"],
        "class_threshold.car": 0.5,
        "region.x": [-40, 30],
        "duplicate_radius": 5.0,
    }
    assert all(robot.set_parameter(name, value).successful for name, value in wishes.items())
    _, online = robot.detect([jpeg(image) for image in images])
    selection = Selection(0.0, {"car": 0.5}, tuple(wishes["classes"]), (-40, 30), (-1e3, 1e3), 5.0)
    wanted = selection.of(offline)
    assert 0 < len(wanted) < 50, "the test shows nothing"
    assert_same(online, wanted)
    assert not robot.set_parameter("classes", ["car", "tank"]).successful
    defaults = {entry.name: entry.default for entry in (*PARAMETERS, *CLASS_THRESHOLDS)}
    assert all(robot.set_parameter(name, defaults[name]).successful for name in wishes)

    # Bad messages are named, each with its camera, and the next good frame is detected.
    messages = [jpeg(image) for image in images]
    del messages[0].data[-100:]
    messages[1] = CompressedImage()
    messages[2].data[:2] = messages[2].data[2:4]  # no JPEG any more
    messages[3] = jpeg(images[3][:100])
    robot.send(messages, robot.next_stamps())
    robot.infos["CAM_BACK"].publish(camera_info("CAM_BACK", k=np.full(9, np.nan)))
    robot.diagnosis("CAM_FRONT_LEFT", "truncated")
    robot.diagnosis("CAM_FRONT", "no JPEG, PNG or WebP")
    robot.diagnosis("CAM_FRONT_RIGHT", "no JPEG, PNG or WebP")
    robot.diagnosis("CAM_BACK_LEFT", "calibration says")
    robot.diagnosis("CAM_BACK", "not finite")
    _, online = robot.detect([jpeg(image) for image in images])
    assert len(online) == 50

    # Who subscribes to a camera's overlay gets its image with the boxes in it.
    overlays = []
    robot.node.create_subscription(
        *(CompressedImage, "detector/CAM_FRONT/overlay/compressed", overlays.append),
        qos_profile_sensor_data,
    )
    robot.until(lambda: robot.detect([jpeg(image) for image in images]) and overlays, "an overlay")
    front = overlays[0].header
    assert front.frame_id == "CAM_FRONT"
    assert (stamp_ns(front.stamp) - START - TRIGGERS[CAMERAS.index("CAM_FRONT")]) % (500 * MS) == 0

    # Where no more images come, no boxes stay to be seen.
    assert any(len(message.markers) > 50 for message in robot.received["detector/markers"][-3:])
    robot.until(lambda: _only_deletes(robot.received["detector/markers"][-1]), "no markers")

    process.send_signal(signal.SIGTERM)
    assert wait_for_exit(process) == 0
    assert "Traceback" not in process.log.read_text()


def _only_deletes(message):
    return [marker.action for marker in message.markers] == [Marker.DELETEALL]


def test_lifecycle_transitions_and_raw_images(start, robot, small_model, offline_detector):
    """Brought up, taken down and brought up again over its services; raw images; SIGINT.

    Reliable ones, by the parameters that override a topic's QoS.
    """
    reliable = {
        f"qos_overrides./{camera}/image_raw.subscription.reliability": "reliable"
        for camera in CAMERAS
    }
    process = start(
        model="/nowhere",
        device="cpu",
        autostart=False,
        score_threshold=0.0,
        **{"sync.min_cameras": 6, **reliable},
    )
    assert robot.state() == "unconfigured"
    assert not robot.transition(Transition.TRANSITION_CONFIGURE), "there is no such model"
    assert robot.state() == "unconfigured"
    assert robot.set_parameter("model", str(small_model)).successful
    images = scene(2)
    expected = offline_detector.detect(images, RIG, score_threshold=0.0)
    for _ in range(2):
        assert robot.transition(Transition.TRANSITION_CONFIGURE)
        assert robot.state() == "inactive"
        robot.await_subscriptions(Image)
        robot.calibrate()
        early = robot.next_stamps()
        robot.send([raw(image) for image in images], early)
        robot.await_delivery(*(robot.images[Image, camera] for camera in CAMERAS))
        assert robot.transition(Transition.TRANSITION_ACTIVATE)
        robot.connect([raw(image) for image in images])
        assert robot.count(min(early), max(early)) == 0, "it was not active yet"
        _, online = robot.detect([raw(image) for image in images])
        assert_same(online, expected)
        _, online = robot.detect([raw(images[0], "bgr16"), *(raw(image) for image in images[1:])])
        assert_same(online, expected)
        messages = [raw(image) for image in images]
        messages[0] = Image(encoding="rgb8")
        messages[1].encoding = "spam8"
        robot.send(messages, robot.next_stamps())
        # Once all is said, no good sweep can take this one's place before its images are decoded.
        robot.diagnosis("CAM_FRONT_LEFT", "zero size")
        robot.diagnosis("CAM_FRONT", "spam8")
        _, online = robot.detect([raw(image) for image in images])
        assert_same(online, expected)
        assert any(len(message.markers) > 50 for message in robot.received["detector/markers"][-3:])
        assert robot.transition(Transition.TRANSITION_DEACTIVATE)
        robot.until(lambda: _only_deletes(robot.received["detector/markers"][-1]), "no markers")
        assert robot.transition(Transition.TRANSITION_CLEANUP)
        assert robot.state() == "unconfigured"
        robot.await_end_of_subscriptions(Image)
    process.send_signal(signal.SIGINT)
    assert wait_for_exit(process) == 0
    assert "/nowhere has no config.yaml" in process.log.read_text()


def test_no_garbage_collection_goes_through_what_an_active_node_has_loaded(small_model):
    """It would hold every thread for a fifth of a second. What is given up is collected again."""

    def detectors():
        gc.collect()
        return sum(type(x) is Detector for x in gc.get_objects())

    rclpy.init(args=["--ros-args", "-p", f"model:={small_model}", "-p", "device:=cpu"])
    try:
        loaded, before = len(gc.get_objects()), detectors()
        node = DetectorNode()
        assert node.start()
        assert len(gc.get_objects()) < 0.05 * loaded
        node.trigger_deactivate()
        node.trigger_cleanup()
        assert gc.get_freeze_count() == 0
        assert detectors() == before
        node.destroy_node()
    finally:
        rclpy.shutdown()


def test_a_gpu_that_hangs_is_not_waited_for_when_its_model_is_given_up(
    small_model, monkeypatch, capfd
):
    """Whatever asks a GPU to end its work, or frees its memory, waits for it: without an end."""
    asked, device = [], threading.Event()
    monkeypatch.setattr(pipeline_module, "CLOSE_WAIT", 0.2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: asked.append("synchronize"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: asked.append("empty_cache"))
    rclpy.init(args=["--ros-args", "-p", f"model:={small_model}", "-p", "device:=cpu"])
    try:
        node = DetectorNode()
        assert node.start()
        node._pipeline._worker = LatestWorker(lambda _: device.wait(PATIENCE), "hangs")
        node._pipeline._worker.put(None)
        while node._pipeline._worker.works_since is None:
            time.sleep(0.01)
        assert node.trigger_deactivate() == TransitionCallbackReturn.ERROR
        assert asked == []
        assert capfd.readouterr().err.count("the detector hangs") == 1
        device.set()
        assert node.start()
        node.trigger_deactivate()
        node.trigger_cleanup()
        assert asked == ["synchronize", "empty_cache"]
        node.destroy_node()
    finally:
        device.set()
        rclpy.shutdown()


def test_where_ros_reads_the_fast_message_otherwise_the_node_publishes_the_plain_one(
    small_model, monkeypatch, capfd
):
    def of_another_version(detections, header, covariances):
        return detections_to_cdr(detections, header, covariances, ids=["another"] * len(detections))

    monkeypatch.setattr(cdr_check, "detections_to_cdr", of_another_version)
    monkeypatch.setattr(node_module, "detections_to_cdr", of_another_version)
    found = Detections(
        boxes=np.ones((1, 7), np.float32),
        scores=np.ones(1, np.float32),
        labels=np.zeros(1, np.int64),
        velocities=np.zeros((1, 2), np.float32),
        attributes=np.zeros(1, np.int64),
    )
    heard = []
    rclpy.init(args=["--ros-args", "-p", f"model:={small_model}", "-p", "device:=cpu"])
    try:
        node = DetectorNode()
        node.create_subscription(Detection3DArray, "~/detections", heard.append, 10)
        assert node.start()
        node._publish("base_link", None, found, START)
        deadline = time.monotonic() + PATIENCE
        while not heard and time.monotonic() < deadline:
            rclpy.spin_once(node, timeout_sec=0.1)
        node.trigger_shutdown()
        node.destroy_node()
    finally:
        rclpy.shutdown()
    header = Header(stamp=time_from_ns(START), frame_id="base_link")
    assert heard == [detections_to_msg(found, header)]
    assert capfd.readouterr().err.count("serializes vision_msgs/Detection3DArray") == 1


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"device": "abacus"}, "'abacus' is not auto"),
        ({"score_threshold": "much"}, "score_threshold"),
        ({"cameras": "[]"}, "cameras: there are 0 names; give 1 to 8"),
        ({"cameras": "[a/, b, c, d, e, f]"}, "'a/' is not a topic name"),
        ({"cameras": "[a, b//c, d, e, f, g]"}, "'b//c' is not a topic name"),
        ({"model": "/nope"}, "cannot configure: /nope has no config.yaml"),
    ],
)
def test_a_node_that_cannot_start_says_why_in_one_line(run_detector, parameters, reason):
    status, lines = run_detector(**parameters)
    assert (status, len(lines)) == (2, 1), lines
    assert reason in lines[0]


def test_a_missing_tensor_is_named_in_the_one_line(run_detector, small_model, tmp_path):
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.yaml").write_text((small_model / "config.yaml").read_text())
    weights = load_file(small_model / "model.safetensors")
    name = sorted(weights)[0]
    del weights[name]
    save_file(weights, broken / "model.safetensors")
    status, lines = run_detector(model=broken)
    assert (status, len(lines)) == (2, 1), lines
    assert name in lines[0]


def test_a_model_that_is_too_large_for_the_memory_is_called_that(
    run_detector, small_model, tmp_path
):
    config = (small_model / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(
        config.replace("head_channels: 32", "head_channels: 1000000000000")
    )
    status, (line,) = run_detector(model=tmp_path, device="cpu")
    assert status == 2
    assert "out of memory on cpu; use a smaller model" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("--params-file", "nope.yaml"),
        ("-p", "image_transport"),
        ("--log-level", "loud"),
        ("-r", "__ns:=/a//b"),
    ],
    ids=["file", "value", "level", "namespace"],
)
def test_a_wrong_argument_is_one_line(monkeypatch, capfd, arguments):
    status, said = detector_here(monkeypatch, capfd, "--ros-args", *arguments)
    assert status == 2
    assert "Traceback" not in said and "detector: error: " in said


@pytest.mark.parametrize(
    "arguments",
    [("--params-file", "config/detector.yaml"), ("-p", "device:=cpu")],
    ids=["file", "parameter"],
)
def test_what_lacks_ros_args_is_told_where_to_go(monkeypatch, capfd, arguments):
    status, said = detector_here(monkeypatch, capfd, *arguments)
    assert status == 2
    assert "--ros-args -p device:=cpu" in said.splitlines()[-1]


def test_help_teaches_topics_and_parameters():
    shown = subprocess.run(
        [sys.executable, "-m", "asd_perception.commands.detector", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for word in ("~/detections", "camera_info", "score_threshold", "--params-file", "/tf_static"):
        assert word in shown
