# SPDX-License-Identifier: Apache-2.0
"""A camera's bytes as RGB: raw images by the name of their encoding, and JPEG, PNG and WebP.

Raw images are those of sensor_msgs/Image: every encoding of image_encodings.hpp that a colour
camera uses, by its old and its new name, and nv12 and i420. Eight bits of R, G, B are viewed
without a copy, everything else is OpenCV's work. YUV is BT.601 with limited range, as OpenCV,
cv_bridge and USB cameras have it, because no message says anything else; JPEG is BT.601 with full
range (JFIF). Of 16 bit values the upper 8 are kept.

Most of a large JPEG image's pixels would be averaged away, so they are not decoded: the decoder
gives 1/2, 1/4 or 1/8 of its sides, where each pixel is the mean of 2x2, 4x4 or 8x8
(`decode_camera_image`).

An orientation in an image's metadata is ignored: calibrations refer to the sensor.
"""

from __future__ import annotations

import re
import struct
from typing import Any, Protocol

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from asd_perception.cameras.preprocessing import REDUCTIONS, reduced_size, wrong_size
from asd_perception.errors import UserError

MAX_PIXELS = 2**27  # more are a damaged header's claim
DARK = 2**12  # of 16 bit values: if all are below, they are hardly scaled to 16 bits

# -- raw images ------------------------------------------------------------------------------------


class RawImage(Protocol):
    """What a raw image is made of, by the names of sensor_msgs/Image."""

    width: int
    height: int
    encoding: str
    step: int  # bytes from one row to the next
    is_bigendian: int
    data: Any  # a buffer of bytes


# OpenCV names a Bayer pattern by the colours of its second row's second and third pixel.
_BAYER = {
    "bayer_rggb8": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr8": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
}
# Pixels behind each other: bytes per pixel, and OpenCV's way to RGB.
_PACKED: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, None),  # which the view puts in order
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    **{name: (1, to_rgb) for name, to_rgb in _BAYER.items()},
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
}
# Luma of all pixels, then chroma of 2x2 pixels each; nv24: of each pixel.
_PLANAR: dict[str, int | None] = {
    "nv12": cv2.COLOR_YUV2RGB_NV12,
    "nv21": cv2.COLOR_YUV2RGB_NV21,
    "i420": cv2.COLOR_YUV2RGB_I420,
    "nv24": None,  # which OpenCV does not know
}
_SIXTEEN_BIT = {name[:-1] + "16": name for name in _PACKED if name.endswith("8")}
_OTHER_NAMES = {
    "yuv422": "uyvy",
    "yuv422_yuy2": "yuyv",
    "8UC1": "mono8",
    "8UC3": "bgr8",
    "8UC4": "bgra8",
}
_UNCLEAR = {"8UC3": "bgr8 or rgb8", "8UC4": "bgra8 or rgba8"}  # and what would be clear
_MONO = {"mono8", "mono16", "8UC1"}
_DEPTH = {"16UC1", "32FC1"}  # and disparities: numbers that are no colours
_BY_LOWER_CASE = {
    name.lower(): name for name in (*_PACKED, *_PLANAR, *_SIXTEEN_BIT, *_OTHER_NAMES, *_DEPTH)
}

# Y, U, V to R, G, B: BT.601, limited range, the rows of ITU-R BT.601-7 scaled to 8 bit.
_BT601 = np.array(
    [
        [255 / 219, 0.0, 1.402 * 255 / 224],
        [255 / 219, -0.344136 * 255 / 224, -0.714136 * 255 / 224],
        [255 / 219, 1.772 * 255 / 224, 0.0],
    ]
)
_YUV_TO_RGB = np.column_stack([_BT601, _BT601 @ [-16.0, -128.0, -128.0]])  # Y, U, V and 1


def _as_written(encoding: str) -> str:
    """An encoding as image_encodings.hpp writes it, whatever case a driver gives it."""
    return _BY_LOWER_CASE.get(encoding.strip().lower(), encoding.strip())


def _known(encoding: str) -> str:
    """The name by which an encoding is decoded."""
    name = _as_written(encoding)
    return _OTHER_NAMES.get(name, name)


