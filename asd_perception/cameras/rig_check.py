# SPDX-License-Identifier: Apache-2.0
"""Whether a rig can be right, and whether the network was trained for one like it.

A wrong frame or a calibration of another image size gives no error anywhere: the network only finds
nothing. And a rig that is right may be unlike those of the training. Both are told apart here: an
ERROR is geometry that cannot be right, a WARNING what the network was not trained for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property

import numpy as np

from asd_perception.cameras.calibration import CameraCalibration, TrainedCamera
from asd_perception.cameras.field_of_view import FieldOfView, field_of_view, shown_sector
from asd_perception.cameras.preprocessing import crop_height, size_remedy
from asd_perception.cameras.view import View, focal_in_widths, view_of
from asd_perception.geometry import Array, camera_angles, level_camera

# What cannot be right
FALLEN_OVER = 60.0  # degrees of pitch or roll beyond which a frame's axes may be mixed up ...
UPSIDE_DOWN = 150.0  # ... but for cameras that hang: roll beyond this
UPRIGHT = 45.0  # degrees of pitch and roll up to which other axes explain such a frame
BASE_HEIGHT = (0.05, 4.0)  # m above ground between which some camera of a vehicle or robot is
SAME_PLACE, SAME_WAY = 0.02, 2.0  # m and degrees between the mountings of one camera, given twice

# What a calibration of the whole image does not have
PIXEL_ASPECT = 0.02  # relative difference of fx and fy; that of sensors is below 0.1 %
OFF_CENTRE_X = 0.15  # principal point from the middle, in widths; nuScenes: up to 0.04
OFF_CENTRE_Y = 0.3  # in heights; an image may be cropped above or below
RESCALED = 0.07  # both of these, where they are in one proportion: K of another image size
ONE_PROPORTION = 1.1  # nuScenes: 1.07

# What was tried (test/test_lenses.py, docs/ros_interface.md): so far the view makes good for it
FOCAL_TRIED = 1.35  # ratio of focal lengths, either way
TILT_TRIED = 10.0  # degrees of pitch and roll from those of the training
HEIGHT_TRIED = 1.07  # ratio of heights above ground, either way
SEEN_ENOUGH = 0.6  # share of the network's view that the lens sees


class Level(IntEnum):
    """How bad a finding is. The higher, the worse."""

    WARNING = 1
    ERROR = 2


@dataclass(frozen=True)
class Finding:
    """What is wrong with a camera, in one line with the number and the remedy."""

    level: Level
    text: str


@dataclass(frozen=True, eq=False)
class MountedCamera:
    """A camera on a robot: its calibration, and its pose in the frame that boxes are given in.

    frame_id: of its optical frame, ego_from_camera (4, 4). whole: of the image before a part was
    cut out of it; None: it is whole. rectified: whether its image is.
    """

    frame_id: str
    calibration: CameraCalibration
    ego_from_camera: Array
    whole: CameraCalibration | None = None
    rectified: bool = False

    @cached_property
    def angles(self) -> tuple[float, float, float]:
        """Heading, pitch and roll of the optical axis in degrees (`geometry.camera_angles`)."""
        heading, pitch, roll = np.rad2deg(camera_angles(self.ego_from_camera)).tolist()
        return heading, pitch, roll

    @cached_property
    def field(self) -> FieldOfView:
        """What its lens sees."""
        return field_of_view(self.calibration)

    @property
    def height(self) -> float:
        """Of its optical centre above the base frame, in m."""
        return float(self.ego_from_camera[2, 3])


@dataclass(frozen=True, eq=False)
class ShownCamera:
    """What a network is shown of a mounted camera.

    trained: the camera of its training that the image is turned and zoomed into; None: it was
    trained for none. zoom: how much longer the focal length is than that one's. seen: share of the
    network's view that the lens sees. sector: headings in rad, from right to left, that the network
    is shown.
    """

    view: View
    trained: TrainedCamera | None
    zoom: float
    seen: float
    sector: tuple[float, float]


def shown(
    camera: MountedCamera, trained: tuple[TrainedCamera, ...], input_size: tuple[int, int]
) -> ShownCamera:
    """What a network with these `trained` cameras and an input of (rows, columns) is shown."""
    calibration = camera.calibration
    view = view_of(calibration, camera.ego_from_camera, trained, input_size)
    width, height = calibration.size
    focal = focal_in_widths(calibration, np.deg2rad(camera.angles[2]))
    zoom = focal / view.alike.focal if view.alike is not None else 1.0
    # Of the lens alone: the vehicle in front of it is hidden on purpose.
    unmasked = replace(calibration, ego_mask=())
    of_lens = view_of(unmasked, camera.ego_from_camera, trained, input_size).seen
    if of_lens is None:  # a plain crop, which may lack the sky
        seen = min(1.0, height / crop_height(width, input_size))
    else:
        seen = float(of_lens.mean())
    sector = shown_sector(view, camera.ego_from_camera)
    return ShownCamera(view, view.alike, zoom, seen, sector)


def check_rig(
    cameras: Mapping[str, MountedCamera],
    trained: tuple[TrainedCamera, ...],
    input_size: tuple[int, int],
    base_frame: str = "base_link",
) -> dict[str, list[Finding]]:
    """What is wrong with each camera of a rig, worst first; nothing for a rig like the trained.

    input_size: (rows, columns) of the network. A camera whose calibration or mounting is not known
    is left out by the caller.
    """
    return {
        name: sorted(
            [
                *_check_calibration(camera),
                *(
                    _check_axes(camera, base_frame)
                    or _check_base(cameras, base_frame)
                    or _check_duplicates(name, cameras, base_frame)
                    or _check_training(camera, trained, input_size, base_frame)
                ),
            ],
            key=lambda finding: -finding.level,
        )
        for name, camera in cameras.items()
    }


def check_image_size(size: tuple[int, int], calibration: CameraCalibration) -> list[Finding]:
    """Whether a camera's images have the (width, height) that their calibration says."""
    (width, height), (known_width, known_height) = size, calibration.size
    if size == calibration.size:
        return []
    text = f"its images are {width}x{height}, its camera_info says {known_width}x{known_height}"
    return [Finding(Level.ERROR, f"{text}; {size_remedy(size, calibration.size)}")]


