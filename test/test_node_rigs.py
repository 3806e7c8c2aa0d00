# SPDX-License-Identifier: Apache-2.0
"""Promise: rigs of one to eight cameras of any names, sizes and lenses are detected in over DDS as
offline; their calibration is taken however ROS drivers publish it, and from mountings that move."""

import threading
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.msg import Transition
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import MS, START, assert_same, fill_pose, jpeg, wait_for_exit
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, RegionOfInterest
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from asd_perception.cameras.rig import CameraRig
from asd_perception.geometry import interpolate_pose, level_camera
from asd_perception.ros.messages.geometry import time_from_ns
from asd_training.data.nuscenes import CameraFrame, read_images

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
R = Rotation.from_euler("xyz", [1.0, -2.0, 0.5], degrees=True).as_matrix()
BARREL = [-0.25, 0.08, 0.001, -0.0005, 0.01]


def pinhole(focal, size):
    return np.array([[focal, 0.0, size[0] / 2], [0.0, focal, size[1] / 2], [0.0, 0.0, 1.0]])


@dataclass
class Camera:
    """A camera as it is (what the offline detector is told), and as its driver describes it."""

    name: str
    heading: float  # in degrees
    matrix: np.ndarray
    size: tuple
    distortion: list = field(default_factory=list)
    equidistant: bool = False
    image: str = ""
    camera_info: str = ""
    says: dict = field(default_factory=dict)  # in camera_info, other than K, D and size
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))  # of the image in its frame
    parent: str = "base_link"

    @property
    def optical(self):
        """base_from_optical (4, 4)."""
        pose = np.eye(4)
        pose[:3, :3] = level_camera(np.deg2rad(self.heading), 0.02, 0.01)
        pose[:3, 3] = [1.0, 0.2, 1.5]
        return pose

    @property
    def mounting(self):
        """base_from_image (4, 4)."""
        turn = np.eye(4)
        turn[:3, :3] = self.rotation
        return self.optical @ turn

    @property
    def frame(self):
        return self.name.strip("/").replace("/", "_") + "_optical"

    @property
    def topics(self):
        image = self.image or f"{self.name}/image_raw"
        return image + "/compressed", self.camera_info or image.rpartition("/")[0] + "/camera_info"

    def info(self):
        values = {
            "width": self.size[0],
            "height": self.size[1],
            "k": self.matrix.ravel(),
            "d": [float(value) for value in self.distortion],
            "distortion_model": "plumb_bob",
            **self.says,
        }
        return CameraInfo(header=Header(frame_id=self.frame), **values)

    def transform(self):
        message = TransformStamped(child_frame_id=self.frame)
        message.header.frame_id = self.parent
        fill_pose(message.transform.translation, message.transform.rotation, self.optical)
        return message


FULL = pinhole(640.0, (800, 600))  # of the camera of which a binned part is published
CAMERAS = [
    Camera("front", 1, pinhole(316.0, (400, 225)), (400, 225)),
    Camera("left", 62, pinhole(260.0, (320, 240)), (320, 240), BARREL, image="/drv/cam1/image"),
    Camera(
        "fisheye", 171, pinhole(140.0, (480, 360)), (480, 360), [0.02, -0.01, 0.002, 0.0], True,
        camera_info="/calibration/of_the_rear", says={"distortion_model": "equidistant"},
    ),
    Camera(
        "right", -57, pinhole(400.0, (640, 360)), (640, 360),
        [-0.2, 0.05, 0, 0, 0, 0, 0, 0, 0.01, -0.002, 0.008, 0.001, 0.02, -0.015],
        says={"distortion_model": "rational_polynomial"},
    ),
    Camera(
        "stereo_right", 3, pinhole(300.0, (400, 225)), (400, 225),
        image="stereo/right/image_rect_color", rotation=R.T,
        says={
            "k": pinhole(290.0, (400, 225)).ravel(), "d": BARREL, "r": R.ravel(),
            "p": np.hstack([pinhole(300.0, (400, 225)), [[-36.0], [0.0], [0.0]]]).ravel(),
        },
    ),
    Camera(
        "binned", 112, np.array([[320.0, 0, 149.75], [0, 320.0, 99.75], [0, 0, 1]]), (300, 200),
        says={
            "k": FULL.ravel(), "width": 800, "height": 600, "binning_x": 2, "binning_y": 2,
            "roi": RegionOfInterest(x_offset=100, y_offset=100, width=600, height=400),
        },
    ),
    Camera("/robot1/tele_cam", -3, pinhole(700.0, (400, 225)), (400, 225)),
    Camera("rear_right", -113, pinhole(316.0, (400, 300)), (400, 300)),
]  # fmt: skip


