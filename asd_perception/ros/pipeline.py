# SPDX-License-Identifier: Apache-2.0
"""The way from messages to detections: decode on arrival, synchronise, detect in a worker.

The callbacks run in the executor's thread and do the cheap work. A complete frame goes to one
worker thread through a mailbox with one slot, so the newest frame is always served next and
latency cannot build up. No message and no frame can raise out of here: what is wrong is counted
in `statistics`, logged, and left behind.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from asd_perception.detections import Detections
from asd_perception.errors import UserError
from asd_perception.rig import CameraRig, compensate
from asd_perception.ros.calibration import Calibration
from asd_perception.ros.conversions import (
    camera_model_from_msg,
    image_from_compressed,
    image_from_msg,
    matrix_from_pose,
    stamp_ns,
)
from asd_perception.ros.odometry import OdometryBuffer
from asd_perception.ros.parameters import Settings
from asd_perception.ros.statistics import Statistics
from asd_perception.ros.worker import LatestWorker
from asd_perception.synchronizer import FrameSynchronizer, SyncedFrame

if TYPE_CHECKING:
    from asd_perception.detector import Detector

ODOMETRY_WAIT = 0.02  # s that a frame waits for odometry as new as itself
CALIBRATION_WAIT = 1.0  # s that a complete frame waits for its calibration

ImageArray = NDArray[np.uint8]


@dataclass(frozen=True)
class _Job:
    """A complete frame on its way to the detector."""

    frame: SyncedFrame[ImageArray]
    rig: CameraRig  # mounting only, without ego motion
    arrival: float  # of its last image, on time.monotonic()
    ready: float  # when it was put into the mailbox


class Pipeline:
    """Everything between the subscriptions and the publishers.

    In the worker's thread, threshold() is asked, publish(detections, reference_ns) is called with
    each frame's result, and then show(detections, reference_ns), for people to look at. warn(text)
    is called in both threads.
    """

    def __init__(
        self,
        settings: Settings,
        detector: Detector,
        threshold: Callable[[], float],
        publish: Callable[[Detections, int], None],
        show: Callable[[Detections, int], None],
        warn: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self.detector = detector
        self.calibration = Calibration(settings.cameras, settings.base_frame)
        self.odometry = OdometryBuffer()
        self._threshold = threshold
        self._publish = publish
        self._show = show
        self._warn = warn
        self._worker: LatestWorker[_Job] | None = None
        self._reset()

    def _reset(self) -> None:
        self._unserved: tuple[SyncedFrame[ImageArray], float] | None = None  # with its arrival
        self.statistics = Statistics(self.settings.cameras)
        self._synchronizer: FrameSynchronizer[ImageArray] = FrameSynchronizer(
            self.settings.cameras, self.settings.sync_tolerance_ns
        )

    @property
    def active(self) -> bool:
        return self._worker is not None

    @property
    def dropped(self) -> int:
        """Complete frames left out because a newer one was ready."""
        return self._worker.dropped if self._worker else 0

    @property
    def stale(self) -> int:
        """Images that came after their frame, or twice."""
        return self._synchronizer.stale

    def start(self) -> None:
        """Begin to take images, with fresh statistics. Calibration and odometry are kept."""
        self._reset()
        self._worker = LatestWorker(self._detect)

    def stop(self) -> None:
        """Take no more images, and wait for the frame at work."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    # -- in the executor's thread ----------------------------------------------------------------

    def on_camera_info(self, camera: str, msg: CameraInfo) -> None:
        try:
            self.calibration.models[camera] = camera_model_from_msg(msg)
        except UserError as error:  # the last good calibration stays in use
            self._bad_message(camera, error)
        self._serve()

    def on_static_transforms(self, msg: TFMessage) -> None:
        for transform in msg.transforms:
            try:
                self.calibration.transforms.add(transform)
            except UserError as error:
                self.statistics.bad_transforms.add(str(error))
                self._warn(str(error))
        self._serve()

    def on_odometry(self, msg: Odometry) -> None:
        try:
            pose = matrix_from_pose(msg.pose.pose)
            child = msg.child_frame_id.lstrip("/")
            if child not in ("", self.settings.base_frame):
                pose = pose @ self.calibration.transforms.lookup(child, self.settings.base_frame)
            self.odometry.add(stamp_ns(msg.header.stamp), pose)
        except UserError as error:
            self.statistics.bad_odometry.add(str(error))
            self._warn(f"odometry: {error}")

    def on_image(self, camera: str, msg: Image | CompressedImage) -> None:
        if self._worker is None:
            return
        arrival = time.monotonic()
        self.statistics.cameras[camera].arrived()
        try:
            stamp = stamp_ns(msg.header.stamp)
            if stamp == 0:
                raise UserError("image has no stamp; the driver must fill in header.stamp")
            image = self._decode(camera, msg)
        except UserError as error:
            self._bad_message(camera, error)
            return
        self.statistics.took("decode", time.monotonic() - arrival)
        frame = self._synchronizer.add(camera, stamp, image)
        if frame is None:
            return
        self.statistics.complete += 1
        self.statistics.last_complete = arrival
        self._give_up_unserved()
        self._unserved = frame, arrival
        self._serve()

    def _serve(self) -> None:
        """Hand the newest frame to the detector as soon as its calibration is there.

        Images and calibration come on topics of their own, so the first frame may be ahead.
        """
        if self._unserved is None or self._worker is None:
            return
        frame, arrival = self._unserved
        if time.monotonic() - arrival > CALIBRATION_WAIT:
            self._give_up_unserved()
            return
        with suppress(UserError):  # it still lacks something
            self._worker.put(_Job(frame, self.calibration.rig(), arrival, time.monotonic()))
            self._unserved = None

    def _give_up_unserved(self) -> None:
        """Count a frame that found no calibration, and say what it lacks."""
        if self._unserved is None:
            return
        self._unserved = None
        try:
            self.calibration.rig()
        except UserError as error:
            self.statistics.uncalibrated.add(str(error))
            self._warn(f"frame without calibration: {error}")

    def _decode(self, camera: str, msg: Image | CompressedImage) -> ImageArray:
        """The image, of the size that its calibration says, if that is known already."""
        image = image_from_msg(msg) if isinstance(msg, Image) else image_from_compressed(msg)
        height, width = image.shape[:2]
        model = self.calibration.models[camera]
        if model is not None and (width, height) != (model.width, model.height):
            raise UserError(
                f"image is {width}x{height}, its camera_info says {model.width}x{model.height}"
            )
        return image

    def _bad_message(self, camera: str, error: UserError) -> None:
        self.statistics.cameras[camera].bad.add(str(error))
        self._warn(f"{camera}: bad message: {error}")

    # -- in the worker's thread ------------------------------------------------------------------

    def _detect(self, job: _Job) -> None:
        took = self.statistics.took
        started = time.monotonic()
        took("queue", started - job.ready)
        try:
            rig = self._with_ego_motion(job.rig, job.frame)
            moved = time.monotonic()
            took("odometry", moved - started)
            detections = self.detector.detect(job.frame.items, rig, self._threshold())
            detected = time.monotonic()
            took("detect", detected - moved)
            self._publish(detections, job.frame.reference)
            published = time.monotonic()
            took("publish", published - detected)
            took("total", published - job.arrival)
            self._show(detections, job.frame.reference)
            took("show", time.monotonic() - published)
        except UserError as error:
            self.statistics.failed.add(str(error))
            self._warn(f"detection failed: {error}")
        except Exception as error:  # out of memory, a broken driver: the next frame may succeed
            self.statistics.failed.add(f"{type(error).__name__}: {error}; see the node's log")
            self._warn(f"detection failed:\n{traceback.format_exc()}")
        else:
            self.statistics.detected += 1

    def _with_ego_motion(self, rig: CameraRig, frame: SyncedFrame[ImageArray]) -> CameraRig:
        """The rig with the ego motion between each image's stamp and the reference folded in."""
        if not self.settings.use_odometry or len(self.odometry) == 0:
            return rig
        self.odometry.wait_for(frame.reference, ODOMETRY_WAIT)
        reference = self.odometry.pose_at(frame.reference)
        poses = [self.odometry.pose_at(stamp) for stamp in frame.stamps]
        known = [pose for pose in poses if pose is not None]
        if reference is None or len(known) < len(poses):
            self.statistics.without_motion.add(
                "odometry does not cover the stamps of the images; "
                "check its rate, its delay and the clocks"
            )
            return rig
        moved = compensate(rig.ego_from_camera, np.stack(known), reference)
        return replace(rig, ego_from_camera=moved)
