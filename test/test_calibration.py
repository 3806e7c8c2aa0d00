# SPDX-License-Identifier: Apache-2.0
"""Promise: calibration is put together as it arrives; what it lacks or contradicts is named."""

import math
import threading
from dataclasses import replace

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.serialization import serialize_message
from robot import INTRINSICS, camera_info, camera_input
from scipy.spatial.transform import Rotation, Slerp
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.cameras.calibration import NUSCENES_CAMERAS
from asd_perception.cameras.rig_check import check_rig
from asd_perception.errors import UserError
from asd_perception.geometry import transform_from
from asd_perception.ros.calibration import Calibration
from asd_perception.ros.messages import transforms
from asd_perception.ros.messages.geometry import time_from_ns
from asd_perception.ros.messages.transforms import MAX_FRAMES, TransformGraph
from asd_perception.ros.transforms import TransformBuffer


def transform_stamped(parent, child, matrix):
    message = TransformStamped(header=Header(frame_id=parent), child_frame_id=child)
    x, y, z, w = [math.nan] * 4
    if np.isfinite(matrix).all():
        x, y, z, w = Rotation.from_matrix(matrix[:3, :3]).as_quat().tolist()
    rotation, translation = message.transform.rotation, message.transform.translation
    rotation.x, rotation.y, rotation.z, rotation.w = x, y, z, w
    translation.x, translation.y, translation.z = matrix[:3, 3].tolist()
    return message


def random_transform(seed):
    rng = np.random.default_rng(seed)
    return transform_from(rng.normal(size=4), rng.normal(size=3))


def test_static_transforms_chain_up_and_down_the_tree():
    graph = TransformGraph()
    base_from_mast, mast_from_camera, root_from_base = map(random_transform, range(3))
    graph.add(transform_stamped("mast", "camera", mast_from_camera))
    graph.add(transform_stamped("/base_link", "mast", base_from_mast))
    graph.add(transform_stamped("root", "base_link", root_from_base))
    expected = base_from_mast @ mast_from_camera
    np.testing.assert_allclose(graph.lookup("base_link", "camera"), expected, atol=1e-12)
    np.testing.assert_allclose(
        graph.lookup("camera", "base_link"), np.linalg.inv(expected), atol=1e-12
    )
    np.testing.assert_array_equal(graph.lookup("camera", "camera"), np.eye(4))
    with pytest.raises(UserError, match="no transform connects lidar to base_link"):
        graph.lookup("base_link", "lidar")
    graph.add(transform_stamped("camera", "root", np.eye(4)))
    with pytest.raises(UserError, match="loop through .*; stop the publisher"):
        graph.lookup("base_link", "lidar")
    np.testing.assert_allclose(graph.lookup("base_link", "camera"), expected, atol=1e-12)


def test_other_threads_see_a_message_whole_or_not_at_all():
    buffer, seen = TransformBuffer(), []
    look = threading.Thread(target=lambda: seen.append(buffer.lookup("base_link", "camera")))

    class Message:
        """Its second transform is read when another thread has had the time to look."""

        @property
        def transforms(self):
            yield moved("base_link", "mast", 5)
            look.start()
            look.join(0.3)
            yield moved("mast", "camera", -5)

    def moved(parent, child, x):
        return transform_stamped(parent, child, transform_from([1, 0, 0, 0], [x, 0, 0]))

    buffer.add_all(
        TFMessage(transforms=[moved("base_link", "mast", 1), moved("mast", "camera", -1)])
    )
    assert buffer.add_all(Message()) == []
    look.join()
    np.testing.assert_allclose(seen[0], np.eye(4), atol=1e-12)


def test_bad_transforms_are_refused():
    message = transform_stamped("a", "b", np.eye(4))
    message.transform.rotation.w = math.nan
    with pytest.raises(UserError, match=r"a to b: .*not finite"):
        TransformGraph().add(message)


def test_a_frame_that_gets_another_parent_is_named_and_the_newest_one_is_used():
    graph = TransformGraph()
    graph.add(transform_stamped("base_link", "camera", random_transform(0)))
    graph.add(transform_stamped("base_link", "camera", random_transform(1)))  # calibrated again
    graph.add(transform_stamped("base_link", "mast", np.eye(4)))
    assert not graph.contradictions
    graph.add(transform_stamped("mast", "camera", random_transform(2)))
    assert "gives camera the parent mast, before it was base_link" in graph.contradictions["camera"]
    np.testing.assert_allclose(graph.lookup("base_link", "camera"), random_transform(2), atol=1e-12)
    graph.add(transform_stamped("mast", "camera", random_transform(3)))
    assert not graph.contradictions