class Rig:
    """Publishes what the drivers of some cameras would."""

    def __init__(self, robot, cameras, folder):
        self.robot, self.cameras = robot, cameras
        # No executor spins it: one that does may fail as a publisher is destroyed.
        self.node = node = rclpy.create_node("drivers", context=robot.node.context)
        self.images = [node.create_publisher(CompressedImage, c.topics[0], 10) for c in cameras]
        self.infos = [node.create_publisher(CameraInfo, c.topics[1], 10) for c in cameras]
        robot.transforms.publish(TFMessage(transforms=[c.transform() for c in cameras]))
        rng = np.random.default_rng(len(cameras))
        coarse = [rng.integers(0, 256, (9, 16, 3), dtype=np.uint8) for _ in cameras]
        self.messages = [
            jpeg(cv2.resize(image, camera.size))
            for image, camera in zip(coarse, cameras, strict=True)
        ]
        self.files = [folder / f"{camera.frame}.jpg" for camera in cameras]
        for file, message in zip(self.files, self.messages, strict=True):
            file.write_bytes(message.data)

    def close(self):
        self.node.destroy_node()

    def publish_infos(self):
        for camera, publisher in zip(self.cameras, self.infos, strict=True):
            publisher.publish(camera.info())

    def latch_infos(self):
        """Once, before anybody listens; by publishers of their own."""
        for camera in self.cameras:
            self.node.create_publisher(CameraInfo, camera.topics[1], LATCHED).publish(camera.info())

    def send(self, first):
        """One sweep; its reference stamp."""
        for i, (message, publisher) in enumerate(zip(self.messages, self.images, strict=True)):
            stamp = first + i * 5 * MS
            message.header = Header(stamp=time_from_ns(stamp), frame_id=self.cameras[i].frame)
            publisher.publish(message)
        return stamp

    def next_stamp(self):
        self.robot.sweep += 1
        return START + self.robot.sweep * 500 * MS

    def wake(self, infos=True, before=lambda stamp: None):
        """Send sweeps until one is answered; before(stamp): what is sent before each."""

        def sweep():
            if infos:
                self.publish_infos()
            stamp = self.next_stamp()
            before(stamp)
            return self.send(stamp)

        self.robot.until_answered(sweep)

    def detect(self):
        return self.robot.answer(self.send(self.next_stamp()))[1]

    def expected(self, detector, mountings=None, cameras=None):
        """What the detector finds offline."""
        cameras = self.cameras if cameras is None else cameras
        distortion = np.zeros((len(cameras), 14))
        for row, camera in zip(distortion, cameras, strict=True):
            row[: len(camera.distortion)] = camera.distortion
        rig = CameraRig(
            names=tuple(camera.name for camera in cameras),
            intrinsics=np.stack([camera.matrix for camera in cameras]),
            ego_from_camera=np.stack(mountings or [camera.mounting for camera in cameras]),
            image_sizes=np.array([camera.size for camera in cameras]),
            distortion=distortion,
            equidistant=np.array([camera.equidistant for camera in cameras]),
        )
        files = tuple(self.files[self.cameras.index(camera)] for camera in cameras)
        images = read_images(CameraFrame("", 0, rig, files, np.eye(4)), detector.views(rig))
        return detector.detect(images, rig, score_threshold=0.0)


@pytest.fixture(scope="module")
def detector(small_model):
    from asd_perception.runtime.detector import Detector

    return Detector.from_pretrained(small_model, cameras=len(CAMERAS))


@pytest.fixture(scope="module")
def node(start, small_model):
    """A node that knows all the cameras by its parameters; each test configures it for its own."""
    tables = {
        f"camera.{camera.name}.{key}": value
        for camera in CAMERAS
        for key, value in (("image", camera.image), ("camera_info", camera.camera_info))
        if value
    }
    process = start(
        model=small_model,
        device="cpu",
        image_transport="compressed",
        score_threshold=0.0,
        autostart=False,
        cameras="[" + ", ".join(camera.name for camera in CAMERAS) + "]",
        **{"camera.stereo_right.calibration": "rectified", **tables},
    )
    yield process
    assert process.poll() is None, "the node has ended"
    assert "Traceback" not in process.log.read_text()