# -- what cannot be right --------------------------------------------------------------------------


def _check_axes(camera: MountedCamera, base_frame: str) -> list[Finding]:
    """Whether its frame has the axes of an optical frame: x right, y down, z forward."""
    _, pitch, roll = camera.angles
    if abs(pitch) <= FALLEN_OVER and not FALLEN_OVER < abs(roll) < UPSIDE_DOWN:
        return []
    where = f"its optical axis points {_up(pitch)}, its image is rolled by {roll:.0f} degrees"
    of_body = np.eye(4)
    of_body[:3, :3] = camera.ego_from_camera[:3, :3] @ level_camera(0.0, 0.0, 0.0)
    if camera.frame_id == base_frame:
        cause = (
            f"frame {base_frame!r} is both base_frame and that of camera_info; the one must be on "
            "the ground (x forward, z up), the other the camera's optical frame"
        )
        return [Finding(Level.ERROR, f"{where}: {cause}")]
    _, body_pitch, body_roll = np.rad2deg(camera_angles(of_body))
    if abs(body_pitch) <= UPRIGHT and abs(body_roll) <= UPRIGHT:
        cause = (
            f"frame {camera.frame_id!r} has the axes of a camera_link (x forward, z up); "
            f"{_remedy_for_body_axes(camera.frame_id)}"
        )
        return [Finding(Level.ERROR, f"{where}: {cause}")]
    # A camera may be mounted like this: its axes alone do not tell it from a wrong transform.
    cause = (
        "where it is mounted like that (on its side, or to look at the ground), expect a lower "
        f"accuracy; otherwise frame {camera.frame_id!r} is no optical frame (x right, y down, "
        f"z forward) in {base_frame}: its rotation may be inverted, or turned to optical axes "
        "twice; correct its transform"
    )
    return [Finding(Level.WARNING, f"{where}: {cause}")]


def _remedy_for_body_axes(frame_id: str) -> str:
    if "optical" in frame_id:
        return "turn its transform to the axes of an optical frame (x right, y down, z forward)"
    stem = frame_id.removesuffix("_frame").removesuffix("_link")
    return (
        "give camera_info the optical frame (x right, y down, z forward), often named "
        f"{stem}_optical_frame"
    )


def _check_base(cameras: Mapping[str, MountedCamera], base_frame: str) -> list[Finding]:
    """Whether the base frame can be on the ground: the same for all cameras."""
    heights = [camera.height for camera in cameras.values()]
    low, high = min(heights), max(heights)
    least, most = BASE_HEIGHT
    between = f"all cameras are {low:.2f} to {high:.2f} m above {base_frame}"
    if high < least:
        text = (
            f"{between}, which must be on the ground; it seems to be a frame of the roof or of a "
            "sensor: set base_frame to one on the ground (base_footprint), or correct the transform"
        )
    elif low > most:
        text = (
            f"{between}, which must be on the ground; are the transforms in metres, and from "
            "camera to base?"
        )
    else:
        return []
    return [Finding(Level.ERROR, text)]


def _check_duplicates(
    name: str, cameras: Mapping[str, MountedCamera], base_frame: str
) -> list[Finding]:
    """Whether another camera of about the same lens is at the same place and looks the same way."""
    camera = cameras[name]
    for other_name, other in cameras.items():
        if other is camera:
            continue
        relative = np.linalg.inv(other.ego_from_camera) @ camera.ego_from_camera
        apart = float(np.linalg.norm(relative[:3, 3]))
        turned = float(np.rad2deg(np.arccos(np.clip(relative[2, 2], -1.0, 1.0))))
        field, other_field = camera.field.horizontal, other.field.horizontal
        if apart < SAME_PLACE and turned < SAME_WAY and abs(field - other_field) < 0.1 * field:
            return [
                Finding(
                    Level.ERROR,
                    f"it is mounted as {other_name} is ({apart * 100:.0f} cm and {turned:.0f} "
                    f"degrees apart in {base_frame}); one of the two transforms is a copy",
                )
            ]
    return []


