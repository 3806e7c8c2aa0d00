# SPDX-License-Identifier: Apache-2.0
"""Promise: calibration is put together as it arrives; what it lacks or contradicts is named."""

import math

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from robot import camera_info
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from asd_perception.constants import CAMERAS
from asd_perception.errors import UserError
from asd_perception.geometry import transform_from
from asd_perception.ros.calibration import Calibration
from asd_perception.ros.messages.camera_info import camera_model_from_msg
from asd_perception.ros.messages.transforms import MAX_FRAMES, StaticTransforms


def transform_stamped(parent, child, matrix):
    message = TransformStamped(header=Header(frame_id=parent), child_frame_id=child)
    x, y, z, w = Rotation.from_matrix(matrix[:3, :3]).as_quat().tolist()
    rotation, translation = message.transform.rotation, message.transform.translation
    rotation.x, rotation.y, rotation.z, rotation.w = x, y, z, w
    translation.x, translation.y, translation.z = matrix[:3, 3].tolist()
    return message


def random_transform(seed):
    rng = np.random.default_rng(seed)
    return transform_from(rng.normal(size=4), rng.normal(size=3))


def test_static_transforms_chain_up_and_down_the_tree():
    graph = StaticTransforms()
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
    with pytest.raises(UserError, match="does not connect lidar to base_link"):
        graph.lookup("base_link", "lidar")
    graph.add(transform_stamped("camera", "root", np.eye(4)))
    with pytest.raises(UserError, match="loop"):
        graph.lookup("base_link", "lidar")


def test_bad_transforms_are_refused():
    message = transform_stamped("a", "b", np.eye(4))
    message.transform.rotation.w = math.nan
    with pytest.raises(UserError, match=r"a to b: .*not finite"):
        StaticTransforms().add(message)


def test_a_frame_that_gets_another_parent_is_named_and_the_newest_one_is_used():
    graph = StaticTransforms()
    graph.add(transform_stamped("base_link", "camera", random_transform(0)))
    graph.add(transform_stamped("base_link", "camera", random_transform(1)))  # calibrated again
    graph.add(transform_stamped("base_link", "mast", np.eye(4)))
    assert not graph.contradictions
    graph.add(transform_stamped("mast", "camera", random_transform(2)))
    assert "gives camera the parent mast, before it was base_link" in graph.contradictions["camera"]
    np.testing.assert_allclose(graph.lookup("base_link", "camera"), random_transform(2), atol=1e-12)
    graph.add(transform_stamped("mast", "camera", random_transform(3)))
    assert not graph.contradictions


def test_the_graph_of_transforms_is_bounded():
    graph = StaticTransforms()
    for number in range(MAX_FRAMES):
        graph.add(transform_stamped("base_link", f"frame_{number}", np.eye(4)))
    with pytest.raises(UserError, match="one_more is ignored"):
        graph.add(transform_stamped("base_link", "one_more", np.eye(4)))
    graph.add(transform_stamped("base_link", "frame_0", random_transform(0)))


def test_the_calibration_names_what_it_lacks_and_what_contradicts():
    calibration = Calibration(CAMERAS, "base_link")
    assert "CAM_BACK/camera_info" in calibration.fault("CAM_BACK")
    for camera in CAMERAS:
        info = camera_info(camera)
        calibration.models[camera] = camera_model_from_msg(info)
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
    info = camera_info("CAM_FRONT")
    calibration.models["CAM_BACK"] = camera_model_from_msg(info)
    assert "same frame_id 'CAM_FRONT' as that of CAM_FRONT" in calibration.fault("CAM_BACK")