@pytest.fixture
def configure(node, robot, tmp_path):
    """configure(cameras): an active node with these, and their drivers.

    latched: whether those publish camera_info once, before the node is there.
    """
    rigs = []

    def configure(cameras, latched=False, **parameters):
        if robot.state() != "unconfigured":
            assert robot.transition(Transition.TRANSITION_DEACTIVATE)
            assert robot.transition(Transition.TRANSITION_CLEANUP)
        while rigs:
            rigs.pop().close()
        names = [camera.name for camera in cameras]
        for name, value in {"cameras": names, **parameters}.items():
            assert robot.set_parameter(name, value).successful, (name, value)
        rigs.append(rig := Rig(robot, cameras, tmp_path))
        if latched:
            rig.latch_infos()
        assert robot.transition(Transition.TRANSITION_CONFIGURE)
        assert robot.transition(Transition.TRANSITION_ACTIVATE)
        return rig

    yield configure
    for rig in rigs:
        rig.close()


@pytest.mark.parametrize(
    "count",
    [8, pytest.param(5, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow), 1],
)
def test_a_rig_of_any_cameras_is_detected_in_as_offline(configure, robot, detector, count):
    """camera_info came once, without a stamp, and /tf is not even listened to."""
    rig = configure(CAMERAS[:count])
    moving = rig.node.create_publisher(TFMessage, "/tf", 100)
    rig.wake()
    online = rig.detect()
    assert len(online) == 50
    assert_same(online, rig.expected(detector))
    assert moving.get_subscription_count() == 0


def test_camera_info_that_was_published_once_and_latched_before_the_detector(
    configure, robot, detector
):
    rig = configure(CAMERAS[:3], latched=True)
    rig.wake(infos=False)
    assert_same(rig.detect(), rig.expected(detector))


def test_rectified_images_beside_raw_camera_info_are_warned_of_and_found_once_it_is_said(
    configure, robot, detector
):
    """They find what they do with a camera_info of their own, with D = 0."""
    cameras = [CAMERAS[0], CAMERAS[4]]
    rig = configure(cameras, **{"camera.stereo_right.calibration": "raw"})
    rig.wake()
    robot.diagnosis("stereo_right", "set camera.stereo_right.calibration: rectified")
    rig = configure(cameras, **{"camera.stereo_right.calibration": "rectified"})
    rig.wake()
    online = rig.detect()
    assert_same(online, rig.expected(detector))
    p = cameras[1].matrix.ravel()
    own = cameras[1].info()
    own.k, own.d, own.r = p, [0.0] * 5, np.eye(3).ravel()
    turned = cameras[1].transform()
    fill_pose(turned.transform.translation, turned.transform.rotation, cameras[1].mounting)
    rig = configure(cameras, **{"camera.stereo_right.calibration": "raw"})
    robot.transforms.publish(TFMessage(transforms=[turned]))
    rig.publish_infos = lambda: [
        rig.infos[0].publish(cameras[0].info()),
        rig.infos[1].publish(own),
    ]
    rig.wake()
    assert_same(rig.detect(), online)
    assert robot.set_parameter("camera.stereo_right.calibration", "rectified").successful


@pytest.mark.slow
def test_a_camera_that_is_named_later_has_its_parameters_too(node, robot):
    name = "camera.late.image"
    assert not robot.set_parameter(name, "/drv/late").successful, "there is no such camera"
    assert robot.set_parameter("cameras", ["front", "late"]).successful
    assert robot.set_parameter(name, "/drv/late").successful
    assert "'a//b' is not a topic name" in robot.set_parameter(name, "a//b").reason
    assert "give 1 to 8" in robot.set_parameter("cameras", [f"c{i}" for i in range(9)]).reason