def check_raw(image: RawImage) -> None:
    """Raise UserError for an image that `decode_raw` refuses. It takes microseconds."""
    width, height = image.width, image.height
    if width == 0 or height == 0:
        raise UserError(f"image has zero size ({width}x{height})")
    encoding = _known(image.encoding)
    if encoding in _PLANAR:
        if encoding != "nv24" and (width % 2 or height % 2):
            raise UserError(
                f"image is {width}x{height}, but {image.encoding} has one colour for 2x2 pixels: "
                "width and height must be even"
            )
        _luma_stride(image)
        return
    eight_bit = _SIXTEEN_BIT.get(encoding, encoding)
    if eight_bit not in _PACKED:
        raise UserError(
            f"image encoding {image.encoding!r} is none of a colour camera's that is known here; "
            "let the driver publish rgb8 or bgr8"
        )
    row = width * _PACKED[eight_bit][0] * (1 if eight_bit == encoding else 2)
    if encoding in ("uyvy", "yuyv") and width % 2:
        raise UserError(
            f"image is {width}x{height}, but {image.encoding} has one colour for two columns: "
            "the width must be even"
        )
    if image.step < row:
        raise UserError(f"image step {image.step} is less than {width} {image.encoding} pixels")
    if len(image.data) != image.step * height:
        raise UserError(
            f"image has {len(image.data)} bytes; step {image.step} x height {height} "
            f"needs {image.step * height}"
        )


