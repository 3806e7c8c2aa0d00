# SPDX-License-Identifier: Apache-2.0
"""What is to be said of a rig's messages: facts, and what is wrong with its remedy, as plain text.

The text is ASCII, for any terminal.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

from asd_perception.cameras.calibration import TrainedCamera
from asd_perception.cameras.field_of_view import covered
from asd_perception.cameras.rig_check import (
    Finding,
    Level,
    MountedCamera,
    ShownCamera,
    check_image_size,
    check_rig,
    shown,
)
from asd_perception.errors import UserError
from asd_perception.frames.synchronizer import QUEUE_SIZE
from asd_perception.ros.check.faults import (
    OLD,
    contradicting_frames,
    duplicate_frame,
    long_tolerance,
    nothing_heard,
)
from asd_perception.ros.check.recording import CameraRecord, RigRecording
from asd_perception.ros.messages.camera_info import wrongly_rectified

GAP = 1.5  # periods between two images: one was lost
MANY = 0.01  # share of a camera's images
INCOMPLETE = 0.1  # share of the sweeps
ENOUGH_IMAGES = QUEUE_SIZE + 1  # of a camera; the synchronizer learns phases from QUEUE_SIZE
SLOW = 0.7  # of the other cameras' rate

WIDTH = 100  # characters of a line for a terminal

Facts = list[tuple[str, str]]


@dataclass(frozen=True)
class Section:
    """What is known of a camera or of the whole rig, and what is wrong, worst first."""

    name: str
    facts: Facts
    findings: list[Finding]

    @property
    def verdict(self) -> str:
        """ok, warning or error."""
        level = max((finding.level for finding in self.findings), default=None)
        return "ok" if level is None else level.name.lower()


@dataclass(frozen=True)
class RigReport:
    """One section for each camera, and one for the rig; what a network is shown, by camera."""

    cameras: list[Section]
    rig: Section
    mounted: Mapping[str, MountedCamera]
    shown: Mapping[str, ShownCamera]

    @property
    def sections(self) -> list[Section]:
        return [*self.cameras, self.rig]

    def count(self, level: Level) -> int:
        """How many findings are of a level."""
        return sum(f.level == level for section in self.sections for f in section.findings)

    @property
    def text(self) -> str:
        """The report for a terminal, in ASCII."""
        lines = [line for section in self.sections for line in (*_section_lines(section), "")]
        errors, warnings = self.count(Level.ERROR), self.count(Level.WARNING)
        lines.append(f"{_number(errors, 'error')}, {_number(warnings, 'warning')}")
        return "\n".join(lines).encode("ascii", "backslashreplace").decode()


def report(
    recording: RigRecording,
    trained: tuple[TrainedCamera, ...],
    input_size: tuple[int, int],
    live: bool,
) -> RigReport:
    """Judge a finished recording, for a network of these cameras and this input (rows, columns).

    live: whether the images were received as they were taken; in a bag they may be old.
    """
    mounted, faults = _mounted(recording)
    of_rig = check_rig(mounted, trained, input_size, recording.base_frame)
    of_network = {name: shown(camera, trained, input_size) for name, camera in mounted.items()}
    sections = []
    for name, record in recording.cameras.items():
        findings = [
            *_image_findings(name, recording),
            *_stamp_findings(name, recording, live),
            *_info_findings(name, recording),
            *([faults[name]] if name in faults else []),
            *of_rig.get(name, []),
        ]
        facts = _message_facts(record)
        if name in mounted:
            moves = recording.moves(mounted[name].frame_id)
            facts += _rig_facts(mounted[name], of_network[name], moves, recording.base_frame)
        sections.append(Section(name, facts, sorted(findings, key=lambda item: -item.level)))
    return RigReport(sections, _rig_section(recording, of_network), mounted, of_network)


def _mounted(recording: RigRecording) -> tuple[dict[str, MountedCamera], dict[str, Finding]]:
    """The cameras whose calibration and mounting are known, and what the others' mounting lacks."""
    mounted, faults = {}, {}
    for name, record in recording.cameras.items():
        model = record.model
        if model is None:
            continue
        try:
            pose = recording.mounting(model)
        except UserError as error:
            known = sorted(frame for frame in recording.frame_names if frame)
            names = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
            heard = (
                f"the frames of all transforms are {names}" if known else "there are none at all"
            )
            faults[name] = Finding(Level.ERROR, f"{error}; {heard}")
        else:
            mounted[name] = MountedCamera(
                *(model.frame_id, model.calibration, pose, model.whole, model.rectified)
            )
    return mounted, faults


