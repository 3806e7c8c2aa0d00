# SPDX-License-Identifier: Apache-2.0
"""From a camera's image to the network's input: the one definition that training and node share.

An image is undistorted if its camera needs it, cropped to the network's aspect ratio along its
lower edge (the upper rows show sky), and resized by area averaging, so that a 1600x900 and a
400x225 image of one scene give nearly the same input. Values stay uint8 RGB; the network
normalises them itself.

Most of a large JPEG image's pixels would be averaged away, so they are not decoded: the decoder
gives 1/2, 1/4 or 1/8 of its sides, where each pixel is the mean of 2x2, 4x4 or 8x8
(`decode_camera_image`). Such a reduced image is good for a full one everywhere: the ratio of its
size to its camera's says what it is (`reduction_of`).
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from asd_perception.errors import UserError
from asd_perception.geometry import Array

REDUCTIONS = (1, 2, 4, 8)  # of an image's sides, that a JPEG decoder can do
MAX_PIXELS = 2**27  # more are a damaged header's claim
_PNG = b"\x89PNG"  # a file's first bytes


def check_encoded(data: bytes | NDArray[np.uint8]) -> None:
    """Raise UserError for bytes that are no JPEG or PNG image, or one that is cut short.

    It looks at both ends only, in microseconds: a decoder would fill missing rows with grey.
    """
    encoded = np.frombuffer(data, np.uint8)
    start = encoded[:4].tobytes()
    # Some cameras send their whole buffer, padded with zeros behind the image.
    ending = encoded[-16:].tobytes().rstrip(b"\0") or encoded.tobytes().rstrip(b"\0")[-16:]
    if start[:2] == b"\xff\xd8":
        complete = ending.endswith(b"\xff\xd9")
    elif start == _PNG:
        complete = b"IEND" in ending and len(encoded) > 24
    else:
        raise UserError(f"{len(encoded)} bytes that are no JPEG or PNG image")
    if not complete:
        raise UserError(f"image of {len(encoded)} bytes is truncated or damaged")


def decode_image(data: bytes | NDArray[np.uint8], reduction: int = 1) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB of a JPEG or PNG file's bytes.

    reduction: one of REDUCTIONS, of a JPEG's sides, rounded up; a PNG is decoded in full. Raises
    UserError for other bytes, and for an image that is cut short or damaged as far as its decoder
    can tell.
    """
    width, height = encoded_size(data)
    encoded = np.frombuffer(data, np.uint8)
    if encoded[:4].tobytes() == _PNG:
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        if image is None:
            raise UserError(f"image of {len(encoded)} bytes is truncated or damaged")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    rows, columns = _reduced((width, height), reduction)
    try:
        return simplejpeg.decode_jpeg(encoded, "RGB", min_height=rows, min_width=columns)
    except ValueError as error:  # MemoryError goes on: the next image may succeed
        if not _HARMLESS.search(str(error)):
            reason = " ".join(str(error).split())
            raise UserError(
                f"image of {len(encoded)} bytes is truncated or damaged: {reason}"
            ) from error
    return simplejpeg.decode_jpeg(encoded, "RGB", min_height=rows, min_width=columns, strict=False)


_HARMLESS = re.compile(r": \d extraneous bytes before marker 0xd9")  # what many cheap cameras add


def encoded_size(data: bytes | NDArray[np.uint8]) -> tuple[int, int]:
    """(width, height) that a JPEG or PNG file's header claims, without decoding it.

    Raises UserError for bytes that are no such image.
    """
    check_encoded(data)
    encoded = np.frombuffer(data, np.uint8)
    if encoded[:4].tobytes() == _PNG:
        width, height = struct.unpack(">II", encoded[16:24].tobytes())
    else:
        try:
            height, width, *_ = simplejpeg.decode_jpeg_header(encoded)
        except ValueError as error:
            raise UserError(f"image of {len(encoded)} bytes is truncated or damaged") from error
    if not 0 < width * height <= MAX_PIXELS:
        raise UserError(f"image of {len(encoded)} bytes claims to be {width}x{height}")
    return width, height


def decode_camera_image(
    data: bytes | NDArray[np.uint8], size: tuple[int, int], input_size: tuple[int, int]
) -> NDArray[np.uint8]:
    """`decode_image` no finer than twice the network's input.

    size: the camera's (width, height); input_size: the network's (rows, columns). Raises UserError
    also for an image of another size, before it is decoded.
    """
    if (found := encoded_size(data)) != size:
        raise wrong_size(found, size)
    # Twice: a decoder's means are sharper than area averages, and the next step evens that out. (At
    # once the network's size the shipped model loses 0.004 mAP, so 0.002.)
    fine_enough = [r for r in REDUCTIONS if size[0] // r >= 2 * input_size[1]]
    return decode_image(data, max(fine_enough, default=1))


def reduction_of(image: NDArray[np.uint8], size: tuple[int, int]) -> int:
    """How many of the camera's pixels one of an image's spans along each side: 1, 2, 4 or 8.

    size: the camera's (width, height). Raises UserError for an image of any other size.
    """
    for reduction in REDUCTIONS:
        if image.shape[:2] == _reduced(size, reduction):
            return reduction
    height, width = image.shape[:2]
    raise wrong_size((width, height), size)


def wrong_size(found: tuple[int, int], size: tuple[int, int]) -> UserError:
    """The error of an image that has not its camera's size; both (width, height)."""
    return UserError(f"image is {found[0]}x{found[1]}, its calibration says {size[0]}x{size[1]}")


def _reduced(size: tuple[int, int], reduction: int) -> tuple[int, int]:
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


def preprocess(
    image: NDArray[np.uint8],
    input_size: tuple[int, int],
    intrinsics: Array | None = None,
    distortion: Array | None = None,
) -> NDArray[np.uint8]:
    """The network's input (rows, columns, 3) uint8 RGB from an image (height, width, 3) uint8 RGB.

    A view of B, G, R that shows them as R, G, B (`is_bgr`) is put in order when it is small.

    intrinsics (3, 3) and distortion (8,) are needed only where the image is not rectified.
    Raises UserError for an image of another shape or type, or without pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise UserError(f"image is {image.dtype} {image.shape}; expected uint8 (height, width, 3)")
    if bgr := is_bgr(image):
        image = image[..., ::-1]
    if distortion is not None and np.any(distortion):
        image = _undistort(image, np.asarray(intrinsics, float), np.asarray(distortion, float))
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


def _undistort(image: NDArray[np.uint8], intrinsics: Array, distortion: Array) -> NDArray[np.uint8]:
    """What cv2.undistort gives, without working out anew for each image where its pixels go."""
    size = (image.shape[1], image.shape[0])
    maps = _undistortion_maps(intrinsics.tobytes(), distortion.tobytes(), size)
    return cv2.remap(image, *maps, interpolation=cv2.INTER_LINEAR)


@lru_cache(maxsize=16)  # a rig's cameras, and those of a calibration that has just changed
def _undistortion_maps(
    intrinsics: bytes, distortion: bytes, size: tuple[int, int]
) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    matrix = np.frombuffer(intrinsics).reshape(3, 3)
    maps = cv2.initUndistortRectifyMap(
        matrix, np.frombuffer(distortion), None, matrix, size, cv2.CV_16SC2
    )
    return maps[0], maps[1]


def crop_height(width: int, input_size: tuple[int, int]) -> int:
    """Rows of the image that fill the network's input at its aspect ratio."""
    rows, columns = input_size
    return max(1, round(rows * width / columns))