def test_a_static_transform_that_changes_is_told_once_where_it_matters():
    """Two nodes that publish it are not told apart from one that has calibrated again."""
    calibration = Calibration({"front": camera_input("front")}, "base_link")

    def publish(parent, child, matrix):
        calibration.take_static_transforms(
            TFMessage(transforms=[transform_stamped(parent, child, matrix)])
        )

    moved = transform_from([1, 0, 0, 0], [0.3, 0.4, 0.0])
    for mast in (np.eye(4), moved):
        publish("base_link", "mast", mast)
        publish("base_link", "lidar", mast)
    publish("mast", "front", np.eye(4))
    assert not calibration.changes(), "of which frames a camera needs nothing is known yet"
    calibration.take_camera_info("front", camera_info("front"))
    (line,) = calibration.changes()
    assert line.startswith("/tf_static gives base_link to mast anew, 0.50 m and 0.0 degrees from")
    assert not calibration.changes()
    publish("mast", "front", np.eye(4))
    publish("mast", "front", transform_from([1, 1e-4, 0, 0], [0.001, 0.0, 0.0]))
    assert not calibration.changes(), "digits of another description"
    publish("mast", "front", transform_from([1, 0.1, 0, 0], [0.0, 0.0, 0.0]))
    (line,) = calibration.changes()
    assert "mast to front anew, 0.00 m and 11.4 degrees" in line


def test_a_transform_that_is_missing_for_another_reason_is_told_with_that_reason():
    graph = TransformGraph()
    graph.add(transform_stamped("base_link", "mast", np.eye(4)))
    graph.unheard = ["/robot publishes /tf_static volatile; let it publish transient local"]
    with pytest.raises(UserError) as unheard:
        graph.lookup("base_link", "camera")
    assert f"camera to base_link: {graph.unheard[0]}, or publish the one" in str(unheard.value)
    with pytest.raises(UserError):
        graph.add(transform_stamped("mast", "camera", np.full((4, 4), np.nan)))
    with pytest.raises(UserError) as refused:
        graph.lookup("base_link", "camera")
    assert "no transform connects camera to base_link: /tf_static, mast to camera" in str(
        refused.value
    )
    assert "not finite" in str(refused.value) and "publish" not in str(refused.value)
    graph.add(transform_stamped("mast", "camera", np.eye(4)))
    graph.lookup("base_link", "camera")
    assert not graph.refused


@pytest.mark.parametrize(
    ("base", "frame", "hint"),
    [
        ("base_link", "camera_front", "names no base_link: should base_frame be mast or chassis"),
        ("chassis", "camera_frnt", "names no camera_frnt: did you mean camera_front"),
        ("chassis", "x", "names no x: is it the camera_info's true frame_id"),
        ("chassis", "radar", r"publish the one that is missing \([^;]*$"),
        ("chassis", "a", "have a loop through a; stop the publisher [^;]*$"),
    ],
)
def test_a_frame_that_no_transform_names_is_told_with_those_it_may_be(base, frame, hint):
    graph = TransformGraph()
    for parent, child in (
        *(("mast", "camera_front"), ("chassis", "mast"), ("roof", "radar"), ("a", "b"), ("b", "a")),
    ):
        graph.add(transform_stamped(parent, child, np.eye(4)))
    with pytest.raises(UserError, match=hint):
        graph.pose_in_base(base, frame)
    np.testing.assert_array_equal(graph.pose_in_base("chassis", "camera_front"), np.eye(4))


def test_a_name_that_is_asked_for_with_every_image_is_compared_once(monkeypatch):
    """With 200 names it takes 0.1 s, and would hold up the images of all cameras."""
    compared = []
    monkeypatch.setattr(transforms, "did_you_mean", lambda *names: compared.append(names))
    graph = TransformBuffer()
    for child in ("rear", "left"):
        graph.add(transform_stamped("base_link", child, np.eye(4)))
        for _ in range(10):
            with pytest.raises(UserError, match="names no front_camera"):
                graph.pose_in_base("base_link", "front_camera")
    assert len(compared) == 2, "again where there are new names"


def test_the_graph_of_transforms_is_bounded():
    graph = TransformGraph()
    for number in range(MAX_FRAMES):
        graph.add(transform_stamped("base_link", f"frame_{number}", np.eye(4)))
    with pytest.raises(UserError, match="one_more is ignored"):
        graph.add(transform_stamped("base_link", "one_more", np.eye(4)))
    graph.add(transform_stamped("base_link", "frame_0", random_transform(0)))