def pan(degrees):
    """base_from_pan (4, 4)."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    pose[:3, 3] = [0.1, 0.0, 0.2 + degrees / 100]
    return pose


def test_a_camera_on_a_pan_unit_is_where_it_was_at_its_stamp(configure, robot, detector):
    """/tf beside a busy robot's other transforms; when it ends, the camera is left out."""
    front = Camera("front", 1, CAMERAS[0].matrix, CAMERAS[0].size, parent="pan")
    rig = configure([front, CAMERAS[1]])
    moving, busy = (rig.node.create_publisher(TFMessage, "/tf", 100) for _ in range(2))

    def listens():
        rig.publish_infos()
        return moving.get_subscription_count()

    robot.until(listens, "the subscription to /tf")

    def turn(stamp, degrees=0.0):
        for at, angle in ((stamp - 30 * MS, degrees), (stamp + 50 * MS, degrees + 8.0)):
            moving.publish(TFMessage(transforms=[turned("pan", at, angle)]))
        robot.await_delivery(moving)

    def others():
        messages = [TFMessage(transforms=[turned(f"joint_{i}", START, 0.0)]) for i in range(60)]
        while not done.is_set():
            for message in messages:
                busy.publish(message)
            done.wait(0.01)

    done = threading.Event()
    flood = threading.Thread(target=others)
    flood.start()
    try:
        rig.wake(before=turn)
        for degrees in (20.0, -35.0):
            stamp = rig.next_stamp()
            turn(stamp, degrees)
            online = robot.answer(rig.send(stamp))[1]
            between = interpolate_pose(0, -30, pan(degrees), 50, pan(degrees + 8.0))
            mountings = [between @ front.mounting, CAMERAS[1].mounting]
            assert_same(online, rig.expected(detector, mountings))
    finally:
        done.set()
        flood.join()

    robot.sweep += 10
    rig.wake(infos=False)
    robot.diagnosis("front", "/tf has pan last")
    sent = []
    robot.until_answered(lambda: sent.append(rig.send(rig.next_stamp())) or sent[-1])
    assert_same(robot.answer(sent[-1])[1], rig.expected(detector, cameras=[CAMERAS[1]]))


def turned(child, stamp, degrees):
    message = TransformStamped(child_frame_id=child)
    message.header = Header(stamp=time_from_ns(stamp), frame_id="base_link")
    fill_pose(message.transform.translation, message.transform.rotation, pan(degrees))
    return message


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"cameras": "[a, b, a]"}, "cameras: 'a' is there twice"),
        ({"cameras": "[a, b, c, d, e, f, g, h, i]"}, "cameras: there are 9 names; give 1 to 8"),
        ({"cameras": "[a]", "sync.min_cameras": 2}, "sync.min_cameras is 2, but cameras has 1"),
        ({"calibration": "rect"}, "calibration: 'rect' is not raw or rectified"),
        (
            {"cameras": "[a]", "camera.a.calibration": "K"},
            "camera.a.calibration: 'K' is not raw or rectified",
        ),
        (
            {"cameras": "[a]", "camera.a.image": "/x/image/compressed"},
            "camera.a.image: give /x/image; image_transport: compressed adds",
        ),
        (
            {"cameras": "[a, b]", "camera.b.image": "a/image_raw"},
            "cameras a and b have the same image topic /a/image_raw; set camera.b.image",
        ),
        (
            {"cameras": "[s/l, s/r]", "camera.s/l.camera_info": "i", "camera.s/r.camera_info": "i"},
            "cameras s/l and s/r have the same camera_info topic /i; set camera.s/r.camera_info",
        ),
    ],
)
def test_a_rig_that_cannot_be_is_one_line(run_detector, parameters, reason):
    status, lines = run_detector(**parameters)
    assert (status, len(lines)) == (2, 1), lines
    assert reason in lines[0]


def test_parameters_that_nothing_takes_are_warned_of(start, robot):
    process = start(
        model="/nowhere",
        cameras="[front, rear]",
        **{
            "score_treshold": 0.1,
            "camera.front.imge": "/x",
            "camera.raer.image": "/y",
            "camera.raer.calibration": "raw",
            "qos_overrides./rear/image_raw.subscription.depth": 3,
        },
    )
    assert wait_for_exit(process) == 2
    *warnings, last = process.log.read_text().splitlines()
    assert "cannot configure: /nowhere has no config.yaml" in last
    assert len(warnings) == 3, warnings
    for text in (
        "unknown parameter score_treshold has no effect; did you mean score_threshold?",
        "unknown parameter camera.front.imge has no effect; did you mean camera.front.image?",
        "camera.raer, which is not in cameras, has no effect; did you mean rear?",
    ):
        assert any(text in line for line in warnings), (text, warnings)
