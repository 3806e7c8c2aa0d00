# SPDX-License-Identifier: Apache-2.0
"""Promise: any camera's image becomes that of a camera the network knows, pixel for pixel."""

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from asd_perception.cameras.calibration import NUSCENES_CAMERAS, CameraCalibration
from asd_perception.cameras.lens import pixels_of
from asd_perception.cameras.preprocessing import preprocess
from asd_perception.cameras.view import View, most_alike, view_of
from asd_perception.errors import UserError
from asd_perception.geometry import camera_angles, level_camera, project

INPUT = (96, 256)
FRONT = NUSCENES_CAMERAS[1]
SIZE = (800, 450)


def mounted(heading, pitch, roll):
    pose = np.eye(4)
    pose[:3, :3] = level_camera(*np.deg2rad([heading, pitch, roll]))
    return pose


def nuscenes_like(camera=FRONT, size=SIZE):
    width, height = size
    focal = camera.focal * width
    centre = camera.centre * width - 0.5, height - 0.5 - camera.above_edge * width
    matrix = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1.0]])
    return CameraCalibration(matrix, size, np.zeros(8))


def picture(size=SIZE):
    """A smooth picture, so that positions can be read from it."""
    width, height = size
    u, v = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([u, v, 255 - u], axis=-1).astype(np.uint8)


@given(st.floats(-3.1, 3.1), st.floats(-1.2, 1.2), st.floats(-3.0, 3.0))
def test_a_camera_is_put_together_from_its_angles(heading, pitch, roll):
    rotation = level_camera(heading, pitch, roll)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) > 0
    pose = np.eye(4)
    pose[:3, :3] = rotation
    np.testing.assert_allclose(camera_angles(pose), [heading, pitch, roll], atol=1e-9)


def test_angles_mean_what_they_say():
    ahead = level_camera(0, 0, 0)
    np.testing.assert_allclose(ahead, [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], atol=1e-12)
    assert level_camera(np.pi / 2, 0, 0)[1, 2] == pytest.approx(1)  # looks left
    assert level_camera(0, 0.1, 0)[2, 2] > 0  # looks up
    assert level_camera(0, 0, 0.1)[2, 0] < 0  # its right side hangs down


@pytest.mark.parametrize("camera", NUSCENES_CAMERAS)
def test_a_trained_camera_keeps_its_plain_input(camera):
    image = picture()
    view = view_of(
        nuscenes_like(camera),
        mounted(camera.heading, camera.pitch, camera.roll),
        NUSCENES_CAMERAS,
        INPUT,
    )
    assert view.is_plain and view.seen is None
    np.testing.assert_array_equal(view.apply(image), preprocess(image, INPUT))
    np.testing.assert_allclose(view.intrinsics, camera.intrinsics(INPUT), atol=0.6)


CAMERAS = {
    "shorter lens": dict(zoom=0.7),
    "longer lens": dict(zoom=1.3),
    "looks up": dict(pitch=6.0),
    "looks down": dict(pitch=-7.0),
    "rolled": dict(roll=8.0),
    "another aspect": dict(size=(800, 600), shift=(0, -75)),
    "high principal point": dict(shift=(0, -60)),
    "principal point at a side": dict(shift=(90, 0)),
    "barrel": dict(distortion=[-0.25, 0.08, 0.001, -0.0005, 0, 0, 0, 0]),
    "rational": dict(distortion=[0.1, -0.05, 0.0, 0.0, 0.01, 0.12, -0.02, 0.005]),
    "thin prism and tilt": dict(
        distortion=[-0.2, 0.05, 0, 0, 0, 0, 0, 0, 0.01, -0.002, 0.008, 0.001, 0.02, -0.015]
    ),
    "fisheye": dict(distortion=[0.02, -0.01, 0.002, 0, 0, 0, 0, 0], equidistant=True),
}


