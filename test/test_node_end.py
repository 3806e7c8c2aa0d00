# SPDX-License-Identifier: Apache-2.0
"""Promise: a node that is told to end in the middle of its work ends cleanly."""

import signal
import time

import pytest
from lifecycle_msgs.msg import Transition
from robot import jpeg, scene, wait_for_exit
from sensor_msgs.msg import CompressedImage


@pytest.mark.slow
@pytest.mark.parametrize("by_service", [False, True])
def test_sigterm_during_inference_ends_the_node_cleanly(start, robot, small_model, by_service):
    """More sweeps than it can detect keep it at work; by_service: it has been shut down before."""
    process = start(model=small_model, image_transport="compressed")
    robot.until(lambda: "active: waiting" in process.log.read_text(), "an active node")
    robot.await_subscriptions(CompressedImage)
    robot.calibrate()
    messages = [jpeg(image) for image in scene(7)]
    robot.wake(messages)
    for _ in range(60):
        robot.send(messages, robot.next_stamps())
        time.sleep(0.02)
    if by_service:
        assert robot.transition(Transition.TRANSITION_ACTIVE_SHUTDOWN)
        assert robot.state() == "finalized"
    process.send_signal(signal.SIGTERM)
    assert wait_for_exit(process) == 0
    assert "Traceback" not in process.log.read_text()
