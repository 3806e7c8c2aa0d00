# SPDX-License-Identifier: Apache-2.0
"""A robot that the node tests play: its cameras, its calibration, and ears for the detector."""

import os
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import SetParameters
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.cameras.image_decoding import decode_camera_image
from asd_perception.cameras.rig import CameraRig
from asd_perception.geometry import quaternion_of, transform_from
from asd_perception.ros.messages.geometry import stamp_ns, time_from_ns
from asd_perception.ros.messages.published.detections import detections_from_msg
from asd_perception.ros.messages.published.objects import objects_from_cloud
from asd_perception.ros.parameters.settings import CameraInput

MS = 1_000_000
START = 1_532_402_927_604_844_000
TRIGGERS = [int(ms * MS) for ms in (0.0, 7.6, 15.5, 42.6, 32.7, 23.0)]  # order of CAMERAS
WIDTH, HEIGHT = 400, 225
ANSWERS = {
    "detector/detections": Detection3DArray,
    "detector/objects": PointCloud2,
    "detector/markers": MarkerArray,
    "detector/simulated_points": PointCloud2,
}
PATIENCE = float(os.environ.get("ASD_TEST_PATIENCE", "120"))  # s; a busy machine takes long

# -- the rig that the test plays ---------------------------------------------------------------

_OPTICAL = transform_from([0.5, -0.5, 0.5, -0.5], [0, 0, 0])
_HEADINGS = np.deg2rad([55, 0, -55, 110, 180, -110])
MOUNTINGS = np.stack(
    [
        transform_from([np.cos(h / 2), 0, 0, np.sin(h / 2)], [1, 0, 1.5]) @ _OPTICAL
        for h in _HEADINGS
    ]
)
INTRINSICS = np.array([[316.0, 0, 203], [0, 316.0, 122], [0, 0, 1]])
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


def decoded(image, detector):
    """What a detector is shown of a JPEG of the image."""
    data = np.frombuffer(jpeg(image).data, np.uint8)
    return decode_camera_image(data, (WIDTH, HEIGHT), detector.config.image_size)


def raw(image, encoding="rgb8"):
    """An image message; encoding: rgb8 or bgr16."""
    samples = image if encoding == "rgb8" else image[..., ::-1].astype("<u2") * 256
    step = samples.nbytes // HEIGHT
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=step)
    message.data.frombytes(samples.tobytes())
    return message


def camera_info(camera, **changes):
    values = {"width": WIDTH, "height": HEIGHT, "k": INTRINSICS.ravel(), **changes}
    return CameraInfo(header=Header(frame_id=camera), distortion_model="plumb_bob", **values)


def camera_input(name, rectified=False):
    """What the node's parameters say of a camera by default."""
    image, info = f"{name}/image_raw/compressed", f"{name}/camera_info"
    return CameraInput(image, info, f"/{image}", f"/{info}", rectified)


def fill_pose(translation, rotation, matrix):
    rotation.w, rotation.x, rotation.y, rotation.z = quaternion_of(matrix).tolist()
    translation.x, translation.y, translation.z = matrix[:3, 3].tolist()


