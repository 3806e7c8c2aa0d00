# SPDX-License-Identifier: Apache-2.0
"""What an operator reads in /diagnostics. Each WARN and ERROR names its remedy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from asd_perception.cameras.rig_check import Finding
from asd_perception.ros.check.faults import OLD, long_tolerance, lost_images, nothing_heard
from asd_perception.ros.parameters.settings import Settings
from asd_perception.ros.statistics import RECENT, STAGES, CameraStatistics, Statistics

if TYPE_CHECKING:
    from asd_perception.ros.pipeline import Pipeline

HANG_TIMEOUT = 5.0  # s that a frame or an image may take before the detector is taken to hang
CLOCKS_AGREE = 60.0  # s of age of a stamp beyond which it is of another clock than the node's
PARTS = ("wait", "queue", "odometry", "detect", "publish")  # stages of which "total" is the sum
ON_THE_WAY = "the images' way to the node"
_RIG = "mounting and lens"  # a camera's value
REPEATED = 5  # images in a row with one stamp: the driver repeats its last one
MISSED_RUN = 10  # frames in a row without a camera that sends images: it is not bad luck


def pipeline_statuses(pipeline: Pipeline) -> list[DiagnosticStatus]:
    """The statuses of an active pipeline: frames, each camera, ego motion, latency."""
    statistics = pipeline.statistics
    findings = pipeline.rig.findings()
    return [
        _frame_status(pipeline),
        *(
            _camera_status(pipeline, camera, findings.get(camera, []))
            for camera in statistics.cameras
        ),
        _motion_status(pipeline),
        _latency_status(statistics, pipeline.settings),
    ]


def _quiet(pipeline: Pipeline) -> float:
    """Seconds without an image, or without a frame, after which something is called wrong."""
    return 2 * pipeline.synchronizer.silent


def _begins(pipeline: Pipeline) -> bool:
    """Whether the first images may still be on their way."""
    return time.monotonic() - pipeline.statistics.since < _quiet(pipeline)


def _camera_status(pipeline: Pipeline, camera: str, findings: list[Finding]) -> DiagnosticStatus:
    """One camera: its calibration, rate, age, and what became of its images.

    findings: what is wrong with its mounting and lens.
    """
    statistics = pipeline.statistics.cameras[camera]
    topic = pipeline.settings.cameras[camera].image_name
    now = time.monotonic()
    age = now - statistics.last_arrival if statistics.last_arrival is not None else None
    silent = now - pipeline.statistics.since if age is None else age
    synchronizer = pipeline.synchronizer
    ahead = f"{statistics.ahead.reason}; {_clock_remedy(pipeline.settings)}"
    transport = pipeline.settings.image_transport
    sizes = [other.size for other in pipeline.statistics.cameras.values()]
    lost = lost_images(statistics.lost_lately, RECENT, transport, statistics.size, sizes)
    level, message = DiagnosticStatus.OK, f"{statistics.rate:.1f} Hz"
    stamp = statistics.last_stamp if silent < _quiet(pipeline) else None
    if (fault := pipeline.calibration.fault(camera, stamp)) is not None and _begins(pipeline):
        message = f"begins; so far {fault}"
    elif silent > _quiet(pipeline):
        level = DiagnosticStatus.ERROR
        message = nothing_heard(
            f"no image on {topic} for {silent:.0f} s",
            pipeline.unheard.get(topic) or [lost] * bool(lost),
            "check the camera, the topic's name and the parameter image_transport",
        )
        if fault is not None:
            message += f"; {fault}"
    elif fault is not None:
        level, message = DiagnosticStatus.ERROR, fault
    elif lost:
        level, message = DiagnosticStatus.WARN, lost
    elif statistics.bad.recent:
        level = DiagnosticStatus.WARN
        message = f"bad message: {statistics.bad.reason}"
        if ";" not in message:  # it names no remedy of its own
            message += "; check the camera's driver and its link"
    elif statistics.undecodable.recent:
        level, message = DiagnosticStatus.WARN, statistics.undecodable.reason
    elif statistics.contradiction.recent:
        level, message = DiagnosticStatus.WARN, statistics.contradiction.reason
    elif statistics.ahead.recent:
        level, message = DiagnosticStatus.WARN, ahead
    elif statistics.repeated >= REPEATED:
        level = DiagnosticStatus.WARN
        message = (
            f"its last {statistics.repeated + 1} images have one stamp, so they are taken for one "
            "image: the driver repeats it, or does not fill in header.stamp anew; start it again"
            + (", or see why /clock stands still" if pipeline.settings.use_sim_time else "")
        )
    elif statistics.missed_run >= MISSED_RUN and not pipeline.overrun(camera):
        level = DiagnosticStatus.WARN
        message = (
            f"its images come, but the last {statistics.missed_run} frames are without it: their "
            "stamps do not fit the other cameras'; synchronise its clock (PTP, NTP), or raise "
            "sync.max_wait if they come late"
        )
    elif (doubt := pipeline.calibration.doubt(camera)) is not None:
        level, message = DiagnosticStatus.WARN, doubt
    elif statistics.doubt.recent:
        level, message = DiagnosticStatus.WARN, statistics.doubt.reason
    if level == DiagnosticStatus.ERROR and lost and lost not in message:
        message += f"; {lost}"
    if level == DiagnosticStatus.ERROR and statistics.bad.recent:
        message += f"; last bad message: {statistics.bad.reason}"
    if level == DiagnosticStatus.ERROR and statistics.ahead.recent:
        message += f"; {ahead}"
    rig = "; ".join(finding.text for finding in findings)
    if rig and level == DiagnosticStatus.OK:
        level, message = DiagnosticStatus.WARN, rig
    elif rig:
        message += f"; {rig}"
    values = {
        "topic": topic,
        "rate": f"{statistics.rate:.2f} Hz",
        "age": "never" if age is None else f"{age:.2f} s",
        "images": statistics.received,
        "images lost on the way": statistics.lost_count,
        "frames without it": statistics.missed,
        "images dropped (late or twice)": synchronizer.stale[camera],
        "images dropped (their frame lacked others)": synchronizer.unmatched[camera],
        "images dropped (came faster than frames are detected)": pipeline.overrun(camera),
        "packets of video left out (before a key frame)": statistics.undecodable.count,
        "bad messages": statistics.bad.count,
        "last bad message": statistics.bad.reason,
        _RIG: rig or "as trained for",
    }
    return status(camera, level, message, values)


def _frame_status(pipeline: Pipeline) -> DiagnosticStatus:
    """The state of synchronization and detection, and what became of the frames."""
    statistics, synchronizer = pipeline.statistics, pipeline.synchronizer
    now = time.monotonic()
    alive = [
        camera
        for camera in statistics.cameras.values()
        if camera.last_arrival is not None and now - camera.last_arrival < _quiet(pipeline)
    ]
    level, message = DiagnosticStatus.OK, f"{statistics.detected} frames detected"
    error, warnings = _no_detections(pipeline, alive), _worse_detections(pipeline)
    if error is not None:
        level, message = DiagnosticStatus.ERROR, "; ".join([error, *warnings])
    elif warnings:
        level, message = DiagnosticStatus.WARN, "; ".join(warnings)
    period = synchronizer.period
    values = {
        "live cameras": f"{len(alive)} of {len(statistics.cameras)}",
        "frames": statistics.frames,
        "frames with missing cameras": statistics.incomplete.count,
        "last missing cameras": statistics.incomplete.reason,
        "detected frames": statistics.detected,
        "dropped frames (a newer one was ready)": pipeline.dropped,
        "failed frames": statistics.failed.count,
        "frames without calibration": statistics.uncalibrated.count,
        "time since the last frame": f"{now - statistics.last_frame:.2f} s",
        "cameras' period": "unknown" if period is None else f"{period * 1e3:.1f} ms",
    }
    return status("frames", level, message, values)


def _no_detections(pipeline: Pipeline, senders: list[CameraStatistics]) -> str | None:
    """Why nothing is detected, or not all of it, with the remedy; the cause before its effects.

    senders: the cameras that send images.
    """
    statistics, settings = pipeline.statistics, pipeline.settings
    silence = time.monotonic() - statistics.last_frame
    quiet = _quiet(pipeline)
    alive = len(senders)
    unusable = sum(
        camera.bad.recent or camera.undecodable.recent or camera.repeated >= REPEATED
        for camera in senders
    )
    uncalibrated = sum(model is None for model in pipeline.calibration.models.values())
    if pipeline.busy_for > HANG_TIMEOUT:
        return (
            f"the detector has been at its work for {pipeline.busy_for:.0f} s; look after the "
            "device (nvidia-smi, dmesg), and start the node again"
        )
    if statistics.failed.recent:
        return f"detection failed: {statistics.failed.reason}"
    if _begins(pipeline):  # a player waits for this node before it begins
        return None
    if settings.use_sim_time and pipeline.ros_time() == 0:
        return "use_sim_time is set, but /clock is silent; play the bag with --clock, or unset it"
    if alive < settings.sync_min_cameras:
        return (
            f"{alive} cameras send images, sync.min_cameras asks for {settings.sync_min_cameras}; "
            "see the cameras' own lines"
        )
    if silence > quiet and uncalibrated:
        return (
            f"no frame for {silence:.0f} s: {uncalibrated} of {len(settings.cameras)} cameras have "
            "no calibration; see their own lines"
        )
    if silence > quiet and alive - unusable < settings.sync_min_cameras:
        return (
            f"no frame for {silence:.0f} s: the messages of {unusable} of {alive} cameras are of "
            "no use; see their own lines"
        )
    if silence > quiet:
        return (
            f"{alive} cameras send images, but for {silence:.0f} s their stamps have formed no "
            "frame of more than half of them; synchronise the cameras' clocks (PTP, NTP), raise "
            "sync.tolerance if they fire further apart, or sync.max_wait if their images come late"
        )
    if statistics.uncalibrated.recent:
        return f"frame without calibration: {statistics.uncalibrated.reason}"
    return None


def _worse_detections(pipeline: Pipeline) -> list[str]:
    """What makes the detections fewer or worse, lately, each with its remedy."""
    statistics, settings = pipeline.statistics, pipeline.settings
    warnings = []
    totals = list(statistics.totals)
    if len(totals) == statistics.totals.maxlen:  # one slow frame is no slow machine
        frames, dropped, images, left_out = (
            last - first for first, last in zip(totals[0], totals[-1], strict=True)
        )
        if dropped > max(2, frames // 10) or left_out > max(2, images // 10):
            warnings.append(
                f"{dropped} of the last {frames} frames and {left_out} of {images} images dropped, "
                "this machine is slower than the cameras; use a GPU, a smaller model or a lower "
                "camera rate"
            )
    if statistics.incomplete.recent:
        warnings.append(
            f"detected without {statistics.incomplete.reason}: nothing is seen there; check the "
            "camera and its link, or raise sync.max_wait if its images come late"
        )
    if statistics.undrawn.recent:
        warnings.append(f"no overlay of {statistics.undrawn.reason}; see the node's log")
    if statistics.bad_transforms.recent:
        warnings.append(statistics.bad_transforms.reason)
    warnings += pipeline.calibration.transforms.contradictions.values()
    tolerance = long_tolerance(settings.sync_tolerance_ns, pipeline.synchronizer.period)
    if tolerance is not None:
        warnings.append(tolerance)
    return warnings


def _motion_status(pipeline: Pipeline) -> DiagnosticStatus:
    """Ego motion between the camera stamps."""
    statistics, settings = pipeline.statistics, pipeline.settings
    level, message = DiagnosticStatus.OK, "ego motion is compensated"
    if not settings.use_odometry:
        message = "off (use_odometry is false)"
    elif statistics.bad_odometry.recent:
        level = DiagnosticStatus.WARN
        message = f"bad message: {statistics.bad_odometry.reason}"
    elif len(pipeline.odometry) == 0:
        unheard = pipeline.unheard.get(settings.odometry_name, [])
        level = DiagnosticStatus.WARN if unheard else level
        message = nothing_heard(
            f"no odometry on {settings.odometry_name}",
            unheard,
            "the robot is taken to stand still between camera stamps",
        )
    elif statistics.without_motion.recent:
        level = DiagnosticStatus.WARN
        message = statistics.without_motion.reason
    values = {
        "topic": settings.odometry_name,
        "frames without ego motion": statistics.without_motion.count,
        "bad messages": statistics.bad_odometry.count,
    }
    return status("odometry", level, message, values)


def _clock_remedy(settings: Settings) -> str:
    """What to do where stamps and the node's clock are far apart."""
    if settings.use_sim_time:
        return (
            "let /clock come from the bag alone that is played (--clock, one publisher), and set "
            "use_sim_time for live drivers, too"
        )
    return (
        "synchronise the clocks (PTP, NTP), or set use_sim_time for a replayed bag and play it "
        "with --clock"
    )


