# SPDX-License-Identifier: Apache-2.0
"""The way from messages to detections: prepare on arrival, synchronise, detect in a worker.

The callbacks run in the executor's thread and only look at a message. Each image is decoded,
resized and encoded by the network by the intake's threads while the rest of its sweep is still on
its way. A frame goes to one worker thread through a mailbox with one slot, so the newest frame is
always served next and latency cannot build up. No message and no frame can raise out of here:
what is wrong is counted in `statistics`, logged, and left behind.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from asd_perception.cameras.preprocessing import wrong_size
from asd_perception.cameras.rig import compensate
from asd_perception.cameras.rig_check import Finding, check_rig
from asd_perception.cameras.video_decoding import KeyFrameNeededError, VideoImage
from asd_perception.errors import OutOfMemoryError, UserError, memory_checked
from asd_perception.frames.intake import Intake
from asd_perception.frames.synchronizer import FrameSynchronizer, SyncedFrame
from asd_perception.frames.worker import LatestWorker
from asd_perception.geometry import Array
from asd_perception.ros.calibration import Calibration
from asd_perception.ros.messages.camera_info import CameraModel
from asd_perception.ros.messages.geometry import matrix_from_pose, stamp_ns
from asd_perception.ros.messages.images import (
    check_image,
    image_from_compressed,
    image_from_msg,
    image_warning,
)
from asd_perception.ros.odometry import OdometryBuffer
from asd_perception.ros.parameters import Settings
from asd_perception.ros.statistics import Statistics
from asd_perception.ros.video import VideoStreams
from asd_perception.runtime.detections import Detections

if TYPE_CHECKING:
    from ffmpeg_image_transport_msgs.msg import FFMPEGPacket

    from asd_perception.runtime.detector import Detector, EncodedImage

ImageMessage: TypeAlias = "Image | CompressedImage | FFMPEGPacket"

TRANSFORM_WAIT = 0.05  # s that a frame waits for transforms of /tf as new as itself
ODOMETRY_WAIT = 0.02  # s that a frame waits for odometry as new as itself
PREPARATION_WAIT = 0.5  # s that frames wait for an image that is slow to decode
FRESH = 0.1  # s that a waiting frame is worth more than one that is still to be encoded
CALIBRATION_WAIT = 1.0  # s that images and frames wait for their calibration
CLOSE_WAIT = 10.0  # s that the frame at work has to end
FUTURE_NS = 1_000_000_000  # a stamp so far ahead of the node's clock is reported


@dataclass(frozen=True)
class _Arrival:
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
class _Prepared:
    """An image that is ready for the network, with the calibration that made it so."""

    image: EncodedImage
    model: CameraModel
    mounting: Array | None  # ego_from_camera (4, 4); None: not known when the image came
    arrival: float  # on time.monotonic()


@dataclass(frozen=True)
class _Job:
    """A frame on its way to the detector."""

    frame: SyncedFrame[_Prepared]
    mountings: dict[str, Array]  # ego_from_camera (4, 4) of the cameras that can be used
    arrival: float  # of its last image, on time.monotonic()
    ready: float  # when it was put into the mailbox


class Pipeline:
    """Everything between the subscriptions and the publishers.

    In the worker's thread, threshold() is asked, publish(detections, reference_ns) is called with
    each frame's result, and then show(detections, reference_ns), for people to look at.
    warn(kind, text) is called in any thread. ros_time() is the node's clock in ns.
    """

    def __init__(
        self,
        settings: Settings,
        detector: Detector,
        threshold: Callable[[], float],
        publish: Callable[[Detections, int], None],
        show: Callable[[Detections, int], None],
        warn: Callable[[str, str], None],
        ros_time: Callable[[], int],
    ) -> None:
        self.settings = settings
        self.detector = detector
        self.calibration = Calibration(settings.cameras, settings.base_frame)
        self.odometry = OdometryBuffer()
        self._threshold = threshold
        self._publish = publish
        self._show = show
        self._warn = warn
        self._ros_time = ros_time
        self._streams: VideoStreams[_Arrival] | None = None
        self._intake: Intake[_Arrival] | None = None
        self._worker: LatestWorker[_Job] | None = None
        self._checked_rig: dict[str, Any] = {}  # by camera: frame, calibration and pose
        self._findings: dict[str, list[Finding]] = {}  # what is wrong with it
        self._frames = threading.Lock()  # guards all from here on
        self._reset()

    def _reset(self) -> None:
        self._uncalibrated: dict[str, _Arrival] = {}  # each camera's newest, if it must wait
        self._unserved: SyncedFrame[_Prepared] | None = None
        self._incomplete_since: float | None = None  # since when mountings are missing
        self.statistics = Statistics(self.settings.cameras)
        self.synchronizer: FrameSynchronizer[_Prepared] = FrameSynchronizer(
            self.settings.cameras,
            self.settings.sync_tolerance_ns,
            self.settings.sync_max_wait,
            self.settings.sync_min_cameras,
        )

    @property
    def active(self) -> bool:
        return self._worker is not None

    @property
    def dropped(self) -> int:
        """Frames left out because a newer one was ready."""
        return self._worker.dropped if self._worker else 0

    @property
    def busy_for(self) -> float:
        """Seconds since the oldest work at hand began: a frame's, or an image's; 0 without any."""
        since = [self._worker.works_since] if self._worker else []
        since += [image.at for image in self._unready()]
        begun = [at for at in since if at is not None]
        return time.monotonic() - min(begun) if begun else 0.0

    def ros_time(self) -> int:
        """The node's clock in ns."""
        return self._ros_time()

    def check_rig(self) -> dict[str, list[Finding]]:
        """What is wrong with the calibrated cameras, by camera; what is new goes into the log.

        It takes milliseconds, in which no image is taken in: a rig is looked at once.
        """
        cameras = self.calibration.mounted()
        rig = {
            name: (camera.frame_id, camera.calibration, camera.ego_from_camera.tolist())
            for name, camera in cameras.items()
        }
        if rig == self._checked_rig:
            return self._findings
        config = self.detector.config
        findings = check_rig(
            cameras, config.trained_cameras, config.image_size, self.settings.base_frame
        )
        told = {(name, item.text) for name, items in self._findings.items() for item in items}
        new: dict[str, list[str]] = {}
        for name, items in findings.items():
            for item in items:
                if (name, item.text) not in told:
                    new.setdefault(item.text, []).append(name)
        for text, names in new.items():
            self._warn(f"rig {text}", f"{', '.join(names)}: {text}")
        self._checked_rig, self._findings = rig, findings
        return findings

    def overrun(self, camera: str) -> int:
        """Images left out because they came faster than frames can be detected."""
        return self._intake.dropped[camera] if self._intake else 0

    def start(self) -> None:
        """Begin to take images, with fresh statistics. Calibration and odometry are kept."""
        self._reset()
        self._worker = LatestWorker(self._detect)
        self._intake = Intake(
            self.settings.cameras, self.settings.sync_tolerance_ns, self._prepare, self._busy
        )
        if self.settings.image_transport == "ffmpeg":
            self._streams = VideoStreams(self.settings.cameras, self._decoded, self._no_image)

    def stop(self) -> bool:
        """Take no more images, and wait for the frame at work; False if it did not end."""
        threads = [self._streams, self._intake, self._worker]
        self._streams = self._intake = self._worker = None
        return all([part is None or part.close(CLOSE_WAIT) for part in threads])

    # -- in the executor's thread ----------------------------------------------------------------

    def on_camera_info(self, camera: str, msg: CameraInfo) -> None:
        doubt_before = self.calibration.doubt(camera)
        try:
            self.calibration.take_camera_info(camera, msg)
        except UserError as error:  # the last good calibration stays in use
            self._bad_message(camera, error)
            return
        doubt = self.calibration.doubt(camera)
        if doubt is not None and doubt != doubt_before:
            self._warn(f"calibration {camera}", f"{camera}: {doubt}")
        waiting = self._uncalibrated.pop(camera, None)
        if waiting is not None and time.monotonic() - waiting.at < CALIBRATION_WAIT:
            self._put(self._calibrated(waiting))
        with self._frames:
            self._serve()

    def on_static_transforms(self, msg: TFMessage) -> None:
        with self._frames:  # no frame is served with half of a message
            self._took_transforms(self.calibration.take_static_transforms(msg))
            self._serve()

    def on_moving_transforms(self, serialized: bytes) -> None:
        if self.calibration.concerns_cameras(serialized):
            message = deserialize_message(serialized, TFMessage)
            with self._frames:
                self._took_transforms(self.calibration.take_moving_transforms(message))

    def _took_transforms(self, faults: list[str]) -> None:
        for text in faults:
            self.statistics.bad_transforms.add(text)
            self._warn("tf", text)
        for text in self.calibration.transforms.contradictions.values():
            self._warn("tf", text)

    def on_odometry(self, msg: Odometry) -> None:
        try:
            pose = matrix_from_pose(msg.pose.pose)
            child = msg.child_frame_id.lstrip("/")
            if child not in ("", self.settings.base_frame):
                pose = pose @ self.calibration.transforms.lookup(child, self.settings.base_frame)
            self.odometry.add(stamp_ns(msg.header.stamp), pose)
        except UserError as error:
            self.statistics.bad_odometry.add(str(error))
            self._warn("odometry", f"odometry: {error}")

    def on_image(self, camera: str, msg: ImageMessage) -> None:
        """Look at a message, and hand it on to be prepared."""
        if self._worker is None:
            return
        statistics = self.statistics.cameras[camera]
        stamp = stamp_ns(msg.header.stamp)
        statistics.arrived(stamp)
        try:
            if stamp == 0:
                raise UserError("image has no stamp; the driver must fill in header.stamp")
            check_image(msg)
        except UserError as error:
            self._bad_message(camera, error)
            return
        if (doubt := image_warning(msg)) is not None:
            statistics.doubt.add(doubt)
            self._warn(f"colours {camera}", f"{camera}: {doubt}")
        ahead = stamp - self.ros_time()
        if ahead > FUTURE_NS:
            statistics.ahead.add(f"stamp {ahead * 1e-9:.1f} s ahead of the node's clock")
        at = time.monotonic()
        now = self.ros_time() * 1e-9 if self.settings.use_sim_time else at
        arrival = self._calibrated(_Arrival(camera, stamp, msg, at, now))
        frame_id = msg.header.frame_id.lstrip("/")
        if arrival.model is not None and frame_id and frame_id != arrival.model.frame_id:
            statistics.contradiction.add(
                f"its images are in frame {frame_id!r}, its camera_info in "
                f"{arrival.model.frame_id!r}"
            )
        if self._streams is not None:
            self._streams.put(arrival)
        else:
            self._put(arrival)

    def _busy(self) -> bool:
        """Whether a fresh frame waits for the detector, which another sweep would only replace."""
        since = self._worker.waits_since if self._worker is not None else None
        return since is not None and time.monotonic() - since < FRESH

    def _calibrated(self, arrival: _Arrival) -> _Arrival:
        """An image with the calibration that is known now, if any."""
        model = self.calibration.models[arrival.camera]
        if model is None:
            return arrival
        try:
            mounting = self.calibration.mounting(model, arrival.stamp)
        except UserError:  # it is used from when it comes
            mounting = None
        return replace(arrival, model=model, mounting=mounting)

    def _put(self, arrival: _Arrival) -> None:
        """Hand an image to the intake, as soon as it has its calibration."""
        intake = self._intake  # which another thread may take away
        if arrival.model is None:
            self._uncalibrated[arrival.camera] = arrival
        elif intake is not None:
            intake.put(arrival)

    def _unready(self) -> list[_Arrival]:
        """The oldest images that are being decoded or prepared."""
        oldest = [part.oldest() for part in (self._streams, self._intake) if part is not None]
        return [arrival for arrival in oldest if arrival is not None]

    def poll(self) -> None:
        """Send off the frames that have waited long enough for missing cameras."""
        if self._worker is None:
            return
        simulated = self.settings.use_sim_time
        now = self.ros_time() * 1e-9 if simulated else time.monotonic()
        # An image that came in time but is still being decoded is no missing one.
        now = min([now, *(max(image.now, now - PREPARATION_WAIT) for image in self._unready())])
        with self._frames:
            self._take_frames(now)
            self._serve()

    def _bad_message(self, camera: str, error: UserError) -> None:
        self.statistics.cameras[camera].bad.add(str(error))
        self._warn(f"bad message {camera}", f"{camera}: bad message: {error}")

    # -- in the streams' threads -----------------------------------------------------------------

    def _decoded(self, arrival: _Arrival, image: VideoImage) -> None:
        """Go on with the image of a packet as with one that came as a message."""
        if image.delayed:
            self.statistics.cameras[arrival.camera].doubt.add(
                "its video holds images back (B-frames), each by some periods; let the encoder "
                "send none (max_b_frames 0)"
            )
        arrival = replace(arrival, message=image)
        self._put(arrival if arrival.model is not None else self._calibrated(arrival))

    # -- in the intake's threads -----------------------------------------------------------------

    def _prepare(self, arrival: _Arrival) -> None:
        """Decode, resize and encode an image, and look for its frame."""
        started = time.monotonic()
        model, mounting = arrival.model, arrival.mounting
        try:
            assert model is not None  # _put has seen to it
            image = self._encode(arrival.message, model, mounting)
            prepared = _Prepared(image, model, mounting, arrival.at)
            self.statistics.took("prepare", time.monotonic() - started)
            with self._frames:
                self.synchronizer.add(arrival.camera, arrival.stamp, prepared, arrival.now)
                if self._take_frames(arrival.now):
                    self._serve()
        except Exception as error:
            self._no_image(arrival, error)

    def _no_image(self, arrival: _Arrival, error: Exception) -> None:
        """Note why a message gave no image, while the error is handled."""
        if isinstance(error, KeyFrameNeededError):
            self.statistics.cameras[arrival.camera].undecodable.add(str(error))
            self._warn(f"video {arrival.camera}", f"{arrival.camera}: {error}")
        elif isinstance(error, UserError) and not isinstance(error, OutOfMemoryError):
            self._bad_message(arrival.camera, error)
        else:  # no fault of the message, and the next one may succeed
            self._failed(error)

    def _encode(self, msg: Any, model: CameraModel, mounting: Array | None) -> EncodedImage:
        """The encoded image, if it has the size that its calibration says."""
        view = self.detector.view(model.calibration, mounting)
        size = view.calibration.size
        with memory_checked("cpu"):
            if isinstance(msg, CompressedImage):
                image = image_from_compressed(msg, size, view.scaled_size)
            elif (msg.width, msg.height) != size:
                raise wrong_size((msg.width, msg.height), size)
            else:
                image = msg.to_rgb() if isinstance(msg, VideoImage) else image_from_msg(msg)
        return self.detector.encode(image, view)

    # -- frames, in any thread that holds the lock -----------------------------------------------

    def _take_frames(self, now: float) -> bool:
        """Note the frames that are ready, of which the newest is served next; whether any is."""
        statistics = self.statistics
        before = statistics.frames
        while (frame := self.synchronizer.poll(now)) is not None:
            statistics.frames += 1
            statistics.last_frame = time.monotonic()
            missing = [camera for camera in self.settings.cameras if camera not in frame.cameras]
            for camera, counts in statistics.cameras.items():
                counts.missed += camera in missing
                counts.missed_run = counts.missed_run + 1 if camera in missing else 0
            if missing:
                statistics.incomplete.add(", ".join(missing))
            self._unserved = frame
        return statistics.frames > before

    def _serve(self) -> None:
        """Hand the newest frame to the detector as soon as its calibration is there.

        Images and transforms come on topics of their own, so the first frames may be ahead. After
        CALIBRATION_WAIT a frame is detected with the cameras whose mounting is known.
        """
        frame = self._unserved
        if frame is None or self._worker is None:
            return
        mountings, lacking = {}, ""
        for camera, prepared, stamp in zip(frame.cameras, frame.items, frame.stamps, strict=True):
            if prepared.mounting is not None:
                mountings[camera] = prepared.mounting
                continue
            try:
                mountings[camera] = self.calibration.mounting(prepared.model, stamp)
            except UserError as error:
                lacking = str(error)
        now = time.monotonic()
        if not lacking:
            self._incomplete_since = None
        elif self._incomplete_since is None:
            self._incomplete_since = now
        if self._incomplete_since is not None and now - self._incomplete_since < CALIBRATION_WAIT:
            return
        self._unserved = None
        if lacking:
            self.statistics.uncalibrated.add(lacking)
            self._warn("calibration", f"frame without calibration: {lacking}")
        if len(mountings) >= max(1, self.settings.sync_min_cameras):
            arrival = max(prepared.arrival for prepared in frame.items)
            self._worker.put(_Job(frame, mountings, arrival, now))

    # -- in the worker's thread ------------------------------------------------------------------

    def _detect(self, job: _Job) -> None:
        took = self.statistics.took
        started = time.monotonic()
        took("wait", job.ready - job.arrival)
        took("queue", started - job.ready)
        try:
            job = self._with_moving_mountings(job)
            poses = self._with_ego_motion(job)
            moved = time.monotonic()
            took("odometry", moved - started)
            items = dict(zip(job.frame.cameras, job.frame.items, strict=True))
            encoded = {camera: items[camera].image for camera in poses}
            detections = self.detector.detect_encoded(encoded, poses, self._threshold())
            detected = time.monotonic()
            took("detect", detected - moved)
            self._publish(detections, job.frame.reference)
            published = time.monotonic()
            took("publish", published - detected)
            took("total", published - job.arrival)
            took("stamp", (self.ros_time() - job.frame.reference) * 1e-9)
            self._show(detections, job.frame.reference)
            took("show", time.monotonic() - published)
        except Exception as error:  # whatever it is: the next frame may succeed
            self._failed(error)
        else:
            self.statistics.detected += 1

    def _failed(self, error: Exception) -> None:
        if isinstance(error, UserError):
            self.statistics.failed.add(str(error))
            self._warn("detection", f"detection failed: {error}")
        else:
            self.statistics.failed.add(f"{type(error).__name__}: {error}; see the node's log")
            self._warn("detection", f"detection failed:\n{traceback.format_exc()}")

    def _with_moving_mountings(self, job: _Job) -> _Job:
        """The job with what /tf says by now about its images' stamps; its end was still to come."""
        if not self.calibration.needs_tf:
            return job
        frame, mountings = job.frame, dict(job.mountings)
        self.calibration.transforms.wait_for(frame.reference, TRANSFORM_WAIT)
        for camera, prepared, stamp in zip(frame.cameras, frame.items, frame.stamps, strict=True):
            if camera in mountings and self.calibration.moves(prepared.model):
                with suppress(UserError):  # the one that was known before is used
                    mountings[camera] = self.calibration.mounting(prepared.model, stamp)
        return replace(job, mountings=mountings)

    def _with_ego_motion(self, job: _Job) -> dict[str, Array]:
        """Each camera's pose at its image's stamp, seen from the ego pose at the reference."""
        if not self.settings.use_odometry or len(self.odometry) == 0:
            return job.mountings
        frame = job.frame
        self.odometry.wait_for(frame.reference, ODOMETRY_WAIT)
        reference = self.odometry.pose_at(frame.reference)
        stamps = dict(zip(frame.cameras, frame.stamps, strict=True))
        poses = [self.odometry.pose_at(stamps[camera]) for camera in job.mountings]
        known = [pose for pose in poses if pose is not None]
        if reference is None or len(known) < len(poses):
            self.statistics.without_motion.add(
                "odometry does not cover the stamps of the images; "
                "check its rate, its delay and the clocks"
            )
            return job.mountings
        mountings = np.stack(list(job.mountings.values()))
        moved = compensate(mountings, np.stack(known), reference)
        return dict(zip(job.mountings, moved, strict=True))
