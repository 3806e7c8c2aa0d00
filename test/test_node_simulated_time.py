# SPDX-License-Identifier: Apache-2.0
"""Promise: with use_sim_time the node waits in the time of /clock."""

import signal

import pytest
from robot import START, jpeg, scene, wait_for_exit
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.ros.messages.geometry import stamp_ns, time_from_ns

SECOND = 10**9
MAX_WAIT = 0.5  # s


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
        **{"sync.max_wait": MAX_WAIT},
    )
    robot.until(clock.get_subscription_count, "a node in simulated time")
    robot.await_subscriptions(CompressedImage)

    def tick(stamp):
        """Set the clock until the node, which stamps its diagnostics by it, has followed."""

        def followed():
            clock.publish(Clock(clock=time_from_ns(stamp)))
            return stamp_ns(robot.received["/diagnostics"][-1].header.stamp) == stamp

        robot.until(lambda: robot.received["/diagnostics"], "/diagnostics")
        robot.until(followed, "the node's clock")

    tick(START)
    robot.connect(whole)
    stamps = robot.next_stamps()
    tick(max(stamps))
    before = robot.counts("CAM_FRONT")["images"]
    robot.send(lacking, stamps)
    robot.until(lambda: robot.counts("CAM_FRONT")["images"] != before, "an image of CAM_FRONT")
    # The node tells this by the machine's clock, which goes on.
    silence = "time since the last frame"
    robot.until(lambda: float(robot.counts("frames")[silence].split()[0]) > 5 * MAX_WAIT, silence)
    reference = robot.reference(lacking, stamps)
    assert robot.count(reference, reference) == 0
    tick(max(stamps) + int(1.2 * MAX_WAIT * SECOND))
    robot.answer(reference)
    process.send_signal(signal.SIGTERM)
    assert wait_for_exit(process) == 0
