# SPDX-License-Identifier: Apache-2.0
"""One bag as one scene: its files, and its rows of nuScenes' tables."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asd_perception.errors import UserError
from asd_perception.geometry import quaternion_of
from asd_training.bags.importing.boxes import annotation_rows
from asd_training.bags.importing.files import SceneFiles
from asd_training.bags.importing.recording import Recording
from asd_training.tables.rows import Row, chain, token

FAR_FROM_POSES = 500_000
"""Microseconds from a record to the nearest ego pose from which on a line says so."""


@dataclass
class SceneRows:
    """The rows of a scene by table, and its channels."""

    tables: dict[str, list[Row]] = field(default_factory=dict)
    sensors: dict[str, str] = field(default_factory=dict)  # modality by channel


def import_scene(
    recording: Recording, name: str, root: Path, period: float, keyframes_only: bool
) -> SceneRows:
    """Write a bag's files under `root`, and return its rows.

    Says on stderr what is left out, and how often. Raises UserError where no keyframe comes of it.
    """
    keyframes = keyframe_stamps(recording, period)
    files = SceneFiles(recording, name, root, keyframes, keyframes_only)
    files.write()
    used = sorted(
        {
            record.keyframe
            for record in files.records
            if record.modality == "camera" and record.keyframe is not None
        }
    )
    blind = len(keyframes) - len(used)
    if blind and used:
        recording.left_out["keyframes without a usable image"] += blind
    rows = _rows(recording, name, root, keyframes, used, files) if used else None
    for reason, count in recording.left_out.most_common():
        print(f"{recording.path}: left out: {count} {reason}", file=sys.stderr)
    if rows is None:
        raise UserError(
            f"{recording.path}: no keyframe has an image with its calibration and mounting; "
            "asd-bag check says what is missing"
        )
    return rows


def keyframe_stamps(recording: Recording, period: float) -> list[int]:
    """The stamps in ns of a bag's keyframes: those of its boxes, or else of its LiDAR, or of the
    camera with most images; no two nearer than the period in s, but for a tenth of it."""
    candidates = recording.box_stamps or recording.lidar_stamps
    if not candidates:
        candidates = max(recording.image_stamps.values(), key=len, default=[])
    stamps: list[int] = []
    for stamp in sorted(set(candidates)):
        if not stamps or stamp - stamps[-1] >= 0.9e9 * period:
            stamps.append(stamp)
    return stamps


def _rows(
    recording: Recording,
    name: str,
    root: Path,
    keyframes: Sequence[int],
    used: Sequence[int],
    files: SceneFiles,
) -> SceneRows:
    """All rows; used: the numbers of the keyframes that have an image."""
    scene, log = token("scene", name), token("log", name)
    samples: list[Row] = [
        {
            "token": token("sample", name, number),
            "timestamp": keyframes[number] // 1000,
            "scene_token": scene,
        }
        for number in used
    ]
    chain(samples)
    tables: dict[str, list[Row]] = {
        "scene": [
            {
                "token": scene,
                "log_token": log,
                "nbr_samples": len(samples),
                "first_sample_token": samples[0]["token"],
                "last_sample_token": samples[-1]["token"],
                "name": name,
                "description": f"imported from {recording.path.name}",
            }
        ],
        "log": [
            {
                "token": log,
                "logfile": recording.path.name,
                "vehicle": "",
                "date_captured": "",
                "location": "",
            }
        ],
        "sample": samples,
        "calibrated_sensor": files.calibrated_sensors,
        **_records(recording, files, dict(zip(used, samples, strict=True))),
    }
    of_samples = [(keyframes[n], s["token"]) for n, s in zip(used, samples, strict=True)]
    tables |= annotation_rows(recording, name, root, of_samples, files, tables)
    return SceneRows(tables, {record.channel: record.modality for record in files.records})


def _records(
    recording: Recording, files: SceneFiles, samples: dict[int, Row]
) -> dict[str, list[Row]]:
    """The rows of sample_data and ego_pose; samples: by their keyframes' numbers."""
    ordered = sorted(files.records, key=lambda record: record.row["timestamp"])
    stamps = np.array([record.row["timestamp"] for record in ordered])
    _warn_of_distant_poses(recording, stamps)
    ends = list(samples.values())
    times = np.array([end["timestamp"] for end in ends])
    nearest = np.searchsorted((times[1:] + times[:-1]) // 2, stamps)
    by_channel: dict[str, list[Row]] = {}
    poses: list[Row] = []
    for record, number in zip(ordered, nearest, strict=True):
        row, sample = record.row, samples.get(-1 if record.keyframe is None else record.keyframe)
        row["is_key_frame"] = sample is not None
        row["sample_token"] = (sample or ends[number])["token"]
        row["ego_pose_token"] = row["token"]
        pose = recording.ego_pose(1000 * row["timestamp"])
        poses.append(
            {
                "token": row["token"],
                "timestamp": row["timestamp"],
                "translation": pose[:3, 3].tolist(),
                "rotation": quaternion_of(pose).tolist(),
            }
        )
        by_channel.setdefault(record.channel, []).append(row)
    for rows in by_channel.values():
        chain(rows)
    return {"ego_pose": poses, "sample_data": [row for rows in by_channel.values() for row in rows]}


def _warn_of_distant_poses(recording: Recording, stamps: NDArray[np.int64]) -> None:
    """Say on stderr where records lie far from the ego poses, as after odometry that broke off."""
    track = recording.track
    assert track is not None
    if len(track.stamps_us) < 2:  # it was said that the robot is taken to stand still
        return
    after = np.searchsorted(track.stamps_us, stamps).clip(1, len(track.stamps_us) - 1)
    apart = [np.abs(track.stamps_us[place] - stamps) for place in (after - 1, after)]
    distant = np.minimum(*apart) > FAR_FROM_POSES
    if distant.any():
        print(
            f"{recording.path}: {distant.sum()} of {len(stamps)} images and sweeps are more than "
            f"{FAR_FROM_POSES * 1e-6:g} s from the nearest ego pose: velocities there are not to "
            "be trusted",
            file=sys.stderr,
        )