def _reference(answer):
    """The reference stamp of a message on one of ANSWERS."""
    if isinstance(answer, MarkerArray):
        answer = answer.markers[0]
    return stamp_ns(answer.header.stamp)


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
        for topic, kind in {**ANSWERS, "/diagnostics": DiagnosticArray}.items():
            kept = self.received.setdefault(topic, [])
            self.node.create_subscription(kind, topic, kept.append, 100)
        # An answer to a client that the service has not found yet is lost. The node finds these in
        # their order, so GetState, which can be asked again, is the last.
        self.clients = {
            kind: self.node.create_client(kind, f"detector/{service}")
            for kind, service in (
                (ChangeState, "change_state"),
                (SetParameters, "set_parameters"),
                (GetState, "get_state"),
            )
        }
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

    def within(self, seconds, condition):
        """The first true value of `condition()`, or its last false one."""
        deadline = time.monotonic() + seconds
        while not (value := condition()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return value

    def until(self, condition, what):
        """The first true value of `condition()`; without one, the error tells what came instead."""
        value = self.within(PATIENCE, condition)
        assert value, f"{what}: not within {PATIENCE:.0f} s; {self.heard()}"
        return value

    def heard(self):
        """What the detector has answered last, and how it explains itself."""
        answers = [stamp_ns(m.header.stamp) for m in self.received["detector/detections"]]
        lines = [f"{len(answers)} answers came, the last of stamps {answers[-3:]}"]
        for message in self.received["/diagnostics"][-1:]:
            for status in message.status:
                values = ", ".join(f"{item.key}: {item.value}" for item in status.values)
                lines.append(f"{status.name}: {status.message} ({values})")
        return "\n".join(lines)

    def ask(self, service, request, seconds):
        """The answer of a service of the node, or None."""
        client = self.clients[service]
        self.until(client.service_is_ready, client.service_name)
        future = client.call_async(request)
        return self.within(seconds, lambda: future.done() and future.result())

    def transition(self, transition):
        self.state()  # its answer shows that the node has found the clients
        request = ChangeState.Request(transition=Transition(id=transition))
        answer = self.ask(ChangeState, request, PATIENCE)
        assert answer, f"transition {transition} does not end; {self.heard()}"
        return answer.success

    def state(self):
        answer = self.until(lambda: self.ask(GetState, GetState.Request(), 5.0), "its state")
        return answer.current_state.label

    def set_parameter(self, name, value):
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        answer = self.until(lambda: self.ask(SetParameters, request, 5.0), "set_parameters")
        return answer.results[0]

    def calibrate(self):
        message = TFMessage()
        for camera, mounting in zip(CAMERAS, MOUNTINGS, strict=True):
            self.infos[camera].publish(camera_info(camera))
            transform = TransformStamped(child_frame_id=camera)
            transform.header.frame_id = "base_link"
            fill_pose(transform.transform.translation, transform.transform.rotation, mounting)
            message.transforms.append(transform)
        self.transforms.publish(message)

    def _subscriptions(self, kind):
        """How many subscriptions each of the topics has that the node listens to."""
        publishers = [self.images[kind, camera] for camera in CAMERAS]
        publishers += [*self.infos.values(), self.transforms, self.odometry]
        return [publisher.get_subscription_count() for publisher in publishers]

    def await_subscriptions(self, kind):
        """Wait until the node listens to everything that it needs."""
        self.until(lambda: all(self._subscriptions(kind)), "the detector's subscriptions")

    def await_end_of_subscriptions(self, kind):
        self.until(lambda: not any(self._subscriptions(kind)), "the end of the subscriptions")

    def await_delivery(self, *publishers):
        """Wait until all has arrived that was published to the node's reliable subscriptions."""
        for publisher in publishers:
            delivered = publisher.wait_for_all_acked(Duration(seconds=PATIENCE))
            assert delivered, f"{publisher.topic_name}: not received; {self.heard()}"

    def connect(self, messages):
        """Send calibration and sweeps until one is answered."""
        self.await_subscriptions(type(messages[0]))

        def sweep():
            self.calibrate()
            stamps = self.next_stamps()
            self.send(messages, stamps)
            return self.reference(messages, stamps)

        self.until_answered(sweep)

    def until_answered(self, sweep):
        """Send sweeps until the last one is answered on every topic; sweep(): its reference stamp.

        Each side sees the other at a time of its own, and what is sent before that is lost. A sweep
        has its time before the next comes, or the detector might leave that one out: at the end it
        is at rest.
        """
        deadline, pause = time.monotonic() + PATIENCE, 0.5
        while True:
            reference = sweep()
            if self.within(pause, lambda reference=reference: self._answers(reference)):
                return
            assert time.monotonic() < deadline, f"no sweep is answered; {self.heard()}"
            pause *= 1.5  # a busy machine may take longer

    def send(self, messages, stamps):
        """One sweep; None for a camera that gives no image."""
        for index, (message, stamp) in enumerate(zip(messages, stamps, strict=True)):
            if message is not None:
                self.send_one(index, message, stamp)

    def send_one(self, index, message, stamp):
        """One image of the camera with this index."""
        camera = CAMERAS[index]
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
            self.await_delivery(self.odometry)
        self.send(messages, stamps)
        return self.answer(self.reference(messages, stamps))

    def reference(self, messages, stamps):
        return max(s for s, message in zip(stamps, messages, strict=True) if message is not None)

    def answer(self, reference):
        """The detections of a reference stamp, as (Detection3DArray, Detections)."""
        self.until(lambda: self._answers(reference), f"detections of stamp {reference}")
        answer, objects, *_ = self._answers(reference)
        return answer, detections_from_msg(answer, objects_from_cloud(objects))

    def _answers(self, reference):
        """What the topics in ANSWERS say of a reference stamp; nothing before all have come."""
        answers = [
            next((m for m in self.received[topic] if _reference(m) == reference), None)
            for topic in ANSWERS
        ]
        return answers if all(answers) else []

    def counts(self, name):
        """The values of a status in the node's next diagnostics."""
        before = len(self.received["/diagnostics"])
        self.until(lambda: len(self.received["/diagnostics"]) > before, "/diagnostics")
        (values,) = [
            {item.key: item.value for item in status.values}
            for status in self.received["/diagnostics"][-1].status
            if status.name == f"detector: {name}"
        ]
        return values

    def count(self, first, last):
        """How many answers have a reference stamp from first to last."""
        heard = [stamp_ns(m.header.stamp) for m in self.received["detector/detections"]]
        return sum(first <= stamp <= last for stamp in heard)

    def says(self, name, text):
        """Whether a warning or an error about `name` has a message that contains the text."""
        return any(
            status.name == f"detector: {name}"
            and status.level in (DiagnosticStatus.WARN, DiagnosticStatus.ERROR)
            and text in status.message
            for message in self.received["/diagnostics"][-2:]
            for status in message.status
        )

    def diagnosis(self, name, text):
        """Wait until the detector says so."""
        self.until(lambda: self.says(name, text), f"{name}: {text!r} in /diagnostics")


def resources(pid):
    """Resident MiB, threads, open files."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    resident = int(fields["VmRSS"].split()[0]) / 1024
    return resident, int(fields["Threads"]), len(os.listdir(f"/proc/{pid}/fd"))


def wait_for_exit(process):
    return process.wait(timeout=PATIENCE)


def same(online, offline):
    """Whether assert_same holds."""
    try:
        assert_same(online, offline)
    except AssertionError:
        return False
    return True


def assert_same(online, offline):
    for field in ("boxes", "scores", "velocities"):
        one, other = getattr(online, field), getattr(offline, field)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(online.labels, offline.labels)
    np.testing.assert_array_equal(online.attributes, offline.attributes)
