# SPDX-License-Identifier: Apache-2.0
"""The way from messages to detections: prepare on arrival, synchronise, detect in a worker.

Each image is prepared while the rest of its sweep is still on its way (`arrivals.py`). A frame goes
to one worker thread through a mailbox with one slot, so the newest frame is always served next and
latency cannot build up. No message and no frame can raise out of here: what is wrong is counted in
`statistics`, logged, and left behind.
"""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from asd_perception.cameras.video_decoding import KeyFrameNeededError
from asd_perception.errors import OutOfMemoryError, UserError
from asd_perception.frames.synchronizer import FrameSynchronizer, SyncedFrame
from asd_perception.frames.threads import Closable, close_all
from asd_perception.frames.worker import LatestWorker
from asd_perception.geometry import Array
from asd_perception.ros.arrivals import (
    CALIBRATION_WAIT,
    Arrival,
    Arrivals,
    ImageMessage,
    PreparedImage,
)
from asd_perception.ros.calibration import Calibration, RigWatch
from asd_perception.ros.messages.geometry import matrix_from_pose, stamp_ns
from asd_perception.ros.odometry import OdometryBuffer, PoseWatch
from asd_perception.ros.overlay import OverlayImage
from asd_perception.ros.parameters.settings import LatencyBudget, Settings
from asd_perception.ros.statistics import Statistics
from asd_perception.runtime.detections import Detections
from asd_perception.runtime.selection import Selection

if TYPE_CHECKING:
    from asd_perception.runtime.detector import Detector

TRANSFORM_WAIT = 0.05  # s that a frame waits for transforms of /tf as new as itself
ODOMETRY_WAIT = 0.02  # s that a frame waits for odometry that is older than AT_ONCE_NS
PREPARATION_WAIT = 0.5  # s that frames wait for an image that is slow to decode
FRESH = 0.1  # s that a waiting frame is worth more than one that is still to be encoded
CLOSE_WAIT = 10.0  # s that the images and the frame at work have to end


@dataclass(frozen=True)
class _Job:
    """A frame on its way to the detector."""

    frame: SyncedFrame[PreparedImage]
    mountings: dict[str, Array]  # ego_from_camera (4, 4) of the cameras that can be used
    arrival: float  # of its last image, on time.monotonic()
    ready: float  # when it was put into the mailbox


