# SPDX-License-Identifier: Apache-2.0
"""From any camera to one that the network was trained with, by one resampling per image.

A network knows the cameras of its training: their focal lengths, their tilt, and where the horizon
lies in its input. Scaled to the network's width and cropped along its lower edge (`preprocess`), an
image of such a camera is what the network knows. Any other camera is turned and zoomed into the
trained camera that is most like it (`most_alike`), by heading and focal length:

- a lens with a wider view is narrowed to the middle of it, one with a narrower view fills only the
  middle of the input;
- principal point, pitch and roll become the trained camera's; the heading stays.

Undistortion, turn, zoom and crop are one look-up table per camera. Pixels of the input that the
lens does not see, also those beyond what its distortion describes, continue the image's edge and
are marked (`View.seen`): they take no part in what is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from asd_perception.cameras.calibration import CameraCalibration, TrainedCamera
from asd_perception.cameras.ego_mask import drawn
from asd_perception.cameras.lens import limit_angle
from asd_perception.cameras.preprocessing import (
    image_from_camera,
    input_from_image,
    is_bgr,
    preprocess,
    reduced_size,
    reduction_of,
)
from asd_perception.cameras.rig import CameraRig
from asd_perception.constants import MAX_CAMERAS
from asd_perception.errors import UserError
from asd_perception.geometry import Array, camera_angles, level_camera, wrap_angle

ANGLE_STEP = 0.005
"""Radians to which a mounting is rounded: one that trembles keeps its look-up table."""

FOCAL_WEIGHT = 3.0
"""What a focal length e times as long counts in `most_alike`; a radian of heading counts 1."""

SAME_FOCAL = 0.03  # relative; cameras that differ by less than these are one and the same
SAME_CENTRE = 0.05  # of the principal point from left to right, in widths of the input
SAME_HORIZON = 0.04  # of the horizon from top to bottom, in heights of the input
SAME_ANGLE = np.deg2rad(3.0)  # of pitch and roll

OUTSIDE = 1e6  # pixels: beyond every image

VIEWS = 2 * MAX_CAMERAS
"""How many views are kept: those of a rig, and of its cameras that tremble between two steps. A
look-up table of a large network's input takes some MB."""

Maps = tuple[NDArray[np.int16], NDArray[np.uint16]]


