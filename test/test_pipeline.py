# SPDX-License-Identifier: Apache-2.0
"""Promise: what a robot must not miss is an ERROR in the diagnostics, with cause and remedy."""

import threading
import time
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from rclpy.serialization import serialize_message
from robot import (
    INTRINSICS,
    MOUNTINGS,
    PATIENCE,
    START,
    TRIGGERS,
    camera_info,
    camera_input,
    fill_pose,
    jpeg,
    raw,
    scene,
)
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.frames.synchronizer import SILENT
from asd_perception.ros import diagnostics, pipeline, statistics
from asd_perception.ros.diagnostics import error_in_log, pipeline_statuses
from asd_perception.ros.messages.geometry import time_from_ns
from asd_perception.ros.parameters.settings import LatencyBudget, Settings
from asd_perception.ros.pipeline import Pipeline
from asd_perception.ros.statistics import BUDGET_EXCEPTIONS
from asd_perception.runtime.detector import Detector
from asd_perception.runtime.selection import Selection

SECOND = 10**9
QUIET = 2 * SILENT


class Node:
    """A pipeline, with what a node and a robot give it."""

    def __init__(self, model, **settings):
        self.published = []
        self.warned = []
        self.measured = {}  # a time of each stage
        self.budgets = {}
        self.age = 0.05  # s of the stamps, on the node's clock
        self.now = START
        self.watched = ()  # cameras
        self.draw = Mock()
        values = {
            "model": "",
            "device": "cpu",
            "image_transport": "compressed",
            "cameras": {camera: camera_input(camera) for camera in CAMERAS},
            "base_frame": "base_link",
            "sync_tolerance_ns": 60_000_000,
            "sync_max_wait": 1.0,  # a busy machine takes long to prepare six images
            "sync_min_cameras": 1,
            "use_odometry": True,
            "odometry_name": "/odometry",
            "use_sim_time": False,
        }
        self.pipeline = Pipeline(
            Settings(**values | settings),
            Detector.from_pretrained(model, device="cpu"),
            selection=Selection,
            budgets=lambda: self.budgets,
            publish=lambda detections, stamp: self.published.append(stamp),
            show=lambda detections, stamp: None,
            watched=lambda camera: camera in self.watched,
            draw=lambda image, detections: self.draw(image, detections),
            warn=lambda kind, text: self.warned.append(text),
            measured=lambda stage, seconds: self.measured.setdefault(stage, seconds),
            ros_time=lambda: self.now,
        )
        self.messages = [jpeg(image) for image in scene(3)]
        self.pipeline.start()

    def calibrate(self, mountings=MOUNTINGS, intrinsics=INTRINSICS, cameras=CAMERAS):
        """cameras: those of which the transform is published, too."""
        transforms = []
        for camera, mounting in zip(CAMERAS, mountings, strict=True):
            self.pipeline.on_camera_info(camera, camera_info(camera, k=intrinsics.ravel()))
            if camera not in cameras:
                continue
            transform = TransformStamped(child_frame_id=camera)
            transform.header.frame_id = "base_link"
            fill_pose(transform.transform.translation, transform.transform.rotation, mounting)
            transforms.append(transform)
        self.pipeline.on_static_transforms(TFMessage(transforms=transforms))

    def sweep(self, number, period=SECOND // 10):
        """Show one sweep; its stamps lie `age` s back."""
        first = START + number * period
        self.now = first + max(TRIGGERS) + int(self.age * SECOND)
        for camera, message, trigger in zip(CAMERAS, self.messages, TRIGGERS, strict=True):
            message.header = Header(stamp=time_from_ns(first + trigger), frame_id=camera)
            self.pipeline.on_image(camera, message)

    def until(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, pipeline_statuses(self.pipeline)
            self.pipeline.poll()
            time.sleep(0.01)

    def idle(self):
        """Whether all images and frames are dealt with that need not wait for others."""
        worker, arrivals = self.pipeline._worker, self.pipeline._arrivals
        return not arrivals.unready() and worker.waits_since is worker.works_since is None

    def quiet(self):
        """Whether there was no frame for so long that something is wrong."""
        return time.monotonic() - self.pipeline.statistics.last_frame > QUIET

    def detect(self, number):
        before = len(self.published)
        self.sweep(number)
        self.until(lambda: len(self.published) > before)

    def said(self, name):
        (status,) = [s for s in pipeline_statuses(self.pipeline) if s.name == name]
        return status.level, status.message


@pytest.fixture
def node(small_model):
    nodes = []

    def node(**settings):
        nodes.append(Node(small_model, **settings))
        return nodes[-1]

    yield node
    for one in nodes:
        assert one.pipeline.stop()


def test_all_is_well(node):
    node = node()
    node.calibrate()
    node.detect(0)
    assert {s.level for s in pipeline_statuses(node.pipeline)} == {DiagnosticStatus.OK}
    assert node.measured.keys() >= {"prepare", "wait", "queue", "odometry", "detect"}


def camera_link(camera, frame="base_link"):
    """The transform of a camera whose frame has a body's axes."""
    pose = MOUNTINGS[CAMERAS.index(camera)].copy()
    pose[:3, :3] = pose[:3, [2, 0, 1]] * [1, -1, -1]
    transform = TransformStamped(child_frame_id=camera)
    transform.header.frame_id = frame
    fill_pose(transform.transform.translation, transform.transform.rotation, pose)
    return TFMessage(transforms=[transform])


def test_a_rig_that_cannot_be_right_is_said_once_in_the_log_and_always_in_the_diagnostics(node):
    node = node()
    node.calibrate()
    node.detect(0)
    node.pipeline.on_static_transforms(camera_link("CAM_BACK"))
    for _ in range(3):
        level, message = node.said("CAM_BACK")
        assert level == DiagnosticStatus.WARN and "axes of a camera_link" in message
    (line,) = [text for text in node.warned if "camera_link" in text]
    assert line.startswith("CAM_BACK: ")
    assert node.said("CAM_FRONT")[0] == DiagnosticStatus.OK
    node.calibrate()
    assert node.said("CAM_BACK")[0] == DiagnosticStatus.OK
    node.pipeline.on_static_transforms(camera_link("CAM_BACK"))
    node.said("CAM_BACK")
    assert len([text for text in node.warned if "camera_link" in text]) == 2


def test_a_wrong_rig_hides_no_worse_fault(node, monkeypatch):
    node = node()
    node.calibrate()
    node.pipeline.on_static_transforms(camera_link("CAM_BACK"))
    monkeypatch.setattr(diagnostics, "_quiet", lambda pipeline: 0.0)
    level, message = node.said("CAM_BACK")
    assert level == DiagnosticStatus.ERROR
    assert message.startswith("no image on") and "camera_link" in message
    (line,) = [line for line in pipeline_statuses(node.pipeline) if line.name == "CAM_BACK"]
    assert "camera_link" not in error_in_log(line)  # which has it already
    assert error_in_log(line).endswith("the parameter image_transport")


def test_a_camera_that_never_came_is_no_matter_of_its_calibration(node, monkeypatch):
    node = node()
    monkeypatch.setattr(diagnostics, "_quiet", lambda pipeline: 0.0)
    level, message = node.said("CAM_BACK")
    assert level == DiagnosticStatus.ERROR
    assert message.startswith("no image on /CAM_BACK/image_raw/compressed for 0 s")
    assert message.endswith(
        "no valid camera_info on /CAM_BACK/camera_info; start or mend its publisher (one that "
        "publishes once must be reliable and transient local)"
    )


def test_a_detector_that_hangs_is_an_error_and_does_not_hang_the_node(node, monkeypatch):
    monkeypatch.setattr(diagnostics, "HANG_TIMEOUT", 0.2)
    monkeypatch.setattr(pipeline, "CLOSE_WAIT", 0.2)
    node = node()
    node.calibrate()
    node.detect(0)
    device = threading.Event()
    detect = node.pipeline.detector.detect_encoded

    def hang(*arguments):
        device.wait(30)
        return detect(*arguments)

    monkeypatch.setattr(node.pipeline.detector, "detect_encoded", hang)
    node.sweep(1)
    node.until(lambda: node.pipeline._worker.works_since is not None)
    node.until(lambda: node.pipeline.busy_for > 0.3)
    level, message = node.said("frames")
    assert level == DiagnosticStatus.ERROR
    assert message.startswith("the detector has been at its work")
    begin = time.monotonic()
    assert not node.pipeline.stop()
    assert not node.pipeline.stop(), "not even when it is asked again"
    assert time.monotonic() - begin < 5
    device.set()
    node.until(node.pipeline.stop)


def test_deactivation_while_a_frame_is_handed_on_is_no_failure(node, monkeypatch):
    """Another thread completes a frame, and is between its look for the worker and its use."""
    monkeypatch.setattr(pipeline, "CALIBRATION_WAIT", 0.0)
    node = node()
    node.calibrate(cameras=CAMERAS[1:])
    ended = []
    end = threading.Thread(target=lambda: ended.append(node.pipeline.stop()))

    def warn(kind, text):  # between the two
        node.warned.append(text)
        if kind == "calibration" and end.ident is None:
            end.start()
            end.join(0.2)  # without a lock it goes as far as to take the worker away

    monkeypatch.setattr(node.pipeline, "_warn", warn)
    node.sweep(0)
    node.until(lambda: ended or (end.ident is None and node.pipeline.poll()))
    assert ended == [True]
    assert "frame without calibration" in node.warned[0]
    assert not [text for text in node.warned if "detection failed" in text]


def test_images_and_a_frame_that_hang_are_waited_for_at_the_same_time(node, monkeypatch):
    monkeypatch.setattr(pipeline, "CLOSE_WAIT", 3.0)
    node = node()
    node.calibrate()
    node.detect(0)
    device, at_work = threading.Event(), set()

    def hang(what):
        at_work.add(what)
        device.wait(60)
        raise RuntimeError("the device was lost")

    monkeypatch.setattr(node.pipeline.detector, "detect_encoded", lambda *_: hang("frame"))
    node.sweep(1)
    node.until(lambda: "frame" in at_work)
    monkeypatch.setattr(node.pipeline.detector, "encode", lambda *_: hang("image"))
    node.sweep(2)
    node.until(lambda: "image" in at_work)
    begin = time.monotonic()
    assert not node.pipeline.stop()
    assert time.monotonic() - begin < 1.8 * 3.0
    device.set()
    node.until(node.pipeline.stop)


@pytest.mark.parametrize("use_sim_time", [False, True])
def test_detections_that_are_old_are_an_error(node, use_sim_time):
    node = node(use_sim_time=use_sim_time)
    node.calibrate()
    node.age = 5.0
    node.detect(0)
    level, message = node.said("latency")
    assert level == DiagnosticStatus.ERROR
    assert "5.0 s old" in message
    node.age = 1e6
    for number in range(1, 4):
        node.detect(number)
    level, message = node.said("latency")
    assert level == DiagnosticStatus.WARN
    assert ("for a replayed bag" in message) == (not use_sim_time)
    assert ("/clock" in message) == use_sim_time


def test_a_latency_budget_is_of_many_frames_and_changes_at_once(node, monkeypatch):
    node = node()
    node.calibrate()
    node.budgets = {"total": LatencyBudget(warn=30.0), "stamp": LatencyBudget(0.5, 1.0)}
    node.age = 0.7
    for number in range(BUDGET_EXCEPTIONS):
        node.detect(number)
        node.until(node.idle)
        assert node.said("latency")[0] == DiagnosticStatus.OK  # one slow frame is none
    node.detect(BUDGET_EXCEPTIONS)
    node.until(node.idle)
    level, message = node.said("latency")
    assert level == DiagnosticStatus.WARN
    assert "6 of the last 6 frames took more than 500 ms (latency_budget.stamp)" in message
    assert "the longest part of it is the images' way to the node" in message

    node.budgets = {"total": LatencyBudget(warn=1e-6, error=1e-6)}
    node.detect(20)
    node.until(node.idle)
    level, message = node.said("latency")
    assert level == DiagnosticStatus.ERROR
    assert "(latency_budget.total), the longest part of it is" in message
    node.budgets = {"total": LatencyBudget()}
    monkeypatch.setattr(statistics, "RECENT", 0.1)
    node.detect(21)
    node.until(lambda: node.said("latency")[0] == DiagnosticStatus.OK)


def test_a_silent_clock_is_named_before_its_effects(node):
    node = node(use_sim_time=True)
    node.calibrate()
    node.sweep(0)
    node.now = 0
    node.pipeline.on_image("CAM_FRONT", node.messages[CAMERAS.index("CAM_FRONT")])
    assert not node.pipeline.statistics.cameras["CAM_FRONT"].ahead.count, "of no time"
    assert "/clock" not in node.said("frames")[1]  # a player begins when this node is there
    node.until(node.quiet)
    level, message = node.said("frames")
    assert level == DiagnosticStatus.ERROR
    assert message.startswith("use_sim_time is set, but /clock is silent")


def test_missing_calibration_is_named_before_its_effects(node):
    node = node()
    node.until(node.quiet)
    node.sweep(0)
    level, message = node.said("frames")
    assert level == DiagnosticStatus.ERROR
    assert "6 of 6 cameras have no calibration" in message


def test_a_frame_waits_for_transforms_that_come_last(node, monkeypatch):
    monkeypatch.setattr(pipeline, "CALIBRATION_WAIT", 1000.0)
    node = node()
    for camera in CAMERAS:
        node.pipeline.on_camera_info(camera, camera_info(camera))
    node.sweep(0)
    node.until(node.idle)
    assert node.pipeline.statistics.frames == 1
    assert node.published == []
    node.calibrate()
    node.until(lambda: node.published)


def test_clocks_that_do_not_agree_are_an_error(node):
    node = node()
    node.calibrate()
    node.messages[3:] = [None] * 3  # three cameras alone: no majority
    number = 0
    while not node.quiet():
        for camera, message, trigger in zip(CAMERAS, node.messages, TRIGGERS, strict=True):
            wrong = message is None
            message = jpeg(scene(3)[0]) if wrong else message
            stamp = START + number * SECOND // 10 + trigger + 10 * SECOND * wrong
            message.header = Header(stamp=time_from_ns(stamp), frame_id=camera)
            node.pipeline.on_image(camera, message)
        node.until(node.idle)
        number += 1
    level, message = node.said("frames")
    assert level == DiagnosticStatus.ERROR
    assert "their stamps have formed no frame" in message


def test_a_camera_that_no_frame_has_and_a_tolerance_beyond_the_period_are_warned_of(node):
    node = node(sync_tolerance_ns=SECOND // 10)
    node.calibrate()
    for number in range(16):
        sent = node.messages[0]
        first = START + number * SECOND // 10
        for camera, message in zip(CAMERAS, node.messages, strict=True):
            stamp = first - 10 * SECOND * (message is sent)
            message.header = Header(stamp=time_from_ns(stamp), frame_id=camera)
            node.pipeline.on_image(camera, message)
        node.until(node.idle)
    level, message = node.said(CAMERAS[0])
    assert level == DiagnosticStatus.WARN
    assert "synchronise its clock" in message
    level, message = node.said("frames")
    assert level == DiagnosticStatus.WARN
    assert "sync.tolerance is 100 ms, the cameras' period 100.0 ms" in message


def test_what_is_long_over_is_not_reported_and_one_slow_frame_neither(node):
    """Dropped frames count for ten seconds, however often someone reads."""
    node = node()
    node.calibrate()
    node.detect(0)

    def said_after(seconds):
        for _ in range(seconds):
            node.pipeline.note_totals()
        return [node.said("frames")[1] for _ in range(12)][-1]

    assert "dropped" not in said_after(10)
    node.pipeline._worker.dropped += 1
    assert "dropped" not in said_after(1)
    node.pipeline._worker.dropped += 100
    assert "101 of the last" in said_after(1)
    assert "dropped" not in said_after(10)


def test_a_node_that_has_just_begun_is_not_at_fault(node):
    node = node(sync_min_cameras=6)
    assert {s.level for s in pipeline_statuses(node.pipeline)} == {DiagnosticStatus.OK}


def test_an_encoder_that_hangs_is_an_error(node, monkeypatch):
    monkeypatch.setattr(diagnostics, "HANG_TIMEOUT", 0.2)
    node = node()
    node.calibrate()
    device = threading.Event()
    encode = node.pipeline.detector.encode
    monkeypatch.setattr(node.pipeline.detector, "encode", lambda *a: device.wait(30) and encode(*a))
    node.sweep(0)
    node.until(lambda: node.pipeline.busy_for > 0.3)
    assert node.said("frames")[1].startswith("the detector has been at its work")
    device.set()


def test_images_that_cannot_be_used_are_named_before_clocks(node):
    node = node()
    node.calibrate()
    for message in node.messages:
        del message.data[-50:]
    node.until(node.quiet)
    node.sweep(0)
    level, message = node.said("frames")
    assert level == DiagnosticStatus.ERROR
    assert "the messages of 6 of 6 cameras are of no use" in message
    node.pipeline.statistics.cameras["CAM_BACK"].last_arrival -= 2 * QUIET  # silent by now
    assert "the messages of 5 of 5 cameras are of no use" in node.said("frames")[1]


@pytest.mark.parametrize(
    ("transport", "size", "remedy"),
    [
        ("raw", 4_320_000, "4.3 MB each, do not fit Fast DDS's default shared memory; start"),
        ("raw", 300_000, "the link or this machine is overloaded"),
        ("compressed", 10_000, "the link or this machine is overloaded"),
        ("compressed", 900_000, "more than the shared memory that Fast DDS has for all that one"),
    ],
)
def test_images_lost_on_the_way_are_told_with_the_remedy(node, transport, size, remedy):
    node = node(image_transport=transport)
    node.calibrate()
    node.detect(0)
    node.pipeline.statistics.cameras["CAM_BACK"].size = size
    node.pipeline.on_lost_images("CAM_BACK", 12)
    level, message = node.said("CAM_BACK")
    assert level == DiagnosticStatus.WARN
    assert message.startswith("12 images were lost on the way in the last 10 s")
    assert remedy in message
    node.pipeline.statistics.cameras["CAM_BACK"].last_arrival -= 10 * QUIET
    level, silent = node.said("CAM_BACK")
    assert level == DiagnosticStatus.ERROR
    assert silent.startswith("no image on /CAM_BACK/image_raw") and silent.endswith(f": {message}")
    node.pipeline.statistics.cameras["CAM_BACK"].losses.clear()
    node.detect(1)
    assert node.said("CAM_BACK")[0] == DiagnosticStatus.OK


def test_a_camera_whose_publishers_are_not_heard_says_so_in_its_own_line(node):
    node = node(odometry_name="/base/odom")
    node.calibrate(cameras=CAMERAS[1:])
    node.pipeline.calibration.models["CAM_FRONT"] = None
    node.pipeline.statistics.since -= 10 * QUIET
    topics = {
        CAMERAS[0]: "/tf_static",
        "CAM_FRONT": "/CAM_FRONT/camera_info",
        "CAM_BACK": "/CAM_BACK/image_raw/compressed",
        "odometry": "/base/odom",
    }
    for heard in (True, False, True):
        unheard = {topic: [f"/driver publishes {topic} in vain"] for topic in topics.values()}
        node.pipeline.note_unheard({} if heard else unheard)
        for status, topic in topics.items():
            level, message = node.said(status)
            assert (f": /driver publishes {topic} in vain" in message) != heard
            if status in CAMERAS:
                assert level == DiagnosticStatus.ERROR
            elif not heard:
                assert level == DiagnosticStatus.WARN


def test_without_odometry_its_topic_is_named(node):
    node = node(odometry_name="/base/odom")
    assert "no odometry on /base/odom" in node.said("odometry")[1]


@pytest.mark.parametrize("part", ["image_encoder", "bev_encoder"])
def test_a_frame_that_memory_is_too_small_for_costs_itself_only(node, monkeypatch, part):
    node = node()
    node.calibrate()
    node.detect(0)
    with monkeypatch.context() as patch:
        asks_too_much = Mock(side_effect=lambda *_: torch.empty(1 << 50, dtype=torch.uint8))
        patch.setattr(
            getattr(node.pipeline.detector.backend.student, part), "forward", asks_too_much
        )
        node.sweep(1)
        node.until(lambda: asks_too_much.called and node.idle())
    level, message = node.said("frames")
    assert level == DiagnosticStatus.ERROR
    assert message.startswith("detection failed: out of memory on cpu; use a smaller model")
    assert all("bad message" not in node.said(camera)[1] for camera in CAMERAS)
    assert len(node.published) == 1
    node.detect(2)


def test_colors_that_a_driver_does_not_tell_or_drops_are_warned_of_and_detected(node):
    node = node()
    node.calibrate()
    node.messages[0].format = "yuv422_yuy2; jpeg compressed mono8"
    node.messages[1] = raw(scene(3)[1])
    node.messages[1].encoding = "8UC3"
    node.detect(0)
    level, message = node.said(CAMERAS[0])
    assert level == DiagnosticStatus.WARN
    assert "the sender drops the colours; let the driver publish rgb8 or bgr8" in message
    level, message = node.said(CAMERAS[1])
    assert level == DiagnosticStatus.WARN
    assert "read as bgr8; let the driver publish bgr8 or rgb8" in message
    assert node.said(CAMERAS[2])[0] == DiagnosticStatus.OK
    assert [text.split(": ")[0] for text in node.warned] == list(CAMERAS[:2])


def test_a_repeated_image_is_detected_once(node):
    node = node()
    node.calibrate()
    node.detect(0)
    for _ in range(8):
        node.sweep(0)
        node.until(node.idle)
    node.detect(1)
    assert len(node.published) == 2


def test_a_driver_that_repeats_its_last_image_is_named_before_clocks(node):
    node = node()
    node.calibrate()
    node.detect(0)
    node.until(node.quiet)
    for _ in range(6):
        node.sweep(0)
    level, message = node.said("CAM_FRONT")
    assert level == DiagnosticStatus.WARN
    assert message.startswith("its last 7 images have one stamp")
    assert "6 of 6 cameras are of no use; see their own lines" in node.said("frames")[1]
    node.detect(1)
    assert node.said("CAM_FRONT")[0] == DiagnosticStatus.OK


def test_a_calibration_or_a_mounting_that_two_nodes_publish_is_named(node):
    node = node()
    node.calibrate()
    node.detect(0)
    for _ in range(2):
        node.calibrate(intrinsics=INTRINSICS * [[0.9], [0.9], [1.0]])
        node.calibrate()
    level, message = node.said("CAM_FRONT")
    assert level == DiagnosticStatus.WARN
    assert "goes back and forth between two calibrations, 400x225 in CAM_FRONT" in message
    assert any(text.startswith("CAM_FRONT: its camera_info goes back") for text in node.warned)
    assert node.said("frames")[0] == DiagnosticStatus.OK
    node.calibrate(mountings=MOUNTINGS + 0.5 * np.eye(4)[:, [3, 0, 1, 2]] * [0, 0, 0, 1])
    level, message = node.said("frames")
    assert level == DiagnosticStatus.WARN
    assert "anew, 0.50 m and 0.0 degrees from before; the newest is used" in message
    assert sum("anew, 0.50 m" in text for text in node.warned) == len(CAMERAS)


def test_odometry_that_cannot_be_used_is_named(node):
    node = node()
    node.calibrate()

    def drive(metres, begin=START, child="base_link"):
        for step in range(-20, 20):
            message = Odometry(child_frame_id=child)
            message.header.stamp = time_from_ns(begin + step * 10_000_000 if begin else 0)
            message.pose.pose.position.x = float(metres if step > 0 else 0)
            node.pipeline.on_odometry(message)

    drive(0, begin=0)
    assert "bad message: no stamp; fill in header.stamp" in node.said("odometry")[1]
    assert len(node.pipeline.odometry) == 0
    drive(0, child="wheel")
    assert "no transform connects base_link to wheel" in node.said("odometry")[1]
    node.pipeline.statistics.bad_odometry.last -= 60  # long over
    drive(50)
    node.detect(0)
    level, message = node.said("odometry")
    assert level == DiagnosticStatus.WARN
    assert message.startswith("odometry jumps by 50.0 m and 0 degrees in 10 ms; let it publish")


def test_an_image_keeps_the_calibration_that_it_came_with(node, monkeypatch):
    """Also where that changes while the image waits for a thread."""
    node = node()
    node.calibrate()
    detector = node.pipeline.detector
    encode, detect, go_on, shown = detector.encode, detector.detect_encoded, threading.Event(), []

    def keep(encoded, poses, threshold):
        focal = {encoded[camera].view.calibration.matrix[0, 0] for camera in CAMERAS}
        shown.append((focal, np.stack([poses[camera] for camera in CAMERAS])))
        return detect(encoded, poses, threshold)

    monkeypatch.setattr(detector, "encode", lambda *a: go_on.wait(30) and encode(*a))
    monkeypatch.setattr(detector, "detect_encoded", keep)
    node.sweep(0)
    moved, zoomed = MOUNTINGS.copy(), INTRINSICS.copy()
    moved[:, 2, 3] += 0.5
    zoomed[0, 0] = zoomed[1, 1] = 400
    node.calibrate(moved, zoomed)
    go_on.set()
    node.until(lambda: shown)
    node.until(node.idle)
    node.detect(1)
    assert [focal for focal, _ in shown] == [{INTRINSICS[0, 0]}, {400}]
    np.testing.assert_allclose(shown[0][1], MOUNTINGS, atol=1e-9)
    np.testing.assert_allclose(shown[1][1], moved, atol=1e-9)


def moved(parent, child, matrix, stamp=0):
    transform = TransformStamped(child_frame_id=child)
    transform.header = Header(frame_id=parent, stamp=time_from_ns(stamp))
    fill_pose(transform.transform.translation, transform.transform.rotation, matrix)
    return TFMessage(transforms=[transform])


def test_a_frame_takes_the_transforms_that_come_after_its_images(node, monkeypatch):
    """The mounting is that of the image's stamp, and not what was known when the image came."""
    node = node()
    node.calibrate()
    node.pipeline.on_static_transforms(moved("pan", "CAM_FRONT", MOUNTINGS[1]))
    detected = []
    detect = node.pipeline.detector.detect_encoded

    def keep(encoded, poses, threshold):
        detected.append(poses)
        return detect(encoded, poses, threshold)

    monkeypatch.setattr(node.pipeline.detector, "detect_encoded", keep)
    raised = np.eye(4)
    raised[2, 3] = 0.8
    for number in (0, 1):
        stamp = START + number * SECOND // 10 + TRIGGERS[1]
        before = moved("base_link", "pan", np.eye(4), stamp - SECOND // 40)
        after = moved("base_link", "pan", raised, stamp + 3 * SECOND // 40)
        node.pipeline.on_moving_transforms(bytes(serialize_message(before)))
        count = len(node.published)
        node.sweep(number)
        node.pipeline.on_moving_transforms(bytes(serialize_message(after)))
        node.until(lambda count=count: len(node.published) > count)
        expected = MOUNTINGS[1].copy()
        expected[2, 3] += 0.2
        np.testing.assert_allclose(detected[-1]["CAM_FRONT"], expected, atol=1e-9)
        np.testing.assert_allclose(detected[-1]["CAM_BACK"], MOUNTINGS[4], atol=1e-9)


def test_a_frame_does_not_wait_for_transforms_that_have_ended(node):
    node = node()
    node.calibrate()
    node.pipeline.on_static_transforms(moved("pan", "CAM_FRONT", MOUNTINGS[1]))
    ended = moved("base_link", "pan", np.eye(4), START)
    node.pipeline.on_moving_transforms(bytes(serialize_message(ended)))
    node.detect(1)
    assert node.pipeline.statistics.latencies()["odometry"][1] >= pipeline.TRANSFORM_WAIT
    for number in range(50, 55):
        node.detect(number)
    assert node.pipeline.statistics.latencies()["odometry"][0] < pipeline.TRANSFORM_WAIT / 2
    assert "/tf has pan last 5" in node.said("CAM_FRONT")[1]
