# SPDX-License-Identifier: Apache-2.0
"""The second look at a bag: its images and sweeps become files, each with a row of sample_data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.serde import SerdeError
from tqdm import tqdm

from asd_perception.cameras.calibration import CameraCalibration
from asd_perception.cameras.video_decoding import VideoDecoder, VideoImage
from asd_perception.errors import UserError
from asd_perception.geometry import Array, quaternion_of
from asd_perception.ros.messages.camera_info import CameraModel, camera_model_from_msg
from asd_perception.ros.messages.geometry import stamp_ns
from asd_perception.ros.messages.images import VIDEO
from asd_training.bags.bag_files import open_bag, read_messages
from asd_training.bags.importing.recording import (
    TRANSFORMS,
    Recording,
    connections_of,
    has_place_in_time,
    in_reach,
    is_static,
)
from asd_training.bags.importing.sensors import image_file, lidar_points, rectified_jpeg
from asd_training.bags.message_types import deserialize
from asd_training.tables.rows import Row, token

LIDAR = "LIDAR_TOP"
TOLERANCE_NS = 100_000_000
"""How far from a keyframe a sensor's record of it may be."""

LATER_NS = 10_000_000
"""How far after a keyframe its records may be: it has the stamp of the last of them."""


@dataclass(frozen=True)
class Record:
    """An image or a sweep that was written.

    row: of sample_data, but for its sample, its ego pose and its neighbours. keyframe: the number
    of the one that it records, or None.
    """

    row: Row
    channel: str
    modality: str
    keyframe: int | None


