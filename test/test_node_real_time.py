# SPDX-License-Identifier: Apache-2.0
"""Promise: at 12 Hz, cameras one after the other as on a real rig, frames come in spite of faults.

All over real DDS, with the node in a process of its own and its default synchronization.
"""

import time

import pytest
from lifecycle_msgs.msg import Transition
from robot import MS, START, TRIGGERS, jpeg, scene

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.ros.messages.geometry import stamp_ns

pytestmark = pytest.mark.slow  # each fault is played for five seconds

RATE = 12
SWEEPS = 5 * RATE
SECOND = 10**9
TOO_FAST = "images dropped (came faster than frames are detected)"
LOST = CAMERAS.index("CAM_FRONT_RIGHT")


@pytest.fixture(scope="module")
def messages():
    return [jpeg(image) for image in scene(7)]


@pytest.fixture(scope="module")
def node(start, robot, small_model, messages):
    process = start(model=small_model, image_transport="compressed", **{"sync.max_wait": 0.1})
    robot.connect(messages)
    yield process
    assert process.poll() is None, "the node has ended"
    assert "Traceback" not in process.log.read_text()


def play(robot, messages, first, stamp_of):
    """Send each image when it is taken; stamp_of(camera, sweep, stamp): None if it is lost."""
    order = sorted(range(len(CAMERAS)), key=lambda camera: TRIGGERS[camera])
    begun = time.monotonic()
    for sweep in range(SWEEPS):
        for camera in order:
            taken = sweep * SECOND // RATE + TRIGGERS[camera]
            stamp = stamp_of(camera, sweep, first + taken)
            time.sleep(max(0.0, begun + taken / SECOND - time.monotonic()))
            if stamp is not None:
                robot.send_one(camera, messages[camera], stamp)


def sweeps_left_out(robot):
    """How many sweeps the node has left out so far because this machine is too slow, by itself."""
    images = max(int(robot.counts(camera)[TOO_FAST]) for camera in CAMERAS)
    return images + int(robot.counts("frames")["dropped frames (a newer one was ready)"])


def lost_now_and_then(camera, sweep, stamp):
    return None if sweep % 3 == 1 and camera == sweep % len(CAMERAS) else stamp


FAULTS = {
    "none": lambda camera, sweep, stamp: stamp,
    "dead from the start": lambda camera, sweep, stamp: None if camera == LOST else stamp,
    "dies": lambda camera, sweep, stamp: None if camera == LOST and sweep > 20 else stamp,
    "half rate": lambda camera, sweep, stamp: None if camera == LOST and sweep % 2 else stamp,
    "lost now and then": lost_now_and_then,
    "ten seconds behind": lambda camera, _, stamp: stamp - 10 * SECOND * (camera == LOST),
    "clock steps": lambda camera, sweep, stamp: stamp + 350 * MS * (camera == LOST and sweep > 20),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_sweeps_are_answered_once_in_order_and_without_mixing(node, robot, messages, fault):
    for transition in ("DEACTIVATE", "ACTIVATE"):  # nothing is known of the cameras
        assert robot.transition(getattr(Transition, f"TRANSITION_{transition}"))
    robot.sweep += 1000
    first = START + robot.sweep * 500 * MS
    play(robot, messages, first, FAULTS[fault])
    left_out = sweeps_left_out(robot)
    robot.sweep += 100  # later than all that was played
    robot.connect(messages)
    stamps = [stamp_ns(answer.header.stamp) for answer in robot.received["detector/detections"]]
    stamps = [stamp - first for stamp in stamps if first <= stamp < first + 40 * SECOND]
    assert stamps == sorted(set(stamps))
    sweeps = [stamp * RATE // SECOND for stamp in stamps]
    assert len(set(sweeps)) == len(sweeps), "one sweep in two frames"
    assert len(sweeps) + left_out > SWEEPS / 2, robot.heard()
    # Where frames are of one sweep, their reference is the stamp of a camera that fires late.
    late = sorted(TRIGGERS)[3:]
    known = [stamp - sweep * SECOND // RATE for stamp, sweep in zip(stamps, sweeps, strict=True)]
    assert sum(trigger in late for trigger in known) > 0.9 * len(known), known
