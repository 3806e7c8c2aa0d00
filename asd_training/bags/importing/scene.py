# SPDX-License-Identifier: Apache-2.0
"""One bag as one scene: its files, and its rows of nuScenes' tables."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.serde import SerdeError
from tqdm import tqdm

from asd_perception.cameras.calibration import CameraCalibration
from asd_perception.constants import MAX_CAMERAS
from asd_perception.errors import UserError
from asd_perception.geometry import Array, quaternion_of
from asd_perception.ros.messages.camera_info import camera_model_from_msg
from asd_perception.ros.messages.geometry import stamp_ns
from asd_training.bags.bag_files import open_bag, read_messages
from asd_training.bags.discovery import CAMERA_INFO
from asd_training.bags.importing.boxes import annotation_rows
from asd_training.bags.importing.recording import TRANSFORMS, Recording
from asd_training.bags.importing.sensors import image_file, lidar_points
from asd_training.bags.message_types import deserialize
from asd_training.tables.rows import Row, chain, token

LIDAR = "LIDAR_TOP"
TOLERANCE_NS = 100_000_000
"""How far from a keyframe a sensor's record of it may be."""

LATER_NS = 10_000_000
"""How far after a keyframe its records may be: it has the stamp of the last of them."""


@dataclass
class SceneRows:
    """The rows of a scene by table, and where its channels' files are."""

    tables: dict[str, list[Row]] = field(default_factory=dict)
    sensors: dict[str, str] = field(default_factory=dict)  # modality by channel

    def add(self, table: str, row: Row) -> str:
        """Append a row; returns its token."""
        self.tables.setdefault(table, []).append(row)
        return str(row["token"])


def channel_name(camera: str) -> str:
    """A camera's name as a channel: of letters, digits and _, and no digit first."""
    name = re.sub(r"\W", "_", camera, flags=re.ASCII)
    return name if name[:1].isalpha() else f"CAM_{name}"


def keyframe_stamps(recording: Recording, period: float) -> list[int]:
    """The stamps in ns of a bag's keyframes: those of its boxes, or else of its LiDAR, or of its
    first camera; no two nearer than the period in s, but for a tenth of it."""
    candidates = recording.box_stamps or recording.lidar_stamps
    if not candidates:
        candidates = max(recording.image_stamps.values(), key=len, default=[])
    stamps: list[int] = []
    for stamp in sorted(set(candidates)):
        if not stamps or stamp - stamps[-1] >= 0.9e9 * period:
            stamps.append(stamp)
    return stamps


def import_scene(
    recording: Recording, name: str, root: Path, period: float, keyframes_only: bool
) -> SceneRows:
    """Write a bag's files under `root`, and return its rows.

    Says on stderr what is left out, and how often. Raises UserError where no keyframe comes of it.
    """
    importer = _Importer(recording, name, root, keyframe_stamps(recording, period), keyframes_only)
    rows = importer.run()
    for reason, count in recording.left_out.most_common():
        print(f"{recording.path}: left out: {count} {reason}", file=sys.stderr)
    return rows