class SceneFiles:
    """Writes a bag's files under `root`, and holds what the tables say of them.

    records: in the bag's order. calibrated_sensors: rows. boxes, objects: the messages of keyframes
    by stamp in ns.
    """

    def __init__(
        self,
        recording: Recording,
        name: str,
        root: Path,
        keyframes: Sequence[int],
        keyframes_only: bool,
    ) -> None:
        """keyframes: their stamps in ns. Raises UserError where two cameras get one name."""
        self.records: list[Record] = []
        self.calibrated_sensors: list[Row] = []
        self.boxes: dict[int, Any] = {}
        self.objects: dict[int, Any] = {}
        self._recording, self._name, self._root = recording, name, root
        self._keyframes_only = keyframes_only
        self._keyframes = frozenset(keyframes)
        self._channels = {camera: channel_name(camera) for camera in recording.cameras}
        if len({LIDAR, *self._channels.values()}) <= len(self._channels):
            names = ", ".join(self._channels)
            raise UserError(
                f"{recording.path}: the cameras {names} become one, or {LIDAR}; choose by --cameras"
            )
        self._of_keyframe = {
            self._channels[camera]: _recorded(keyframes, stamps)
            for camera, stamps in recording.image_stamps.items()
        }
        self._of_keyframe[LIDAR] = _recorded(keyframes, recording.lidar_stamps)
        self._models = dict(recording.models)
        self._decoders: dict[str, VideoDecoder[tuple[int, CameraModel | None]]] = {}
        self._tokens: set[str] = set()
        self._calibrations: dict[tuple[str, bytes], str] = {}

    def write(self) -> None:
        """Write the files of all records that are usable, and count the others."""
        recording = self._recording
        images = {camera.image: name for name, camera in recording.cameras.items()}
        infos = {camera.camera_info: name for name, camera in recording.cameras.items()}
        self._follow()
        with open_bag(recording.path, tell=False) as bag:
            connections = connections_of(bag, recording)
            total = sum(item.msgcount for item in connections)
            with tqdm(desc=f"importing {self._name}", total=total, unit="message") as progress:
                for item, _, data in read_messages(bag, connections):
                    progress.update()
                    try:
                        message = deserialize(data, item.msgtype)
                        if item.msgtype == TRANSFORMS:
                            self._transforms(message, item.topic)
                        elif item.topic in infos:
                            name = infos[item.topic]
                            rectified = recording.cameras[name].rectified
                            self._models[name] = camera_model_from_msg(message, rectified)
                        elif item.topic in images and item.msgtype == VIDEO:
                            self._packet(images[item.topic], message)
                        elif item.topic in images:
                            self._image(images[item.topic], message)
                        elif item.topic == recording.lidar:
                            with self._counted(item.topic):
                                self._cloud(message)
                        elif stamp_ns(message.header.stamp) not in self._keyframes:
                            pass  # of boxes, of which a long bag has more than fit in memory
                        elif item.topic == recording.boxes:
                            self.boxes[stamp_ns(message.header.stamp)] = message
                        elif item.topic == recording.objects:
                            self.objects[stamp_ns(message.header.stamp)] = message
                    except (SerdeError, UserError):
                        pass  # counted at the first look

    @contextmanager
    def _counted(self, topic: str) -> Iterator[None]:
        """Count a message that cannot be used."""
        try:
            yield
        except UserError as error:
            self._recording.left_out[f"messages on {topic}: {error}"] += 1

    def _transforms(self, message: Any, topic: str) -> None:
        tree, is_new = self._recording.static, False
        if is_static(topic):
            tree.add_all(message)  # what is wrong in it was counted at the first look
            return
        for transform in message.transforms:
            with self._counted(topic):
                is_new |= tree.add_moving(transform)
        if is_new:
            self._follow()

    def _follow(self) -> None:
        """Keep of /tf what leads from the base frame to a camera."""
        tree, base = self._recording.static, self._recording.choice.base_frame
        moving: set[str] = set()
        for model in self._models.values():
            moving |= tree.open_ends(base, model.frame_id)
        tree.follow(moving)

    def _image(self, camera: str, message: Any) -> None:
        stamp = stamp_ns(message.header.stamp)
        with self._counted(self._recording.cameras[camera].image):
            if self._is_wanted(camera, stamp):
                model = _known(self._models.get(camera))
                content, suffix = image_file(message, model.calibration)
                self._add_image(camera, stamp, model, content, suffix)

    def _packet(self, camera: str, message: Any) -> None:
        """Decode a packet of video: every one, since the next ones need it."""
        topic = self._recording.cameras[camera].image
        decoder = self._decoders.setdefault(camera, VideoDecoder())
        images: list[tuple[tuple[int, CameraModel | None], VideoImage]] = []
        with self._counted(topic):
            tag = stamp_ns(message.header.stamp), self._models.get(camera)
            images = decoder.decode(message, tag)
        for (stamp, given), image in images:
            with self._counted(topic):
                if self._is_wanted(camera, stamp):
                    model = _known(given)
                    content = rectified_jpeg(image.to_rgb(), model.calibration)
                    self._add_image(camera, stamp, model, content, ".jpg")

    def _is_wanted(self, camera: str, stamp: int) -> bool:
        recorded = not self._keyframes_only or stamp in self._of_keyframe[self._channels[camera]]
        return recorded and has_place_in_time(stamp)

    def _add_image(
        self, camera: str, stamp: int, model: CameraModel, content: bytes, suffix: str
    ) -> None:
        mounting = self._recording.base_from(model.frame_id, stamp).copy()
        mounting[:3, :3] = mounting[:3, :3] @ model.frame_from_image
        self._add(
            self._channels[camera], "camera", stamp, content, suffix, mounting, model.calibration
        )

    def _cloud(self, message: Any) -> None:
        stamp = stamp_ns(message.header.stamp)
        if self._keyframes_only and stamp not in self._of_keyframe[LIDAR]:
            return
        if not has_place_in_time(stamp):
            return
        mounting = self._recording.base_from(message.header.frame_id, stamp)
        points = lidar_points(message)
        if not len(points):
            raise UserError("no usable point")
        self._add(LIDAR, "lidar", stamp, points.tobytes(), ".pcd.bin", mounting, None)

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
        in_reach(mounting)
        keyframe = self._of_keyframe[channel].get(stamp)
        stamp_us = stamp // 1000
        key = token("sample_data", self._name, channel, stamp_us)
        if key in self._tokens:
            raise UserError("the same stamp as that of a message before it")
        self._tokens.add(key)
        folder = "sweeps" if keyframe is None else "samples"
        file = Path(folder) / channel / f"{self._name}__{channel}__{stamp_us}{suffix}"
        (self._root / file).parent.mkdir(parents=True, exist_ok=True)
        (self._root / file).write_bytes(content)
        row = {
            "token": key,
            "timestamp": stamp_us,
            "filename": str(file),
            "fileformat": suffix.lstrip("."),
            "is_key_frame": keyframe is not None,
            "width": calibration.size[0] if calibration else 0,
            "height": calibration.size[1] if calibration else 0,
            "calibrated_sensor_token": self._calibration(channel, mounting, calibration),
        }
        self.records.append(Record(row, channel, modality, keyframe))

    def _calibration(
        self, channel: str, mounting: Array, calibration: CameraCalibration | None
    ) -> str:
        """The token of a row of calibrated_sensor; equal ones have one."""
        matrix = calibration.matrix if calibration else np.zeros((0, 3))
        content = mounting.tobytes() + matrix.tobytes()
        if (channel, content) not in self._calibrations:
            number = len(self._calibrations)
            key = token("calibrated_sensor", self._name, channel, number)
            self._calibrations[channel, content] = key
            self.calibrated_sensors.append(
                {
                    "token": key,
                    "sensor_token": token("sensor", channel),
                    "translation": mounting[:3, 3].tolist(),
                    "rotation": quaternion_of(mounting).tolist(),
                    "camera_intrinsic": matrix.tolist(),
                }
            )
        return self._calibrations[channel, content]


def channel_name(camera: str) -> str:
    """A camera's name as a channel: of letters, digits and _, and no digit first."""
    name = re.sub(r"\W", "_", camera, flags=re.ASCII)
    return name if name[:1].isalpha() else f"CAM_{name}"


def _known(model: CameraModel | None) -> CameraModel:
    if model is None:
        raise UserError("no valid camera_info")
    return model


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
