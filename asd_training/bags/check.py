# SPDX-License-Identifier: Apache-2.0
"""A bag of any robot, looked at as the detector would see it; no ROS is needed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from rosbags.serde import SerdeError
from tqdm import tqdm

from asd_perception.configuration import read_yaml
from asd_perception.constants import MAX_CAMERAS
from asd_perception.errors import UserError
from asd_perception.ros.check.recording import CameraTopics, RigRecording
from asd_perception.ros.messages.images import TRANSPORTS
from asd_training.bags.bag_files import open_bag, read_messages
from asd_training.bags.message_types import deserialize

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
VIDEO = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
CLOUD = "sensor_msgs/msg/PointCloud2"
TRANSFORMS = "tf2_msgs/msg/TFMessage"

_TRANSPORTS = {IMAGE: "raw", COMPRESSED: "compressed", VIDEO: "ffmpeg"}
_DEPTHS = ("16UC1", "32FC1")  # no colours
# Of several image topics of one camera, the one that a detector would be given
_NAMES = ("image_raw", "image_color", "image_rect_color", "image_rect", "image")
_LIKELIEST = ("compressed", "raw", "ffmpeg")

Parameters = Mapping[str, Any]  # the node's, by their names with dots


@dataclass(frozen=True)
class _ImageTopic:
    """An image topic of a bag, by the names that the node's parameters give it."""

    connection: Connection
    base: str  # without /compressed or /ffmpeg

    @property
    def transport(self) -> str:
        return _TRANSPORTS[self.connection.msgtype]

    @property
    def namespace(self) -> str:
        return self.base.rpartition("/")[0]

    @property
    def rank(self) -> tuple[int, int]:
        """The smaller, the likelier it is meant for a detector."""
        name = self.base.rpartition("/")[2]
        likeliest = _LIKELIEST.index(self.transport)
        return _NAMES.index(name) if name in _NAMES else len(_NAMES), likeliest


def record_bag(path: str | Path, cameras: Sequence[str], parameters: Parameters) -> RigRecording:
    """What a bag holds for the detector with these parameters of the node.

    cameras: topic names of the cameras, in place of the parameter; none in either: those that the
    bag has. Raises UserError for a bad bag, and where it has no camera.
    """
    with open_bag(path) as reader:
        topics = _camera_topics(reader, cameras, parameters)
        recording = RigRecording(
            topics,
            base_frame=str(parameters.get("base_frame", "base_link")).lstrip("/"),
            tolerance_ns=round(_seconds(parameters, "sync.tolerance", 0.06, 0.5) * 1e9),
            max_wait=_seconds(parameters, "sync.max_wait", 0.1, 1.0),
        )
        _read(reader, recording)
    recording.finish()
    return recording


def parameters_from_file(path: Path) -> Parameters:
    """The values in a parameter file for the node `detector`, by their names with dots.

    Those of other nodes are left out. Raises UserError for a file that has none.
    """
    found: dict[str, Any] = {}

    def collect(values: Any, node: str) -> None:
        for key, value in values.items() if isinstance(values, dict) else ():
            if key != "ros__parameters":
                collect(value, str(key).rpartition("/")[2])
            elif node in ("detector", "*", "**"):
                found.update(_flat(value))

    collect(read_yaml(path), "")
    if not found:
        raise UserError(
            f"{path} has no ros__parameters of the node detector; config/detector.yaml shows the "
            "form"
        )
    return found


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, dict):
            result |= _flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result


def _seconds(parameters: Parameters, name: str, default: float, most: float) -> float:
    value = parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.001 <= value <= most:
        raise UserError(f"{name} is {value!r}; it must be a number from 0.001 to {most:g} seconds")
    return float(value)


# -- which topics ----------------------------------------------------------------------------------


def _camera_topics(
    reader: Reader, cameras: Sequence[str], parameters: Parameters
) -> dict[str, CameraTopics]:
    available = _image_topics(reader)
    names = list(cameras) or parameters.get("cameras") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"the parameter cameras is {names!r}; it must be a list of names")
    topics = (
        {name: _named(name, parameters, available) for name in names}
        if names
        else _discovered(reader, available)
    )
    if len(topics) > MAX_CAMERAS:
        raise UserError(
            f"{reader.path} has {len(topics)} cameras, the detector takes up to {MAX_CAMERAS}: "
            f"choose by --cameras from {', '.join(topics)}"
        )
    present = {item.topic for item in reader.connections}
    if not any(camera.image in present for camera in topics.values()):
        known = ", ".join(sorted(item.connection.topic for item in available)) or "none"
        required = ", ".join(camera.image for camera in topics.values())
        what = f"none of {required}" if topics else "no camera"
        raise UserError(
            f"{reader.path} has {what}; its image topics are: {known} (choose by --cameras)"
        )
    return topics


