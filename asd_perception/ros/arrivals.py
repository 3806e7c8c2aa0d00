# SPDX-License-Identifier: Apache-2.0
"""The way of one image message: looked at, decoded, resized, and encoded by the network.

The callback runs in the executor's thread and only looks at the message. All else is done by the
threads of the intake, and before that, for packets of video, by those of the streams, while the
rest of the image's sweep is still on its way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from sensor_msgs.msg import CompressedImage, Image

from asd_perception.cameras.preprocessing import wrong_size
from asd_perception.cameras.video_decoding import VideoImage
from asd_perception.cameras.view import View
from asd_perception.errors import UserError, memory_checked
from asd_perception.frames.intake import Intake
from asd_perception.frames.threads import close_all
from asd_perception.frames.video import VideoStreams
from asd_perception.geometry import Array
from asd_perception.ros.calibration import Calibration
from asd_perception.ros.check.faults import contradicting_frames
from asd_perception.ros.messages.camera_info import CameraModel
from asd_perception.ros.messages.geometry import stamp_ns
from asd_perception.ros.messages.images import (
    check_image,
    image_from_compressed,
    image_from_msg,
    image_warning,
)
from asd_perception.ros.parameters.settings import Settings
from asd_perception.ros.statistics import Statistics
from asd_perception.viewing.boxes import Image as Pixels

if TYPE_CHECKING:
    from ffmpeg_image_transport_msgs.msg import FFMPEGPacket

    from asd_perception.runtime.detector import Detector, EncodedImage

ImageMessage: TypeAlias = "Image | CompressedImage | FFMPEGPacket"

CALIBRATION_WAIT = 1.0  # s that images and frames wait for their calibration
FUTURE_NS = 1_000_000_000  # a stamp so far ahead of the node's clock is reported


@dataclass(frozen=True)
class Arrival:
    """An image message as it came, or what its packet was decoded to."""

    camera: str
    stamp: int
    message: Any
    at: float  # on time.monotonic()
    now: float  # on the synchronizer's clock
    # As they were known when the image came: it may have to wait, and they may change meanwhile.
    model: CameraModel | None = None
    mounting: Array | None = None  # ego_from_camera (4, 4)


@dataclass(frozen=True)
class PreparedImage:
    """An image that is ready for the network, with the calibration that made it so."""

    image: EncodedImage
    model: CameraModel
    mounting: Array | None  # ego_from_camera (4, 4); None: not known when the image came
    arrival: float  # on time.monotonic()
    pixels: Pixels | None  # as decoded, if somebody watches its overlay


class Arrivals:
    """Takes in image messages, from activation to deactivation.

    deliver(arrival, prepared) is called with each image that is ready, fault(camera, error), while
    the error is handled, with why a message gave none: both in any thread. busy() says whether a
    frame waits for the detector, watched(camera) whether pixels are kept.
    warn(kind, text) and ros_time() are the pipeline's.
    """

    def __init__(
        self,
        settings: Settings,
        detector: Detector,
        calibration: Calibration,
        statistics: Statistics,
        busy: Callable[[], bool],
        watched: Callable[[str], bool],
        deliver: Callable[[Arrival, PreparedImage], None],
        fault: Callable[[str, Exception], None],
        warn: Callable[[str, str], None],
        ros_time: Callable[[], int],
    ) -> None:
        self._detector = detector
        self._calibration = calibration
        self._statistics = statistics
        self._watched = watched
        self._deliver = deliver
        self._fault = fault
        self._warn = warn
        self._ros_time = ros_time
        self._simulated_time = settings.use_sim_time
        self._uncalibrated: dict[str, Arrival] = {}  # each camera's newest, if it must wait
        self._waiting = threading.Lock()  # guards these
        self._intake: Intake[Arrival] = Intake(
            settings.cameras, settings.sync_tolerance_ns, self._prepare, busy
        )
        self._streams: VideoStreams[Arrival] | None = None
        if settings.image_transport == "ffmpeg":
            self._streams = VideoStreams(settings.cameras, self._decoded, self._undecoded)

    @property
    def dropped(self) -> dict[str, int]:
        """By camera, images left out because they came faster than frames can be detected."""
        return self._intake.dropped

    def unready(self) -> list[Arrival]:
        """The oldest images that are being decoded or prepared."""
        oldest = [part.oldest() for part in (self._streams, self._intake) if part is not None]
        return [arrival for arrival in oldest if arrival is not None]

    def close(self, timeout: float) -> bool:
        """Take no more images; False if those at work took longer than `timeout` s."""
        return close_all([self._streams, self._intake], timeout)

    # -- in the executor's thread ----------------------------------------------------------------

    def on_image(self, camera: str, msg: ImageMessage) -> None:
        """Look at a message, and hand it on to be prepared."""
        statistics = self._statistics.cameras[camera]
        stamp = stamp_ns(msg.header.stamp)
        statistics.arrived(stamp, len(msg.data))
        try:
            check_image(msg)
        except UserError as error:
            self._fault(camera, error)
            return
        if (doubt := image_warning(msg)) is not None:
            statistics.doubt.add(doubt)
            self._warn(f"colours {camera}", f"{camera}: {doubt}")
        clock = self._ros_time()
        ahead = stamp - clock
        if ahead > FUTURE_NS and clock > 0:  # 0: simulated time has not begun
            statistics.ahead.add(f"stamp {ahead * 1e-9:.1f} s ahead of the node's clock")
        at = time.monotonic()
        now = clock * 1e-9 if self._simulated_time else at
        arrival = self._calibrated(Arrival(camera, stamp, msg, at, now))
        if arrival.model is not None:
            frame_id = msg.header.frame_id.lstrip("/")
            contradiction = contradicting_frames(frame_id, arrival.model.frame_id)
            if contradiction is not None:
                statistics.contradiction.add(contradiction)
        if self._streams is not None:
            self._streams.put(arrival)
        else:
            self._put(arrival)

    def on_calibration(self, camera: str) -> None:
        """Go on with the image that has waited for this camera's calibration, if it is fresh."""
        with self._waiting:
            arrival = self._uncalibrated.pop(camera, None)
        if arrival is not None and time.monotonic() - arrival.at < CALIBRATION_WAIT:
            self._put(arrival)

    # -- in any thread ---------------------------------------------------------------------------

    def _calibrated(self, arrival: Arrival) -> Arrival:
        """An image with the calibration that is known now, if any."""
        model = self._calibration.models[arrival.camera]
        if model is None:
            return arrival
        try:
            mounting = self._calibration.mounting(model, arrival.stamp)
        except UserError:  # it is used from when it comes
            mounting = None
        return replace(arrival, model=model, mounting=mounting)

    def _put(self, arrival: Arrival) -> None:
        """Hand an image to the intake, as soon as it has its calibration."""
        with self._waiting:  # no calibration comes between the look for one and the note
            if arrival.model is None:
                arrival = self._calibrated(arrival)
            if arrival.model is None:
                self._uncalibrated[arrival.camera] = arrival
                return
        self._intake.put(arrival)

    # -- in the streams' threads -----------------------------------------------------------------

    def _decoded(self, arrival: Arrival, image: VideoImage) -> None:
        """Go on with the image of a packet as with one that came as a message."""
        if image.delayed:
            self._statistics.cameras[arrival.camera].doubt.add(
                "its video holds images back (B-frames), each by some periods; let the encoder "
                "send none (max_b_frames 0)"
            )
        self._put(replace(arrival, message=image))

    def _undecoded(self, arrival: Arrival, error: Exception) -> None:
        self._fault(arrival.camera, error)

    # -- in the intake's threads -----------------------------------------------------------------

    def _prepare(self, arrival: Arrival) -> None:
        """Decode, resize and encode an image."""
        started = time.monotonic()
        model, mounting = arrival.model, arrival.mounting
        try:
            assert model is not None  # _put has seen to it
            view = self._detector.view(model.calibration, mounting)
            pixels = _decode(arrival.message, view)
            image = self._detector.encode(pixels, view)
            kept = pixels if self._watched(arrival.camera) else None
            prepared = PreparedImage(image, model, mounting, arrival.at, kept)
            self._statistics.took("prepare", time.monotonic() - started)
            self._deliver(arrival, prepared)
        except Exception as error:
            self._fault(arrival.camera, error)


def _decode(msg: Any, view: View) -> Pixels:
    """(height, width, 3) uint8 RGB of an image, if it has the size that its calibration says."""
    size = view.calibration.size
    with memory_checked("cpu"):
        if isinstance(msg, CompressedImage):
            return image_from_compressed(msg, size, view.scaled_size)
        if (msg.width, msg.height) != size:
            raise wrong_size((msg.width, msg.height), size)
        return msg.to_rgb() if isinstance(msg, VideoImage) else image_from_msg(msg)