class _Importer:
    def __init__(
        self,
        recording: Recording,
        name: str,
        root: Path,
        keyframes: list[int],
        keyframes_only: bool,
    ) -> None:
        self.recording, self.name, self.root = recording, name, root
        self.keyframes, self.keyframes_only = keyframes, keyframes_only
        self.rows = SceneRows()
        self.channels = {camera: channel_name(camera) for camera in recording.cameras}
        if len(set(self.channels.values())) < len(self.channels):
            names = ", ".join(self.channels)
            raise UserError(
                f"{recording.path}: the cameras {names} become one; choose by --cameras"
            )
        self.of_keyframe = {
            self.channels[camera]: _recorded(self.keyframes, stamps)
            for camera, stamps in recording.image_stamps.items()
        }
        self.of_keyframe[LIDAR] = _recorded(self.keyframes, recording.lidar_stamps)
        self.records: list[Row] = []
        self.calibrations: dict[tuple[str, bytes], str] = {}
        self.boxes: dict[int, Any] = {}  # by stamp
        self.objects: dict[int, Any] = {}

    def run(self) -> SceneRows:
        self._read()
        used = sorted(
            {
                row["keyframe"]
                for row in self.records
                if row["modality"] == "camera" and row["keyframe"] is not None
            }
        )
        if not used:
            raise UserError(
                f"{self.recording.path}: no keyframe has an image with its calibration and "
                "mounting; asd-bag check says what is missing"
            )
        blind = len(self.keyframes) - len(used)
        if blind:
            self.recording.left_out["keyframes without a usable image"] += blind
        self._tables(used)
        return self.rows

    def _read(self) -> None:
        """Write the files of all records that are usable, in the bag's order."""
        recording = self.recording
        images = {camera.image: name for name, camera in recording.cameras.items()}
        infos = {camera.camera_info: name for name, camera in recording.cameras.items()}
        models = dict(recording.models)
        tree = recording.static
        self._follow(models)
        wanted = {*images, *infos, recording.lidar, recording.boxes, recording.objects}
        with open_bag(recording.path, tell=False) as bag:
            connections = [
                item
                for item in bag.connections
                if item.topic in wanted or item.msgtype == TRANSFORMS
            ]
            total = sum(item.msgcount for item in connections)
            progress = tqdm(desc=f"importing {self.name}", total=total, unit="message")
            with progress:
                for item, _, data in read_messages(bag, connections):
                    progress.update()
                    try:
                        message = deserialize(data, item.msgtype)
                        if item.msgtype == TRANSFORMS:
                            if item.topic.endswith("tf_static"):
                                tree.add_all(message)
                            else:
                                if any([tree.add_moving(t) for t in message.transforms]):
                                    self._follow(models)
                        elif item.topic in infos and item.msgtype == CAMERA_INFO:
                            name = infos[item.topic]
                            rectified = recording.cameras[name].rectified
                            models[name] = camera_model_from_msg(message, rectified)
                        elif item.topic in images:
                            self._image(images[item.topic], message, models)
                        elif item.topic == recording.lidar:
                            self._cloud(message)
                        elif item.topic == recording.boxes:
                            self.boxes[stamp_ns(message.header.stamp)] = message
                        elif item.topic == recording.objects:
                            self.objects[stamp_ns(message.header.stamp)] = message
                    except SerdeError:
                        pass  # counted at the first look
                    except UserError as error:
                        if item.topic in images or item.topic == recording.lidar:
                            recording.left_out[f"messages on {item.topic}: {error}"] += 1

    def _follow(self, models: dict[str, Any]) -> None:
        """Keep of /tf what leads from the base frame to a camera."""
        tree, base = self.recording.static, self.recording.choice.base_frame
        moving: set[str] = set()
        for model in models.values():
            moving |= tree.open_ends(base, model.frame_id)
        tree.follow(moving)

    def _image(self, camera: str, message: Any, models: dict[str, Any]) -> None:
        channel, stamp = self.channels[camera], stamp_ns(message.header.stamp)
        if not self._is_wanted(channel, stamp):
            return
        if camera not in models:
            raise UserError("no valid camera_info")
        model = models[camera]
        mounting = self.recording.static.lookup(
            self.recording.choice.base_frame, model.frame_id, stamp
        ).copy()
        mounting[:3, :3] = mounting[:3, :3] @ model.frame_from_image
        content, suffix = image_file(message, model.calibration)
        self._add(channel, "camera", stamp, content, suffix, mounting, model.calibration)

    def _cloud(self, message: Any) -> None:
        stamp = stamp_ns(message.header.stamp)
        if not self._is_wanted(LIDAR, stamp):
            return
        mounting = self.recording.base_from(message.header.frame_id, stamp)
        points = lidar_points(message)
        if not len(points):
            raise UserError("no usable point")
        self._add(LIDAR, "lidar", stamp, points.tobytes(), ".pcd.bin", mounting, None)

    def _is_wanted(self, channel: str, stamp: int) -> bool:
        return not self.keyframes_only or stamp in self.of_keyframe[channel]

    def _add(
        self,
        channel: str,
        modality: str,
        stamp: int,
        content: bytes,
        suffix: str,
        mounting: Array,
        calibration: CameraCalibration | None,
    ) -> None:
        """Write a file, and keep its record."""
        keyframe = self.of_keyframe[channel].get(stamp)
        stamp_us = stamp // 1000
        key = token("sample_data", self.name, channel, stamp_us)
        if any(row["token"] == key for row in self.records[-2 * MAX_CAMERAS :]):
            raise UserError("the stamp of the message before it")
        folder = "sweeps" if keyframe is None else "samples"
        file = Path(folder) / channel / f"{self.name}__{channel}__{stamp_us}{suffix}"
        (self.root / file).parent.mkdir(parents=True, exist_ok=True)
        (self.root / file).write_bytes(content)
        self.rows.sensors[channel] = modality
        self.records.append(
            {
                "token": key,
                "timestamp": stamp_us,
                "filename": str(file),
                "fileformat": suffix.lstrip("."),
                "is_key_frame": keyframe is not None,
                "width": calibration.size[0] if calibration else 0,
                "height": calibration.size[1] if calibration else 0,
                "calibrated_sensor_token": self._calibration(channel, mounting, calibration),
                "keyframe": keyframe,
                "channel": channel,
                "modality": modality,
            }
        )

    def _calibration(
        self, channel: str, mounting: Array, calibration: CameraCalibration | None
    ) -> str:
        matrix = calibration.matrix if calibration else np.zeros((0, 3))
        content = mounting.tobytes() + matrix.tobytes()
        if (channel, content) not in self.calibrations:
            number = len(self.calibrations)
            self.calibrations[channel, content] = self.rows.add(
                "calibrated_sensor",
                {
                    "token": token("calibrated_sensor", self.name, channel, number),
                    "sensor_token": token("sensor", channel),
                    "translation": mounting[:3, 3].tolist(),
                    "rotation": quaternion_of(mounting).tolist(),
                    "camera_intrinsic": matrix.tolist(),
                },
            )
        return self.calibrations[channel, content]

    def _tables(self, used: Sequence[int]) -> None:
        name, rows, track = self.name, self.rows, self.recording.track
        assert track is not None
        scene = token("scene", name)
        samples: list[Row] = [
            {
                "token": token("sample", name, number),
                "timestamp": self.keyframes[number] // 1000,
                "scene_token": scene,
            }
            for number in used
        ]
        chain(samples)
        rows.tables["sample"] = samples
        place = {number: i for i, number in enumerate(used)}
        stamps = np.array([sample["timestamp"] for sample in samples])
        by_channel: dict[str, list[Row]] = {}
        for row in sorted(self.records, key=lambda row: row["timestamp"]):
            keyframe = row.pop("keyframe")
            channel, _ = row.pop("channel"), row.pop("modality")
            if keyframe is not None and keyframe not in place:
                row["is_key_frame"] = False
            nearest = int(np.argmin(np.abs(stamps - row["timestamp"])))
            owner = place.get(keyframe, nearest) if keyframe is not None else nearest
            row["sample_token"] = samples[owner]["token"]
            pose = track.pose_at(row["timestamp"])
            row["ego_pose_token"] = rows.add(
                "ego_pose",
                {
                    "token": row["token"],
                    "timestamp": row["timestamp"],
                    "translation": pose[:3, 3].tolist(),
                    "rotation": quaternion_of(pose).tolist(),
                },
            )
            by_channel.setdefault(channel, []).append(row)
        for records in by_channel.values():
            chain(records)
            rows.tables.setdefault("sample_data", []).extend(records)
        rows.tables["log"] = [
            {
                "token": token("log", name),
                "logfile": self.recording.path.name,
                "vehicle": "",
                "date_captured": "",
                "location": "",
            }
        ]
        rows.tables["scene"] = [
            {
                "token": scene,
                "log_token": token("log", name),
                "nbr_samples": len(samples),
                "first_sample_token": samples[0]["token"],
                "last_sample_token": samples[-1]["token"],
                "name": name,
                "description": f"imported from {self.recording.path.name}",
            }
        ]
        keyframes = [(self.keyframes[n], s["token"]) for n, s in zip(used, samples, strict=True)]
        found = annotation_rows(self, keyframes)
        rows.tables["instance"], rows.tables["sample_annotation"] = found

    def ego_pose(self, stamp: int) -> Array:
        """global_from_base (4, 4) at a stamp in ns."""
        assert self.recording.track is not None
        return self.recording.track.pose_at(stamp / 1000)


def _recorded(keyframes: Sequence[int], stamps: Sequence[int]) -> dict[int, int]:
    """Of a sensor's stamps those that record a keyframe, with the keyframe's number: the last one
    before its end, or else the next."""
    result: dict[int, int] = {}
    if not stamps:
        return result
    ordered = np.array(sorted(stamps))
    for number, keyframe in enumerate(keyframes):
        following = int(np.searchsorted(ordered, keyframe + LATER_NS, side="right"))
        for stamp in ordered[max(following - 1, 0) : following + 1].tolist():
            if abs(stamp - keyframe) <= TOLERANCE_NS:
                result.setdefault(stamp, number)
                break
    return result
