# SPDX-License-Identifier: Apache-2.0
"""Promise: whatever goes wrong around the node, it says so, and the next good frame is detected.

All over real DDS, with the node in a process of its own.
"""

import threading
import time

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
from rclpy.qos import qos_profile_sensor_data
from robot import (
    INTRINSICS,
    MOUNTINGS,
    MS,
    RIG,
    assert_same,
    camera_info,
    decoded,
    fill_pose,
    jpeg,
    resources,
    same,
    scene,
)
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.cameras.rig import CameraRig
from asd_perception.geometry import transform_from
from asd_perception.ros.messages.geometry import time_from_ns

BACK = CAMERAS.index("CAM_BACK")


def rig_without(*lost):
    """What is left of the rig when these cameras are lost."""
    there = [camera for camera in CAMERAS if camera not in lost]
    indices = [CAMERAS.index(name) for name in there]
    return CameraRig(
        tuple(there),
        RIG.intrinsics[indices],
        RIG.ego_from_camera[indices],
        RIG.image_sizes[indices],
        RIG.distortion[indices],
    )


@pytest.fixture(scope="module")
def images():
    return scene(5)


@pytest.fixture
def sweep(images):
    """One sweep of JPEG messages; a camera that is named gives None."""

    def sweep(*lost):
        return [
            None if camera in lost else jpeg(image)
            for camera, image in zip(CAMERAS, images, strict=True)
        ]

    return sweep


@pytest.fixture(scope="module")
def expected(offline_detector, images):
    """What the detector finds offline with a rig, by default the whole one."""

    def expected(rig=RIG):
        shown = [decoded(images[CAMERAS.index(name)], offline_detector) for name in rig.names]
        return offline_detector.detect(shown, rig, score_threshold=0.0)

    return expected


@pytest.fixture(scope="module")
def node(start, robot, small_model, images):
    """An active node with its calibration; every test leaves it so."""
    process = start(
        model=small_model,
        device="cpu",
        image_transport="compressed",
        score_threshold=0.0,
        **{"sync.max_wait": 0.5},  # less than the second after which a camera is silent
    )
    robot.connect([jpeg(image) for image in images])
    yield process
    assert process.poll() is None, "the node has ended"
    assert "Traceback" not in process.log.read_text()


@pytest.fixture(autouse=True)
def good_frames_are_detected_again(request):
    """After each test's fault."""
    if "node" not in request.fixturenames:
        yield
        return
    robot, sweep, expected = map(request.getfixturevalue, ("robot", "sweep", "expected"))
    yield
    robot.connect(sweep())
    _, online = robot.detect(sweep())
    assert_same(online, expected())


@pytest.mark.parametrize("lost", [("CAM_BACK",), ("CAM_FRONT_LEFT", "CAM_BACK_LEFT")])
def test_a_frame_with_missing_cameras_is_detected_with_those_that_are_there(
    node, robot, sweep, expected, lost
):
    robot.detect(sweep())
    _, online = robot.detect(sweep(*lost))
    assert_same(online, expected(rig_without(*lost)))
    robot.diagnosis("frames", f"detected without {', '.join(lost)}")


def test_publishers_that_the_node_cannot_hear_are_named_with_the_remedy(node, robot):
    """Their quality of service does not fit."""
    publishers = [
        robot.node.create_publisher(TFMessage, "/tf_static", 10),
        robot.node.create_publisher(Odometry, "odometry", qos_profile_sensor_data),
    ]
    robot.diagnosis("state", "/robot publishes /tf_static volatile")
    robot.diagnosis("state", "publish transient local")
    robot.diagnosis("odometry", "/robot publishes /odometry best effort")
    robot.diagnosis(
        "odometry", "set qos_overrides./odometry.subscription.reliability to best_effort"
    )
    for publisher in publishers:
        robot.node.destroy_publisher(publisher)
    robot.until(lambda: not robot.says("state", "publishes"), "the end of the warning")


def test_a_dead_camera_costs_no_frame_and_comes_back(node, robot, sweep, expected):
    """Each sweep is answered, soon without waiting for it; then it is called silent."""

    def lines():
        return node.log.read_text().count("CAM_BACK: no image on")

    robot.detect(sweep())
    before = lines()
    for _ in range(6):
        _, online = robot.detect(sweep("CAM_BACK"))
        assert_same(online, expected(rig_without("CAM_BACK")))
    robot.diagnosis("CAM_BACK", "no image on /CAM_BACK/image_raw/compressed")
    robot.until(lambda: lines() > before, "a line in the log")
    robot.counts("CAM_BACK")  # a second later
    assert lines() == before + 1


