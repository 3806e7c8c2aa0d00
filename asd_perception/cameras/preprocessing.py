# SPDX-License-Identifier: Apache-2.0
"""From a camera's image to the network's input: the one definition that training and node share.

An image is cropped to the network's aspect ratio along its lower edge (the upper rows show sky) and
resized by area averaging, so that a 1600x900 and a 400x225 image of one scene give nearly the same
input. Values stay uint8 RGB; the network normalises them itself. Distorted images, and those of
cameras unlike the ones that the network was trained with, go through `view.py` instead.

A large JPEG image is decoded at a fraction of its size (`image_decoding`). Such a reduced image is
good for a full one everywhere: the ratio of its size to its camera's says what it is
(`reduction_of`).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from asd_perception.errors import UserError
from asd_perception.geometry import Array

REDUCTIONS = (1, 2, 4, 8)  # of an image's sides, that a JPEG decoder can do


def reduction_of(image: NDArray[np.uint8], size: tuple[int, int]) -> int:
    """How many of the camera's pixels one of an image's spans along each side: 1, 2, 4 or 8.

    size: the camera's (width, height). Raises UserError for an image of any other size.
    """
    for reduction in REDUCTIONS:
        if image.shape[:2] == reduced_size(size, reduction):
            return reduction
    height, width = image.shape[:2]
    raise wrong_size((width, height), size)


def wrong_size(found: tuple[int, int], size: tuple[int, int]) -> UserError:
    """The error of an image that has not its camera's size; both (width, height)."""
    sizes = f"image is {found[0]}x{found[1]}, its calibration says {size[0]}x{size[1]}"
    return UserError(f"{sizes}; {size_remedy(found, size)}")


def size_remedy(found: tuple[int, int], size: tuple[int, int]) -> str:
    """What to do about images that have not their camera's size; both (width, height)."""
    (width, height), (known_width, known_height) = found, size
    if abs(width * known_height - height * known_width) <= max(width, known_width):
        scale = width / known_width
        return f"let the driver publish camera_info of this size (K scaled by {scale:.3g})"
    if found == size[::-1]:
        return "it is rotated: publish it as the sensor has it, or calibrate it as published"
    return "it is cropped or stretched: calibrate at the size that is published"


def reduced_size(size: tuple[int, int], reduction: int) -> tuple[int, int]:
    """(rows, columns) of a reduced image of a camera's size (width, height)."""
    return -(-size[1] // reduction), -(-size[0] // reduction)


def image_from_camera(reduction: int) -> Array:
    """The 3x3 matrix from pixels (u, v, 1) of a camera to those of a reduced image of it."""
    shift = 0.5 / reduction - 0.5
    return np.array([[1 / reduction, 0.0, shift], [0.0, 1 / reduction, shift], [0.0, 0.0, 1.0]])


def input_from_image(width: int, height: int, input_size: tuple[int, int]) -> Array:
    """The 3x3 matrix from pixels (u, v, 1) of an image to pixels of the network's input.

    width, height: of the image; input_size: (rows, columns). With pixel centres at integer
    coordinates a resize by s maps u to s (u + 1/2) - 1/2.
    """
    rows, columns = input_size
    scale_x = columns / width
    kept = crop_height(width, input_size)
    scale_y = rows / kept
    top = height - kept
    return np.array(
        [
            [scale_x, 0.0, 0.5 * scale_x - 0.5],
            [0.0, scale_y, (0.5 - top) * scale_y - 0.5],
            [0.0, 0.0, 1.0],
        ]
    )


def preprocess(image: NDArray[np.uint8], input_size: tuple[int, int]) -> NDArray[np.uint8]:
    """The network's input (rows, columns, 3) uint8 RGB from an image (height, width, 3) uint8 RGB.

    A view of B, G, R that shows them as R, G, B (`is_bgr`) is put in order when it is small.
    Raises UserError for an image of another shape or type, or without pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise UserError(f"image is {image.dtype} {image.shape}; expected uint8 (height, width, 3)")
    if bgr := is_bgr(image):
        image = image[..., ::-1]
    height, width = image.shape[:2]
    top = height - crop_height(width, input_size)
    if top < 0:  # wider than the network's input: the missing sky is black
        image = cv2.copyMakeBorder(image, -top, 0, 0, 0, cv2.BORDER_CONSTANT)
        top = 0
    rows, columns = input_size
    how = cv2.INTER_AREA if width >= columns else cv2.INTER_LINEAR
    pixels = cv2.resize(image[top:], (columns, rows), interpolation=how)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if bgr else pixels


def is_bgr(image: NDArray[np.uint8]) -> bool:
    """Whether an RGB image (height, width, 3) is a view of memory that holds B, G, R."""
    return image.strides[2] < 0


def crop_height(width: int, input_size: tuple[int, int]) -> int:
    """Rows of the image that fill the network's input at its aspect ratio."""
    rows, columns = input_size
    return max(1, round(rows * width / columns))
