# SPDX-License-Identifier: Apache-2.0
"""Promise: a running node leaves out what a mask hides, and tells how long its stages take."""

import dataclasses
import signal

import numpy as np
from robot import (
    CAMERAS,
    HEIGHT,
    INTRINSICS,
    MOUNTINGS,
    WIDTH,
    assert_same,
    decoded,
    jpeg,
    scene,
    wait_for_exit,
)
from std_msgs.msg import Float64

from asd_perception.cameras.calibration import CameraCalibration
from asd_perception.ros.statistics import BUDGET_EXCEPTIONS

MASK = """
CAM_BACK:
  size: [800, 450]
  polygons: [[[0, 450], [0, 300], [400, 250], [800, 300], [800, 450]]]
"""


def test_a_mask_hides_and_latencies_are_told(start, robot, small_model, offline_detector, tmp_path):
    (tmp_path / "mask.yaml").write_text(MASK)
    process = start(
        model=small_model,
        device="cpu",
        image_transport="compressed",
        score_threshold=0.0,
        ego_mask=tmp_path / "mask.yaml",
    )
    images = scene(1)
    messages = [jpeg(image) for image in images]
    robot.connect(messages)
    times = []
    robot.node.create_subscription(Float64, "detector/latency/total", times.append, 10)

    # The polygons were drawn in an image of twice the size.
    corners = ((0, 225), (0, 150), (200, 125), (400, 150), (400, 225))
    plain = CameraCalibration(INTRINSICS, (WIDTH, HEIGHT), np.zeros(8))
    masked = dataclasses.replace(plain, ego_mask=(corners,))
    encoded, unmasked = {}, {}
    for camera, image, mounting in zip(CAMERAS, images, MOUNTINGS, strict=True):
        shown = decoded(image, offline_detector)
        for found, of_back in ((encoded, masked), (unmasked, plain)):
            calibration = of_back if camera == "CAM_BACK" else plain
            view = offline_detector.view(calibration, mounting)
            found[camera] = offline_detector.encode(shown, view)
    poses = dict(zip(CAMERAS, MOUNTINGS, strict=True))
    expected = offline_detector.detect_encoded(encoded, poses, 0.0)
    without = offline_detector.detect_encoded(unmasked, poses, 0.0)
    assert not np.allclose(expected.scores, without.scores, atol=1e-4), "the test shows nothing"
    _, online = robot.detect(messages)
    assert_same(online, expected)

    # A budget that nothing can keep is exceeded at once, but told of some frames only.
    assert robot.set_parameter("latency_budget.total", [1e-6, 60.0]).successful
    assert not robot.set_parameter("latency_budget.total", [2.0, 1.0]).successful
    robot.until(
        lambda: robot.detect(messages) and times, "its latency to whoever subscribes to the topic"
    )
    assert times[-1].data > 0
    for _ in range(BUDGET_EXCEPTIONS):
        robot.detect(messages)
    robot.diagnosis("latency", "took more than 0 ms (latency_budget.total), the longest part of it")
    process.send_signal(signal.SIGTERM)
    assert wait_for_exit(process) == 0
