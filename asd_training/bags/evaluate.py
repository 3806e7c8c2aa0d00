# SPDX-License-Identifier: Apache-2.0
"""Score what the detector published, from a bag, with the official nuScenes evaluator."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asd_perception.errors import UserError
from asd_perception.files import atomic_directory
from asd_perception.ros.messages.published.detections import detections_from_msg
from asd_perception.ros.messages.published.objects import objects_from_cloud
from asd_perception.runtime.detections import Detections
from asd_training.bags.bag_files import open_bag, read_topic
from asd_training.bags.scene import EgoTrack, sensor_records
from asd_training.bags.storage.bag import Bag
from asd_training.data.nuscenes import camera_frame, camera_records, scene_samples, submission_boxes
from asd_training.evaluation.scoring import Metrics, Submission, score
from asd_training.tables.reading import Tables

DETECTIONS_TOPIC = "/detector/detections"
TOLERANCE_NS = 50_000_000  # keyframes are 500 ms apart; the nearest message of each one counts


@dataclass(frozen=True)
class Coverage:
    """How a bag covers the keyframes of its scenes.

    expected: keyframes of the scenes; detected: those that have a detection message; inexact:
    detected ones whose stamp is not the keyframe's own; without_velocity: detected ones whose
    objects cloud is missing, so that velocity and attribute are unknown.
    """

    expected: int
    detected: int
    inexact: int
    without_velocity: int


@dataclass(frozen=True)
class _Match:
    stamp_ns: int
    offset_ns: int  # from the keyframe's reference stamp
    detections: Detections
    has_velocity: bool


def evaluate_bag(
    bag: str | Path,
    nusc: Tables,
    *,
    topic: str = DETECTIONS_TOPIC,
    objects_topic: str | None = None,
    output: str | Path | None = None,
) -> tuple[Metrics, Coverage]:
    """Score the detections of a bag over all keyframes of the scenes that the bag covers.

    Writes submission.json and metrics.json to the new folder `output`, if given. Raises UserError
    as `submission_of_bag` does.
    """
    submission, coverage = submission_of_bag(bag, nusc, topic=topic, objects_topic=objects_topic)
    if output is None:
        return score(nusc, submission), coverage
    with atomic_directory(output) as folder:
        metrics = score(nusc, submission, folder / "submission.json")
        results = {**dataclasses.asdict(metrics), **dataclasses.asdict(coverage)}
        (folder / "metrics.json").write_text(json.dumps(results, indent=2) + "\n")
    return metrics, coverage


def submission_of_bag(
    bag: str | Path,
    nusc: Tables,
    *,
    topic: str = DETECTIONS_TOPIC,
    objects_topic: str | None = None,
    scenes: Sequence[str] | None = None,
) -> tuple[Submission, Coverage]:
    """The detections of a bag as a nuScenes submission for the given scenes.

    scenes: names; by default the scenes of which the bag covers at least one keyframe.

    A message belongs to the keyframe whose reference stamp is its own, or else the nearest within
    50 ms; a keyframe takes the nearest message, and has no boxes if there is none. Velocities and
    attributes are those of the cloud of the same stamp on `objects_topic`, by default the topic
    `objects` beside `topic`. Raises UserError if the bag is damaged or no message matches.
    """
    matches = _matches_of_bag(bag, nusc, topic, objects_topic)
    if scenes is None:
        scenes = _covered_scenes(nusc, set(matches))
    samples = [sample for scene in scenes for sample in scene_samples(nusc, scene)]
    tokens = {sample["token"] for sample in samples}
    matches = {token: match for token, match in matches.items() if token in tokens}
    coverage = Coverage(
        expected=len(samples),
        detected=len(matches),
        inexact=sum(match.offset_ns != 0 for match in matches.values()),
        without_velocity=sum(not match.has_velocity for match in matches.values()),
    )
    return _submission(nusc, samples, matches), coverage


def detections_of_bag(
    bag: str | Path, nusc: Tables, *, topic: str = DETECTIONS_TOPIC
) -> dict[str, Detections]:
    """What was published for each keyframe that has a message, by sample token."""
    matches = _matches_of_bag(bag, nusc, topic, None)
    return {token: match.detections for token, match in matches.items()}


def format_coverage(coverage: Coverage) -> str:
    """Lines for the terminal."""
    lines = [f"keyframes: {coverage.expected} in the scenes, {coverage.detected} detected"]
    if coverage.inexact:
        lines.append(f"  {coverage.inexact} matched by the nearest stamp, not an equal one")
    if coverage.without_velocity:
        lines.append(f"  {coverage.without_velocity} without objects cloud: velocity unknown")
    return "\n".join(lines)


def _matches_of_bag(
    bag: str | Path, nusc: Tables, topic: str, objects_topic: str | None
) -> dict[str, _Match]:
    objects_topic = objects_topic or f"{topic.rpartition('/')[0]}/objects"
    with open_bag(bag) as reader:
        return _match(reader, nusc, topic, objects_topic)


def _match(reader: Bag, nusc: Tables, topic: str, objects_topic: str) -> dict[str, _Match]:
    """The message of each keyframe that has one, by sample token."""
    if all(item.topic != topic for item in reader.connections):
        known = ", ".join(sorted({item.topic for item in reader.connections})) or "none"
        raise UserError(f"{reader.path} has no topic {topic}; it has {known}")
    tokens, references = _reference_stamps(nusc)
    clouds = {}
    for _, cloud in read_topic(reader, objects_topic, "sensor_msgs/msg/PointCloud2"):
        stamp = _stamp_ns(cloud)
        if np.min(np.abs(references - stamp)) <= TOLERANCE_NS:
            with _place_of_error(f"{reader.path}: {objects_topic} at {stamp} ns"):
                clouds[stamp] = objects_from_cloud(cloud)
    matches: dict[str, _Match] = {}
    messages = 0
    for _, message in read_topic(reader, topic, "vision_msgs/msg/Detection3DArray"):
        messages += 1
        stamp = _stamp_ns(message)
        nearest = int(np.argmin(np.abs(references - stamp)))
        token, offset = tokens[nearest], stamp - int(references[nearest])
        previous = matches.get(token)
        if abs(offset) > TOLERANCE_NS or (previous and abs(previous.offset_ns) <= abs(offset)):
            continue
        with _place_of_error(f"{reader.path}: {topic} at {stamp} ns"):
            if message.header.frame_id != "base_link":
                raise UserError(f"the frame is {message.header.frame_id!r}, not 'base_link'")
            objects = clouds.get(stamp)
            detections = detections_from_msg(message, objects)
        matches[token] = _Match(stamp, offset, detections, objects is not None)
    if not matches:
        raise UserError(
            f"{reader.path}: none of the {messages} messages on {topic} has the stamp of a "
            f"keyframe of {nusc.dataroot}; was the bag made from this dataset?"
        )
    return matches


def _stamp_ns(message: Any) -> int:
    stamp = message.header.stamp
    return stamp.sec * 1_000_000_000 + stamp.nanosec


@contextmanager
def _place_of_error(place: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}: {error}") from error


def _reference_stamps(nusc: Tables) -> tuple[list[str], Any]:
    """Token and reference stamp in ns, that of the latest camera image, of every keyframe."""
    by_token = {
        sample["token"]: 1000
        * max(
            (record["timestamp"] for record in camera_records(nusc, sample)),
            default=0,
        )
        for sample in nusc.sample
    }
    return list(by_token), np.array(list(by_token.values()), dtype=np.int64)


def _covered_scenes(nusc: Tables, tokens: set[str]) -> list[str]:
    """The names of the scenes that hold the given keyframes."""
    scenes = {nusc.get("sample", token)["scene_token"] for token in tokens}
    return [scene["name"] for scene in nusc.scene if scene["token"] in scenes]


def _submission(
    nusc: Tables, samples: list[dict[str, Any]], matches: dict[str, _Match]
) -> Submission:
    tracks: dict[str, EgoTrack] = {}  # of the scenes with inexact matches
    submission: Submission = {}
    for sample in samples:
        token, scene = sample["token"], sample["scene_token"]
        match = matches.get(token)
        if match is None:
            submission[token] = []
            continue
        if match.offset_ns == 0:
            pose = camera_frame(nusc, sample).global_from_ego
        else:  # the boxes are in base_link at the message's stamp
            if scene not in tracks:
                records = sensor_records(nusc, nusc.get("scene", scene)["name"])
                tracks[scene] = EgoTrack.of_records(nusc, records)
            pose = tracks[scene].pose_at(match.stamp_ns / 1000)
        submission[token] = submission_boxes(match.detections, token, pose)
    return submission