def camera_of(zoom=1.0, pitch=0.0, roll=0.0, size=SIZE, shift=(0, 0), distortion=None,
              equidistant=False):  # fmt: skip
    matrix = nuscenes_like(size=size).matrix.copy()
    matrix[0, 0] *= zoom
    matrix[1, 1] *= zoom
    matrix[:2, 2] += shift
    coefficients = np.zeros(8) if distortion is None else np.array(distortion)
    return CameraCalibration(matrix, size, coefficients, equidistant), mounted(0.3, pitch, roll)


def seen_by(calibration, pose, point):
    """The pixel of a world point, by OpenCV's own projection."""
    in_camera = (np.linalg.inv(pose) @ [*point, 1.0])[None, None, :3]
    if calibration.equidistant:
        pixel, _ = cv2.fisheye.projectPoints(
            in_camera, np.zeros(3), np.zeros(3), calibration.matrix, calibration.distortion[:4]
        )
    else:
        pixel, _ = cv2.projectPoints(
            in_camera, np.zeros(3), np.zeros(3), calibration.matrix, calibration.distortion
        )
    return pixel.ravel()


@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize("name", CAMERAS)
def test_a_thing_is_where_the_inputs_camera_says(name, reduction):
    """A spot painted where the lens shows a point is found where the view's pinhole projects it."""
    calibration, pose = camera_of(**CAMERAS[name])
    view = view_of(calibration, pose, NUSCENES_CAMERAS, INPUT)
    width, height = calibration.size
    for point in ([20.0, 0.5, 0.0], [15.0, -4.0, -1.0], [25.0, 6.0, 1.0]):
        u, v = seen_by(calibration, pose, point)
        image = np.zeros((height, width, 3), np.uint8)
        cv2.circle(image, (round(u), round(v)), 6, (255, 255, 255), -1)
        if reduction > 1:
            image = cv2.resize(
                image, (width // reduction, height // reduction), interpolation=cv2.INTER_AREA
            )
        level = view.apply(image)[..., 0].astype(float)
        expected, depth = project(
            (np.linalg.inv(view.pose(pose)) @ [*point, 1.0])[None, :3],
            view.intrinsics_for(image),
        )
        (x, y), inside = expected[0], depth[0] > 0
        if not (inside and 8 < x < INPUT[1] - 8 and 8 < y < INPUT[0] - 8):
            continue
        rows, columns = np.indices(level.shape)
        found = (level * columns).sum() / level.sum(), (level * rows).sum() / level.sum()
        np.testing.assert_allclose(found, (x, y), atol=0.5)


@pytest.mark.parametrize("name", CAMERAS)
def test_the_inputs_camera_is_a_trained_one_or_nearly_the_own(name):
    calibration, pose = camera_of(**CAMERAS[name])
    view = view_of(calibration, pose, NUSCENES_CAMERAS, INPUT)
    known = FRONT.intrinsics(INPUT)
    assert not view.is_plain
    np.testing.assert_allclose(view.intrinsics[0, 0], known[0, 0], rtol=0.03)
    horizon = view.intrinsics[1, 2] + known[1, 1] * np.tan(camera_angles(view.pose(pose))[1])
    assert abs(horizon - known[1, 2]) < 5
    heading = camera_angles(view.pose(pose))[0]
    assert heading == pytest.approx(camera_angles(pose)[0], abs=0.01)


def test_what_the_lens_does_not_see_is_marked():
    calibration, pose = camera_of(zoom=1.4)
    view = view_of(calibration, pose, NUSCENES_CAMERAS, INPUT)
    assert 0.3 < view.seen.mean() < 0.8
    middle = view.seen[INPUT[0] // 2 - 10, INPUT[1] // 2]
    assert middle and not view.seen[:, 0].any() and not view.seen[:, -1].any()
    features = view.seen_features(8)
    assert features.shape == (12, 32)
    assert features.mean() == pytest.approx(view.seen.mean(), abs=0.1)


@settings(max_examples=50, deadline=None)
@given(st.floats(-180, 180), st.floats(0.2, 3.0))
def test_the_camera_most_alike_is_among_the_trained(heading, focal):
    assert most_alike(NUSCENES_CAMERAS, np.deg2rad(heading), focal) in NUSCENES_CAMERAS


def test_a_camera_is_like_the_one_that_looks_its_way_and_a_long_lens_like_no_wide_one():
    for camera in NUSCENES_CAMERAS:
        for zoom in (0.67, 1.0, 1.33):
            found = most_alike(NUSCENES_CAMERAS, np.deg2rad(camera.heading), zoom * camera.focal)
            assert found == camera
    assert most_alike(NUSCENES_CAMERAS, np.pi, 0.79).focal > 0.7


@pytest.mark.parametrize("roll", [0, 90, -90, 180])
@pytest.mark.parametrize("camera", NUSCENES_CAMERAS)
def test_a_camera_is_known_however_it_hangs(camera, roll):
    """One whose image is turned is alike to the same trained camera."""
    calibration = nuscenes_like(camera)
    if roll % 180:
        matrix = calibration.matrix[[1, 0, 2]][:, [1, 0, 2]]
        calibration = dataclasses.replace(calibration, matrix=matrix, size=calibration.size[::-1])
    pose = mounted(camera.heading, camera.pitch, camera.roll + roll)
    assert view_of(calibration, pose, NUSCENES_CAMERAS, INPUT).alike == camera


def test_a_view_is_kept_while_calibration_and_mounting_stay():
    calibration, pose = camera_of(zoom=0.8)
    again = dataclasses.replace(calibration, matrix=calibration.matrix.copy())
    view = view_of(calibration, pose, NUSCENES_CAMERAS, INPUT)
    assert view_of(again, pose.copy(), NUSCENES_CAMERAS, INPUT) is view
    moved = mounted(0.3, 9.0, 0.0)
    assert view_of(again, moved, NUSCENES_CAMERAS, INPUT) is not view


def test_a_camera_that_pans_keeps_its_view_while_the_same_trained_camera_is_most_alike():
    calibration, _ = camera_of(zoom=0.8, distortion=[-0.3, 0.1, 0, 0, 0, 0, 0, 0])
    views = {
        heading: view_of(calibration, mounted(heading, -4.0, 2.0), NUSCENES_CAMERAS, INPUT)
        for heading in range(-20, 21)
    }
    assert len(set(views.values())) == 1
    for heading, view in views.items():  # which keeps the heading, pitch and roll the trained one's
        turned = np.rad2deg(camera_angles(view.pose(mounted(heading, -4.0, 2.0))))
        np.testing.assert_allclose(turned, [heading, FRONT.pitch, FRONT.roll], atol=0.2)
    aside = view_of(calibration, mounted(60, -4.0, 2.0), NUSCENES_CAMERAS, INPUT)
    np.testing.assert_array_equal(aside.intrinsics, NUSCENES_CAMERAS[0].intrinsics(INPUT))


@pytest.mark.parametrize("lens", ["pinhole", "barrel", "fisheye"])
def test_a_skewed_camera_is_straightened(lens):
    """K as it is: u = fx x + s y + cx."""
    matrix = nuscenes_like().matrix + [[0, 30.0, 0], [0, 0, 0], [0, 0, 0]]
    bent = {"pinhole": [], "barrel": [-0.25, 0.05], "fisheye": [0.02, -0.01]}[lens]
    distortion = np.pad(np.array(bent, float), (0, 8 - len(bent)))
    calibration = CameraCalibration(matrix, SIZE, distortion, lens == "fisheye")
    view = view_of(calibration, mounted(0.3, 6.0, 0), NUSCENES_CAMERAS, INPUT)
    column, row = 180, 60
    ray = view.view_from_camera.T @ np.linalg.inv(view.intrinsics) @ [column, row, 1]
    straight = dataclasses.replace(calibration, matrix=np.eye(3))
    expected = matrix @ [*seen_by(straight, np.eye(4), ray), 1]
    u, v, (columns, rows) = view.source_map(1)
    at = (u[row, column] + 0.5) * SIZE[0] / columns - 0.5, (v[row, column] + 0.5) * SIZE[1] / rows
    np.testing.assert_allclose(at, expected[:2] + [0, 0.5], atol=0.01)


def test_pixels_that_are_no_squares_are_averaged_along_each_side():
    """fy is four times fx: a thin line across the image is seen wherever it is."""
    tall = SIZE[0], 4 * SIZE[1]
    matrix = nuscenes_like().matrix * [[1], [4], [1]]
    view = view_of(
        CameraCalibration(matrix, tall, np.zeros(8)), mounted(0.3, 5, 0), NUSCENES_CAMERAS, INPUT
    )
    u, v, _ = view.source_map(1)
    assert 1 <= np.diff(v, axis=0)[40:, 100].max() < 2
    assert 1 <= np.diff(u, axis=1)[40, 100:150].max() < 2
    brightness = []
    for at in range(1000, 1010):
        lined = np.zeros((tall[1], tall[0], 3), np.uint8)
        lined[at : at + 2] = 240
        brightness.append(view.apply(lined)[:, 100].sum())
    assert min(brightness) > 0.6 * max(brightness)


def test_without_a_mounting_an_image_is_undistorted_only():
    calibration, _ = camera_of(zoom=0.8)
    assert view_of(calibration, None, NUSCENES_CAMERAS, INPUT).is_plain
    calibration, _ = camera_of(distortion=[-0.3, 0, 0, 0, 0, 0, 0, 0])
    view = view_of(calibration, None, NUSCENES_CAMERAS, INPUT)
    assert not view.is_plain
    np.testing.assert_array_equal(view.view_from_camera, np.eye(3))
    image = picture()
    expected = preprocess(cv2.undistort(image, calibration.matrix, calibration.distortion), INPUT)
    difference = np.abs(view.apply(image).astype(int) - expected)
    assert difference[view.seen].max() <= 4


def test_a_view_of_bgr_memory_gives_the_same_input_and_other_images_are_refused():
    calibration, pose = camera_of(zoom=0.8)
    view = view_of(calibration, pose, NUSCENES_CAMERAS, INPUT)
    image = picture()
    bgr = np.ascontiguousarray(image[..., ::-1])[..., ::-1]
    np.testing.assert_array_equal(view.apply(bgr), view.apply(image))
    with pytest.raises(UserError, match="image is 100x100, its calibration says 800x450"):
        view.apply(np.zeros((100, 100, 3), np.uint8))


def test_an_image_is_decoded_as_fine_as_the_view_needs_it():
    plain = view_of(nuscenes_like(), mounted(0.3, 0, 0), NUSCENES_CAMERAS, INPUT)
    assert plain.scaled_size[1] == INPUT[1]
    narrowed = view_of(*camera_of(zoom=0.5), NUSCENES_CAMERAS, INPUT)
    assert isinstance(narrowed, View) and narrowed.scaled_size[1] == pytest.approx(512, abs=8)


def test_rolled_and_tilted_views_agree_with_a_rotated_scene():
    """The same lens, turned about its optical centre, gives the same input."""
    level = view_of(*camera_of(zoom=0.6), NUSCENES_CAMERAS, INPUT)
    calibration, pose = camera_of(zoom=0.6, pitch=4.0, roll=3.0)
    tilted = view_of(calibration, pose, NUSCENES_CAMERAS, INPUT)
    image = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 256, (450, 800, 3), dtype=np.uint8), (0, 0), 8
    )
    turn = Rotation.from_matrix(pose[:3, :3].T @ mounted(0.3, 0.0, 0.0)[:3, :3]).as_matrix()
    warp = calibration.matrix @ turn @ np.linalg.inv(calibration.matrix)
    turned = cv2.warpPerspective(image, warp, (800, 450), borderMode=cv2.BORDER_REPLICATE)
    difference = np.abs(tilted.apply(turned).astype(int) - level.apply(image))
    both = tilted.seen & level.seen
    assert both.mean() > 0.7
    assert difference[both].mean() < 2


