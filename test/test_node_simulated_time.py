# SPDX-License-Identifier: Apache-2.0
"""Promise: with use_sim_time the node waits in the time of /clock."""

import signal
import time

import pytest
from robot import MS, jpeg, scene, wait_for_exit
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage

from asd_perception.constants import CAMERAS
from asd_perception.ros.messages.geometry import stamp_ns, time_from_ns


@pytest.mark.slow
def test_missing_cameras_are_waited_for_in_simulated_time(start, robot, small_model):
    """While /clock stands still no wait is over; when it moves, the frame comes."""
    whole = [jpeg(image) for image in scene(5)]
    lacking = [None if c == "CAM_BACK" else m for c, m in zip(CAMERAS, whole, strict=True)]
    clock = robot.node.create_publisher(Clock, "/clock", 10)
    process = start(
        model=small_model,
        image_transport="compressed",
        use_sim_time=True,
        score_threshold=0.0,
    )
    robot.until(clock.get_subscription_count, "a node in simulated time")
    robot.await_subscriptions(CompressedImage)
    robot.calibrate()

    def tick(stamp):
        for _ in range(5):
            clock.publish(Clock(clock=time_from_ns(stamp)))
            time.sleep(0.05)

    stamps = robot.next_stamps()
    tick(max(stamps))
    robot.send(whole, stamps)
    robot.answer(max(stamps))
    messages, stamps = lacking, robot.next_stamps()
    tick(max(stamps))
    robot.send(messages, stamps)
    time.sleep(1.0)
    reference = robot.reference(messages, stamps)
    heard = [stamp_ns(m.header.stamp) for m in robot.received["detector/detections"]]
    assert reference not in heard
    tick(max(stamps) + 1200 * MS)
    robot.answer(reference)
    process.send_signal(signal.SIGTERM)
    assert wait_for_exit(process) == 0
