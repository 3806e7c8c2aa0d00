# SPDX-License-Identifier: Apache-2.0
"""How late the node's detections are, and how many frames it loses, over real DDS.

Six cameras of 1600x900, triggered one after the other as nuScenes' are, and the odometry of a
driving robot are played to the detector in a process of its own. The stages are the node's own
account in /diagnostics; "received" is from handing the last image to DDS to hearing the frame's
detections: two hops of DDS more.
"""

from __future__ import annotations

import gc
import os
import sysconfig
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosbags.typesys.stores.ros2_kilted import sensor_msgs__msg__Image as RawImage
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage
from tqdm import tqdm
from vision_msgs.msg import Detection3DArray

from asd_perception.errors import UserError
from asd_perception.geometry import Array, transform_from
from asd_perception.ros.messages.geometry import stamp_ns
from asd_training.bags.convert import image_topic
from asd_training.bags.live.replay import local_ros_environment, running, wait_for_line
from asd_training.bags.message_types import serialize
from asd_training.bags.scene_messages import (
    camera_info,
    compressed_image,
    header,
    odometry,
    transforms,
)
from asd_training.data.example import HEIGHT, JPEG_QUALITY, WIDTH, example_images, example_rig

TRIGGERS = {
    "CAM_FRONT_LEFT": 0.0,
    "CAM_FRONT": 0.0076,
    "CAM_FRONT_RIGHT": 0.0155,
    "CAM_BACK_RIGHT": 0.0230,
    "CAM_BACK": 0.0327,
    "CAM_BACK_LEFT": 0.0426,
}
"""When each camera of a sweep exposes, in s: those of a nuScenes keyframe."""

WARM_UP = 3.0  # s that do not count: discovery, first allocations
DISCOVERY = 30.0  # s in which the detector must have found the cameras
LAST_FRAME = 2.0  # s for the last frame's detections

SPEED = np.array([10.0, 0.0, 0.0])  # m/s, of the robot, which drives in a circle
TURN = np.array([0.0, 0.0, 0.3])  # rad/s


class Cameras:
    """Six cameras, and what the detector answers: its detections and its diagnostics."""

    def __init__(self, node: Node, transport: str) -> None:
        self.node = node
        self.rig = example_rig()
        raw = transport == "raw"
        self.messages: dict[str, Any] = {}
        for camera, image in zip(self.rig.names, example_images(), strict=True):
            if raw:
                self.messages[camera] = raw_image(camera, image)
            else:
                parameters = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
                jpeg = cv2.imencode(".jpg", image, parameters)[1].tobytes()
                self.messages[camera] = compressed_image(0, camera, jpeg)
        sensor = QoSProfile(depth=5)
        self.images = {
            camera: node.create_publisher(
                Image if raw else CompressedImage,
                f"/{camera}/image_raw" if raw else image_topic(camera),
                sensor,
            )
            for camera in self.rig.names
        }
        self.infos = {
            camera: node.create_publisher(CameraInfo, f"/{camera}/camera_info", sensor)
            for camera in self.rig.names
        }
        self.calibration = {
            camera: camera_info(0, camera, k, WIDTH, HEIGHT)
            for camera, k in zip(self.rig.names, self.rig.intrinsics, strict=True)
        }
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.transforms = node.create_publisher(TFMessage, "/tf_static", latched)
        self.odometry = node.create_publisher(Odometry, "/odometry", 10)
        poses = zip(self.rig.names, self.rig.ego_from_camera, strict=True)
        self.transforms.publish(serialize(transforms(0, "base_link", dict(poses))))
        self.sent: dict[int, float] = {}  # when a sweep's last image was sent, by its stamp
        self.heard: dict[int, float] = {}  # when detections came, by their stamp
        self.statuses: dict[str, DiagnosticStatus] = {}
        node.create_subscription(Detection3DArray, "/detector/detections", self._on_detections, 50)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def await_detector(self) -> None:
        """Wait until the detector listens to all of it. Raises UserError if it does not."""
        publishers = [
            *(*self.images.values(), *self.infos.values()),
            *(self.transforms, self.odometry),
        ]
        deadline = time.monotonic() + DISCOVERY
        while not all(publisher.get_subscription_count() for publisher in publishers):
            if time.monotonic() > deadline:
                raise UserError(f"the detector does not listen after {DISCOVERY:g} s")
            time.sleep(0.05)

    def play(self, rate: float, seconds: float, odometry_rate: int) -> float:
        """Play cameras and odometry; returns by how many seconds the last sweep was late.

        Messages carry the time when they were due, as if a trigger had taken them then.
        """
        begin, begin_us = time.monotonic(), time.time_ns() // 1000
        driving = threading.Thread(
            target=self._drive, args=(begin, begin_us, odometry_rate, seconds), daemon=True
        )
        driving.start()
        late = self._play_images(begin, begin_us, rate, seconds)
        driving.join()
        return late

    def _drive(self, begin: float, begin_us: int, rate: int, seconds: float) -> None:
        """Publish `rate` messages of odometry per second."""
        for step in range(round(rate * seconds)):
            at = step / rate
            time.sleep(max(0.0, begin + at - time.monotonic()))
            message = odometry(begin_us + round(1e6 * at), pose_at(at), SPEED, TURN)
            self.odometry.publish(serialize(message))

    def _play_images(self, begin: float, begin_us: int, rate: float, seconds: float) -> float:
        order = sorted(TRIGGERS, key=TRIGGERS.__getitem__)
        late = 0.0
        for sweep in tqdm(range(round(rate * seconds)), desc="playing", unit="sweep"):
            for camera in order:
                due = begin + sweep / rate + TRIGGERS[camera]
                time.sleep(max(0.0, due - time.monotonic()))
                late = time.monotonic() - due
                stamp_us = begin_us + round(1e6 * (due - begin))
                message, info = self.messages[camera], self.calibration[camera]
                message.header = info.header = header(stamp_us, camera)
                self.infos[camera].publish(serialize(info))  # beside every image, as drivers do
                if camera == order[-1]:
                    self.sent[stamp_us * 1000] = time.monotonic()
                self.images[camera].publish(serialize(message))
        return late

    def _on_detections(self, message: Detection3DArray) -> None:
        self.heard[stamp_ns(message.header.stamp)] = time.monotonic()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.statuses = {status.name: status for status in message.status}