def test_a_camera_at_half_rate_is_in_every_second_frame(node, robot, sweep, expected):
    robot.detect(sweep())
    for _ in range(3):
        _, online = robot.detect(sweep("CAM_BACK"))
        assert_same(online, expected(rig_without("CAM_BACK")))
        _, online = robot.detect(sweep())
        assert_same(online, expected())


def test_disorder_jitter_and_duplicates_make_the_same_frames(node, robot, sweep, expected):
    """Stamps 4 ms off their trigger, every image twice, in any order, 45 ms apart at most."""
    random = np.random.default_rng(0)
    robot.detect(sweep())
    for _ in range(4):
        stamps = [s + int(random.uniform(-4, 4) * MS) for s in robot.next_stamps()]
        messages = sweep()
        for i in random.permutation(np.repeat(np.arange(6), 2)):
            robot.send_one(i, messages[i], stamps[i])
            time.sleep(random.uniform(0.0, 0.008))
        _, online = robot.answer(max(stamps))
        assert_same(online, expected())
        assert robot.count(min(stamps), max(stamps)) == 1


def test_late_and_early_images_cost_their_own_frame_only(node, robot, sweep, expected):
    """The back camera's image comes when its frame has left; then one of the next sweep, early."""
    before, late = robot.counts("CAM_BACK"), "images dropped (late or twice)"
    robot.detect(sweep())
    messages, stamps = sweep(), robot.next_stamps()
    robot.send([None if i == BACK else m for i, m in enumerate(messages)], stamps)
    _, online = robot.answer(robot.reference(sweep("CAM_BACK"), stamps))
    assert_same(online, expected(rig_without("CAM_BACK")))
    robot.send_one(BACK, messages[BACK], stamps[BACK])
    following = robot.next_stamps()
    robot.send_one(BACK, sweep()[BACK], following[BACK])
    time.sleep(0.1)  # the others are not silent yet, or it would be a frame of its own
    robot.send(sweep("CAM_BACK"), following)
    _, online = robot.answer(max(following))
    assert_same(online, expected())
    assert robot.count(min(stamps), max(stamps)) == 1
    assert int(robot.counts("CAM_BACK")[late]) == int(before[late]) + 1


def test_a_changed_calibration_is_in_use_at_once(node, robot, sweep, expected):
    """K of one camera, and the mounting of another; then both as they were."""
    mounting = transform_from([0.98, 0.0, 0.0, 0.2], [0.5, 0.5, 0.0]) @ MOUNTINGS[0]
    intrinsics = INTRINSICS * [[0.8], [0.8], [1.0]]
    changed_k, changed_t = RIG.intrinsics.copy(), MOUNTINGS.copy()
    changed_k[BACK], changed_t[0] = intrinsics, mounting
    changed = CameraRig(CAMERAS, changed_k, changed_t, RIG.image_sizes, RIG.distortion)
    transform = TransformStamped(child_frame_id=CAMERAS[0])
    transform.header.frame_id = "base_link"
    fill_pose(transform.transform.translation, transform.transform.rotation, mounting)
    robot.transforms.publish(TFMessage(transforms=[transform]))
    robot.infos["CAM_BACK"].publish(camera_info("CAM_BACK", k=intrinsics.ravel()))
    # Topics are not in step: a frame may come before the calibration that was sent before it.
    for rig in (changed, RIG):
        robot.until(
            lambda rig=rig: same(robot.detect(sweep())[1], expected(rig)),
            "detections with the calibration that was sent last",
        )
        robot.calibrate()


def test_contradictory_calibration_is_named(node, robot, sweep):
    messages = sweep()
    stamps = robot.next_stamps()
    robot.send(messages, stamps)
    messages[1].header.frame_id = "somewhere"
    messages[1].header.stamp = time_from_ns(stamps[1] + 1)
    robot.images[CompressedImage, CAMERAS[1]].publish(messages[1])
    robot.infos["CAM_BACK"].publish(camera_info("CAM_BACK_LEFT"))
    robot.diagnosis("CAM_BACK", "same frame_id 'CAM_BACK_LEFT' as that of CAM_BACK_LEFT")
    robot.diagnosis(CAMERAS[1], "'somewhere'")


def test_a_body_frame_in_place_of_the_optical_frame_is_named(node, robot, sweep):
    pose = MOUNTINGS[BACK].copy()
    pose[:3, :3] = pose[:3, [2, 0, 1]] * [1, -1, -1]
    transform = TransformStamped(child_frame_id="CAM_BACK")
    transform.header.frame_id = "base_link"
    fill_pose(transform.transform.translation, transform.transform.rotation, pose)
    robot.transforms.publish(TFMessage(transforms=[transform]))
    robot.send(sweep(), robot.next_stamps())
    robot.diagnosis("CAM_BACK", "'CAM_BACK' has the axes of a camera_link")
    assert "CAM_BACK: its optical axis points 90 degrees up" in node.log.read_text()


