# SPDX-License-Identifier: Apache-2.0
"""Promise: where a camera sees its own vehicle, the network sees nothing; a wrong file says why."""

import numpy as np
import pytest
from robot import HEIGHT, INTRINSICS, WIDTH, camera_info

from asd_perception.cameras.calibration import CameraCalibration
from asd_perception.cameras.ego_mask import EgoMask, drawn, read_ego_mask
from asd_perception.cameras.view import view_of
from asd_perception.errors import UserError
from asd_perception.ros.messages.camera_info import camera_model_from_msg

SIZE = (WIDTH, HEIGHT)
LOWER_LEFT = ((0, HEIGHT), (0, HEIGHT / 2), (WIDTH / 2, HEIGHT / 2), (WIDTH / 2, HEIGHT))
INPUT = (64, 96)  # rows, columns
FILE = """
CAM_BACK:
  size: [400, 225]
  polygons: [[[0, 225], [0, 112.5], [200, 112.5], [200, 225]]]
"""


def seen(distortion, mask):
    calibration = CameraCalibration(INTRINSICS, SIZE, distortion, ego_mask=mask)
    return view_of(calibration, None, (), INPUT).seen


@pytest.mark.parametrize("k1", [0.0, -0.01], ids=["plain", "resampled"])
def test_what_is_hidden_is_not_seen_and_the_rest_is(k1):
    distortion = np.zeros(8)
    distortion[0] = k1
    without, masked = seen(distortion, ()), seen(distortion, (LOWER_LEFT,))
    # The input shows the image at 96/400, its lower edge at row 64, so its middle at row 37.
    assert not masked[40:, :46].any()
    np.testing.assert_array_equal(masked[:34], True if without is None else without[:34])
    np.testing.assert_array_equal(masked[:, 50:], True if without is None else without[:, 50:])


def test_two_polygons_hide_what_is_in_either():
    one, other = LOWER_LEFT, ((0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT))
    assert drawn((one, other), SIZE).all()
    assert drawn((one,), SIZE).mean() == pytest.approx(0.25, abs=0.01)


def test_a_mask_fits_images_of_another_size(tmp_path):
    (tmp_path / "mask.yaml").write_text(FILE.replace("400, 225", "800, 450"))
    mask = read_ego_mask(str(tmp_path / "mask.yaml"), ["CAM_BACK"])["CAM_BACK"]
    model = camera_model_from_msg(camera_info("CAM_BACK"), ego_mask=mask)
    assert model.calibration.ego_mask[0][0] == (0.0, 112.5)
    assert camera_model_from_msg(camera_info("CAM_BACK")).calibration != model.calibration


def test_a_file_at_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mask.yaml").write_text("a: {size: [10, 10], polygons: [[[0, 9], [9, 9], [9, 5]]]}")
    assert read_ego_mask("~/mask.yaml", ["a"]).keys() == {"a"}


def test_no_file_is_no_mask():
    assert read_ego_mask("", ["CAM_BACK"]) == {}


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("CAM_BACK", "CAM_BAK", "CAM_BAK, which is not in cameras; did you mean CAM_BACK?"),
        ("[400, 225]", "[0, 225]", "CAM_BACK.size is [0, 225]"),
        ("[400, 225]", "[100, 225]", "corner [200, 112.5], outside of the 100x225 image"),
        ("[0, 112.5], [200, 112.5], ", "", "has 2 corners; give three or more"),
        ("[0, 112.5]", "[0, .nan]", "CAM_BACK.polygons"),
        ("polygons", "polygon", "polygon"),
        ("[200, 112.5], [200, 225]", "[0, 0], [400, 0], [400, 225]", "hide the whole image"),
        (FILE, "", "has no cameras"),
        (FILE, "a: [", "cannot be read"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path, before, after, reason):
    assert before in FILE
    path = tmp_path / "mask.yaml"
    path.write_text(FILE.replace(before, after))
    with pytest.raises(UserError) as error:
        read_ego_mask(str(path), ["CAM_BACK", "CAM_FRONT"])
    assert reason in str(error.value) and "mask.yaml" in str(error.value)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(UserError, match="/nope.yaml"):
        read_ego_mask("/nope.yaml", ["CAM_BACK"])


def test_a_mask_is_a_configuration_of_its_own():
    assert EgoMask(SIZE, (LOWER_LEFT,)).at(SIZE) == (LOWER_LEFT,)