def decode_raw(image: RawImage) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB of a raw image; of rgb8 and bgr8 a view of the image's data.

    Raises UserError for an encoding that is not known, and where the image's size, step and bytes
    do not fit together.
    """
    check_raw(image)
    encoding = _known(image.encoding)
    if encoding in _PLANAR:
        return _decode_planar(image, encoding)
    rows = np.frombuffer(image.data, np.uint8).reshape(image.height, image.step)
    if encoding in _SIXTEEN_BIT:
        encoding = _SIXTEEN_BIT[encoding]
        row = image.width * _PACKED[encoding][0]
        halves = rows[:, : 2 * row].reshape(image.height, row, 2)
        rows = cv2.extractChannel(halves, 0 if image.is_bigendian else 1)
    channels, to_rgb = _PACKED[encoding]
    pixels = rows[:, : image.width * channels].reshape(image.height, image.width, channels)
    if encoding == "bgr8":
        return pixels[..., ::-1]
    return pixels if to_rgb is None else cv2.cvtColor(pixels, to_rgb)


def _luma_stride(image: RawImage) -> int:
    """Bytes from one row of Y to the next of an image in planes.

    Drivers disagree on its `step`: a row of Y, or of all planes together. Where the bytes are just
    enough for the pixels there is no padding, whatever step says.
    """
    encoding = _known(image.encoding)
    halves = 6 if encoding == "nv24" else 3  # bytes of two pixels
    for stride in (image.width, image.step):
        if stride >= image.width and 2 * len(image.data) == halves * stride * image.height:
            if encoding == "i420" and stride % 2:
                raise UserError(f"image step {stride} of i420 must be even")
            return stride
    stride = max(image.width, image.step)
    raise UserError(
        f"image has {len(image.data)} bytes; {image.encoding} of {image.width}x{image.height} "
        f"with step {image.step} needs {halves * stride * image.height // 2}"
    )


def _decode_planar(image: RawImage, encoding: str) -> NDArray[np.uint8]:
    width, height, stride = image.width, image.height, _luma_stride(image)
    data = np.frombuffer(image.data, np.uint8)
    luma = data[: stride * height].reshape(height, stride)[:, :width]
    chroma = data[stride * height :]
    to_rgb = _PLANAR[encoding]
    if to_rgb is None:
        pairs = chroma.reshape(height, 2 * stride)[:, : 2 * width].reshape(height, width, 2)
        luma = np.maximum(luma, 16)  # as in OpenCV's own conversions
        return cv2.transform(np.dstack([luma, pairs]), _YUV_TO_RGB)
    if stride > width:  # OpenCV knows no padding between planes
        rows = height if encoding == "i420" else height // 2
        chroma = chroma.reshape(rows, -1)[:, : width * height // 2 // rows]
        data = np.concatenate([luma.ravel(), chroma.ravel()])
    return cv2.cvtColor(data.reshape(height * 3 // 2, width), to_rgb)


def raw_warning(image: RawImage) -> str | None:
    """What may be wrong with the colours of a raw image that is decoded, with the remedy.

    It takes microseconds: of 16 bit images it looks at one row of 16.
    """
    name = _as_written(image.encoding)
    if name in _UNCLEAR:
        return (
            f"encoding {name} does not say in which order its colours are, and is read as "
            f"{_OTHER_NAMES[name]}; let the driver publish {_UNCLEAR[name]}"
        )
    if (eight_bit := _SIXTEEN_BIT.get(name)) is None:
        return None
    rows = np.frombuffer(image.data, np.uint8).reshape(image.height, image.step)[::16]
    row = 2 * image.width * _PACKED[eight_bit][0]
    order = ">u2" if image.is_bigendian else "<u2"
    largest = int(np.ascontiguousarray(rows[:, :row]).view(order).max())
    if 0 < largest < DARK:
        return (
            f"its {name} image has no value above {largest} of 65535, so it is seen as almost "
            "black; where its sensor has 10 or 12 bits, let the driver shift them to fill 16, or "
            "publish 8 bits"
        )
    return None


# -- encoded images --------------------------------------------------------------------------------

_JPEG, _PNG, _RIFF = b"\xff\xd8", b"\x89PNG", b"RIFF"  # a file's first bytes
_JPEG_END, _PNG_END = b"\xff\xd9", b"IEND\xae\x42\x60\x82"


def check_encoded(data: bytes | NDArray[np.uint8], source: str = "") -> None:
    """Raise UserError for bytes that are no JPEG, PNG or WebP image, or one that is cut short.

    Also for a depth image, which `source`, the `format` of a sensor_msgs/CompressedImage, tells.
    It takes microseconds: a look at both ends, and a search where an image is followed by other
    bytes. A decoder would fill missing rows with grey.
    """
    if is_depth(source):
        raise UserError(
            f"format {source!r} is that of a depth image; give the topic of the colour camera"
        )
    encoded = np.frombuffer(data, np.uint8)
    kind = _kind(encoded, source)
    if kind == _RIFF:
        complete = 30 <= 8 + int.from_bytes(encoded[4:8].tobytes(), "little") <= len(encoded)
    else:
        # Behind the end there may be what the camera's buffer held before, padding, a line feed, a
        # maker's own data. With them, whether the picture is whole is for its decoder to say.
        end, header = (_JPEG_END, 2) if kind == _JPEG else (_PNG_END, 33)
        at_end = end in encoded[-16:].tobytes()
        complete = len(encoded) > header and (at_end or encoded[header:].tobytes().rfind(end) >= 0)
    if not complete:
        raise _damaged(encoded)


def _kind(encoded: NDArray[np.uint8], source: str = "") -> bytes:
    """The first bytes by which an encoded image is known; UserError for other bytes."""
    start = encoded[:12].tobytes()
    for kind in (_JPEG, _PNG):
        if start.startswith(kind):
            return kind
    if start.startswith(_RIFF) and start.endswith(b"WEBP"):
        return _RIFF
    said = f" (format {source!r})" if source else ""
    remedy = "; let the driver compress it to one of these" if len(encoded) else ""
    raise UserError(f"{len(encoded)} bytes that are no JPEG, PNG or WebP image{said}{remedy}")


def _damaged(encoded: NDArray[np.uint8], reason: str = "") -> UserError:
    details = ": " + " ".join(reason.split()) if reason else ""
    return UserError(f"image of {len(encoded)} bytes is truncated or damaged{details}")


def encoded_format(data: bytes | NDArray[np.uint8]) -> str:
    """ "jpeg", "png" or "webp", as a sensor_msgs/CompressedImage names its format.

    Raises UserError for bytes that are no such image, or one that is cut short.
    """
    check_encoded(data)
    return {_JPEG: "jpeg", _PNG: "png", _RIFF: "webp"}[_kind(np.frombuffer(data, np.uint8))]


def encoded_size(data: bytes | NDArray[np.uint8]) -> tuple[int, int]:
    """(width, height) that the header of a JPEG, PNG or WebP image claims, without decoding it.

    Raises UserError for bytes that are no such image.
    """
    check_encoded(data)
    encoded = np.frombuffer(data, np.uint8)
    kind = _kind(encoded)
    if kind == _JPEG:
        width, height, _ = _jpeg_header(encoded)
    elif kind == _PNG:
        width, height = struct.unpack(">II", encoded[16:24].tobytes())
    else:
        width, height = _webp_size(encoded)
    if not 0 < width * height <= MAX_PIXELS:
        raise UserError(f"image of {len(encoded)} bytes claims to be {width}x{height}")
    return width, height


def _jpeg_header(encoded: NDArray[np.uint8]) -> tuple[int, int, str]:
    """(width, height, colour space) of a JPEG image; "Gray" is the one with one channel."""
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(encoded)
    except ValueError as error:
        raise _damaged(encoded) from error
    return width, height, colors


def _webp_size(encoded: NDArray[np.uint8]) -> tuple[int, int]:
    """(width, height) of a WebP file: of its canvas, its lossless or its lossy image."""
    header = encoded[:30].tobytes()
    if header[12:16] == b"VP8X":
        width, height = (int.from_bytes(header[at : at + 3], "little") for at in (24, 27))
        return 1 + width, 1 + height
    if header[12:16] == b"VP8L":
        bits = int.from_bytes(header[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", header[26:30])
    return width & 0x3FFF, height & 0x3FFF


def decode_image(
    data: bytes | NDArray[np.uint8], reduction: int = 1, source: str = ""
) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB of a JPEG, PNG or WebP image.

    reduction: one of REDUCTIONS, of a JPEG's sides, rounded up; others are decoded in full.
    source: the `format` of a sensor_msgs/CompressedImage. Where it says that the one channel is a
    Bayer mosaic, the colours are made of it, at full size. Raises UserError for other bytes, and
    for an image that is cut short or damaged as far as its decoder can tell.
    """
    size = encoded_size(data)
    encoded = np.frombuffer(data, np.uint8)
    jpeg = _kind(encoded) == _JPEG
    mosaic = _mosaic(source) if _has_one_channel(encoded) else None
    if mosaic is not None:
        gray = _decode_jpeg(encoded, size, 1, "GRAY") if jpeg else _decode_by_opencv(encoded, True)
        return cv2.cvtColor(gray, mosaic)
    return _decode_jpeg(encoded, size, reduction, "RGB") if jpeg else _decode_by_opencv(encoded)


