# SPDX-License-Identifier: Apache-2.0
"""What an operator reads in /diagnostics. Each WARN and ERROR names its remedy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from asd_perception.errors import UserError
from asd_perception.ros.statistics import STAGES, CameraStatistics, Statistics

if TYPE_CHECKING:
    from asd_perception.ros.pipeline import Pipeline

SILENT = 2.0  # s without an image after which a camera is called silent


def pipeline_statuses(pipeline: Pipeline) -> list[DiagnosticStatus]:
    """The statuses of an active pipeline: frames, each camera, ego motion, latency."""
    statistics = pipeline.statistics
    active_for = time.monotonic() - statistics.since
    cameras = []
    for name, camera in statistics.cameras.items():
        try:
            pipeline.calibration.ego_from_camera(name)
            missing = None
        except UserError as error:
            missing = str(error)
        topic = pipeline.settings.image_topic(name)
        cameras.append(_camera_status(name, topic, camera, active_for, missing))
    return [
        _frame_status(statistics, pipeline.stale, pipeline.dropped),
        *cameras,
        _motion_status(statistics, pipeline.settings.use_odometry, len(pipeline.odometry)),
        _latency_status(statistics),
    ]


def _camera_status(
    camera: str, topic: str, statistics: CameraStatistics, active_for: float, missing: str | None
) -> DiagnosticStatus:
    """One camera: its rate and age; missing: what its calibration lacks."""
    now = time.monotonic()
    age = now - statistics.last_arrival if statistics.last_arrival is not None else None
    silent = active_for if age is None else age
    level, message = DiagnosticStatus.OK, f"{statistics.rate:.1f} Hz"
    if missing is not None:
        level, message = DiagnosticStatus.ERROR, missing
    elif silent > SILENT:
        level = DiagnosticStatus.ERROR
        message = (
            f"no image on {topic} for {silent:.0f} s; check the camera, the topic's name "
            "and the parameter image_transport"
        )
    elif statistics.bad.recent:
        level = DiagnosticStatus.WARN
        message = f"bad message: {statistics.bad.reason}; check the camera's driver and its link"
    if level == DiagnosticStatus.ERROR and statistics.bad.recent:
        message += f"; last bad message: {statistics.bad.reason}"
    values = {
        "topic": topic,
        "rate": f"{statistics.rate:.2f} Hz",
        "age": "never" if age is None else f"{age:.2f} s",
        "images": statistics.received,
        "bad messages": statistics.bad.count,
        "last bad message": statistics.bad.reason,
    }
    return status(camera, level, message, values)


def _frame_status(statistics: Statistics, stale: int, dropped: int) -> DiagnosticStatus:
    """What became of the frames."""
    now = time.monotonic()
    alive = all(
        camera.last_arrival is not None and now - camera.last_arrival < SILENT
        for camera in statistics.cameras.values()
    )
    level, message = DiagnosticStatus.OK, f"{statistics.detected} frames detected"
    if statistics.failed.recent:
        level = DiagnosticStatus.ERROR
        message = f"detection failed: {statistics.failed.reason}"
    elif statistics.uncalibrated.recent:
        level = DiagnosticStatus.ERROR
        message = f"frame without calibration: {statistics.uncalibrated.reason}"
    elif statistics.bad_transforms.recent:
        level, message = DiagnosticStatus.WARN, statistics.bad_transforms.reason
    elif alive and now - statistics.last_complete > SILENT:
        level = DiagnosticStatus.WARN
        message = (
            "all cameras send images, but their stamps form no frame; "
            "synchronise the cameras' clocks or raise sync_tolerance"
        )
    elif dropped > statistics.complete // 10:
        level = DiagnosticStatus.WARN
        message = (
            f"{dropped} of {statistics.complete} frames dropped, the detector is slower than the "
            "cameras; use a GPU, a smaller model or a lower camera rate"
        )
    values = {
        "complete frames": statistics.complete,
        "detected frames": statistics.detected,
        "dropped frames (a newer one was ready)": dropped,
        "failed frames": statistics.failed.count,
        "frames without calibration": statistics.uncalibrated.count,
        "stale or duplicate images": stale,
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
