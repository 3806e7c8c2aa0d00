# SPDX-License-Identifier: Apache-2.0
"""Promise: what cannot be right in a rig, or was not trained for, is said with its number."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.cameras.calibration import NUSCENES_CAMERAS, CameraCalibration
from asd_perception.cameras.field_of_view import covered, field_of_view
from asd_perception.cameras.rig_check import (
    Level,
    MountedCamera,
    check_image_size,
    check_rig,
    shown,
)
from asd_perception.geometry import inverse, level_camera, transform_from
from asd_perception.models import TINY
from asd_perception.network import model_directory
from asd_training.synthetic.sensors.rig import CAMERA_SENSORS, image_size, intrinsics

INPUT = (96, 256)
REAL = [
    root / "v1.0-mini"
    for name in ("nuscenes_keyframe", "real_0103")
    if (root := Path(__file__).resolve().parents[2] / "shared" / name).is_dir()
]
LINK_FROM_OPTICAL = np.eye(4)
LINK_FROM_OPTICAL[:3, :3] = level_camera(0, 0, 0)


def calibration(matrix, size, distortion=(), equidistant=False):
    coefficients = np.zeros(8)
    coefficients[: len(distortion)] = distortion
    return CameraCalibration(np.asarray(matrix, dtype=float), size, coefficients, equidistant)


def rig(scale=0.5):
    """The rig of the synthetic test scenes."""
    return {
        sensor.channel: MountedCamera(
            f"{sensor.channel}_optical_frame",
            calibration(intrinsics(sensor, scale), image_size(sensor, scale)),
            sensor.ego_from_sensor,
        )
        for sensor in CAMERA_SENSORS
    }


def changed(camera, matrix=None, **changes):
    """A camera with another K, another size or another pose."""
    of_lens = camera.calibration
    if matrix is not None:
        of_lens = dataclasses.replace(of_lens, matrix=np.asarray(matrix, dtype=float))
    if "size" in changes:
        of_lens = dataclasses.replace(of_lens, size=changes.pop("size"))
    return dataclasses.replace(camera, calibration=of_lens, **changes)


def zoomed(camera, factor):
    matrix = camera.calibration.matrix.copy()
    matrix[[0, 1], [0, 1]] *= factor
    return changed(camera, matrix)


def tilted(camera, pitch=0.0, roll=0.0):
    heading, own_pitch, own_roll = np.deg2rad(camera.angles)
    pose = camera.ego_from_camera.copy()
    pose[:3, :3] = level_camera(heading, own_pitch + np.deg2rad(pitch), own_roll + np.deg2rad(roll))
    return changed(camera, ego_from_camera=pose)


def moved(camera, by):
    pose = camera.ego_from_camera.copy()
    pose[:3, 3] += by
    return changed(camera, ego_from_camera=pose)


def findings(cameras, name="CAM_FRONT"):
    return check_rig(cameras, NUSCENES_CAMERAS, INPUT)[name]


def the_finding(cameras, name="CAM_FRONT"):
    (finding,) = findings(cameras, name)
    assert "\n" not in finding.text
    return finding


# -- right rigs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("input_size", [INPUT, (256, 704), (64, 96)])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_the_rig_of_the_demo_is_right(scale, input_size):
    assert not any(check_rig(rig(scale), NUSCENES_CAMERAS, input_size).values())


@pytest.mark.parametrize("tables", REAL, ids=lambda path: path.parent.name)
def test_real_nuscenes_rigs_are_right(tables):
    channels = {
        row["token"]: row["channel"] for row in json.loads((tables / "sensor.json").read_text())
    }
    rows = json.loads((tables / "calibrated_sensor.json").read_text())
    cameras = {
        channels[row["sensor_token"]]: MountedCamera(
            channels[row["sensor_token"]],
            calibration(row["camera_intrinsic"], (1600, 900)),
            transform_from(row["rotation"], row["translation"]),
        )
        for row in rows
        if row["camera_intrinsic"]
    }
    assert set(cameras) == set(CAMERAS)
    assert not any(check_rig(cameras, NUSCENES_CAMERAS, INPUT).values())


@pytest.mark.parametrize(
    "change",
    [
        lambda camera: zoomed(camera, 0.75),
        lambda camera: zoomed(camera, 1.3),
        lambda camera: tilted(camera, pitch=5),
        lambda camera: tilted(camera, pitch=-8, roll=5),
        lambda camera: moved(camera, [0.5, 0.2, -0.05]),
        lambda camera: changed(camera, size=(800, 600)),
    ],
)
def test_what_the_view_makes_good_for_is_right(change):
    assert not any(
        check_rig({k: change(v) for k, v in rig().items()}, NUSCENES_CAMERAS, INPUT).values()
    )


def test_a_camera_alone_and_none_are_checked_as_well():
    assert findings({"CAM_FRONT": rig()["CAM_FRONT"]}) == []
    assert check_rig({}, NUSCENES_CAMERAS, INPUT) == {}


def test_without_trained_cameras_only_geometry_is_checked():
    cameras = {**rig(), "CAM_FRONT": zoomed(rig()["CAM_FRONT"], 3)}
    assert check_rig(cameras, (), INPUT)["CAM_FRONT"] == []
    assert shown(cameras["CAM_FRONT"], (), INPUT).seen == 1


def test_the_shipped_model_says_how_high_its_cameras_were():
    trained = model_directory.load(TINY).config.trained_cameras
    heights = [camera.height for camera in trained]
    np.testing.assert_allclose(heights, [s.translation[2] for s in CAMERA_SENSORS], atol=0.01)


# -- what cannot be right --------------------------------------------------------------------------


@pytest.mark.parametrize("name", CAMERAS)
def test_the_body_frame_in_place_of_the_optical_frame(name):
    cameras = rig()
    frame = changed(
        cameras[name],
        ego_from_camera=cameras[name].ego_from_camera @ inverse(LINK_FROM_OPTICAL),
        frame_id="front_link",
    )
    finding = the_finding({**cameras, name: frame}, name)
    assert finding.level == Level.ERROR
    assert "degrees up" in finding.text
    assert "'front_link' has the axes of a camera_link" in finding.text
    assert "front_optical_frame" in finding.text


@pytest.mark.parametrize("frame_id", ["front_optical", "front_camera_optical_frame"])
def test_a_frame_that_is_optical_by_its_name_only(frame_id):
    camera = rig()["CAM_FRONT"]
    pose = camera.ego_from_camera @ inverse(LINK_FROM_OPTICAL)
    cameras = {"CAM_FRONT": changed(camera, ego_from_camera=pose, frame_id=frame_id)}
    finding = the_finding(cameras, "CAM_FRONT")
    assert f"{frame_id!r} has the axes of a camera_link" in finding.text
    assert "turn its transform" in finding.text and "often named" not in finding.text


def test_a_camera_in_the_base_frame_itself():
    camera = changed(rig()["CAM_FRONT"], ego_from_camera=np.eye(4), frame_id="base_link")
    (finding,) = findings({"CAM_FRONT": camera})
    assert finding.level == Level.ERROR
    assert "'base_link' is both base_frame and that of camera_info" in finding.text


@pytest.mark.parametrize("name", CAMERAS)
def test_a_rotation_that_is_applied_twice(name):
    camera = rig()[name]
    pose = camera.ego_from_camera @ LINK_FROM_OPTICAL
    finding = the_finding({**rig(), name: changed(camera, ego_from_camera=pose)}, name)
    assert finding.level == Level.WARNING  # a camera on its side has the same axes
    assert "is rolled by -" in finding.text and "turned to optical axes twice" in finding.text


def test_rotations_that_are_inverted():
    cameras = rig()
    for name, camera in cameras.items():
        pose = camera.ego_from_camera.copy()
        pose[:3, :3] = pose[:3, :3].T
        cameras[name] = changed(camera, ego_from_camera=pose)
    found = check_rig(cameras, NUSCENES_CAMERAS, INPUT)
    assert all(found.values())
    errors = [name for name, items in found.items() if "may be inverted" in items[0].text]
    assert len(errors) >= 3 and "CAM_FRONT" in errors


@pytest.mark.parametrize(
    ("by", "words"), [([0, 0, -1.6], "roof"), ([0, 0, 1500], "metres"), ([0, 0, -3], "roof")]
)
def test_a_base_frame_that_is_not_on_the_ground(by, words):
    cameras = {name: moved(camera, by) for name, camera in rig().items()}
    for name in CAMERAS:
        finding = the_finding(cameras, name)
        assert finding.level == Level.ERROR
        assert f"{cameras['CAM_FRONT_RIGHT'].height:.2f} to" in finding.text
        assert words in finding.text
    assert len({the_finding(cameras, name).text for name in CAMERAS}) == 1


@pytest.mark.parametrize("tilt", [dict(roll=90), dict(roll=-90), dict(pitch=-65)])
def test_a_camera_on_its_side_or_one_that_looks_at_the_ground_may_be_right(tilt):
    cameras = rig()
    finding = the_finding({**cameras, "CAM_FRONT": tilted(cameras["CAM_FRONT"], **tilt)})
    assert finding.level == Level.WARNING
    assert finding.text.index("where it is mounted like that") < finding.text.index("otherwise")


def test_the_base_frame_of_a_small_robot_may_be_right():
    camera = rig()["CAM_FRONT"]
    finding = the_finding({"CAM_FRONT": moved(camera, [0, 0, 0.12 - camera.height])})
    assert finding.level == Level.WARNING and "it is 0.12 m above base_link" in finding.text


def test_a_copied_transform():
    cameras = rig()
    pose = cameras["CAM_FRONT"].ego_from_camera
    cameras["CAM_FRONT_LEFT"] = changed(cameras["CAM_FRONT_LEFT"], ego_from_camera=pose)
    assert "mounted as CAM_FRONT_LEFT is" in the_finding(cameras).text
    assert the_finding(cameras, "CAM_FRONT_LEFT").level == Level.ERROR
    assert findings(cameras, "CAM_BACK") == []


def test_a_stereo_pair_and_a_telephoto_beside_are_no_copies():
    camera = rig()["CAM_FRONT"]
    assert findings({"CAM_FRONT": camera, "b": moved(camera, [0, 0.12, 0])}) == []
    assert findings({"CAM_FRONT": camera, "b": zoomed(camera, 1.3)}) == []


def test_pixels_that_are_not_square():
    camera = rig()["CAM_FRONT"]
    matrix = camera.calibration.matrix * [[1], [1.05], [1]]
    matrix[1, 2] = camera.calibration.matrix[1, 2]
    finding = the_finding({"CAM_FRONT": changed(camera, matrix)})
    assert finding.level == Level.WARNING
    assert "fx 633 and fy 665 differ by 5 %" in finding.text


def test_a_rectified_image_may_have_other_pixels():
    camera = rig()["CAM_FRONT"]
    matrix = camera.calibration.matrix * [[1], [1.05], [1]]
    matrix[1, 2] = camera.calibration.matrix[1, 2]
    assert findings({"CAM_FRONT": changed(camera, matrix, rectified=True)}) == []


def test_a_region_of_interest_and_binning_are_no_matrix_of_another_image_size():
    camera = rig()["CAM_FRONT"]  # 800x450
    window = camera.calibration.matrix - [[0, 0, 200], [0, 0, 150], [0, 0, 0]]
    upper_left = changed(camera, window, size=(600, 300), whole=camera.calibration)
    binned = np.diag([1, 0.5, 1]) @ camera.calibration.matrix
    flat = changed(camera, binned, size=(800, 225), whole=camera.calibration)
    for part in (upper_left, flat):
        texts = [finding.text for finding in findings({"CAM_FRONT": part})]
        assert not any("principal point" in text or "differ by" in text for text in texts)
        judged_alone = findings({"CAM_FRONT": changed(part, whole=None)})
        assert len(judged_alone) > len(texts)


def test_the_matrix_of_another_image_size():
    camera = changed(rig(0.25)["CAM_FRONT"], size=(800, 450))
    (finding, *_) = findings({"CAM_FRONT": camera})
    assert "that of a 408x246 image" in finding.text
    camera = changed(rig()["CAM_FRONT"], size=(400, 225))
    (finding, *_) = findings({"CAM_FRONT": camera})
    assert "that of a 817x492 image" in finding.text
    camera = changed(rig()["CAM_FRONT"], size=(520, 450))
    assert any(
        "cropped or flipped after" in finding.text for finding in findings({"CAM_FRONT": camera})
    )


def test_images_of_another_size():
    lens = rig()["CAM_FRONT"].calibration  # 800x450
    assert check_image_size((800, 450), lens) == []
    (scaled,) = check_image_size((1600, 900), lens)
    assert "1600x900" in scaled.text and "800x450" in scaled.text and "scaled by 2)" in scaled.text
    (cropped,) = check_image_size((640, 480), lens)
    assert "cropped or stretched" in cropped.text
    (rotated,) = check_image_size((450, 800), lens)
    assert "it is rotated" in rotated.text
    assert scaled.level == cropped.level == rotated.level == Level.ERROR


# -- what the network was not trained for ----------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda camera: zoomed(camera, 0.4), "0.40 times the trained one: of its 115x"),
        (lambda camera: zoomed(camera, 0.4), "shown the middle 65 degrees"),
        (lambda camera: zoomed(camera, 2.0), "2.00 times the trained one: its 35x"),
        (lambda camera: zoomed(camera, 2.0), "fill 33 % of the network's view"),
        (lambda camera: tilted(camera, roll=180), "rolled by 180 degrees"),
        (lambda camera: tilted(camera, pitch=-13), "pitched 13 degrees down"),
        (lambda camera: moved(camera, [0, 0, -0.8]), "wrong by about 112 %"),
        (lambda camera: moved(camera, [0, 0, 1.0]), "2.51 m above base_link"),
        (lambda camera: moved(camera, [0, 0, -1.7]), "below ground"),
    ],
)
def test_a_camera_unlike_the_trained_ones(change, words):
    cameras = rig()
    finding = the_finding({**cameras, "CAM_FRONT": change(cameras["CAM_FRONT"])})
    assert finding.level == Level.WARNING
    assert words in finding.text


def test_a_lens_that_sees_little_of_the_networks_view():
    camera = changed(rig()["CAM_FRONT"], size=(800, 200))
    assert any("% of the network's view" in f.text for f in findings({"CAM_FRONT": camera}))


# -- fields of view --------------------------------------------------------------------------------


def test_fields_of_view():
    matrix = [[400, 0, 399.5], [0, 400, 199.5], [0, 0, 1]]
    plain = field_of_view(calibration(matrix, (800, 400)))
    np.testing.assert_allclose(np.rad2deg([plain.left, plain.right]), 45, rtol=1e-6)
    assert np.rad2deg(plain.vertical) == pytest.approx(2 * np.rad2deg(np.arctan(0.5)))
    fisheye = field_of_view(calibration(matrix, (800, 400), equidistant=True))
    assert fisheye.left == pytest.approx(1.0, abs=1e-3)  # r = f theta
    assert fisheye.down == pytest.approx(0.5, abs=1e-3)
    barrel = field_of_view(calibration(matrix, (800, 400), distortion=[-0.1]))
    assert np.tan(barrel.left) * (1 - 0.1 * np.tan(barrel.left) ** 2) == pytest.approx(1, abs=1e-3)
    beyond = field_of_view(calibration(matrix, (800, 400), distortion=[-0.3]))
    assert np.tan(beyond.left) == pytest.approx(np.sqrt(1 / 0.9), abs=0.01)  # where it turns back


def test_what_a_rig_covers():
    cameras = rig().values()
    sectors = [shown(camera, NUSCENES_CAMERAS, INPUT).sector for camera in cameras]
    assert np.rad2deg(covered(sectors)) == pytest.approx(360)
    assert np.rad2deg(covered(sectors[1:2])) == pytest.approx(64.5, abs=1)
    assert np.rad2deg(covered([(-0.5, 0.5), (0.25, 0.75)])) == pytest.approx(
        np.rad2deg(1.25), abs=0.2
    )
    assert np.rad2deg(covered([(-0.5, 0.5), (0.25, 0.75)], times=2)) == pytest.approx(
        np.rad2deg(0.25), abs=0.2
    )
    assert covered([]) == 0
    narrowed = shown(zoomed(rig()["CAM_FRONT"], 0.5), NUSCENES_CAMERAS, INPUT)
    assert np.rad2deg(covered([narrowed.sector])) == pytest.approx(64.5, abs=1)
    tele = shown(zoomed(rig()["CAM_FRONT"], 2), NUSCENES_CAMERAS, INPUT)
    assert np.rad2deg(covered([tele.sector])) == pytest.approx(35, abs=1)
