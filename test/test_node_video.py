# SPDX-License-Identifier: Apache-2.0
"""Promise: a node that is sent H.264 detects what it detects in the decoded images, over DDS.

A lost or broken packet costs its camera the images up to the next key frame, and is named.
"""

import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ffmpeg_image_transport_msgs.msg import FFMPEGPacket
from geometry_msgs.msg import TransformStamped
from robot import PATIENCE, camera_info, fill_pose, wait_for_exit
from tf2_msgs.msg import TFMessage
from video import decode, encode

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.cameras.rig import CameraRig
from asd_perception.models import TINY
from asd_perception.runtime.detector import Detector
from asd_training.data.nuscenes import (
    camera_frame,
    ego_from_sensor,
    open_dataset,
    read_images,
    scene_samples,
)

GOP = 4
FRONT, BACK = CAMERAS.index("CAM_FRONT"), CAMERAS.index("CAM_BACK")


@pytest.fixture(scope="module")
def drive(synthetic_root):
    """(images of six cameras per keyframe, the rig as it is mounted)."""
    nusc = open_dataset(synthetic_root)
    samples = scene_samples(nusc, nusc.scene[0]["name"])
    frames = [camera_frame(nusc, sample) for sample in samples]
    rig = frames[0].rig
    records = [nusc.get("sample_data", samples[0]["data"][camera]) for camera in CAMERAS]
    mountings = np.stack([ego_from_sensor(nusc, record) for record in records])
    as_mounted = CameraRig(CAMERAS, rig.intrinsics, mountings, rig.image_sizes, rig.distortion)
    return [read_images(frame) for frame in frames], as_mounted


class Cameras:
    """Six cameras of a robot whose driver sends video: the drive's images over and over."""

    def __init__(self, robot, images, rig):
        self.robot, self.rig = robot, rig
        sweeps = images * GOP  # after which image and key frame come together again
        self.packets = [encode(list(of_camera), gop=GOP) for of_camera in zip(*sweeps, strict=True)]
        decoded = zip(*map(decode, self.packets), strict=True)
        self.decoded = [list(sweep) for sweep in decoded]  # what a sweep's packets show
        for shown, sweep in zip(self.decoded, sweeps, strict=True):
            assert all(_difference(*both) < 4 for both in zip(shown, sweep, strict=True))
        for camera in CAMERAS:
            topic = f"{camera}/image_raw/ffmpeg"
            publisher = robot.node.create_publisher(FFMPEGPacket, topic, 10)
            robot.images[FFMPEGPacket, camera] = publisher
        self.number = 0  # of the next sweep

    def calibrate(self):
        message = TFMessage()
        for i, camera in enumerate(CAMERAS):
            width, height = self.rig.image_sizes[i].tolist()
            k = self.rig.intrinsics[i].ravel()
            self.robot.infos[camera].publish(camera_info(camera, width=width, height=height, k=k))
            transform = TransformStamped(child_frame_id=camera)
            transform.header.frame_id = "base_link"
            mounting = self.rig.ego_from_camera[i]
            fill_pose(transform.transform.translation, transform.transform.rotation, mounting)
            message.transforms.append(transform)
        self.robot.transforms.publish(message)

    def send(self, change=lambda messages: None):
        """One sweep; (its number in `decoded`, the stamps that were sent)."""
        number = self.number % len(self.decoded)
        messages = []
        for packets in self.packets:
            packet = packets[number]
            message = FFMPEGPacket(encoding="h264;yuv420p;bgr8;bgr8", flags=packet.flags)
            message.pts = self.number
            message.data.frombytes(packet.data)
            messages.append(message)
        change(messages)
        stamps = self.robot.next_stamps()
        self.robot.send(messages, stamps)
        self.number += 1
        return number, [
            s for s, message in zip(stamps, messages, strict=True) if message is not None
        ]

    def detect(self):
        """One sweep; (its number, Detections). A busy machine may cost it any camera."""
        number, stamps = self.send()

        def references():
            return [stamp for stamp in stamps if self.robot.count(stamp, stamp)]

        (reference,) = self.robot.until(references, "an answer to a sweep")
        return number, self.robot.answer(reference)[1]

    def up_to_a_key_frame(self):
        while self.number % GOP:
            self.detect()


