# SPDX-License-Identifier: Apache-2.0
"""Promise: `detector --check` says of a live rig whether it is right, on a robot without training.

All over real DDS, with the check in a process of its own that cannot import asd_training.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import detector_here
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import MOUNTINGS, PATIENCE, TRIGGERS, camera_info, fill_pose, jpeg, scene
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.ros.check.recording import RigRecording
from asd_perception.ros.check.report import report
from asd_perception.ros.check.topics import CameraTopics

ROOT = Path(__file__).resolve().parents[1]
PERIOD = 0.2  # s
ON_THE_ROBOT = """
import sys

class NoTraining:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("asd_training", "rosbags", "nuscenes", "lightning"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoTraining())
from asd_perception.commands.detector import main
sys.exit(main())
"""


BUSY = ("images are lost", "lack its images", "its images come", "_NODE_NAME_UNKNOWN_")
"""What the check says of a machine that is too busy to hear all in time."""


@pytest.fixture
def check(robot):
    """Run the check while the robot sends sweeps, without the cameras that are `lost`.

    latched: cameras whose camera_info is not sent along. It is run again where it says that the
    machine was too busy.
    """

    def check(*arguments, lost=(), latched=()):
        sent = [camera for camera in CAMERAS if camera not in lost]
        too_busy = (*BUSY, *(f"no image on /{camera}/" for camera in sent))
        for _ in range(3):
            code, output, errors = check_once(arguments, sent, latched)
            said = " ".join(output.split())
            if not any(text in said for text in too_busy):
                break
        return code, output, errors

    def check_once(arguments, sent, latched):
        messages = [jpeg(image) for image in scene(7)]
        command = [sys.executable, "-c", ON_THE_ROBOT, "--check", "2", "--ros-args"]
        # On a busy machine the images of one sweep come far apart.
        command += ["-p", "image_transport:=compressed", "-p", "sync.max_wait:=1.0", *arguments]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + PATIENCE
        begin, sweep = time.time_ns(), 0
        while process.poll() is None and time.monotonic() < deadline:
            sweep += 1
            first = begin + int(sweep * PERIOD * 1e9)
            time.sleep(max(0.0, (first + max(TRIGGERS) - time.time_ns()) * 1e-9))
            for index, camera in enumerate(CAMERAS):
                if camera in sent and camera not in latched:
                    robot.infos[camera].publish(camera_info(camera))
                if camera in sent:
                    robot.send_one(index, messages[index], first + TRIGGERS[index])
        process.kill()
        output, errors = process.communicate()
        return process.returncode, output, errors

    return check


def section(output, name):
    """Of one camera, as one line."""
    part = next(part for part in output.split("\n\n") if part.startswith(f"{name}: "))
    return " ".join(part.split())


def test_a_right_rig(check, robot):
    robot.calibrate()
    code, output, errors = check()
    assert code == 0, output + errors
    for camera in CAMERAS:
        assert section(output, camera).startswith(f"{camera}: ok"), output
    assert "6 of 6 send images" in output and "/CAM_BACK/image_raw/compressed" in output
    assert output.encode().isascii()


@pytest.mark.slow
def test_a_calibration_that_was_published_once(check, robot):
    robot.calibrate()
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = robot.node.create_publisher(CameraInfo, "CAM_BACK/camera_info", qos)
    publisher.publish(camera_info("CAM_BACK"))
    code, output, errors = check(latched=["CAM_BACK"])
    robot.node.destroy_publisher(publisher)
    assert code == 0, output + errors


def test_a_body_frame_a_silent_camera_a_volatile_tf_static_and_an_unknown_parameter(check, robot):
    robot.calibrate()
    pose = MOUNTINGS[CAMERAS.index("CAM_BACK")].copy()
    pose[:3, :3] = pose[:3, [2, 0, 1]] * [1, -1, -1]
    transform = TransformStamped(child_frame_id="CAM_BACK")
    transform.header.frame_id = "base_link"
    fill_pose(transform.transform.translation, transform.transform.rotation, pose)
    robot.transforms.publish(TFMessage(transforms=[transform]))
    unheard = robot.node.create_publisher(TFMessage, "/tf_static", 10)
    code, output, errors = check("-p", "sync.tolerence:=0.1", lost=("CAM_FRONT",))
    robot.node.destroy_publisher(unheard)
    robot.calibrate()
    assert code == 1, output + errors
    assert "'CAM_BACK' has the axes of a camera_link" in section(output, "CAM_BACK")
    assert "no image on /CAM_FRONT/image_raw/compressed" in section(output, "CAM_FRONT")
    assert section(output, "CAM_FRONT_LEFT").startswith("CAM_FRONT_LEFT: ok"), output
    assert "robot publishes /tf_static volatile" in section(output, "rig")
    assert "sync.tolerence" in errors


@pytest.mark.slow
def test_a_misspelt_topic_is_told_with_those_that_are_there(check, robot):
    robot.calibrate()
    code, output, errors = check("-p", "camera.CAM_FRONT.image:=/CAM_FRNT/image_raw")
    assert code == 1, output + errors
    assert "no image on /CAM_FRNT/image_raw/compressed" in section(output, "CAM_FRONT")
    rig = section(output, "rig")
    assert "/CAM_FRONT/image_raw/compressed is not looked at" in rig
    assert "5 of 6 send images" in rig and "synchronise" not in rig


def test_what_is_too_little_to_judge_is_said():
    topics = {name: CameraTopics(f"/{name}/image_raw", f"/{name}/camera_info") for name in "ab"}
    recording = RigRecording(topics, "base_link", 60_000_000, 0.1)
    found = report(recording, (), (96, 256), live=True)
    assert "rig: error" in found.text and "no camera sends images" in found.text
    image = Image(width=2, height=2, encoding="mono8", step=2, data=bytes(4))
    for stamp in (1, 2):
        image.header.stamp.sec = stamp
        recording.add_image("a", image, stamp * 10**9)
    found = report(recording, (), (96, 256), live=True)
    assert "2 images of a camera are too few to judge sweeps" in found.text


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_ends_it_with_one_line(number, code, word):
    process = subprocess.Popen(
        [sys.executable, "-m", "asd_perception.commands.detector", "--check", "60"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert "listening to" in process.stderr.readline()
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert errors == f"detector: {word}\n"
    assert process.returncode == code


def test_wrong_arguments_are_one_line(monkeypatch, capfd):
    for arguments in (["--check", "0"], ["--check", "soon"]):
        status, said = detector_here(monkeypatch, capfd, *arguments)
        assert status == 2 and "--check" in said and "Traceback" not in said
