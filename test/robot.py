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
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from asd_perception.cameras.image_decoding import decode_camera_image
from asd_perception.cameras.rig import CameraRig
from asd_perception.constants import CAMERAS
from asd_perception.geometry import quaternion_of, transform_from
from asd_perception.ros.messages.geometry import stamp_ns, time_from_ns
from asd_perception.ros.messages.objects import detections_from_msg, objects_from_cloud
from asd_perception.ros.parameters import CameraInput

MS = 1_000_000
START = 1_532_402_927_604_844_000
TRIGGERS = [int(ms * MS) for ms in (0.0, 7.6, 15.5, 42.6, 32.7, 23.0)]  # order of CAMERAS
WIDTH, HEIGHT = 400, 225
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

    def wake(self, messages):
        """Send sweeps until one is answered: the other side sees a match later than this one."""
        heard = self.received["detector/detections"]
        before, deadline = len(heard), time.monotonic() + PATIENCE
        while len(heard) == before:
            assert time.monotonic() < deadline, "the detector answers no sweep"
            self.send(messages, self.next_stamps())
            time.sleep(1.0)

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
            time.sleep(0.2)
        self.send(messages, stamps)
        return self.answer(self.reference(messages, stamps))

    def reference(self, messages, stamps):
        return max(s for s, message in zip(stamps, messages, strict=True) if message is not None)

    def answer(self, reference):
        """The detections of a reference stamp, as (Detection3DArray, Detections)."""
        answer = self.until(lambda: self._answer("detector/detections", reference), "detections")
        objects = self.until(lambda: self._answer("detector/objects", reference), "objects")
        return answer, detections_from_msg(answer, objects_from_cloud(objects))

    def _answer(self, topic, reference):
        messages = [m for m in self.received[topic] if stamp_ns(m.header.stamp) == reference]
        return messages[0] if messages else None

    def count(self, first, last):
        """How many answers have a reference stamp from first to last."""
        heard = [stamp_ns(m.header.stamp) for m in self.received["detector/detections"]]
        return sum(first <= stamp <= last for stamp in heard)

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


def resources(pid):
    """Resident MiB, threads, open files."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    resident = int(fields["VmRSS"].split()[0]) / 1024
    return resident, int(fields["Threads"]), len(os.listdir(f"/proc/{pid}/fd"))


def wait_for_exit(process):
    return process.wait(timeout=PATIENCE)


def assert_same(online, offline):
    for field in ("boxes", "scores", "velocities"):
        np.testing.assert_allclose(getattr(online, field), getattr(offline, field), atol=1e-4)
    np.testing.assert_array_equal(online.labels, offline.labels)
    np.testing.assert_array_equal(online.attributes, offline.attributes)