FOLDING = {  # focal length in widths, heading, pitch, coefficients
    "barrel to the rear": (0.5, 180, 0, [-0.4]),
    "strong barrel": (1.03, 0, 0, [-1.0]),
    "turns round more than once": (1.05, 0, 0, [-0.55, 0.5, 0, 0, -1.5]),
    "looks down": (0.8, 0, -15, [-0.5, 0.3, 0, 0, -1.0]),
    "rational, with a pole": (0.5, 180, 0, [0.2, 0, 0, 0, 0, -0.5, 0, 0]),
    "fisheye": (0.5, 180, 0, [-0.7], "equidistant"),
    "fisheye beyond 180 degrees": (0.1, 0, -85, [0.02, -0.01], "equidistant"),
    "no distortion, looks down": (0.1, 0, -80, []),
}


@pytest.mark.parametrize("name", FOLDING)
def test_beyond_what_a_lens_can_show_nothing_is_seen(name):
    share, heading, pitch, coefficients, *equidistant = FOLDING[name]
    distortion = np.zeros(8)
    distortion[: len(coefficients)] = coefficients
    (width, height), focal = (1600, 900), share * 1600
    matrix = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])
    calibration = CameraCalibration(matrix, (width, height), distortion, bool(equidistant))
    view = view_of(calibration, mounted(heading, pitch, 0), NUSCENES_CAMERAS, INPUT)

    # The ray of each pixel of the input, and where the lens shows it, while this moves outwards.
    rows, columns = np.indices(INPUT)
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(view.intrinsics).T
    x, y, z = np.moveaxis(rays @ view.view_from_camera, -1, 0)
    across = np.hypot(x, y)
    angle = np.arctan2(across, z)
    angles = np.linspace(0, np.pi if equidistant else np.pi / 2 - 1e-6, 200_001)
    radius = angles if equidistant else np.tan(angles)
    terms = (distortion[:4], []) if equidistant else (distortion[[0, 1, 4]], distortion[5:])
    above, below = (np.polynomial.Polynomial([1, *rest])(radius**2) for rest in terms)
    distance = radius * above / below
    known = np.argmax(np.diff(distance, append=-np.inf) <= 0)
    at = focal * np.interp(angle, angles[:known], distance[:known])
    expected = (
        (z > 0)
        & (angle < angles[known])
        & (abs(at * x / across) <= width / 2)
        & (abs(at * y / across) <= height / 2)
    )

    assert 0.05 < expected.mean() < 0.95
    assert (view.seen != expected).mean() < 0.005
    u, v, (columns, rows) = view.source_map(1)
    shown = (u > 0) & (u < columns - 1) & (v > 0) & (v < rows - 1)
    assert not (shown & ~view.seen).any()  # nor does the input repeat there what lies inside