class SourceMap(NamedTuple):
    """Where the input's pixels come from: u and v (rows, columns) float32 in the image averaged
    to `size` (columns, rows), so that along each side about one of its pixels lies on one of the
    input's."""

    u: NDArray[np.float32]
    v: NDArray[np.float32]
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class View:
    """How one camera's images become the network's input.

    intrinsics (3, 3): of the input. view_from_camera (3, 3): rotation from the camera's optical
    frame to that of the input. is_plain: whether `preprocess` does it alone. seen (rows, columns)
    bool: which pixels of the input show what the lens sees of the world, and not the vehicle itself
    (`CameraCalibration.ego_mask`); None: all of them. alike: the trained camera that
    it is shown as; None: the network knows none.
    """

    calibration: CameraCalibration
    input_size: tuple[int, int]
    intrinsics: Array
    view_from_camera: Array
    is_plain: bool
    seen: NDArray[np.bool_] | None
    alike: TrainedCamera | None

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The input (rows, columns, 3) uint8 RGB from an image (height, width, 3) uint8 RGB.

        The image may be a reduced one. Raises UserError for one that does not fit (`check`).
        """
        reduction = self.check(image)
        if self.is_plain:
            return preprocess(image, self.input_size)
        if bgr := is_bgr(image):
            image = image[..., ::-1]
        averaged = self.source_map(reduction).size
        if averaged != image.shape[1::-1]:  # the look-up alone would leave some pixels out
            image = cv2.resize(image, averaged, interpolation=cv2.INTER_AREA)
        # The image's edge goes on outside of it: a black border would be an edge that is not there.
        pixels = cv2.remap(
            np.ascontiguousarray(image),
            *_fixed_point(self, reduction),
            interpolation=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if bgr else pixels

    def check(self, image: NDArray[np.uint8]) -> int:
        """How many of the camera's pixels one of the image's spans along each side.

        Raises UserError for an image of another size or type than the camera's, or reduced.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(
                f"image is {image.dtype} {image.shape}; expected uint8 (height, width, 3)"
            )
        return reduction_of(image, self.calibration.size)

    def source_map(self, reduction: int) -> SourceMap:
        """Where `apply` takes the input's pixels from, of images reduced by this."""
        return _source_map(self, reduction)

    def intrinsics_for(self, image: NDArray[np.uint8]) -> Array:
        """The intrinsics (3, 3) of the input made of this image.

        A reduced image's sides are rounded up, so that a plain crop of it is not quite that of the
        full one.
        """
        if not self.is_plain:
            return self.intrinsics
        height, width = image.shape[:2]
        of_image = image_from_camera(reduction_of(image, self.calibration.size))
        return input_from_image(width, height, self.input_size) @ of_image @ self.calibration.matrix

    def pose(self, target_from_camera: Array) -> Array:
        """The pose (4, 4) of the input's camera, where that of the camera is given."""
        result = target_from_camera.copy()
        result[:3, :3] = target_from_camera[:3, :3] @ self.view_from_camera.T
        return result

    def seen_features(self, stride: int) -> NDArray[np.bool_] | None:
        """Which feature pixels (h, w), `stride` pixels wide, the lens sees at least half of."""
        if self.seen is None:
            return None
        return mostly_seen(self.seen, stride)

    @property
    def scaled_size(self) -> tuple[int, int]:
        """(rows, columns) of the whole image at the input's scale: how fine to decode it."""
        width, height = self.calibration.size
        scale_x, scale_y = self.scale
        return round(scale_y * height), round(scale_x * width)

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the input per pixel of the camera about the optical axis, along x and y."""
        scale_x, scale_y = np.diag(self.intrinsics)[:2] / np.diag(self.calibration.matrix)[:2]
        return float(scale_x), float(scale_y)


def view_of(
    calibration: CameraCalibration,
    ego_from_camera: Array | None,
    trained: tuple[TrainedCamera, ...],
    input_size: tuple[int, int],
) -> View:
    """The view of a camera; the same object for as long as calibration and mounting stay.

    ego_from_camera (4, 4): the mounting. Where that is None or no camera was `trained`, the image
    is only undistorted. input_size: (rows, columns).
    """
    if ego_from_camera is None or not trained:
        return _view_of(calibration, None, 0.0, 0.0, input_size)
    heading, pitch, roll = np.round(camera_angles(ego_from_camera) / ANGLE_STEP) * ANGLE_STEP
    camera = most_alike(trained, float(heading), focal_in_widths(calibration, float(roll)))
    return _view_of(calibration, camera, float(pitch), float(roll), input_size)


@lru_cache(maxsize=VIEWS)
def _view_of(
    calibration: CameraCalibration,
    alike: TrainedCamera | None,
    pitch: float,
    roll: float,
    input_size: tuple[int, int],
) -> View:
    """The view of a camera as a trained one `alike` sees it; the heading stays, whatever it is."""
    intrinsics = input_from_image(*calibration.size, input_size) @ calibration.matrix
    view_from_camera = np.eye(3)
    is_plain = not calibration.is_distorted
    if alike is not None and not _is_like(alike, intrinsics, pitch, roll, input_size):
        intrinsics = alike.intrinsics(input_size)
        target = level_camera(0.0, np.deg2rad(alike.pitch), np.deg2rad(alike.roll))
        view_from_camera = target.T @ level_camera(0.0, pitch, roll)
        is_plain = False
    seen = None
    if not is_plain or calibration.ego_mask:
        of_camera = calibration.matrix
        u, v = _source_pixels(calibration, of_camera, view_from_camera, intrinsics, input_size)
        width, height = calibration.size
        seen = (u >= -0.5) & (u <= width - 0.5) & (v >= -0.5) & (v <= height - 0.5)
        seen |= is_plain  # above the image, its black border is what the network was trained with
        if calibration.ego_mask:
            columns, rows = (
                np.round(at.clip(0, last)).astype(int)
                for at, last in ((u, width - 1), (v, height - 1))
            )
            seen &= ~drawn(calibration.ego_mask, calibration.size)[rows, columns]
    return View(calibration, input_size, intrinsics, view_from_camera, is_plain, seen, alike)


def views_of(
    rig: CameraRig, trained: tuple[TrainedCamera, ...], input_size: tuple[int, int]
) -> list[View]:
    """`view_of` each of a rig's cameras."""
    mountings = rig.ego_from_camera if rig.mountings is None else rig.mountings
    return [
        view_of(rig.calibration(i), mounting, trained, input_size)
        for i, mounting in enumerate(mountings)
    ]


