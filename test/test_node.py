# SPDX-License-Identifier: Apache-2.0
"""Promise: the node process detects over real DDS, survives bad input, and obeys its lifecycle."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from asd_perception import model_directory
from asd_perception.bev_grid import BevGrid
from asd_perception.config import StudentConfig
from asd_perception.constants import CAMERAS
from asd_perception.detector import Detector
from asd_perception.geometry import quaternion_of, transform_from
from asd_perception.network.student import Student
from asd_perception.rig import CameraRig, compensate
from asd_perception.ros.conversions import (
    detections_from_msg,
    objects_from_cloud,
    stamp_ns,
    time_from_ns,
)

MS = 1_000_000
START = 1_532_402_927_604_844_000
TRIGGERS = [int(ms * MS) for ms in (0.0, 7.6, 15.5, 42.6, 32.7, 23.0)]  # order of CAMERAS
WIDTH, HEIGHT = 400, 225
PATIENCE = 120.0  # s; on a busy machine torch alone takes long to import

# -- the rig that the test plays ---------------------------------------------------------------

_OPTICAL = transform_from([0.5, -0.5, 0.5, -0.5], [0, 0, 0])
_HEADINGS = np.deg2rad([55, 0, -55, 110, 180, -110])
MOUNTINGS = np.stack(
    [
        transform_from([np.cos(h / 2), 0, 0, np.sin(h / 2)], [1, 0, 1.5]) @ _OPTICAL
        for h in _HEADINGS
    ]
)
INTRINSICS = np.array([[316.0, 0, 200], [0, 316.0, 112], [0, 0, 1]])
RIG = CameraRig(
    names=CAMERAS,
    intrinsics=np.repeat(INTRINSICS[None], 6, axis=0),
    ego_from_camera=MOUNTINGS,
    image_sizes=np.repeat([[WIDTH, HEIGHT]], 6, axis=0),
    distortion=np.zeros((6, 8)),
)


def scene(seed):
    """Six smooth RGB images."""
    rng = np.random.default_rng(seed)
    coarse = [rng.integers(0, 256, (9, 16, 3), dtype=np.uint8) for _ in CAMERAS]
    return [cv2.resize(image, (WIDTH, HEIGHT)) for image in coarse]


def jpeg(image):
    message = CompressedImage(format="jpeg")
    message.data.frombytes(cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1])
    return message


def decoded(image):
    """What a JPEG of the image shows."""
    data = np.frombuffer(jpeg(image).data, np.uint8)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def raw(image):
    message = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
    message.data.frombytes(image.tobytes())
    return message


def camera_info(camera, **changes):
    values = {"width": WIDTH, "height": HEIGHT, "k": INTRINSICS.ravel(), **changes}
    return CameraInfo(header=Header(frame_id=camera), distortion_model="plumb_bob", **values)


def fill_pose(translation, rotation, matrix):
    rotation.w, rotation.x, rotation.y, rotation.z = quaternion_of(matrix).tolist()
    translation.x, translation.y, translation.z = matrix[:3, 3].tolist()


class Robot:
    """Publishes what a robot would, and keeps what the detector answers."""

    def __init__(self, context):
        self.node = rclpy.create_node("robot", context=context)
        self.images = {
            (kind, camera): self.node.create_publisher(kind, f"{camera}/{topic}", 10)
            for camera in CAMERAS
            for kind, topic in ((Image, "image_raw"), (CompressedImage, "image_raw/compressed"))
        }
        self.infos = {
            camera: self.node.create_publisher(CameraInfo, f"{camera}/camera_info", 10)
            for camera in CAMERAS
        }
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.transforms = self.node.create_publisher(TFMessage, "/tf_static", latched)
        self.odometry = self.node.create_publisher(Odometry, "odometry", 100)
        self.received = {}
        for kind, topic in (
            (Detection3DArray, "detector/detections"),
            (PointCloud2, "detector/objects"),
            (MarkerArray, "detector/markers"),
            (PointCloud2, "detector/simulated_points"),
            (DiagnosticArray, "/diagnostics"),
        ):
            kept = self.received.setdefault(topic, [])
            self.node.create_subscription(kind, topic, kept.append, 100)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self.stopped = False
        self.thread = threading.Thread(target=self._spin)
        self.thread.start()
        self.sweep = 0

    def _spin(self):
        while not self.stopped:
            self.executor.spin_once(timeout_sec=0.05)

    def close(self):
        self.stopped = True
        self.thread.join()
        self.executor.shutdown()
        self.node.destroy_node()

    def until(self, condition, what):
        """The first true value of `condition()`."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            time.sleep(0.02)
        raise AssertionError(f"{what}: not within {PATIENCE:.0f} s")

    def call(self, kind, service, request):
        client = self.node.create_client(kind, service)
        assert client.wait_for_service(timeout_sec=PATIENCE), service
        future = client.call_async(request)
        return self.until(lambda: future.done() and future.result(), service)

    def transition(self, transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.call(ChangeState, "detector/change_state", request).success

    def state(self):
        return self.call(GetState, "detector/get_state", GetState.Request()).current_state.label

    def set_parameter(self, name, value):
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        return self.call(SetParameters, "detector/set_parameters", request).results[0]

    def calibrate(self):
        message = TFMessage()
        for camera, mounting in zip(CAMERAS, MOUNTINGS, strict=True):
            self.infos[camera].publish(camera_info(camera))
            transform = TransformStamped(child_frame_id=camera)
            transform.header.frame_id = "base_link"
            fill_pose(transform.transform.translation, transform.transform.rotation, mounting)
            message.transforms.append(transform)
        self.transforms.publish(message)

    def await_subscriptions(self, kind):
        """Wait until the node listens to everything that it needs."""
        publishers = [self.images[kind, camera] for camera in CAMERAS]
        publishers += [*self.infos.values(), self.transforms, self.odometry]
        self.until(
            lambda: all(publisher.get_subscription_count() for publisher in publishers),
            "the detector's subscriptions",
        )

    def send(self, messages, stamps):
        for camera, message, stamp in zip(CAMERAS, messages, stamps, strict=True):
            message.header = Header(stamp=time_from_ns(stamp), frame_id=camera)
            self.images[type(message), camera].publish(message)

    def next_stamps(self):
        self.sweep += 1
        return [START + self.sweep * 500 * MS + trigger for trigger in TRIGGERS]

    def detect(self, messages, odometry=None):
        """Send one sweep of images; the answer as (Detection3DArray, Detections)."""
        stamps = self.next_stamps()
        for stamp in stamps if odometry else ():
            message = Odometry(child_frame_id="base_link")
            message.header.stamp = time_from_ns(stamp)
            pose = message.pose.pose
            fill_pose(pose.position, pose.orientation, odometry(stamp))
            self.odometry.publish(message)
        if odometry:
            time.sleep(0.2)
        self.send(messages, stamps)
        reference = max(stamps)
        answer = self.until(lambda: self._answer("detector/detections", reference), "detections")
        objects = self.until(lambda: self._answer("detector/objects", reference), "objects")
        return answer, detections_from_msg(answer, objects_from_cloud(objects))

    def _answer(self, topic, reference):
        messages = [m for m in self.received[topic] if stamp_ns(m.header.stamp) == reference]
        return messages[0] if messages else None

    def diagnosis(self, name, text):
        """Wait for a warning or an error about `name` whose message contains the text."""

        def found():
            return any(
                status.name == f"detector: {name}"
                and status.level in (DiagnosticStatus.WARN, DiagnosticStatus.ERROR)
                and text in status.message
                for message in self.received["/diagnostics"][-2:]
                for status in message.status
            )

        self.until(found, f"{name}: {text!r} in /diagnostics")


# -- processes ---------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread():
    """The nodes beside this process get a core to themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture
def robot():
    context = rclpy.Context()
    context.init()
    robot = Robot(context)
    yield robot
    robot.close()
    context.shutdown()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A student with random weights, small and quick."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("node") / "model"
    config = StudentConfig(image_size=(64, 96), bev=BevGrid(cell=3.2), max_objects=50)
    student = Student(config)
    with torch.no_grad():  # the head starts out the same everywhere; here, cells must differ
        for parameter in student.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    model_directory.save(path, student, {})
    return path


@pytest.fixture(scope="module")
def detector(model):
    """The same model, offline."""
    torch.set_num_threads(1)
    return Detector.from_pretrained(model)


@pytest.fixture
def start(tmp_path_factory):
    """Start node processes with parameters; ends them after the test."""
    processes = []

    def start(**parameters):
        arguments = []
        for name, value in parameters.items():
            arguments += ["-p", f"{name}:={value}"]
        log = (tmp_path_factory.mktemp("log") / "node.log").open("w+")
        process = subprocess.Popen(
            [sys.executable, "-m", "asd_perception.ros.node", "--ros-args", *arguments],
            stderr=log,
            stdout=log,
            cwd=Path(__file__).resolve().parents[1],
        )
        process.log = Path(log.name)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def wait_for_exit(process):
    return process.wait(timeout=PATIENCE)


def assert_same(online, offline):
    for field in ("boxes", "scores", "velocities"):
        np.testing.assert_allclose(getattr(online, field), getattr(offline, field), atol=1e-4)
    np.testing.assert_array_equal(online.labels, offline.labels)
    np.testing.assert_array_equal(online.attributes, offline.attributes)


# -- promises ----------------------------------------------------------------------------------


def test_jpeg_frames_are_detected_and_faults_are_named(start, robot, model, detector):
    """One process: calibration, JPEG, ego motion, parameters, bad messages, SIGTERM."""
    process = start(model=model, device="cpu", image_transport="compressed", score_threshold=0.0)
    robot.await_subscriptions(CompressedImage)

    # Without calibration nothing is detected, and the diagnostics say what is missing.
    robot.send([jpeg(image) for image in scene(0)], robot.next_stamps())
    robot.diagnosis("CAM_FRONT", "CAM_FRONT/camera_info")
    robot.calibrate()
    time.sleep(0.5)

    # What is published is what the detector finds offline, with stamp, frame, and order.
    images = scene(1)
    message, online = robot.detect([jpeg(image) for image in images])
    offline = detector.detect([decoded(image) for image in images], RIG, score_threshold=0.0)
    assert message.header.frame_id == "base_link"
    assert len(online) == 50
    assert_same(online, offline)
    markers = robot.until(lambda: robot.received["detector/markers"], "markers")
    assert markers[0].markers[0].action == 3  # DELETEALL
    points = robot.until(lambda: robot.received["detector/simulated_points"], "simulated points")
    assert points[0].width == len(offline.simulated_points)
    assert robot.received["/diagnostics"][0].status[0].name == "detector: state"

    # Ego motion from odometry is folded into the rig.
    def moving(stamp):
        return transform_from([1, 0, 0, 0], [30.0 * (stamp - START) / 1e9, 0, 0])

    _, online = robot.detect([jpeg(image) for image in images], odometry=moving)
    poses = np.stack([moving(START + trigger) for trigger in TRIGGERS])
    moved = compensate(MOUNTINGS, poses, moving(START + max(TRIGGERS)))
    moved_rig = CameraRig(CAMERAS, RIG.intrinsics, moved, RIG.image_sizes, RIG.distortion)
    expected = detector.detect([decoded(image) for image in images], moved_rig, 0.0)
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
    assert robot.set_parameter("score_threshold", 0.0).successful

    # Bad messages are named, each with its camera, and the next good frame is detected.
    messages = [jpeg(image) for image in images]
    del messages[0].data[-100:]
    messages[1] = CompressedImage()
    messages[2].data[:2] = messages[2].data[2:4]  # no JPEG any more
    messages[3] = jpeg(images[3][:100])
    robot.send(messages, robot.next_stamps())
    robot.infos["CAM_BACK"].publish(camera_info("CAM_BACK", k=np.full(9, np.nan)))
    _, online = robot.detect([jpeg(image) for image in images])
    assert len(online) == 50
    robot.diagnosis("CAM_FRONT_LEFT", "truncated")
    robot.diagnosis("CAM_FRONT", "no JPEG or PNG")
    robot.diagnosis("CAM_FRONT_RIGHT", "no JPEG or PNG")
    robot.diagnosis("CAM_BACK_LEFT", "camera_info says")
    robot.diagnosis("CAM_BACK", "not finite")

    process.send_signal(signal.SIGTERM)
    assert wait_for_exit(process) == 0
    assert "Traceback" not in process.log.read_text()


def test_lifecycle_transitions_and_raw_images(start, robot, model, detector):
    """Brought up, taken down and brought up again over its services; raw images; SIGINT."""
    # Fast DDS drops best-effort messages that do not fit its 512 kB of shared memory.
    reliable = {
        f"qos_overrides./{camera}/image_raw.subscription.reliability": "reliable"
        for camera in CAMERAS
    }
    process = start(
        model="/nowhere", device="cpu", autostart=False, score_threshold=0.0, **reliable
    )
    assert robot.state() == "unconfigured"
    assert not robot.transition(Transition.TRANSITION_CONFIGURE), "there is no such model"
    assert robot.state() == "unconfigured"
    assert robot.set_parameter("model", str(model)).successful
    images = scene(2)
    expected = detector.detect(images, RIG, score_threshold=0.0)
    for _ in range(2):
        assert robot.transition(Transition.TRANSITION_CONFIGURE)
        assert robot.state() == "inactive"
        robot.await_subscriptions(Image)
        robot.calibrate()
        time.sleep(0.5)
        before = len(robot.received["detector/detections"])
        robot.send([raw(image) for image in images], robot.next_stamps())
        time.sleep(0.5)
        assert len(robot.received["detector/detections"]) == before, "not active yet"
        assert robot.transition(Transition.TRANSITION_ACTIVATE)
        _, online = robot.detect([raw(image) for image in images])
        assert_same(online, expected)
        messages = [raw(image) for image in images]
        messages[0] = Image(encoding="rgb8")
        messages[1].encoding = "spam8"
        robot.send(messages, robot.next_stamps())
        _, online = robot.detect([raw(image) for image in images])
        assert_same(online, expected)
        robot.diagnosis("CAM_FRONT_LEFT", "zero size")
        robot.diagnosis("CAM_FRONT", "spam8")
        assert robot.transition(Transition.TRANSITION_DEACTIVATE)
        assert robot.transition(Transition.TRANSITION_CLEANUP)
        assert robot.state() == "unconfigured"
        for camera in CAMERAS:
            assert robot.until(
                lambda camera=camera: not robot.infos[camera].get_subscription_count(),
                "the end of the subscriptions",
            )
    process.send_signal(signal.SIGINT)
    assert wait_for_exit(process) == 0
    assert "/nowhere has no config.yaml" in process.log.read_text()


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"device": "abacus"}, "'abacus' is not auto"),
        ({"score_threshold": "much"}, "score_threshold"),
    ],
)
def test_a_node_that_cannot_start_says_why_in_one_line(start, parameters, reason):
    process = start(**parameters)
    assert wait_for_exit(process) == 2
    lines = process.log.read_text().splitlines()
    assert len(lines) == 1, lines
    assert reason in lines[0]


def test_a_missing_tensor_is_named_in_the_one_line(start, model, tmp_path):
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.yaml").write_text((model / "config.yaml").read_text())
    weights = load_file(model / "model.safetensors")
    name = sorted(weights)[0]
    del weights[name]
    save_file(weights, broken / "model.safetensors")
    process = start(model=broken)
    assert wait_for_exit(process) == 2
    lines = process.log.read_text().splitlines()
    assert len(lines) == 1, lines
    assert name in lines[0]


def test_help_teaches_topics_and_parameters():
    shown = subprocess.run(
        [sys.executable, "-m", "asd_perception.ros.node", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for word in ("~/detections", "camera_info", "score_threshold", "--params-file", "/tf_static"):
        assert word in shown
