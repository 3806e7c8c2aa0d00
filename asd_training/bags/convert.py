# SPDX-License-Identifier: Apache-2.0
"""A nuScenes scene, real or synthetic, as a rosbag2."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from asd_perception.cameras.image_decoding import encoded_size
from asd_perception.errors import UserError
from asd_perception.files import check_fetched
from asd_perception.geometry import Array
from asd_perception.ros.messages.published.cdr import detections_to_cdr
from asd_perception.ros.messages.published.objects import objects_to_points
from asd_perception.runtime.detections import Detections
from asd_training.bags.bag_files import BagWriter, create_bag, qos
from asd_training.bags.message_types import serialize
from asd_training.bags.scene import LIDAR, EgoTrack, sensor_records
from asd_training.bags.scene_messages import (
    camera_info,
    compressed_image,
    header,
    lidar_cloud,
    odometry,
    point_cloud,
    transforms,
)
from asd_training.data.cameras import in_rig_order
from asd_training.data.lidar_file import read_lidar
from asd_training.data.nuscenes import (
    annotated_objects,
    camera_frame,
    ego_from_sensor,
    scene_samples,
)
from asd_training.tables.reading import Tables

ANNOTATIONS_TOPIC = "/annotations"
ANNOTATION_OBJECTS_TOPIC = "/annotation_objects"

Messages = Iterator[tuple[str, bytes]]  # (topic, serialized message)


@dataclass(frozen=True)
class _Event:
    """The messages of one stamp and kind; made only when it is their turn to be written."""

    stamp_us: int
    order: int  # among events of the same stamp: a pose comes before the image that needs it
    messages: Callable[[], Messages]


def image_topic(camera: str) -> str:
    """The topic of a camera's images, compressed as in the dataset."""
    return f"/{camera}/image_raw/compressed"


def cameras_of_topics(topics: Iterable[str]) -> tuple[str, ...]:
    """The cameras whose `image_topic` is among the topics, in rig order."""
    matches = (re.fullmatch(image_topic(r"(\w+)"), topic) for topic in topics)
    return in_rig_order(match[1] for match in matches if match)


def convert_scene(nusc: Tables, scene_name: str, output: str | Path) -> dict[str, int]:
    """Write a scene as a rosbag2 in mcap storage; returns the number of messages by topic.

    Every message has its true stamp, as its bag time and in its header. Raises UserError for an
    unknown scene, a missing or empty sensor file, a camera whose name can be no topic's, or an
    output that cannot be made.
    """
    records = _with_files(nusc, sensor_records(nusc, scene_name))
    cameras = in_rig_order(r["channel"] for r in records if r["channel"] != LIDAR)
    for camera in cameras:
        if not re.fullmatch(r"[A-Za-z]\w*", camera, re.ASCII):
            raise UserError(f"{nusc.dataroot}: the camera {camera!r} cannot name a ROS topic")
    _check_files(nusc, records)
    track = EgoTrack.of_records(nusc, records)
    events = [
        _Event(int(stamp), 1, partial(_ego_messages, track, int(stamp)))
        for stamp in track.stamps_us
    ]
    events += [
        _Event(stamp_us, 0, partial(_static_messages, stamp_us, mountings))
        for stamp_us, mountings in _mountings(nusc, records)
    ]
    for record in records:
        make = _lidar_messages if record["channel"] == LIDAR else _camera_messages
        events.append(_Event(record["timestamp"], 2, partial(make, nusc, record)))
    for sample in scene_samples(nusc, scene_name):
        stamp_us = camera_frame(nusc, sample).stamp_us
        events.append(_Event(stamp_us, 3, partial(_annotation_messages, nusc, sample)))
    events.sort(key=lambda event: (event.stamp_us, event.order))

    with create_bag(output) as bag:
        _add_topics(bag, cameras, any(record["channel"] == LIDAR for record in records))
        for event in tqdm(events, desc=f"converting {scene_name}", unit="event"):
            for topic, data in event.messages():
                bag.write(topic, event.stamp_us * 1000, data)
        return bag.counts