def mostly_seen(seen: NDArray[np.bool_], stride: int) -> NDArray[np.bool_]:
    """Which feature pixels (..., h, w), `stride` pixels wide, have half of their pixels seen.

    seen (..., rows, columns): of the network's input.
    """
    *cameras, rows, columns = seen.shape
    if seen.all():  # of most cameras, and a hundred times as fast
        return np.ones((*cameras, rows // stride, columns // stride), bool)
    blocks = seen.reshape(*cameras, rows // stride, stride, columns // stride, stride)
    return blocks.mean(axis=(-3, -1)) >= 0.5


def focal_in_widths(calibration: CameraCalibration, roll: float) -> float:
    """A camera's focal length in widths of its image; of one on its side, in what lies across.

    roll in rad.
    """
    across = 1 if abs(np.sin(roll)) > np.sqrt(0.5) else 0
    return float(calibration.matrix[across, across] / calibration.size[across])


def most_alike(trained: tuple[TrainedCamera, ...], heading: float, focal: float) -> TrainedCamera:
    """The trained camera that looks most nearly the same way with about the same focal length.

    heading in rad, focal in widths of the input.
    """

    def difference(camera: TrainedCamera) -> float:
        turn = abs(float(wrap_angle(heading - np.deg2rad(camera.heading))))
        return turn + FOCAL_WEIGHT * abs(float(np.log(focal / camera.focal)))

    return min(trained, key=difference)


def _is_like(
    camera: TrainedCamera,
    intrinsics: Array,
    pitch: float,
    roll: float,
    input_size: tuple[int, int],
) -> bool:
    """Whether a camera, as its plain input shows it, differs from a trained one by next to nothing.

    intrinsics (3, 3): of the plain input. pitch, roll in rad.
    """
    rows, columns = input_size
    known = camera.intrinsics(input_size)
    known_pitch = np.deg2rad(camera.pitch)

    def horizon(matrix: Array, angle: float) -> float:
        return matrix[1, 2] + matrix[1, 1] * np.tan(angle)

    return bool(
        abs(intrinsics[0, 0] / known[0, 0] - 1) <= SAME_FOCAL
        and abs(intrinsics[1, 1] / known[1, 1] - 1) <= SAME_FOCAL
        and abs(intrinsics[0, 2] - known[0, 2]) <= SAME_CENTRE * columns
        and abs(horizon(intrinsics, pitch) - horizon(known, known_pitch)) <= SAME_HORIZON * rows
        and abs(pitch - known_pitch) <= SAME_ANGLE
        and abs(roll - np.deg2rad(camera.roll)) <= SAME_ANGLE
    )


def _source_pixels(
    calibration: CameraCalibration,
    of_image: Array,
    view_from_camera: Array,
    intrinsics: Array,
    input_size: tuple[int, int],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where in an image the pixels of the input come from: u and v, (rows, columns) each.

    of_image (3, 3): the camera's matrix for the pixels of this image. intrinsics (3, 3): of the
    input. What the lens cannot show is `OUTSIDE` the image, on the side where it would be.
    """
    rows, columns = input_size
    to_input = view_from_camera, intrinsics, (columns, rows), cv2.CV_32FC1
    if calibration.equidistant:
        coefficients = calibration.distortion[:4]
        u, v = cv2.fisheye.initUndistortRectifyMap(of_image, coefficients, *to_input)
    else:
        u, v = cv2.initUndistortRectifyMap(of_image, calibration.distortion, *to_input)
    if skew := of_image[0, 1]:  # which OpenCV's maps leave out
        u += skew / of_image[1, 1] * (v - of_image[1, 2])
    # OpenCV mirrors what lies behind the camera, and folds back what lies beyond the lens's limit.
    camera_from_input = np.linalg.inv(intrinsics @ view_from_camera)
    column, row = np.arange(columns), np.arange(rows)[:, None]
    x, y, z = (a * column + (b * row + c) for a, b, c in camera_from_input)
    nearest = max(0.0, np.cos(limit_angle(calibration)))
    beyond = (z <= 0) | (z < nearest * np.sqrt(x * x + y * y + z * z))
    u[beyond], v[beyond] = np.copysign(OUTSIDE, x[beyond]), np.copysign(OUTSIDE, y[beyond])
    return u, v


@lru_cache(maxsize=VIEWS)
def _source_map(view: View, reduction: int) -> SourceMap:
    height, width = reduced_size(view.calibration.size, reduction)
    block_x, block_y = (max(1, int(1 / (scale * reduction))) for scale in view.scale)
    columns, rows = max(1, width // block_x), max(1, height // block_y)
    step_x, step_y = width / columns, height / rows
    averaged_from_image = np.array(
        [[1 / step_x, 0, 0.5 / step_x - 0.5], [0, 1 / step_y, 0.5 / step_y - 0.5], [0, 0, 1]]
    )
    of_image = averaged_from_image @ image_from_camera(reduction) @ view.calibration.matrix
    u, v = _source_pixels(
        *(view.calibration, of_image, view.view_from_camera, view.intrinsics, view.input_size)
    )
    # Far outside, the image's edge goes on.
    return SourceMap(u.clip(-1, columns), v.clip(-1, rows), (columns, rows))


@lru_cache(maxsize=VIEWS)
def _fixed_point(view: View, reduction: int) -> Maps:
    """The source map for `cv2.remap`."""
    u, v, _ = _source_map(view, reduction)
    return cv2.convertMaps(u, v, cv2.CV_16SC2)
