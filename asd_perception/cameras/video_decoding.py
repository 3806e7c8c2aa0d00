# SPDX-License-Identifier: Apache-2.0
"""A camera's video stream as images: H.264, H.265 and whatever else PyAV decodes.

A packet says what has changed since the packets before it, so they are decoded one by one, in the
order in which they were sent. A stream begins with a key frame, and after a fault begins again with
the next one; what lies between shows the world as it was not, and gives no image.

PyAV is asked for only when there is a stream: it comes with the extra `video`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from asd_perception.cameras.image_decoding import MAX_PIXELS
from asd_perception.errors import UserError

if TYPE_CHECKING:
    import av
    from av.video.codeccontext import VideoCodecContext

T = TypeVar("T")

KEY_FRAME = 1  # in the flags of a packet
_LOW_DELAY = 1 << 19  # libav's AV_CODEC_FLAG_LOW_DELAY
_MOST_DELAYED = 32  # images that a stream may hold back: more than any codec reorders

# Where a codec, or the encoder by which an older sender names it, is not the decoder's own name.
_DECODERS = {
    **dict.fromkeys(("x264", "x264rgb", "openh264"), "h264"),
    **dict.fromkeys(("h265", "x265"), "hevc"),
    **dict.fromkeys(("av1", "svtav1", "aom-av1"), "libdav1d"),  # libav's own needs a GPU
}


class VideoPacket(Protocol):
    """What a packet is made of, by the names of ffmpeg_image_transport_msgs/FFMPEGPacket."""

    encoding: str
    pts: int
    flags: int
    data: Any  # a buffer of bytes


class KeyFrameNeededError(UserError):
    """A packet that cannot be decoded because a key frame must come first."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}: no image before the next key frame; let the encoder send them more often "
            "(gop_size)"
        )


def check_video() -> None:
    """Raise UserError if PyAV is not installed."""
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise UserError(
            "video needs PyAV, which is not installed: pip install 'asd_perception[video]' (av)"
        ) from error


class VideoImage:
    """A decoded image, not in RGB yet: of those that are left out nobody needs that.

    delayed: whether it comes from a stream that holds images back until later ones were decoded.
    """

    def __init__(self, frame: av.VideoFrame, delayed: bool) -> None:
        self.delayed = delayed
        self._frame = frame
        self.width: int = frame.width
        self.height: int = frame.height

    def to_rgb(self) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB. BT.601 with limited range unless the stream says more."""
        return self._frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


class VideoDecoder(Generic[T]):
    """Decodes one camera's packets."""

    def __init__(self) -> None:
        self._encoding = ""
        self._context: VideoCodecContext | None = None  # None: a key frame must come first
        self._need = "a video begins with a key frame"
        self._number = 0
        self._tags: dict[int, T] = {}  # of the images to come, by their packets' numbers
        self._pts = 0  # the last packet's
        self._counts = False  # whether pts count the packets
        self._delays = False  # whether the stream holds images back (B-frames)

    def decode(self, packet: VideoPacket, tag: T) -> list[tuple[T, VideoImage]]:
        """The images that a packet completes, each with the tag of the packet that it came in.

        Mostly one; none, and later two, where a stream delays images. Raises KeyFrameNeededError,
        and UserError for a packet that cannot be decoded, after which a key frame is needed.
        """
        step, self._pts = packet.pts - self._pts, packet.pts
        if packet.encoding != self._encoding:
            self.restart("its encoding has changed" if self._encoding else self._need)
            self._encoding, self._counts, self._delays = packet.encoding, False, False
        elif self._context is not None:  # else nothing needs the packets before this one
            if step == 1:
                self._counts = True
            elif self._counts and not self._delays:
                self.restart("packets were lost")
        if self._context is None:
            if not packet.flags & KEY_FRAME:
                raise KeyFrameNeededError(self._need)
            self._context = _context(packet.encoding)
        try:
            return self._images(self._context, packet, tag)
        except Exception:
            self.restart("a packet could not be decoded")
            raise

    def restart(self, reason: str) -> None:
        """Begin again with the next key frame; until then `reason` is why."""
        self._context, self._need = None, reason
        self._tags.clear()

    def _images(
        self, context: VideoCodecContext, packet: VideoPacket, tag: T
    ) -> list[tuple[T, VideoImage]]:
        import av

        data = bytes(packet.data)
        if not data:  # for the decoder, the end of the stream
            raise UserError("packet is empty")
        # The number, and not the packet's own pts, which senders fill in differently or not at all.
        coded = av.Packet(data)
        coded.pts = self._number
        self._tags[self._number] = tag
        self._number += 1
        if len(self._tags) > _MOST_DELAYED:  # packets without an image
            del self._tags[min(self._tags)]
        try:
            frames: list[Any] = context.decode(coded)
        except av.error.FFmpegError as error:
            reason = str(error.strerror or error).lower()
            raise UserError(f"packet of {len(data)} bytes cannot be decoded: {reason}") from error
        if any(frame.is_corrupt for frame in frames):
            raise UserError(f"packet of {len(data)} bytes is damaged")
        done = [(self._tags.pop(frame.pts), frame) for frame in frames if frame.pts in self._tags]
        self._delays |= bool(self._tags)
        return [(tag, VideoImage(frame, self._delays)) for tag, frame in done]


def _context(encoding: str) -> VideoCodecContext:
    """A new decoder. Raises UserError if none is known for the encoding."""
    import av

    parts = [part.strip() for part in encoding.split(";")]
    if len(parts) > 2 and parts[2].startswith("bayer_"):
        raise UserError(
            f"encoding {encoding!r} is video of a Bayer mosaic, whose colours do not survive; let "
            "the camera's driver publish rgb8 for it to encode"
        )
    context: Any = av.CodecContext.create(_decoder_name(parts[0]), "r")
    # Threads would decode several images at once, each later by as many; another camera's thread
    # uses the other cores.
    context.thread_count = 1
    context.flags |= _LOW_DELAY
    context.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
    return context


@lru_cache
def _decoder_name(codec: str) -> str:
    """libav's decoder of a codec, which may be given by an encoder: "hevc_nvenc", "libx264"."""
    import av

    family = codec.removeprefix("lib").partition("_")[0]
    for name in (_DECODERS.get(family, family), codec):
        try:
            if av.Codec(name, "r").type == "video":
                return name
        except ValueError:  # av.codec.UnknownCodecError
            continue
    raise UserError(f"encoding {codec!r} has no decoder here; let the sender encode h264 or hevc")