# -- what is wrong with a camera -------------------------------------------------------------------


def _image_findings(name: str, recording: RigRecording) -> Iterable[Finding]:
    record = recording.cameras[name]
    count, refused = len(record.stamps), record.refused.total()
    if not count and not refused:
        yield Finding(
            Level.ERROR,
            nothing_heard(
                f"no image on {record.topics.image}",
                recording.unheard.get(record.topics.image, []),
                "check the camera, the topic's name and the parameter image_transport",
            ),
        )
    if refused:
        (reason, _), *_ = record.refused.most_common(1)
        level = Level.WARNING if count else Level.ERROR
        yield Finding(level, f"{refused} of {count + refused} images are refused: {reason}")
    if record.doubt is not None:
        yield Finding(Level.WARNING, record.doubt)
    if record.model is not None and record.sizes:
        (size, _), *_ = record.sizes.most_common(1)
        yield from check_image_size(size, record.model.calibration)
    if len(record.sizes) > 1:
        yield Finding(
            Level.WARNING,
            f"its images change their size: {_counts(_size_names(record))}; only those of its "
            "camera_info's size are used",
        )


def _stamp_findings(name: str, recording: RigRecording, live: bool) -> Iterable[Finding]:
    record = recording.cameras[name]
    if not record.stamps:
        return
    steps = np.diff(record.stamps) * 1e-9
    repeated = int((steps <= 0).sum())
    if repeated > MANY * len(steps):
        yield Finding(
            Level.WARNING,
            f"{repeated} of {len(record.stamps)} stamps are not later than the one before: the "
            "driver repeats images, or its clock jumps",
        )
    period = _period(record)
    gaps = steps[steps > GAP * period] if period is not None else steps[:0]
    if len(gaps) > MANY * len(steps):
        yield Finding(
            Level.WARNING,
            f"{_number(len(gaps), 'gap')} of more than {GAP:g} periods between its images, the "
            f"longest {gaps.max():.2f} s: images are lost; check the camera's link and its driver",
        )
    others = [
        1 / other_period
        for other_name, other in recording.cameras.items()
        if other_name != name and (other_period := _period(other)) is not None
    ]
    if period is not None and others and 1 / period < SLOW * float(np.median(others)):
        yield Finding(
            Level.WARNING,
            f"{1 / period:.1f} Hz, the other cameras {np.median(others):.1f} Hz: sweeps lack its "
            "images; trigger all cameras at one rate",
        )
    if live and abs(age := _delay(record)) > OLD:
        yield Finding(
            Level.WARNING,
            f"its images come {_late(age)} their stamps: synchronise the clocks (PTP, NTP), or set "
            "use_sim_time for a replayed bag",
        )
    yield from _sweep_findings(name, recording)


def _sweep_findings(name: str, recording: RigRecording) -> Iterable[Finding]:
    """Whether the sweeps have its images."""
    frames, record = recording.frames, recording.cameras[name]
    lacking = sum(name not in frame.cameras for frame in frames)
    if not frames or lacking <= INCOMPLETE * len(frames):
        return
    delays = [_delay(r) for n, r in recording.cameras.items() if n != name and r.stamps]
    offset = float(np.median(delays)) - _delay(record) if delays else 0.0
    if abs(offset) > recording.tolerance_ns * 1e-9:
        where = "ahead of" if offset > 0 else "behind"
        cause = (
            f"its stamps are {abs(offset):.2f} s {where} the other cameras', by "
            "the times of receipt; synchronise its clock (PTP, NTP)"
        )
    else:
        cause = (
            "their stamps do not fit the other cameras', or they come late; trigger the cameras "
            "together, or raise sync.tolerance or sync.max_wait"
        )
    level = Level.ERROR if lacking > (1 - INCOMPLETE) * len(frames) else Level.WARNING
    yield Finding(level, f"{lacking} of {len(frames)} sweeps lack its images: {cause}")