def test_a_stamp_in_the_future_costs_its_own_image_only(node, robot, sweep, expected):
    robot.detect(sweep())
    messages, stamps = sweep(), robot.next_stamps()
    stamps[BACK] = time.time_ns() + 3600 * 10**9  # an hour; a ROS stamp ends in 2038
    robot.send(messages, stamps)
    _, online = robot.answer(max(s for i, s in enumerate(stamps) if i != BACK))
    assert_same(online, expected(rig_without("CAM_BACK")))
    robot.diagnosis("CAM_BACK", "ahead of the node's clock; synchronise the clocks")


def test_a_clock_that_jumps_back_is_followed(node, robot, sweep):
    """A bag that starts again."""
    robot.sweep += 100
    robot.detect(sweep())
    robot.sweep -= 60
    robot.detect(sweep())


def flood(robot, messages, until):
    """Publish messages as fast as this process can, 10,000 a second at most, until(sent)."""
    publisher = robot.images[CompressedImage, "CAM_FRONT"]
    sent, begin = 0, time.monotonic()
    while not until(sent):
        for message in messages:
            publisher.publish(message)
        sent += len(messages)
        time.sleep(max(0.0, begin + sent / 10_000 - time.monotonic()))


def junk():
    """Without a stamp, no image, and a JPEG that is cut short."""
    stamp = time_from_ns(1)
    cut = jpeg(np.zeros((32, 32, 3), np.uint8))
    del cut.data[-20:]
    cut.header = Header(stamp=stamp)
    return [CompressedImage(), CompressedImage(header=Header(stamp=stamp), data=b"junk"), cut]


@pytest.mark.parametrize("least", [15_000, pytest.param(600_000, marks=pytest.mark.slow)])
def test_a_flood_of_junk_on_one_camera_stops_nothing_else(node, robot, sweep, least):
    """The other cameras' frames go on meanwhile, each answered."""
    robot.detect(sweep())
    answered = 0
    flooding = threading.Thread(
        target=flood, args=(robot, junk(), lambda sent: sent >= least and answered >= 3)
    )
    flooding.start()
    try:
        while flooding.is_alive():
            robot.detect(sweep("CAM_FRONT"))
            answered += 1
    finally:
        answered = max(answered, 3)
        flooding.join()
    robot.diagnosis("CAM_FRONT", "bad message")


def test_a_broken_model_is_named_and_a_good_one_mends_it(node, robot, sweep, small_model, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.yaml").write_text((small_model / "config.yaml").read_text())
    (broken / "model.safetensors").write_bytes(b"\x10" * 100)
    assert robot.transition(Transition.TRANSITION_DEACTIVATE)
    assert robot.transition(Transition.TRANSITION_CLEANUP)
    assert robot.set_parameter("model", str(broken)).successful
    assert not robot.transition(Transition.TRANSITION_CONFIGURE)
    assert robot.state() == "unconfigured"
    robot.diagnosis("state", "model.safetensors")
    assert robot.set_parameter("model", str(small_model)).successful
    assert robot.transition(Transition.TRANSITION_CONFIGURE)
    assert robot.transition(Transition.TRANSITION_ACTIVATE)


def test_configured_again_and_again_the_node_keeps_nothing(node, robot, sweep, expected):
    """No thread, no file, and no model's worth of memory a cycle."""
    found = []
    for _ in range(6):
        for transition in ("DEACTIVATE", "CLEANUP", "CONFIGURE", "ACTIVATE"):
            assert robot.transition(getattr(Transition, f"TRANSITION_{transition}"))
        robot.connect(sweep())
        _, online = robot.detect(sweep())
        assert_same(online, expected())
        found.append(resources(node.pid))
    resident, threads, files = np.array(found[1:]).T
    assert np.ptp(threads) == 0, found
    assert np.ptp(files) <= 2, found
    assert np.median(resident[-2:]) - np.median(resident[:2]) < 15, found


def test_another_base_frame_is_in_use_after_the_next_configure(node, robot, sweep, expected):
    for transition in ("DEACTIVATE", "CLEANUP"):
        assert robot.transition(getattr(Transition, f"TRANSITION_{transition}"))
    assert robot.set_parameter("base_frame", "body").successful
    for transition in ("CONFIGURE", "ACTIVATE"):
        assert robot.transition(getattr(Transition, f"TRANSITION_{transition}"))
    transform = TransformStamped(child_frame_id="base_link")
    transform.header.frame_id = "body"
    transform.transform.rotation.w = 1.0
    robot.transforms.publish(TFMessage(transforms=[transform]))
    robot.connect(sweep())
    answer, online = robot.detect(sweep())
    assert answer.header.frame_id == "body"
    assert_same(online, expected())
