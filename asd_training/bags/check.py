# SPDX-License-Identifier: Apache-2.0
"""A bag of any robot, looked at as the detector would see it; no ROS is needed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rosbags.serde import SerdeError
from tqdm import tqdm

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES
from asd_perception.cameras.ego_mask import read_ego_mask
from asd_perception.configuration import read_yaml
from asd_perception.errors import UserError
from asd_perception.ros.check.recording import RigRecording
from asd_perception.ros.messages.images import TRANSPORT_OF
from asd_perception.ros.parameters.table import (
    PARAMETERS,
    QOS,
    ParameterEntry,
    camera_parameters,
    unknown_names,
)
from asd_training.bags.bag_files import open_bag, read_messages
from asd_training.bags.discovery import CAMERA_INFO, Parameters, camera_topics
from asd_training.bags.message_types import deserialize
from asd_training.bags.storage.bag import Bag

CLOUD = "sensor_msgs/msg/PointCloud2"
TRANSFORMS = "tf2_msgs/msg/TFMessage"

_OF_ROS = ("use_sim_time", "start_type_description_service")  # parameters that every node has


def record_bag(path: str | Path, cameras: Sequence[str], parameters: Parameters) -> RigRecording:
    """What a bag holds for the detector with these parameters of the node.

    cameras: names or image topics, in place of the parameter; none in either: those that the bag
    has. A damaged message is refused and counted. Raises UserError for parameters that the node
    refuses, for a bag that cannot be read, and where it has no camera.
    """
    _check(cameras, parameters)
    values = {entry.name: entry.default for entry in PARAMETERS} | dict(parameters)
    with open_bag(path) as reader:
        topics, left_out = camera_topics(reader, cameras, parameters)
        masks = read_ego_mask(values["ego_mask"], topics)
        topics = {name: replace(of, ego_mask=masks.get(name)) for name, of in topics.items()}
        recording = RigRecording(
            topics,
            base_frame=values["base_frame"],
            tolerance_ns=round(values["sync.tolerance"] * 1e9),
            max_wait=values["sync.max_wait"],
        )
        recording.left_out = left_out
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


def _check(cameras: Sequence[str], parameters: Parameters) -> None:
    """Say on stderr which parameters the node does not know, and raise UserError for a value that
    it would refuse."""
    for entry in PARAMETERS:
        if entry.name == "cameras" and cameras and (reason := entry.refusal(list(cameras))):
            raise UserError(f"--cameras: {reason}")
        _check_value(entry, parameters)
    names = cameras or parameters.get("cameras", NUSCENES_CAMERA_NAMES)
    for camera in names:
        for entry in camera_parameters(camera):
            _check_value(entry, parameters)
    given = [name for name in parameters if name not in _OF_ROS and not name.startswith(QOS)]
    for line in unknown_names(given, names):
        print(line, file=sys.stderr)


def _check_value(entry: ParameterEntry, parameters: Parameters) -> None:
    if entry.name in parameters and (reason := entry.refusal(parameters[entry.name])):
        raise UserError(f"{entry.name}: {reason}")


# -- the messages ----------------------------------------------------------------------------------


class _Taker(NamedTuple):
    """What is done with the messages of a topic, and with those that are damaged."""

    take: Callable[[Any, int], None]  # message, time of receipt in ns
    refuse: Callable[[str], None]  # reason


def _read(reader: Bag, recording: RigRecording) -> None:
    """Give all messages that matter to a recording, with a progress bar."""
    takers = _takers(reader, recording)
    selected = [item for item in reader.connections if (item.topic, item.msgtype) in takers]
    total = sum(item.msgcount for item in selected)
    messages = read_messages(reader, selected)
    for connection, at, data in tqdm(messages, total=total, desc="reading", unit="message"):
        taker = takers[connection.topic, connection.msgtype]
        try:
            message = deserialize(data, connection.msgtype)
        except SerdeError:
            taker.refuse(f"message on {connection.topic} is damaged")
        else:
            taker.take(message, at)


def _takers(reader: Bag, recording: RigRecording) -> dict[tuple[str, str], _Taker]:
    """By topic and type."""
    takers: dict[tuple[str, str], _Taker] = {}
    for name, record in recording.cameras.items():
        of_images = _Taker(
            partial(recording.add_image, name), partial(recording.refuse_image, name)
        )
        takers |= {(record.topics.image, kind): of_images for kind in TRANSPORT_OF}
        takers[record.topics.camera_info, CAMERA_INFO] = _Taker(
            partial(_untimed, partial(recording.add_camera_info, name)),
            partial(recording.refuse_camera_info, name),
        )
    for topic in {item.topic for item in reader.connections}:
        static = topic.endswith("tf_static")
        takers[topic, TRANSFORMS] = _Taker(
            partial(_untimed, partial(recording.add_transforms, static=static)),
            recording.refuse_transforms,
        )
        takers[topic, CLOUD] = _Taker(
            partial(_untimed, partial(recording.add_cloud, topic)), recording.refuse_cloud
        )
    return takers


def _untimed(take: Callable[[Any], None], message: Any, at: int) -> None:
    take(message)
