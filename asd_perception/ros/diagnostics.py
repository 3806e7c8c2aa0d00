# SPDX-License-Identifier: Apache-2.0
"""What an operator reads in /diagnostics. Each WARN and ERROR names its remedy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from asd_perception.ros.statistics import STAGES, Statistics

if TYPE_CHECKING:
    from asd_perception.ros.pipeline import Pipeline

SILENT = 2.0  # s without an image after which a camera is called silent
CLOCKS_AGREE = 60.0  # s of age of a stamp beyond which it is of another clock than the node's


def pipeline_statuses(pipeline: Pipeline) -> list[DiagnosticStatus]:
    """The statuses of an active pipeline: frames, each camera, ego motion, latency."""
    statistics = pipeline.statistics
    return [
        _frame_status(pipeline),
        *(_camera_status(pipeline, camera) for camera in statistics.cameras),
        _motion_status(statistics, pipeline.settings.use_odometry, len(pipeline.odometry)),
        _latency_status(statistics),
    ]


def _camera_status(pipeline: Pipeline, camera: str) -> DiagnosticStatus:
    """One camera: its calibration, rate, age, and what became of its images."""
    statistics = pipeline.statistics.cameras[camera]
    topic = pipeline.settings.image_topic(camera)
    now = time.monotonic()
    age = now - statistics.last_arrival if statistics.last_arrival is not None else None
    silent = now - pipeline.statistics.since if age is None else age
    synchronizer = pipeline.synchronizer
    ahead = (
        f"{statistics.ahead.reason}; synchronise the clocks (PTP, NTP), or set use_sim_time "
        "for a replayed bag"
    )
    level, message = DiagnosticStatus.OK, f"{statistics.rate:.1f} Hz"
    if (fault := pipeline.calibration.fault(camera)) is not None:
        level, message = DiagnosticStatus.ERROR, fault
    elif silent > SILENT:
        level = DiagnosticStatus.ERROR
        message = (
            f"no image on {topic} for {silent:.0f} s; check the camera, the topic's name "
            "and the parameter image_transport"
        )
    elif statistics.bad.recent:
        level = DiagnosticStatus.WARN
        message = f"bad message: {statistics.bad.reason}; check the camera's driver and its link"
    elif statistics.contradiction.recent:
        level = DiagnosticStatus.WARN
        message = (
            f"{statistics.contradiction.reason}, which is used; let the driver publish both "
            "with the camera's optical frame"
        )
    elif statistics.ahead.recent:
        level, message = DiagnosticStatus.WARN, ahead
    if level == DiagnosticStatus.ERROR and statistics.bad.recent:
        message += f"; last bad message: {statistics.bad.reason}"
    if level == DiagnosticStatus.ERROR and statistics.ahead.recent:
        message += f"; {ahead}"
    values = {
        "topic": topic,
        "rate": f"{statistics.rate:.2f} Hz",
        "age": "never" if age is None else f"{age:.2f} s",
        "images": statistics.received,
        "frames without it": statistics.missed,
        "images dropped (late or twice)": synchronizer.stale[camera],
        "images dropped (their frame lacked others)": synchronizer.unmatched[camera],
        "images dropped (came faster than frames are detected)": pipeline.overrun(camera),
        "bad messages": statistics.bad.count,
        "last bad message": statistics.bad.reason,
    }
    return status(camera, level, message, values)


def _frame_status(pipeline: Pipeline) -> DiagnosticStatus:
    """The state of synchronization, and what became of the frames."""
    statistics, settings = pipeline.statistics, pipeline.settings
    now = time.monotonic()
    alive = sum(
        camera.last_arrival is not None and now - camera.last_arrival < SILENT
        for camera in statistics.cameras.values()
    )
    overrun = sum(pipeline.overrun(camera) for camera in statistics.cameras)
    received = sum(camera.received for camera in statistics.cameras.values())
    level, message = DiagnosticStatus.OK, f"{statistics.detected} frames detected"
    if statistics.failed.recent:
        level = DiagnosticStatus.ERROR
        message = f"detection failed: {statistics.failed.reason}"
    elif statistics.uncalibrated.recent:
        level = DiagnosticStatus.ERROR
        message = f"frame without calibration: {statistics.uncalibrated.reason}"
    elif statistics.bad_transforms.recent:
        level, message = DiagnosticStatus.WARN, statistics.bad_transforms.reason
    elif alive >= settings.sync_min_cameras and now - statistics.last_frame > SILENT:
        level = DiagnosticStatus.WARN
        message = (
            f"{alive} cameras send images, but their stamps form no frame; "
            "synchronise the cameras' clocks or raise sync.tolerance"
        )
    elif alive < settings.sync_min_cameras:
        level = DiagnosticStatus.ERROR
        message = (
            f"{alive} cameras send images, sync.min_cameras asks for {settings.sync_min_cameras}; "
            "see the cameras' own lines"
        )
    elif statistics.incomplete.recent:
        level = DiagnosticStatus.WARN
        message = (
            f"detected without {statistics.incomplete.reason}: nothing is seen there; check the "
            "camera and its link, or raise sync.max_wait if its images come late"
        )
    elif pipeline.dropped > statistics.frames // 10 or overrun > received // 10:
        level = DiagnosticStatus.WARN
        message = (
            f"{pipeline.dropped} of {statistics.frames} frames and {overrun} of {received} images "
            "dropped, this machine is slower than the cameras; use a GPU, a smaller model or a "
            "lower camera rate"
        )
    values = {
        "live cameras": f"{alive} of {len(statistics.cameras)}",
        "frames": statistics.frames,
        "frames with missing cameras": statistics.incomplete.count,
        "last missing cameras": statistics.incomplete.reason,
        "detected frames": statistics.detected,
        "dropped frames (a newer one was ready)": pipeline.dropped,
        "failed frames": statistics.failed.count,
        "frames without calibration": statistics.uncalibrated.count,
        "time since the last frame": f"{now - statistics.last_frame:.2f} s",
    }
    return status("frames", level, message, values)


def _motion_status(statistics: Statistics, use_odometry: bool, received: int) -> DiagnosticStatus:
    """Ego motion between the camera stamps; received: odometry messages that can be used."""
    level, message = DiagnosticStatus.OK, "ego motion is compensated"
    if not use_odometry:
        message = "off (use_odometry is false)"
    elif statistics.bad_odometry.recent:
        level = DiagnosticStatus.WARN
        message = f"bad message: {statistics.bad_odometry.reason}"
    elif received == 0:
        message = "no odometry; the robot is taken to stand still between camera stamps"
    elif statistics.without_motion.recent:
        level = DiagnosticStatus.WARN
        message = statistics.without_motion.reason
    values = {
        "frames without ego motion": statistics.without_motion.count,
        "bad messages": statistics.bad_odometry.count,
    }
    return status("odometry", level, message, values)


def _latency_status(statistics: Statistics) -> DiagnosticStatus:
    latencies = statistics.latencies()
    if "stamp" in latencies and not 0 <= latencies["stamp"][0] < CLOCKS_AGREE:
        del latencies["stamp"]  # a replayed bag
    values = {
        f"{stage} ({STAGES[stage]})": f"p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms"
        for stage, (p50, p99) in latencies.items()
    }
    total = latencies.get("total")
    message = "no frame yet" if total is None else f"p50 {total[0] * 1e3:.0f} ms"
    return status("latency", DiagnosticStatus.OK, message, values)


def status(
    name: str, level: bytes, message: str, values: Mapping[str, object] | None = None
) -> DiagnosticStatus:
    """One line of /diagnostics, named like those of diagnostic_updater."""
    return DiagnosticStatus(
        level=level,
        name=f"detector: {name}",
        message=message,
        values=[KeyValue(key=key, value=str(value)) for key, value in (values or {}).items()],
    )
