# SPDX-License-Identifier: Apache-2.0
"""Video as a camera's driver sends it, encoded by PyAV."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np

_OPTIONS = {
    "libx264": {"preset": "ultrafast", "tune": "zerolatency", "qp": "18"},
    "libx265": {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x265-params": "log-level=none:qp=18",
    },
    "libsvtav1": {"preset": "10", "svtav1-params": "pred-struct=1:rc=0:qp=10:lookahead=0"},
    "mjpeg": {"qmin": "2", "qmax": "2", "strict": "unofficial"},
}


@dataclass
class Packet:
    """The fields of an FFMPEGPacket."""

    encoding: str
    pts: int
    flags: int
    data: bytes


def encode(images, encoder="libx264", encoding="h264", gop=10, b_frames=0, colors=None):
    """RGB images as the packets of one stream, in the order in which they are sent.

    gop: packets from one key frame to the next. colors: colorspace and color_range that the stream
    names, and is encoded in.
    """
    context = av.CodecContext.create(encoder, "w")
    height, width = images[0].shape[:2]
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 12), Fraction(12)
    context.gop_size, context.max_b_frames = gop, b_frames
    options = dict(_OPTIONS[encoder])
    if b_frames:
        del options["tune"]
        options["preset"] = "fast"
    context.options = options
    for name, value in (colors or {}).items():
        setattr(context, name, value)
    packets = []
    for number, image in enumerate(images):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
        space, levels = (colors or {}).get("colorspace"), (colors or {}).get("color_range")
        frame = frame.reformat(
            format="yuv420p", dst_colorspace=space or 5, dst_color_range=levels or 1
        )
        frame.pts = number
        packets += context.encode(frame)
    packets += context.encode(None)
    return [Packet(encoding, int(p.pts), int(p.is_keyframe), bytes(p)) for p in packets]


def decode(packets):
    """The images of H.264 packets, RGB, as any decoder gives them."""
    context = av.CodecContext.create("h264", "r")
    coded = [av.Packet(packet.data) for packet in packets]
    frames = [frame for packet in (*coded, None) for frame in context.decode(packet)]
    return [frame.to_ndarray(format="rgb24") for frame in frames]


def moving_street(count, width, height):
    """Soft blobs that pass by: each image differs from the one before."""
    blobs = np.random.default_rng(0).integers(0, 256, (9, 16, 3), dtype=np.uint8)
    wide = cv2.resize(blobs, (2 * width, height), interpolation=cv2.INTER_CUBIC)
    return [wide[:, 8 * number : 8 * number + width] for number in range(count)]