def _difference(image, other):
    return np.abs(image.astype(int) - other).mean()


def finds(found, expected):
    """Whether the ten surest of the expected objects were found, with their places and scores."""
    surest = np.argsort(expected.scores)[-10:]
    assert len(surest) == 10, "the test shows nothing"
    near = np.linalg.norm(found.boxes[:, None, :3] - expected.boxes[surest, :3], axis=-1) < 0.1
    alike = np.abs(found.scores[:, None] - expected.scores[surest]) < 0.01
    same_class = found.labels[:, None] == expected.labels[surest]
    return (near & alike & same_class).any(axis=0).all()


@pytest.mark.slow
def test_video_is_detected_and_faults_cost_up_to_the_next_key_frame(start, robot, drive):
    images, rig = drive
    process = start(model=TINY, device="cpu", image_transport="ffmpeg", score_threshold=0.0)
    cameras = Cameras(robot, images, rig)
    robot.await_subscriptions(FFMPEGPacket)

    def joined_behind_its_key_frame():
        cameras.calibrate()
        cameras.number = 1
        cameras.send()
        said = "a video begins with a key frame: no image before the next"
        return robot.within(5.0, lambda: robot.says("CAM_FRONT", said))

    robot.until(joined_behind_its_key_frame, "a diagnosis of streams without a key frame")

    detector = Detector.from_pretrained(device="cpu")

    @cache
    def expected(number):
        return detector.detect(cameras.decoded[number], rig, 0.0)

    assert not finds(expected(0), expected(1)), "the test shows nothing"

    def until_all_is_found():
        """At every place behind a key frame, in sweeps that a busy machine costs no camera."""
        places = set(range(GOP))

        def one_more_sweep():
            number, found = cameras.detect()
            if finds(found, expected(number)):
                places.discard(number % GOP)
            else:
                robot.diagnosis("frames", "detected without")
            return not places

        robot.until(one_more_sweep, "sweeps that are detected as their images are")

    robot.until_answered(lambda: max(cameras.send()[1]))
    until_all_is_found()

    def lose(messages):
        messages[FRONT] = None

    def damage(messages):
        del messages[BACK].data[len(messages[BACK].data) // 2 :]

    cameras.up_to_a_key_frame()
    cameras.detect()
    cameras.send(lose)
    cameras.detect()
    robot.diagnosis("CAM_FRONT", "packets were lost: no image before the next key frame")
    robot.diagnosis("frames", "detected without CAM_FRONT")
    cameras.send(damage)
    robot.diagnosis("CAM_BACK", "cannot be decoded")
    cameras.up_to_a_key_frame()
    until_all_is_found()

    process.send_signal(signal.SIGTERM)
    assert wait_for_exit(process) == 0
    assert "Traceback" not in process.log.read_text()


@pytest.mark.parametrize(
    ("module", "remedy"),
    [
        ("av", "pip install 'asd_perception[video]'"),
        ("ffmpeg_image_transport_msgs", "apt install ros-$ROS_DISTRO-ffmpeg-image-transport-msgs"),
    ],
)
def test_a_machine_that_lacks_what_video_needs_is_told_in_one_line(tmp_path, module, remedy):
    (tmp_path / module).mkdir()
    (tmp_path / module / "__init__.py").write_text("raise ImportError\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "asd_perception.commands.detector", "--ros-args"]
    done = subprocess.run(
        [*command, "-p", "image_transport:=ffmpeg"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        cwd=Path(__file__).resolve().parents[1],
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 2
    (line,) = (done.stdout + done.stderr).splitlines()
    assert "cannot configure: " in line and remedy in line