def pose_at(seconds: float) -> Array:
    """map_from_base (4, 4) of the robot after some time."""
    yaw, radius = TURN[2] * seconds, SPEED[0] / TURN[2]
    position = [radius * np.sin(yaw), radius * (1 - np.cos(yaw)), 0.0]
    return transform_from([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)], position)


def raw_image(camera: str, image: NDArray[np.uint8]) -> RawImage:
    """An image (height, width, 3) as rgb8, of rosbags' classes."""
    return RawImage(
        header=header(0, camera),
        height=HEIGHT,
        width=WIDTH,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * WIDTH,
        data=np.ascontiguousarray(image).reshape(-1),
    )


def benchmark(
    model: Path, device: str, transport: str, rate: float, seconds: float, odometry_rate: int
) -> dict[str, Any]:
    """Start the node, play to it, and return what was measured: counts and ms.

    transport: "raw" or "compressed"; rate: sweeps per second; odometry_rate: messages per second, 0
    for none. Raises UserError if the node fails.
    """
    if not (0 < rate <= 100 and WARM_UP + 1 <= seconds <= 3600):
        raise UserError(
            f"--rate {rate:g} must be in (0, 100] and --seconds {seconds:g} "
            f"in [{WARM_UP + 1:g}, 3600]"
        )
    environment = local_ros_environment()
    os.environ.update(environment)  # for this process's own cameras
    command = [Path(sysconfig.get_path("scripts")) / "detector", "--ros-args"]
    for name, value in (
        ("model", model.resolve()),
        ("device", device),
        ("image_transport", transport),
    ):
        command += ["-p", f"{name}:={value}"]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "detector.log"
        with log.open("w") as output, running(command, environment, output) as detector:
            wait_for_line("active: waiting for images", log, detector)
            context = rclpy.Context()
            context.init()
            node = rclpy.create_node("benchmark", context=context)
            cameras = Cameras(node, transport)
            executor = SingleThreadedExecutor(context=context)
            executor.add_node(node)
            spinning = threading.Thread(target=executor.spin, daemon=True)
            spinning.start()
            try:
                cameras.await_detector()
                gc.collect()
                gc.freeze()  # or a full collection holds the cameras for 0.2 s
                late = cameras.play(rate, seconds, odometry_rate)
                time.sleep(LAST_FRAME)
            finally:
                executor.shutdown()
                spinning.join()
                node.destroy_node()
                context.shutdown()
        if detector.returncode:
            raise UserError(f"the detector failed:\n{log.read_text(errors='replace')}")
    return {"odometry_hz": odometry_rate, **figures_of(cameras, rate, late)}


def figures_of(cameras: Cameras, rate: float, late: float) -> dict[str, Any]:
    """Counts and ms, those of the warm-up left out."""
    warm = sorted(cameras.sent)[round(WARM_UP * rate) :]
    received = [
        cameras.heard[stamp] - cameras.sent[stamp] for stamp in warm if stamp in cameras.heard
    ]
    if not received:
        raise UserError("the detector answered no frame; see its messages in /diagnostics")
    runs, frames, motion, latency = (
        {item.key: item.value for item in cameras.statuses[f"detector: {name}"].values}
        for name in ("state", "frames", "odometry", "latency")
    )
    return {
        "runs": runs,
        "sweeps": len(warm),
        "detected": len(received),
        "detected_per_second": round(len(received) / len(warm) * rate, 2),
        "cameras_late_ms": round(1e3 * late, 1),
        "received_ms": {
            name: round(1e3 * float(np.percentile(received, q)), 1)
            for name, q in (("p50", 50), ("p99", 99))
        },
        "node": latency,
        "frames": frames,
        "odometry": motion,
    }


def table(figures: dict[str, Any]) -> str:
    """The figures for a terminal."""
    received = figures["received_ms"]
    lines = [
        f"{figures['detected']} of {figures['sweeps']} sweeps detected, "
        f"{figures['detected_per_second']:g} per second",
        f"last image sent to detections received: p50 {received['p50']:g} ms, "
        f"p99 {received['p99']:g} ms; odometry at {figures['odometry_hz']} Hz",
        "the node's own account:",
        *(f"  {stage}: {value}" for stage, value in figures["node"].items()),
        *(f"  {name}: {value}" for name, value in figures["frames"].items()),
    ]
    if figures["cameras_late_ms"] > 100:
        lines.append(
            f"the cameras were {figures['cameras_late_ms']:g} ms late at the end: this machine "
            "cannot play them that fast, and the rate was lower"
        )
    return "\n".join(lines)