def _with_files(nusc: Tables, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records without those between keyframes whose files were not copied; also says which
    sensors are no part of a bag."""
    channels = {record["channel"] for record in records}
    samples = {record["sample_token"] for record in records}
    others = {r["channel"] for r in nusc.sample_data if r["sample_token"] in samples} - channels
    if others:
        print(
            f"left out: {', '.join(sorted(others))}; cameras and {LIDAR} are converted",
            file=sys.stderr,
        )
    kept = [r for r in records if r["is_key_frame"] or _file_of(nusc, r).is_file()]
    if lost := len(records) - len(kept):
        print(
            f"left out: {lost} of {len(records)} images and sweeps, all between keyframes, whose "
            "files are not there",
            file=sys.stderr,
        )
    return kept


def _check_files(nusc: Tables, records: list[dict[str, Any]]) -> None:
    for record in records:
        path = _file_of(nusc, record)
        if not path.is_file():
            raise UserError(f"{path} is missing; the dataset is incomplete")
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty; the dataset is damaged")


def _add_topics(bag: BagWriter, cameras: tuple[str, ...], with_lidar: bool) -> None:
    bag.add_topic("/tf_static", "tf2_msgs/msg/TFMessage", [qos(1, latched=True)])
    bag.add_topic("/tf", "tf2_msgs/msg/TFMessage")
    bag.add_topic("/odometry", "nav_msgs/msg/Odometry")
    for camera in cameras:
        bag.add_topic(f"/{camera}/camera_info", "sensor_msgs/msg/CameraInfo")
        bag.add_topic(image_topic(camera), "sensor_msgs/msg/CompressedImage")
    if with_lidar:
        bag.add_topic(f"/{LIDAR}/points", "sensor_msgs/msg/PointCloud2")
    bag.add_topic(ANNOTATIONS_TOPIC, "vision_msgs/msg/Detection3DArray")
    bag.add_topic(ANNOTATION_OBJECTS_TOPIC, "sensor_msgs/msg/PointCloud2")


def _mountings(
    nusc: Tables, records: list[dict[str, Any]]
) -> Iterator[tuple[int, dict[str, Array]]]:
    """Of which stamp on every sensor is mounted how: base_link from its frame (4, 4).

    At first, and whenever a record has another mounting than the one before it of the same sensor.
    Each is complete: a late subscriber of a latched topic gets the last message alone.
    """
    mountings: dict[str, Array] = {}
    for record in reversed(records):
        mountings[record["channel"]] = ego_from_sensor(nusc, record)
    yield records[0]["timestamp"], dict(sorted(mountings.items()))
    for record in records:
        mounting = ego_from_sensor(nusc, record)
        if not np.array_equal(mounting, mountings[record["channel"]]):
            mountings[record["channel"]] = mounting
            yield record["timestamp"], dict(sorted(mountings.items()))


def _static_messages(stamp_us: int, mountings: dict[str, Array]) -> Messages:
    yield "/tf_static", serialize(transforms(stamp_us, "base_link", mountings))


def _ego_messages(track: EgoTrack, stamp_us: int) -> Messages:
    pose = track.pose_at(stamp_us)
    yield "/tf", serialize(transforms(stamp_us, "map", {"base_link": pose}))
    yield "/odometry", serialize(odometry(stamp_us, pose, *track.twist_at(stamp_us)))


def _camera_messages(nusc: Tables, record: dict[str, Any]) -> Messages:
    camera, stamp_us = record["channel"], record["timestamp"]
    intrinsics = nusc.get("calibrated_sensor", record["calibrated_sensor_token"])[
        "camera_intrinsic"
    ]
    info = camera_info(stamp_us, camera, intrinsics, record["width"], record["height"])
    yield f"/{camera}/camera_info", serialize(info)
    path = _file_of(nusc, record)
    content = path.read_bytes()
    check_fetched(path, content)
    try:
        image = compressed_image(stamp_us, camera, content)
        width, height = encoded_size(content)
        if (width, height) != (record["width"], record["height"]):
            raise UserError(
                f"the image is {width}x{height}, its record in sample_data says "
                f"{record['width']}x{record['height']}"
            )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    yield image_topic(camera), serialize(image)


def _lidar_messages(nusc: Tables, record: dict[str, Any]) -> Messages:
    cloud = lidar_cloud(record["timestamp"], LIDAR, read_lidar(_file_of(nusc, record)))
    yield f"/{LIDAR}/points", serialize(cloud)


def _annotation_messages(nusc: Tables, sample: dict[str, Any]) -> Messages:
    """The truth in the detector's own message types; an id is the object's instance token."""
    frame = camera_frame(nusc, sample)
    truth = annotated_objects(nusc, sample, frame.global_from_ego)
    objects = Detections(
        boxes=truth.boxes,
        scores=np.ones(len(truth.labels)),
        labels=truth.labels,
        velocities=truth.velocities,
        attributes=truth.attributes,
    )
    head = header(frame.stamp_us, "base_link")
    ids = [nusc.get("sample_annotation", token)["instance_token"] for token in truth.tokens]
    yield ANNOTATIONS_TOPIC, detections_to_cdr(objects, head, ids=ids)
    yield ANNOTATION_OBJECTS_TOPIC, serialize(point_cloud(head, objects_to_points(objects)))


def _file_of(nusc: Tables, record: dict[str, Any]) -> Path:
    return Path(nusc.dataroot) / record["filename"]
