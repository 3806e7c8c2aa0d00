# SPDX-License-Identifier: Apache-2.0
"""Promise: what an operator does to a running node gets an answer, and never ends it."""

import ast
import subprocess
import sys

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from asd_perception.commands import detector
from asd_perception.commands.node import Executor
from asd_perception.ros.diagnostics import status
from asd_perception.ros.node import ConfigureStopped, DetectorNode

PATIENCE = 60.0  # s


@pytest.fixture
def node():
    """The node, not yet configured."""
    rclpy.init()
    node = DetectorNode()
    yield node
    node.destroy_node()
    rclpy.shutdown()


@pytest.mark.parametrize(
    ("asked", "name"),
    [({"id": Transition.TRANSITION_ACTIVATE}, "3"), ({"label": "activate"}, "activate")],
)
def test_a_transition_that_the_state_lacks_is_refused(node, capfd, asked, name):
    """rclpy's own answer is an exception that ends the node, and none to who has asked."""
    executor = Executor()
    executor.add_node(node)
    operator = rclpy.create_node("operator")
    executor.add_node(operator)
    client = operator.create_client(ChangeState, "/detector/change_state")
    assert client.wait_for_service(PATIENCE)
    answer = client.call_async(ChangeState.Request(transition=Transition(**asked)))
    executor.spin_until_future_complete(answer, PATIENCE)
    assert not answer.result().success
    told = capfd.readouterr().err
    assert f"No transition matching {name} found for current state unconfigured" in told
    assert "Traceback" not in told and "Exception" not in told
    executor.shutdown()
    operator.destroy_node()


def test_a_signal_amid_configure_ends_it(node, monkeypatch):
    def loading(settings):
        assert node.configuring
        raise ConfigureStopped

    monkeypatch.setattr(node, "_load", loading)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert not node.configuring
    assert node.trigger_shutdown() == TransitionCallbackReturn.SUCCESS


def test_a_parameter_that_waits_for_configure_says_so(node, capfd):
    def change(name, value):
        (result,) = node.set_parameters([Parameter(name, value=value)])
        assert result.successful
        return capfd.readouterr().err

    assert not change("device", "auto")  # it is read when the node is configured
    node._configured = {"device": "auto"}
    assert "device was set, to take effect at the next configure" in change("device", "cpu")
    assert not change("device", "auto")  # as it is
    assert not change("score_threshold", 0.3)


def test_what_cameras_have_in_common_is_logged_once(node, capfd):
    def silent(camera):
        return status(camera, DiagnosticStatus.ERROR, f"no image on /{camera}/image_raw for 3 s")

    node._log_new_errors([silent("left"), silent("right"), status("frames", b"\2", "no frame")])
    first, second = capfd.readouterr().err.splitlines()
    assert first.endswith("left, right: no image on /CAMERA/image_raw for 3 s")
    assert second.endswith("frames: no frame")
    node._log_new_errors([silent("left"), silent("right"), silent("rear")])
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith("rear: no image on /rear/image_raw for 3 s")


def test_ctrl_c_amid_the_imports_is_one_line(monkeypatch, capfd):
    """They take a second, and ten on a busy machine."""

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(detector, "_share_cores", interrupted)
    assert detector.main() == 130
    assert capfd.readouterr().err == "detector: interrupted\n"


def test_the_command_is_there_before_what_takes_long_to_import():
    script = "import sys, asd_perception.commands.detector; print({*sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not {"rclpy", "numpy", "cv2", "pydantic"} & ast.literal_eval(loaded.stdout)