def _info_findings(name: str, recording: RigRecording) -> Iterable[Finding]:
    record = recording.cameras[name]
    model, topic = record.model, record.topics.camera_info
    if not record.camera_infos:
        yield Finding(
            Level.ERROR,
            nothing_heard(
                f"no camera_info on {topic}",
                recording.unheard.get(topic, []),
                "let the driver publish the calibration beside its images",
            ),
        )
    if record.refused_info is not None:
        level = Level.ERROR if model is None else Level.WARNING
        yield Finding(level, f"{topic}: {record.refused_info}")
    if model is None:
        return
    if record.contradiction is not None:
        yield Finding(Level.WARNING, record.contradiction)
    doubt = wrongly_rectified(name, record.topics.image, model)
    if doubt is not None:
        yield Finding(Level.WARNING, doubt)
    faults = (contradicting_frames(frame, model.frame_id) for frame in record.frame_ids)
    if (fault := next(filter(None, faults), None)) is not None:
        yield Finding(Level.WARNING, fault)
    for other_name, other in recording.cameras.items():
        if other_name != name and other.model and other.model.frame_id == model.frame_id:
            yield Finding(Level.ERROR, duplicate_frame(model.frame_id, other_name))
            return


# -- facts -----------------------------------------------------------------------------------------


def _message_facts(record: CameraRecord) -> Facts:
    facts = [("images", f"{record.topics.image}, {_number(len(record.stamps), 'image')}")]
    if record.stamps:
        period = _period(record)
        rate = "" if period is None else f" at {1 / period:.1f} Hz"
        facts[0] = ("images", facts[0][1] + rate)
        facts.append(("format", f"{_counts(record.kinds)}; {_counts(_size_names(record))}"))
        steps = np.diff(record.stamps) * 1e-9
        longest = f", longest step {steps.max():.3f} s" if len(steps) else ""
        rising = "rising" if (steps > 0).all() else "not always rising"
        facts.append(("stamps", f"{rising}{longest}; received {_late(_delay(record))} them"))
    frames = _counts(record.frame_ids)
    model = record.model
    if model is None:
        facts.append(("calibration", f"{record.topics.camera_info}, none that can be used"))
        return [*facts, ("frame", f"images: {frames}")] if frames else facts
    calibration = model.calibration
    (width, height), matrix = calibration.size, calibration.matrix
    lens = record.lens or "no distortion model"
    if not calibration.is_distorted and not record.topics.rectified:
        lens += ", D = 0"
    elif calibration.is_distorted:
        lens += f", D = {' '.join(f'{value:.4g}' for value in calibration.distortion[:5])} ..."
    facts.append(
        (
            "calibration",
            f"{record.topics.camera_info}, {width}x{height}, fx {matrix[0, 0]:.1f} fy "
            f"{matrix[1, 1]:.1f} cx {matrix[0, 2]:.1f} cy {matrix[1, 2]:.1f}; {lens}",
        )
    )
    return [*facts, ("frame", f"camera_info: {model.frame_id}; images: {frames or 'none'}")]


def _rig_facts(
    camera: MountedCamera, of_network: ShownCamera, moves: bool, base_frame: str
) -> Facts:
    x, y, z = camera.ego_from_camera[:3, 3]
    heading, pitch, roll = camera.angles
    right, left = np.rad2deg(of_network.sector)
    return [
        (
            "mounting",
            f"x {x:.2f} y {y:.2f} z {z:.2f} m in {base_frame}; heading {heading:.0f}, pitch "
            f"{pitch:.1f}, roll {roll:.1f} deg{'; by /tf, it may move' if moves else ''}",
        ),
        (
            "view",
            f"lens {np.rad2deg(camera.field.horizontal):.0f} x "
            f"{np.rad2deg(camera.field.vertical):.0f} deg; the network is shown "
            f"{left - right:.0f} deg, which fill {of_network.seen * 100:.0f} % of its view",
        ),
        *_mask_facts(of_network),
    ]


def _mask_facts(of_network: ShownCamera) -> Facts:
    seen = of_network.view.seen
    if seen is None or not of_network.view.calibration.ego_mask:
        return []
    share = of_network.seen - seen.mean()
    return [("ego mask", f"hides {share * 100:.0f} % of the network's view")]