def test_the_calibration_names_what_it_lacks_and_what_contradicts():
    calibration = Calibration({name: camera_input(name) for name in CAMERAS}, "base_link")
    assert "CAM_BACK/camera_info" in calibration.fault("CAM_BACK")
    for camera in CAMERAS:
        calibration.take_camera_info(camera, camera_info(camera))
        if camera != "CAM_BACK":
            transform = transform_stamped("base_link", camera, random_transform(len(camera)))
            calibration.transforms.add(transform)
    assert "CAM_BACK to base_link" in calibration.fault("CAM_BACK")
    assert calibration.fault("CAM_FRONT") is None
    for seed in (9, 10):  # the newest one counts
        mounting = random_transform(seed)
        calibration.transforms.add(transform_stamped("base_link", "CAM_BACK", mounting))
        found = calibration.mounting(calibration.models["CAM_BACK"])
        np.testing.assert_allclose(found, mounting, atol=1e-12)
    calibration.take_camera_info("CAM_BACK", camera_info("CAM_FRONT"))
    assert "same frame_id 'CAM_FRONT' as that of CAM_FRONT" in calibration.fault("CAM_BACK")


def distorted_camera(image_name, rectified):
    source = replace(camera_input("front", rectified), image_name=image_name)
    calibration = Calibration({"front": source}, "base_link")
    info = camera_info("front", d=[-0.3, 0.1, 0.0, 0.0, 0.0], r=np.eye(3).ravel())
    info.p = np.hstack([INTRINSICS, np.zeros((3, 1))]).ravel()
    calibration.take_camera_info("front", info)
    return calibration


@pytest.mark.parametrize("name", ["/front/image_rect", "/front/image_rect_color/compressed"])
def test_a_rectified_topic_with_distortion_is_doubted(name):
    assert "set camera.front.calibration: rectified" in distorted_camera(name, False).doubt("front")
    assert distorted_camera(name, True).doubt("front") is None


@pytest.mark.parametrize("name", ["/front/image_raw", "/front/image_raw/compressed"])
def test_a_raw_topic_with_distortion_that_is_called_rectified_is_doubted(name):
    assert "set camera.front.calibration: raw" in distorted_camera(name, True).doubt("front")
    assert distorted_camera(name, False).doubt("front") is None
    assert distorted_camera("/front/image", True).doubt("front") is None


def test_a_rectified_camera_is_mounted_as_r_turns_it():
    calibration = distorted_camera("/front/image_rect", True)
    info = camera_info("front", p=np.hstack([INTRINSICS, np.zeros((3, 1))]).ravel())
    info.r = random_transform(3)[:3, :3].ravel()
    calibration.take_camera_info("front", info)
    message = transform_stamped("base_link", "front", random_transform(4))
    assert not calibration.take_static_transforms(TFMessage(transforms=[message]))
    mounting = calibration.mounting(calibration.models["front"])
    np.testing.assert_allclose(
        mounting[:3, :3] @ random_transform(3)[:3, :3], random_transform(4)[:3, :3], atol=1e-12
    )
    np.testing.assert_array_equal(mounting[:3, 3], random_transform(4)[:3, 3])


@pytest.mark.parametrize("rectified", [False, True])
def test_the_rigs_check_is_told_of_windows_and_rectification(rectified):
    """Half the rows of the image, and a P as the calibrator gives it."""
    calibration = distorted_camera("/front/image", rectified)
    info = camera_info("front", binning_y=2, r=np.eye(3).ravel())
    info.p = np.hstack([INTRINSICS * [[1.0], [1.04], [1.0]], np.zeros((3, 1))]).ravel()
    calibration.take_camera_info("front", info)
    mounting = transform_from([0.5, -0.5, 0.5, -0.5], [1.7, 0.0, 1.5])
    message = transform_stamped("base_link", "front", mounting)
    calibration.take_static_transforms(TFMessage(transforms=[message]))
    assert calibration.mounted()["front"].calibration.size == (400, 112)
    assert check_rig(calibration.mounted(), NUSCENES_CAMERAS, (96, 256)) == {"front": []}


SECOND = 10**9
START = 1_532_402_927 * SECOND


def pan_tilt():
    """base_link - (/tf) pan - (/tf) tilt - (/tf_static) front, beside a camera that is fixed."""
    calibration = Calibration({name: camera_input(name) for name in ("front", "back")}, "base_link")
    for camera in ("front", "back"):
        calibration.take_camera_info(camera, camera_info(camera))
    static = [
        transform_stamped("tilt", "front", random_transform(0)),
        transform_stamped("base_link", "back", random_transform(1)),
        transform_stamped("base_link", "pan_base", random_transform(2)),
    ]
    assert not calibration.take_static_transforms(TFMessage(transforms=static))
    return calibration


def send(calibration, parent, child, stamp, matrix):
    message = transform_stamped(parent, child, matrix)
    message.header.stamp = time_from_ns(stamp)
    message = TFMessage(transforms=[message])
    if not calibration.concerns_cameras(bytes(serialize_message(message))):
        return []
    return calibration.take_moving_transforms(message)


