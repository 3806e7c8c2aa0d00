# SPDX-License-Identifier: Apache-2.0
"""Boxes drawn in a camera's image, where its lens shows them; and small letters."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from asd_perception.cameras.calibration import CameraCalibration
from asd_perception.cameras.lens import pixels_of
from asd_perception.cameras.preprocessing import image_from_camera, is_bgr, reduction_of
from asd_perception.constants import CLASSES
from asd_perception.geometry import Array, inverse, transform_points
from asd_perception.palette import CLASS_COLOURS, Colour

Image = NDArray[np.uint8]

_NEAR = 0.2  # m in front of the camera; the part of an edge that is closer is not drawn
_PIECES = 16  # of an edge, which a lens bends
_SHIFT = 4  # bits of a pixel's fraction
_LETTERS = 0.42  # size of small letters, in OpenCV's measure

# Corner indices of box_corners: both end faces, the edges between them, a cross on the front.
_EDGES = np.array(
    [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)]
    + [(0, 2), (1, 3)]
)


def draw_boxes(
    image: Image,
    calibration: CameraCalibration,
    ego_from_camera: Array,
    corners: Array,
    labels: NDArray[np.int64],
    scores: NDArray[np.floating] | None = None,
) -> Image:
    """A copy of one camera's image with wire frames in class colours, crossed on the front.

    image (height, width, 3) uint8 RGB, in full or reduced (`cameras.preprocessing`); corners
    (M, 8, 3) of `box_corners`, in base_link; labels (M,). scores (M,): boxes get a caption of class
    and score, and later ones are covered by earlier ones.
    Raises UserError for an image of another size than its calibration says.
    """
    drawn = cv2.cvtColor(image[..., ::-1], cv2.COLOR_BGR2RGB) if is_bgr(image) else image.copy()
    of_image = image_from_camera(reduction_of(image, calibration.size)) @ calibration.matrix
    lens = replace(calibration, matrix=of_image)
    pixels, shown = _wire_frames(
        lens, transform_points(inverse(ego_from_camera), corners.reshape(-1, 8, 3))
    )
    height, width = image.shape[:2]
    pixels, inside = _within(pixels, width, height)
    shown &= inside
    thickness = max(1, round(width / 500))
    letters = max(0.3, _LETTERS * width / 800)
    for i in np.flatnonzero(shown.any(axis=-1))[::-1]:
        lines = pixels[i][shown[i]]  # (L, 2, 2)
        colour = CLASS_COLOURS[labels[i]]
        fixed = (lines * (1 << _SHIFT)).round().astype(np.int32)
        cv2.polylines(drawn, list(fixed), False, colour, thickness, cv2.LINE_AA, _SHIFT)
        if scores is not None:
            corner = lines.reshape(-1, 2).clip(0, (width - 1, height - 1)).min(axis=0)
            left, top = corner.astype(int).tolist()
            origin = left, max(top - 3, round(26 * letters))
            draw_text(drawn, f"{CLASSES[labels[i]]} {scores[i]:.2f}", origin, colour, letters)
    return drawn


def _wire_frames(lens: CameraCalibration, corners: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Short lines (M, L, 2, 2) along the edges of boxes by their ends' pixels, and which of them
    (M, L) the lens shows; corners (M, 8, 3) in the camera's optical frame."""
    start, end = corners[:, _EDGES[:, 0]], corners[:, _EDGES[:, 1]]
    # A fisheye lens may see what is beside it; for others an edge ends at the near plane.
    least = -np.inf if lens.equidistant else _NEAR
    depth, last_depth = start[..., 2], end[..., 2]
    change = np.where(depth == last_depth, 1.0, last_depth - depth)
    meets = (_NEAR - depth) / change
    first, last = np.where(depth < least, meets, 0.0), np.where(last_depth < least, meets, 1.0)
    steps = np.linspace(0, 1, 1 + (_PIECES if lens.is_distorted else 1))
    along = first[..., None] + (last - first)[..., None] * steps  # (M, E, pieces + 1)
    points = start[..., None, :] + along[..., None] * (end - start)[..., None, :]
    at, seen = pixels_of(lens, points)
    seen &= (np.maximum(depth, last_depth) >= least)[..., None]
    seen &= np.linalg.norm(points, axis=-1) >= _NEAR
    lines = np.stack([at[..., :-1, :], at[..., 1:, :]], axis=-2)
    both_seen = seen[..., :-1] & seen[..., 1:]
    shape = len(corners), len(_EDGES) * (len(steps) - 1)
    return lines.reshape(*shape, 2, 2), both_seen.reshape(shape)


def _within(lines: Array, width: int, height: int) -> tuple[Array, NDArray[np.bool_]]:
    """What of lines (..., 2, 2), by their ends' pixels, lies in an image; and which (...) do.

    The edges of what is near cross an image from end to end, and their own ends are farther outside
    than OpenCV draws. By Liang and Barsky: https://doi.org/10.1145/357332.357333
    """
    start, way = lines[..., :1, :], np.diff(lines, axis=-2)  # (..., 1, 2)
    with np.errstate(all="ignore"):  # of what the lens does not show, pixels mean nothing
        way = np.where(np.abs(way) < 1e-9, 1e-9, way)
        borders = np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]])
        meets = np.sort((borders - start) / way, axis=-2)  # (..., 2, 2), in shares of the way
        first = meets[..., 0, :].max(axis=-1).clip(min=0)
        last = meets[..., 1, :].min(axis=-1).clip(max=1)
        ends = start + np.stack([first, last], axis=-1)[..., None] * way
    return ends, first <= last


def draw_text(
    image: Image,
    text: str,
    origin: tuple[int, int],
    colour: Colour = (255, 255, 255),
    size: float = _LETTERS,
) -> None:
    """Small letters with a dark edge, from `origin` (u, v) to the right."""
    font, width = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(2 * size))
    cv2.putText(image, text, origin, font, size, (0, 0, 0), width + 2, cv2.LINE_AA)
    cv2.putText(image, text, origin, font, size, colour, width, cv2.LINE_AA)