def _latency_status(statistics: Statistics, settings: Settings) -> DiagnosticStatus:
    """Times of the stages, and how old the detections are when they are published."""
    latencies = statistics.latencies()
    age = latencies["stamp"][0] if "stamp" in latencies else 0.0
    total = latencies.get("total")
    level = DiagnosticStatus.OK
    message = "no frame yet" if total is None else f"p50 {total[0] * 1e3:.0f} ms"
    if abs(age) > CLOCKS_AGREE:
        del latencies["stamp"]
        level = DiagnosticStatus.WARN
        message += f"; stamps are {age:.0f} s from the node's clock: {_clock_remedy(settings)}"
    elif age > OLD:
        level = DiagnosticStatus.ERROR
        message = (
            f"detections are {age:.1f} s old when they are published; the images come late "
            "(check the link) or the cameras' clock is behind (PTP, NTP)"
        )
    for level_beyond, faults in (
        (DiagnosticStatus.ERROR, statistics.too_slow),
        (DiagnosticStatus.WARN, statistics.slow),
    ):
        beyond = [stage for stage in latencies if faults[stage].recent]
        if beyond:
            level = max(level, level_beyond)
            message += "".join(
                f"; {faults[stage].reason} (latency_budget.{stage}), {_longest(stage, latencies)}"
                for stage in beyond
            )
            break
    values = {
        f"{stage} ({STAGES[stage]})": f"p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms"
        for stage, (p50, p99) in latencies.items()
    }
    return status("latency", level, message, values)