@pytest.mark.parametrize("name", CAMERAS)
def test_a_lens_shows_points_where_opencv_says(name):
    calibration, pose = camera_of(**CAMERAS[name])
    points = np.random.default_rng(0).uniform([8, -6, -3], [40, 6, 3], (50, 3))
    in_camera = (np.linalg.inv(pose) @ np.column_stack([points, np.ones(50)]).T).T[:, :3]
    at, shown = pixels_of(calibration, in_camera.reshape(5, 10, 3))
    assert shown.shape == (5, 10)
    assert shown.any()
    for point, pixel, is_shown in zip(points, at.reshape(-1, 2), shown.ravel(), strict=True):
        if is_shown:
            np.testing.assert_allclose(pixel, seen_by(calibration, pose, point), atol=1e-6)


@pytest.mark.parametrize("name", FOLDING)
def test_no_lens_shows_a_point_twice(name):
    share, _, _, coefficients, *equidistant = FOLDING[name]
    distortion = np.pad(coefficients, (0, 8 - len(coefficients)))
    matrix = np.diag([share * 1600, share * 1600, 1.0])
    calibration = CameraCalibration(matrix, (1600, 900), distortion, bool(equidistant))
    angles = np.linspace(0, np.pi, 2000)
    rays = np.stack([np.sin(angles), 0 * angles, np.cos(angles)], axis=-1)
    at, shown = pixels_of(calibration, rays)
    edge = shown.argmin()
    assert shown[:edge].all()
    assert not shown[edge:].any()
    assert (np.diff(at[:edge, 0]) > 0).all()
    beside = np.deg2rad(100) < angles[edge]
    assert beside == (name == "fisheye beyond 180 degrees"), "only such a lens sees what is beside"
