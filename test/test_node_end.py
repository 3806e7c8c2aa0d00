# SPDX-License-Identifier: Apache-2.0
"""Promise: a node that is told to end in the middle of its work ends cleanly."""

import signal

import pytest
from lifecycle_msgs.msg import Transition
from robot import jpeg, scene, wait_for_exit


@pytest.mark.slow
@pytest.mark.parametrize("by_service", [False, True])
def test_sigterm_during_inference_ends_the_node_cleanly(start, robot, small_model, by_service):
    """More sweeps than it can detect keep it at work; by_service: it has been shut down before."""
    process = start(model=small_model, image_transport="compressed")
    messages = [jpeg(image) for image in scene(7)]
    robot.connect(messages)
    first = robot.next_stamps()

    def in_the_middle():
        robot.send(messages, robot.next_stamps())
        return robot.count(max(first), 2 * max(first)) >= 3

    robot.until(in_the_middle, "three of many sweeps answered")
    if by_service:
        assert robot.transition(Transition.TRANSITION_ACTIVE_SHUTDOWN)
        assert robot.state() == "finalized"
    process.send_signal(signal.SIGTERM)
    assert wait_for_exit(process) == 0
    assert "Traceback" not in process.log.read_text()