def _longest(stage: str, latencies: Mapping[str, tuple[float, float]]) -> str:
    """What most of a stage's time goes into, by p99, and what makes it shorter."""
    times = {part: latencies[part][1] for part in PARTS if part in latencies}
    if stage == "stamp":
        times[ON_THE_WAY] = latencies["stamp"][1] - latencies["total"][1]
    longest = max(times, key=times.__getitem__)
    remedy = "use a GPU, a smaller model or a lower camera rate"
    if longest == "wait":
        remedy = "see the cameras' lines, or lower sync.max_wait"
    elif longest == "odometry":
        remedy = "publish odometry and moving transforms sooner and more often"
    elif longest == ON_THE_WAY:
        remedy = "check the cameras' links and clocks (PTP, NTP)"
    return f"the longest part of it is {longest} (p99 {times[longest] * 1e3:.0f} ms); {remedy}"


def error_in_log(line: DiagnosticStatus) -> str:
    """The message of an ERROR without what is wrong with the rig: the log has that already."""
    message: str = line.message
    rig = next((item.value for item in line.values if item.key == _RIG), "")
    return message.removesuffix(f"; {rig}")


def status(
    name: str, level: bytes, message: str, values: Mapping[str, object] | None = None
) -> DiagnosticStatus:
    """One line of /diagnostics; the node puts its own name before that of the status."""
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        values=[KeyValue(key=key, value=str(value)) for key, value in (values or {}).items()],
    )
