# SPDX-License-Identifier: Apache-2.0
"""Images as arrays and back, and the place where bad ones are found.

Messages may be rclpy's or rosbags': the functions here look at their fields alone.
What reads a message raises UserError with a one-line reason if the message does not hold what its
type promises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from asd_perception.cameras.image_decoding import (
    check_encoded,
    check_raw,
    decode_camera_image,
    decode_raw,
    format_warning,
    raw_warning,
)
from asd_perception.errors import UserError
from asd_perception.ros.messages.geometry import stamp_ns

if TYPE_CHECKING:
    from ffmpeg_image_transport_msgs.msg import FFMPEGPacket
    from sensor_msgs.msg import CompressedImage, Image
    from std_msgs.msg import Header

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
VIDEO = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
TRANSPORT_OF = {IMAGE: "raw", COMPRESSED: "compressed", VIDEO: "ffmpeg"}
"""image_transport's name of each type of message that brings images."""

JPEG_QUALITY = 85  # of the images that are published

TRANSPORTS = {"raw": "", "compressed": "/compressed", "ffmpeg": "/ffmpeg"}
"""How images may come, by image_transport's names, and how their topics' names end."""


def check_image(msg: Image | CompressedImage | FFMPEGPacket) -> None:
    """Raise UserError for a message without stamp or image, as far as microseconds can tell."""
    if stamp_ns(msg.header.stamp) == 0:
        raise UserError("image has no stamp; the driver must fill in header.stamp")
    if hasattr(msg, "format"):
        check_encoded(np.frombuffer(msg.data, np.uint8), msg.format)
    elif not hasattr(msg, "pts"):  # a packet of video: only its decoder can tell
        check_raw(msg)


def image_warning(msg: Image | CompressedImage | FFMPEGPacket) -> str | None:
    """What may be wrong with the colours of an image that can be decoded, with the remedy."""
    if hasattr(msg, "format"):
        return format_warning(msg.format)
    return raw_warning(msg)


def image_from_msg(msg: Image) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB of a raw image; a view of the message's data where it can be."""
    return decode_raw(msg)


def image_from_compressed(
    msg: CompressedImage, size: tuple[int, int], input_size: tuple[int, int]
) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB of a JPEG, PNG or WebP image: `decode_camera_image`."""
    return decode_camera_image(np.frombuffer(msg.data, np.uint8), size, input_size, msg.format)


def image_to_msg(image: NDArray[np.uint8], header: Header) -> Image:
    """A raw rgb8 image of (height, width, 3) uint8 RGB."""
    from sensor_msgs.msg import Image

    height, width = image.shape[:2]
    message = Image(header=header, height=height, width=width, encoding="rgb8", step=3 * width)
    message.data.frombytes(np.ascontiguousarray(image).data)
    return message


def image_to_compressed(image: NDArray[np.uint8], header: Header) -> CompressedImage:
    """A JPEG image of (height, width, 3) uint8 RGB."""
    from sensor_msgs.msg import CompressedImage

    message = CompressedImage(header=header, format="jpeg")
    encoded = simplejpeg.encode_jpeg(np.ascontiguousarray(image), JPEG_QUALITY, "RGB", "420")
    message.data.frombytes(encoded)
    return message