def _check_calibration(camera: MountedCamera) -> list[Finding]:
    """Whether K, or a rectified image's P, can be that of the whole image."""
    calibration = camera.whole or camera.calibration
    width, height = calibration.size
    fx, fy = calibration.matrix[0, 0], calibration.matrix[1, 1]
    findings = []
    # Where an image is rectified to, the calibrator scales each axis by itself.
    if not camera.rectified and abs(fx / fy - 1) > PIXEL_ASPECT:
        findings.append(
            f"fx {fx:.0f} and fy {fy:.0f} differ by {abs(fx / fy - 1) * 100:.0f} %: K was scaled "
            "by hand, or the image is stretched; calibrate at the size that is published"
        )
    cx, cy = calibration.matrix[0, 2] + 0.5, calibration.matrix[1, 2] + 0.5
    off_x, off_y = cx / width - 0.5, cy / height - 0.5
    off_centre = (
        f"the principal point ({cx:.0f}, {cy:.0f}) is {abs(off_x) * 100:.0f} % of the width and "
        f"{abs(off_y) * 100:.0f} % of the height from the middle of the {width}x{height} image"
    )
    across, down = abs(0.5 + off_x), abs(0.5 + off_y)
    alike = max(across, down) < ONE_PROPORTION * min(across, down)
    if alike and abs(off_x + off_y) > 2 * RESCALED:
        findings.append(
            f"{off_centre}: K seems to be that of a {2 * cx:.0f}x{2 * cy:.0f} image; calibrate at "
            "the size that is published"
        )
    elif abs(off_x) > OFF_CENTRE_X or abs(off_y) > OFF_CENTRE_Y:
        findings.append(
            f"{off_centre}; is the image cropped or flipped after its calibration, or K another "
            "camera's? Calibrate at the size that is published"
        )
    return [Finding(Level.WARNING, text) for text in findings]


# -- what the network was not trained for ----------------------------------------------------------


def _check_training(
    camera: MountedCamera,
    trained: tuple[TrainedCamera, ...],
    input_size: tuple[int, int],
    base_frame: str,
) -> list[Finding]:
    of_network = shown(camera, trained, input_size)
    known, zoom, seen = of_network.trained, of_network.zoom, of_network.seen
    if known is None:
        return []
    _, pitch, roll = camera.angles
    field = camera.field
    lens = f"{np.rad2deg(field.horizontal):.0f}x{np.rad2deg(field.vertical):.0f} degrees"
    right, left = of_network.sector
    used = f"{np.rad2deg(left - right):.0f} degrees"
    remedy = "use another lens, or a model trained with this one (trained_cameras)"
    findings = []
    if zoom < 1 / FOCAL_TRIED:
        findings.append(
            f"its focal length is {zoom:.2f} times the trained one: of its {lens} the network is "
            f"shown the middle {used}; {remedy}"
        )
    elif zoom > FOCAL_TRIED:
        findings.append(
            f"its focal length is {zoom:.2f} times the trained one: its {lens} fill "
            f"{seen * 100:.0f} % of the network's view; {remedy}"
        )
    elif seen < SEEN_ENOUGH:
        findings.append(
            f"its {lens}, pitched {_up(pitch)}, fill {seen * 100:.0f} % of the network's view; "
            "level the camera, publish its whole image, or use a model trained with it "
            "(trained_cameras)"
        )
    if abs(pitch - known.pitch) > TILT_TRIED or abs(roll - known.roll) > TILT_TRIED:
        findings.append(
            f"it is pitched {_up(pitch)} and rolled by {roll:.0f} degrees, up to "
            f"{TILT_TRIED:.0f} were tried; check its transform, level the camera, or measure the "
            "accuracy with it"
        )
    height = camera.height
    if not 1 / HEIGHT_TRIED <= height / known.height <= HEIGHT_TRIED:
        findings.append(
            f"it is {height:.2f} m above {base_frame}, the trained one {known.height:.2f} m above "
            "ground: distances judged from the ground are wrong by about "
            f"{abs(known.height / height - 1) * 100:.0f} %"
            if height > 0
            else f"it is {height:.2f} m above {base_frame}, so below ground"
        )
        findings[-1] += (
            f"; is {base_frame} on the ground? If so, use a model trained at this height"
        )
    return [Finding(Level.WARNING, text) for text in findings]


def _up(pitch: float) -> str:
    return f"{abs(pitch):.0f} degrees {'up' if pitch >= 0 else 'down'}"