def _image_topics(reader: Reader) -> list[_ImageTopic]:
    found = []
    for connection in reader.connections:
        topic = connection.topic
        if connection.msgtype in _TRANSPORTS and not topic.endswith("/compressedDepth"):
            ending = TRANSPORTS[_TRANSPORTS[connection.msgtype]]
            found.append(_ImageTopic(connection, topic.removesuffix(ending)))
    return found


def _named(name: str, parameters: Parameters, available: Sequence[_ImageTopic]) -> CameraTopics:
    """As the node names the topics of a camera, in the root namespace."""

    def value(key: str) -> str:
        return str(parameters.get(f"camera.{name}.{key}") or "")

    base = "/" + (value("image") or f"{name}/image_raw").lstrip("/")
    info = "/" + (value("camera_info") or f"{base.rpartition('/')[0]}/camera_info").lstrip("/")
    transport = parameters.get("image_transport")
    if transport is None:  # not said: the one that is there
        items = [item for item in available if item.base == base]
        transport = min(items, key=lambda item: item.rank).transport if items else "raw"
    if transport not in TRANSPORTS:
        raise UserError(
            f"image_transport is {transport!r}; it must be one of {', '.join(TRANSPORTS)}"
        )
    image = base + TRANSPORTS[transport]
    calibration = value("calibration") or parameters.get("calibration")
    return CameraTopics(image, info, calibration == "rectified")


def _discovered(reader: Reader, available: Sequence[_ImageTopic]) -> dict[str, CameraTopics]:
    """One image topic for each namespace that has some and a CameraInfo, or at least the name."""
    infos = {item.topic for item in reader.connections if item.msgtype == CAMERA_INFO}
    by_namespace: dict[str, list[_ImageTopic]] = defaultdict(list)
    for item in available:
        if f"{item.namespace}/camera_info" in infos or item.rank[0] < len(_NAMES):
            by_namespace[item.namespace].append(item)
    topics = {}
    for namespace, items in sorted(by_namespace.items()):
        colours = [item for item in items if not _is_depth(reader, item)]
        if colours:
            best = min(colours, key=lambda item: item.rank)
            topics[namespace.strip("/") or best.base.strip("/")] = CameraTopics(
                best.connection.topic, f"{namespace}/camera_info", "image_rect" in best.base
            )
    return topics


def _is_depth(reader: Reader, topic: _ImageTopic) -> bool:
    if topic.transport != "raw":
        return False
    first = next(read_messages(reader, [topic.connection]), None)
    return first is not None and _message(reader, topic.connection, first[2]).encoding in _DEPTHS


# -- their messages --------------------------------------------------------------------------------


def _read(reader: Reader, recording: RigRecording) -> None:
    """Give all messages that matter to a recording, with a progress bar."""
    take: dict[tuple[str, str], Callable[[Any, int], None]] = {}
    for name, record in recording.cameras.items():
        take_image = partial(recording.add_image, name)
        take |= {(record.topics.image, kind): take_image for kind in _TRANSPORTS}
        take_info = partial(_untimed, partial(recording.add_camera_info, name))
        take[record.topics.camera_info, CAMERA_INFO] = take_info
    for topic in {item.topic for item in reader.connections}:
        static = topic.endswith("tf_static")
        take_transforms = partial(recording.add_transforms, static=static)
        take[topic, TRANSFORMS] = partial(_untimed, take_transforms)
        take[topic, CLOUD] = partial(_untimed, partial(recording.add_cloud, topic))
    selected = [item for item in reader.connections if (item.topic, item.msgtype) in take]
    total = sum(item.msgcount for item in selected)
    messages = read_messages(reader, selected)
    for connection, at, data in tqdm(messages, total=total, desc="reading", unit="message"):
        take[connection.topic, connection.msgtype](_message(reader, connection, data), at)


def _untimed(take: Callable[[Any], None], message: Any, at: int) -> None:
    take(message)


def _message(reader: Reader, connection: Connection, data: bytes) -> Any:
    try:
        return deserialize(data, connection.msgtype)
    except SerdeError as error:
        raise UserError(f"{reader.path}: a message on {connection.topic} is damaged") from error