class Pipeline:
    """Everything between the subscriptions and the publishers.

    In the worker's thread, selection() is asked, publish(detections, reference_ns) is called with
    each frame's result, budgets() is asked, by stage, and then show(detections, reference_ns) is
    called, for people to look at.
    Those of the newest frame's images whose camera is watched(camera) go to draw(image, detections)
    in a thread of its own: detection does not wait for it.
    warn(kind, text) and measured(stage, seconds) are called in any thread. ros_time() is the node's
    clock in ns.
    """

    def __init__(
        self,
        settings: Settings,
        detector: Detector,
        selection: Callable[[], Selection],
        budgets: Callable[[], Mapping[str, LatencyBudget]],
        publish: Callable[[Detections, int], None],
        show: Callable[[Detections, int], None],
        watched: Callable[[str], bool],
        draw: Callable[[OverlayImage, Detections], None],
        warn: Callable[[str, str], None],
        measured: Callable[[str, float], None],
        ros_time: Callable[[], int],
    ) -> None:
        self.settings = settings
        self.detector = detector
        self.calibration = Calibration(settings.cameras, settings.base_frame)
        self.rig = RigWatch(self.calibration, detector.config, warn)
        self.odometry = OdometryBuffer()
        self._pose_watch = PoseWatch()
        self._selection = selection
        self._budgets = budgets
        self._publish = publish
        self._show = show
        self._watched = watched
        self._draw = draw
        self._warn = warn
        self._measured = measured
        self._ros_time = ros_time
        self.unheard: Mapping[str, list[str]] = {}  # publishers, by topic, and why nothing arrives
        self._arrivals: Arrivals | None = None
        self._worker: LatestWorker[_Job] | None = None
        self._drawer: LatestWorker[tuple[list[OverlayImage], Detections]] | None = None
        self._frames = threading.Lock()  # guards the synchronizer and the frame to be served
        self._left_behind: list[Closable | None] = []  # what did not end when it was stopped
        self._reset()

    def _reset(self) -> None:
        self._unserved: SyncedFrame[PreparedImage] | None = None
        self._incomplete_since: float | None = None  # since when mountings are missing
        self.statistics = Statistics(self.settings.cameras, self._measured)
        self.synchronizer: FrameSynchronizer[PreparedImage] = FrameSynchronizer(
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
        worker = self._worker
        return worker.dropped if worker is not None else 0

    @property
    def busy_for(self) -> float:
        """Seconds since the oldest work at hand began: a frame's, or an image's; 0 without any."""
        worker = self._worker
        since = [worker.works_since] if worker is not None else []
        since += [image.at for image in self._unready()]
        begun = [at for at in since if at is not None]
        return time.monotonic() - min(begun) if begun else 0.0

    def ros_time(self) -> int:
        """The node's clock in ns."""
        return self._ros_time()

    def overrun(self, camera: str) -> int:
        """Images left out because they came faster than frames can be detected."""
        arrivals = self._arrivals
        return arrivals.dropped[camera] if arrivals is not None else 0

    def note_totals(self) -> None:
        """Note how much has come and was left out by now. Called once per second."""
        cameras = self.statistics.cameras
        received = sum(camera.received for camera in cameras.values())
        left_out = sum(map(self.overrun, cameras))
        totals = self.statistics.frames, self.dropped, received, left_out
        self.statistics.totals.append(totals)

    def start(self) -> None:
        """Begin to take images, with fresh statistics. Calibration and odometry are kept."""
        self._reset()
        self._worker = LatestWorker(self._detect, "detector")
        self._drawer = LatestWorker(self._draw_all, "overlay")
        self._arrivals = Arrivals(
            self.settings,
            self.detector,
            self.calibration,
            self.statistics,
            busy=self._busy,
            watched=self._watched,
            deliver=self._add,
            fault=self._useless_message,
            warn=self._warn,
            ros_time=self._ros_time,
        )

    def stop(self) -> bool:
        """Take no more images, and wait for the frame at work; False while one does not end."""
        with self._frames:  # no frame is on its way to the worker
            parts: list[Closable | None] = [self._arrivals, self._worker, self._drawer]
            self._arrivals = self._worker = self._drawer = None
        if not close_all(parts, CLOSE_WAIT):
            self._left_behind = parts
        return close_all(self._left_behind, 0.0)

    def note_unheard(self, lines: Mapping[str, list[str]]) -> None:
        """Publishers of which nothing arrives, by topic, each with the remedy."""
        self.unheard = lines
        self.calibration.note_unheard(lines)

    # -- in the executor's thread ----------------------------------------------------------------

    def on_camera_info(self, camera: str, msg: CameraInfo) -> None:
        doubt_before = self.calibration.doubt(camera)
        try:
            contradiction = self.calibration.take_camera_info(camera, msg)
        except UserError as error:  # the last good calibration stays in use
            self._useless_message(camera, error)
            return
        if contradiction is not None:
            self.statistics.cameras[camera].contradiction.add(contradiction)
            self._warn(f"calibrations {camera}", f"{camera}: {contradiction}")
        self._tell_changes()
        doubt = self.calibration.doubt(camera)
        if doubt is not None and doubt != doubt_before:
            self._warn(f"calibration {camera}", f"{camera}: {doubt}")
        arrivals = self._arrivals
        if arrivals is not None:
            arrivals.on_calibration(camera)
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
        self._tell_changes()

    def _tell_changes(self) -> None:
        for text in self.calibration.changes():
            self.statistics.bad_transforms.add(text)
            self._warn(f"tf {text}", text)

    def on_odometry(self, msg: Odometry) -> None:
        try:
            if (stamp := stamp_ns(msg.header.stamp)) == 0:
                raise UserError("no stamp; fill in header.stamp")
            pose = matrix_from_pose(msg.pose.pose)
            twist = msg.twist.twist.linear
            self._pose_watch.see(stamp, pose, math.hypot(twist.x, twist.y, twist.z))
            child = msg.child_frame_id.lstrip("/")
            if child not in ("", self.settings.base_frame):
                pose = pose @ self.calibration.transforms.lookup(child, self.settings.base_frame)
            self.odometry.add(stamp, pose)
        except UserError as error:
            self.statistics.bad_odometry.add(str(error))
            self._warn("odometry", f"{self.settings.odometry_name}: {error}")

    def on_lost_images(self, camera: str, count: int) -> None:
        """Note images that were sent, and lost on the way."""
        self.statistics.cameras[camera].lost(count)

    def on_image(self, camera: str, msg: ImageMessage) -> None:
        """Look at a message, and hand it on to be prepared."""
        arrivals = self._arrivals
        if arrivals is not None:
            arrivals.on_image(camera, msg)

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

    # -- in any thread ---------------------------------------------------------------------------

    def _busy(self) -> bool:
        """Whether a fresh frame waits for the detector, which another sweep would only replace."""
        worker = self._worker
        since = worker.waits_since if worker is not None else None
        return since is not None and time.monotonic() - since < FRESH

    def _unready(self) -> list[Arrival]:
        arrivals = self._arrivals
        return arrivals.unready() if arrivals is not None else []

    def _add(self, arrival: Arrival, prepared: PreparedImage) -> None:
        """Look for the frame of an image that is ready."""
        with self._frames:
            self.synchronizer.add(arrival.camera, arrival.stamp, prepared, arrival.now)
            if self._take_frames(arrival.now):
                self._serve()

    def _useless_message(self, camera: str, error: Exception) -> None:
        """Note why a camera's message is of no use, while the error is handled."""
        statistics = self.statistics.cameras[camera]
        if isinstance(error, KeyFrameNeededError):
            statistics.undecodable.add(str(error))
            self._warn(f"video {camera}", f"{camera}: {error}")
        elif isinstance(error, UserError) and not isinstance(error, OutOfMemoryError):
            statistics.bad.add(str(error))
            self._warn(f"bad message {camera}", f"{camera}: bad message: {error}")
        else:  # no fault of the message, and the next one may succeed
            self._failed(error)

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
            poses = self._poses(job)
            moved = time.monotonic()
            took("odometry", moved - started)
            items = dict(zip(job.frame.cameras, job.frame.items, strict=True))
            encoded = {camera: items[camera].image for camera in poses}
            selection = self._selection()
            detections = selection.of(
                self.detector.detect_encoded(encoded, poses, selection.lowest_score)
            )
            detected = time.monotonic()
            took("detect", detected - moved)
            self._publish(detections, job.frame.reference)
            published = time.monotonic()
            took("publish", published - detected)
            took("total", published - job.arrival)
            took("stamp", (self.ros_time() - job.frame.reference) * 1e-9)
            self.statistics.compare(self._budgets())
            self._show(detections, job.frame.reference)
            took("show", time.monotonic() - published)
            self._hand_to_drawer(job.frame, poses, detections)
        except Exception as error:  # whatever it is: the next frame may succeed
            self._failed(error)
        else:
            self.statistics.detected += 1

    def _hand_to_drawer(
        self, frame: SyncedFrame[PreparedImage], poses: dict[str, Array], detections: Detections
    ) -> None:
        images = [
            OverlayImage(
                *(camera, item.pixels, item.model.calibration, poses[camera]),
                *(item.model.frame_id, stamp),
            )
            for camera, item, stamp in zip(frame.cameras, frame.items, frame.stamps, strict=True)
            if item.pixels is not None and camera in poses
        ]
        drawer = self._drawer
        if images and drawer is not None:
            drawer.put((images, detections))

    def _failed(self, error: Exception) -> None:
        if isinstance(error, UserError):
            self.statistics.failed.add(str(error))
            self._warn("detection", f"detection failed: {error}")
        else:
            self.statistics.failed.add(f"{type(error).__name__}: {error}; see the node's log")
            self._warn("detection", f"detection failed:\n{traceback.format_exc()}")

    def _poses(self, job: _Job) -> dict[str, Array]:
        """Each camera's pose at its image's stamp, seen from the ego pose at the reference."""
        frame, mountings = job.frame, dict(job.mountings)
        stamps = frame.stamp_of
        if self.calibration.needs_tf:  # what /tf says by now: its end was still to come
            self.calibration.transforms.wait_for(frame.reference, TRANSFORM_WAIT)
            for camera, prepared in zip(frame.cameras, frame.items, strict=True):
                if camera in mountings and self.calibration.moves(prepared.model):
                    with suppress(UserError):  # the one that was known before is used
                        mountings[camera] = self.calibration.mounting(
                            prepared.model, stamps[camera]
                        )
        if not self.settings.use_odometry or len(self.odometry) == 0:
            return mountings
        self.odometry.wait_for(frame.reference, ODOMETRY_WAIT)
        try:
            return self.odometry.compensate(mountings, stamps, frame.reference)
        except UserError as error:
            self.statistics.without_motion.add(str(error))
            return mountings

    # -- in the drawer's thread ------------------------------------------------------------------

    def _draw_all(self, frame: tuple[list[OverlayImage], Detections]) -> None:
        images, detections = frame
        started = time.monotonic()
        for image in images:
            try:
                self._draw(image, detections)
            except Exception as error:
                self.statistics.undrawn.add(f"{image.camera}: {type(error).__name__}: {error}")
                self._warn("overlay", f"no overlay of {image.camera}:\n{traceback.format_exc()}")
        self.statistics.took("overlay", time.monotonic() - started)