def _decode_jpeg(
    encoded: NDArray[np.uint8], size: tuple[int, int], reduction: int, colors: str
) -> NDArray[np.uint8]:
    rows, columns = reduced_size(size, reduction)
    try:
        return simplejpeg.decode_jpeg(encoded, colors, min_height=rows, min_width=columns)
    except ValueError as error:  # MemoryError goes on: the next image may succeed
        if not _HARMLESS.search(str(error)):
            raise _damaged(encoded, str(error)) from error
    return simplejpeg.decode_jpeg(encoded, colors, min_height=rows, min_width=columns, strict=False)


_HARMLESS = re.compile(r": \d extraneous bytes before marker 0xd9")  # what many cheap cameras add


def _decode_by_opencv(encoded: NDArray[np.uint8], gray: bool = False) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB, or (height, width) of a grey image."""
    color = cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR
    image = cv2.imdecode(encoded, color | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise _damaged(encoded)
    return image if gray else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _has_one_channel(encoded: NDArray[np.uint8]) -> bool:
    kind = _kind(encoded)
    if kind == _JPEG:
        return _jpeg_header(encoded)[2] == "Gray"
    return kind == _PNG and encoded[25] == 0


def decode_camera_image(
    data: bytes | NDArray[np.uint8],
    size: tuple[int, int],
    input_size: tuple[int, int],
    source: str = "",
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
    return decode_image(data, max(fine_enough, default=1), source)


def is_depth(source: str) -> bool:
    """Whether an encoding, or a compressed image's `format`, is one of depths or disparities."""
    return "compressedDepth" in source or _encodings_of(source)[0] in _DEPTH


def _encodings_of(source: str) -> tuple[str, str]:
    """Encoding before and after compression: "bayer_rggb8; jpeg compressed " has no second one."""
    before, _, rest = source.partition(";")
    _, _, after = rest.partition("compressed")
    return _as_written(before), _as_written(after)


def _mosaic(source: str) -> int | None:
    """OpenCV's way to RGB if a `format` says that a one-channel image is a Bayer mosaic."""
    before, after = _encodings_of(source)
    eight_bit = _SIXTEEN_BIT.get(before, before)
    return None if after in _MONO else _BAYER.get(eight_bit)


def format_warning(source: str) -> str | None:
    """What may be wrong with the colours of compressed images of this `format`, with the remedy."""
    before, after = _encodings_of(source)
    if after not in _MONO or before in _MONO or not before:
        return None
    return (
        f"format {source!r} says that the sender drops the colours; let the driver publish rgb8 or "
        "bgr8 for it to compress"
    )