def test_a_camera_that_moves_is_where_tf_says_at_the_images_stamp():
    """Interpolated between two transforms as tf2 does: linear in place, spherical in rotation."""
    calibration = pan_tilt()
    front, back = calibration.models["front"], calibration.models["back"]
    assert calibration.needs_tf and calibration.moves(front) and not calibration.moves(back)
    tilts, pans = {}, {}
    for step in range(4):  # the first transforms of pan come before its frame is known to matter
        stamp = START + step * SECOND // 10
        pans[step], tilts[step] = random_transform(10 + step), random_transform(20 + step)
        assert not send(calibration, "pan", "tilt", stamp, tilts[step])
        assert not send(calibration, "pan_base", "pan", stamp, pans[step])

    def between(poses, fraction):
        turns = Slerp([0, 1], Rotation.from_matrix([poses[1][:3, :3], poses[2][:3, :3]]))
        result = np.eye(4)
        result[:3, :3] = turns(fraction).as_matrix()
        result[:3, 3] = (1 - fraction) * poses[1][:3, 3] + fraction * poses[2][:3, 3]
        return result

    chain = random_transform(2) @ between(pans, 0.3) @ between(tilts, 0.3) @ random_transform(0)
    found = calibration.mounting(front, START + 13 * SECOND // 100)
    np.testing.assert_allclose(found, chain, atol=1e-9)
    chain = random_transform(2) @ pans[3] @ tilts[3] @ random_transform(0)
    for stamp in (None, START + 3 * SECOND // 10, START + SECOND):  # the newest is held a while
        np.testing.assert_allclose(calibration.mounting(front, stamp), chain, atol=1e-12)
    for stamp in (None, START, START + 100 * SECOND):
        np.testing.assert_allclose(
            calibration.mounting(back, stamp), random_transform(1), atol=1e-12
        )


def test_times_that_tf_says_nothing_about_are_named():
    calibration = pan_tilt()
    front = calibration.models["front"]
    assert "no transform connects front to base_link" in calibration.fault("front")
    send(calibration, "pan_base", "tilt", 0, np.eye(4))
    assert "front to base_link: /tf, pan_base to tilt: no stamp" in calibration.fault("front")
    send(calibration, "pan_base", "tilt", START, np.eye(4))
    assert calibration.fault("front") is None
    assert "/tf has tilt last 5.0 s before the image" in calibration.fault(
        "front", START + 5 * SECOND
    )
    with pytest.raises(UserError, match=r"/tf has tilt from 0.5 s after the image on"):
        calibration.mounting(front, START - SECOND // 2)
    assert calibration.fault("back", START + 5 * SECOND) is None
    (fault,) = send(calibration, "pan_base", "tilt", 0, np.eye(4))
    assert fault.startswith("/tf, pan_base to tilt: no stamp; fill in header.stamp")
    (fault,) = send(calibration, "pan_base", "tilt", START, np.full((4, 4), np.nan))
    assert "not finite" in fault


def test_what_tf_says_of_other_frames_is_left_and_of_cameras_the_last_ten_seconds_are_kept():
    calibration = pan_tilt()
    for step in range(3000):
        stamp = START + step * SECOND // 100
        send(calibration, "pan_base", "tilt", stamp, np.eye(4))
        if step % 100 == 0:
            send(calibration, "map", "odom", stamp, np.eye(4))
            send(calibration, "base_link", f"joint_{step}", stamp, np.eye(4))
            send(calibration, "base_link", "back", stamp, random_transform(step))  # static
    transforms = calibration.transforms
    assert transforms.followed == {"tilt"} and transforms._moving.keys() == {"tilt"}
    assert len(transforms._moving["tilt"].stamps) == 1001
    send(calibration, "pan_base", "tilt", START, random_transform(1))  # the clock jumped back
    assert len(transforms._moving["tilt"].stamps) == 1


def test_a_frame_that_moves_under_two_parents_is_named_and_one_that_is_fixed_counts():
    calibration = pan_tilt()
    send(calibration, "pan_base", "tilt", START, np.eye(4))
    send(calibration, "base_link", "tilt", START, np.eye(4))
    assert "/tf gives tilt the parent base_link" in calibration.transforms.contradictions["tilt"]
    message = transform_stamped("base_link", "tilt", random_transform(7))
    calibration.take_static_transforms(TFMessage(transforms=[message]))
    assert not calibration.needs_tf
    expected = random_transform(7) @ random_transform(0)
    found = calibration.mounting(calibration.models["front"], START + 100 * SECOND)
    np.testing.assert_allclose(found, expected, atol=1e-12)