def _rig_section(recording: RigRecording, of_network: Mapping[str, ShownCamera]) -> Section:
    frames, total = recording.frames, len(recording.cameras)
    sending = sum(bool(record.stamps) for record in recording.cameras.values())
    complete = [frame for frame in frames if len(frame.cameras) == total]
    spreads = [(max(frame.stamps) - min(frame.stamps)) * 1e-6 for frame in complete]
    tolerance = recording.tolerance_ns * 1e-6
    period = recording.period
    sectors = [camera.sector for camera in of_network.values()]
    facts = [
        ("cameras", f"{sending} of {total} send images"),
        ("sweeps", f"{len(frames)}, of which {len(complete)} have all cameras"),
    ]
    if complete:
        facts.append(
            (
                "spread",
                f"{np.median(spreads):.1f} ms (longest {max(spreads):.1f}) between first and last "
                f"image; sync.tolerance {tolerance:g} ms"
                + ("" if period is None else f", period {period * 1e3:.1f} ms"),
            )
        )
    if sectors:
        once, twice = (np.rad2deg(covered(sectors, times)) for times in (1, 2))
        facts.append(("coverage", f"{once:.0f} of 360 deg, {twice:.0f} by two cameras or more"))
    for topic, cloud in recording.clouds.items():
        frame = cloud.header.frame_id.lstrip("/")
        try:
            recording.base_from(frame)
            facts.append(("LiDAR", f"{topic}, frame {frame}"))
        except UserError as error:
            facts.append(("LiDAR", f"{topic}, not drawn: {error}"))
    for topic, reason in recording.left_out.items():
        facts.append(("left out", f"{topic} is not looked at: {reason}"))
    findings = []
    fewest = min((len(r.stamps) for r in recording.cameras.values() if r.stamps), default=0)
    if not sending:
        findings.append(Finding(Level.ERROR, "no camera sends images; see their own lines"))
    elif not frames and fewest < ENOUGH_IMAGES:
        text = f"{_number(fewest, 'image')} of a camera are too few to judge sweeps; listen longer"
        findings.append(Finding(Level.WARNING, text))
    elif not frames:
        findings.append(
            Finding(
                Level.ERROR,
                f"{_number(sending, 'camera')} of {total} send images, but their stamps form no "
                "sweep of more than half of them; synchronise the cameras' clocks (PTP, NTP), or "
                "raise sync.tolerance if they fire further apart",
            )
        )
    elif len(frames) - len(complete) > INCOMPLETE * len(frames):
        findings.append(
            Finding(
                Level.WARNING,
                f"{len(frames) - len(complete)} of {len(frames)} sweeps are incomplete; see the "
                "cameras",
            )
        )
    if (fault := long_tolerance(recording.tolerance_ns, period)) is not None:
        findings.append(Finding(Level.WARNING, fault))
    lines = chain(recording.changed_transforms(), *recording.unheard.values())
    findings += [Finding(Level.WARNING, line) for line in lines]
    for what, bad in (("transform", recording.bad_transforms), ("cloud", recording.bad_clouds)):
        for reason, count in bad.most_common(3):
            text = f"{_number(count, f'bad {what}')}: {reason}"
            findings.append(Finding(Level.WARNING, text))
    return Section("rig", facts, findings)


# -- words and numbers -----------------------------------------------------------------------------


def _period(record: CameraRecord) -> float | None:
    """Of a camera's stamps, in s; None for fewer than three images."""
    steps = [after - before for before, after in pairwise(record.stamps) if after > before]
    return float(np.median(steps)) * 1e-9 if len(steps) >= 2 else None


def _delay(record: CameraRecord) -> float:
    """From stamp to receipt in s, of the camera's middle image."""
    return float(np.median(np.subtract(record.received, record.stamps))) * 1e-9


def _late(delay: float) -> str:
    return f"{abs(delay):.3f} s {'after' if delay >= 0 else 'before'}"


def _size_names(record: CameraRecord) -> Counter[str]:
    return Counter({f"{w}x{h}": count for (w, h), count in record.sizes.items()})


def _counts(counter: Counter[str]) -> str:
    """The names, with their numbers where there are several."""
    if len(counter) == 1:
        return next(iter(counter)) or "(empty)"
    return ", ".join(f"{count} {name or '(empty)'}" for name, count in counter.most_common(4))


def _number(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _section_lines(section: Section) -> list[str]:
    rows = [*section.facts, *((item.level.name, item.text) for item in section.findings)]
    return [f"{section.name}: {section.verdict}", *(_row(name, text) for name, text in rows)]


def _row(name: str, text: str) -> str:
    return textwrap.fill(
        text,
        width=WIDTH,
        initial_indent=f"  {name:<12}",
        subsequent_indent=" " * 14,
        break_long_words=False,
        break_on_hyphens=False,
    )
