# SPDX-License-Identifier: Apache-2.0
"""What a bag holds for a data set, before its images are copied: topics, times, poses and boxes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import Connection
from rosbags.serde import SerdeError

from asd_perception.cameras.video_decoding import check_video
from asd_perception.errors import UserError
from asd_perception.geometry import MAX_METRES, Array, inverse
from asd_perception.ros.check.topics import CameraTopics
from asd_perception.ros.messages.camera_info import CameraModel, camera_model_from_msg
from asd_perception.ros.messages.geometry import (
    matrix_from_pose,
    matrix_from_transform,
    stamp_ns,
)
from asd_perception.ros.messages.images import TRANSPORT_OF, VIDEO
from asd_perception.ros.transforms import TransformBuffer
from asd_training.bags.bag_files import open_bag, read_messages
from asd_training.bags.discovery import CAMERA_INFO, Parameters, camera_topics
from asd_training.bags.message_types import deserialize
from asd_training.bags.scene import EgoTrack
from asd_training.bags.storage.bag import Bag
from asd_training.tables.checks import MAX_STAMP

BOXES = "vision_msgs/msg/Detection3DArray"
CLOUD = "sensor_msgs/msg/PointCloud2"
ODOMETRY = "nav_msgs/msg/Odometry"
TRANSFORMS = "tf2_msgs/msg/TFMessage"

_FIXED_FRAMES = ("map", "odom", "world")
_BACK, _AHEAD = 1.0, 3600.0  # s between two stamps of a sensor, from which on a line says so
_FARTHEST = MAX_METRES / 2  # from there, what is seen is within MAX_METRES, too


@dataclass(frozen=True)
class Choice:
    """Topics and frames that a user names; empty: found in the bag."""

    cameras: Sequence[str] = ()
    lidar: str = ""
    boxes: str = ""
    odometry: str = ""
    base_frame: str = "base_link"


@dataclass
class Recording:
    """The first look at a bag. Stamps are in ns.

    cameras: by name. models: their first calibration. image_stamps, lidar_stamps, box_stamps: of
    the headers. static: the transforms of /tf_static. track: ego poses. left_out: counted reasons.
    """

    path: Path
    cameras: dict[str, CameraTopics]
    lidar: str
    boxes: str
    choice: Choice
    models: dict[str, CameraModel] = field(default_factory=dict)
    image_stamps: dict[str, list[int]] = field(default_factory=dict)
    lidar_stamps: list[int] = field(default_factory=list)
    box_stamps: list[int] = field(default_factory=list)
    static: TransformBuffer = field(default_factory=TransformBuffer)
    track: EgoTrack | None = None
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def objects(self) -> str:
        """The cloud with the attributes of the boxes, if the bag has it: beside them."""
        if self.boxes == "/annotations":
            return "/annotation_objects"
        return f"{self.boxes.rpartition('/')[0]}/objects"

    def ego_pose(self, stamp: int) -> Array:
        """global_from_base (4, 4) at a stamp in ns."""
        assert self.track is not None
        return self.track.pose_at(stamp / 1000)

    def base_from(self, frame_id: str, stamp: int) -> Array:
        """The pose (4, 4) of a message's frame in the base frame, at a stamp in ns.

        Raises UserError where /tf and /tf_static do not say it.
        """
        frame, base = frame_id.lstrip("/"), self.choice.base_frame
        return np.eye(4) if frame == base else self.static.lookup(base, frame, stamp)


def look_at(path: Path, choice: Choice, parameters: Parameters) -> Recording:
    """Read all of a bag but its images' pixels.

    Raises UserError for a bag without a camera, or with video where PyAV is not installed.
    """
    with open_bag(path) as bag:
        topics, left_out = camera_topics(bag, choice.cameras, parameters)
        for topic, reason in left_out.items():
            print(f"{path}: {topic} is left out: {reason}", file=sys.stderr)
        images = {camera.image for camera in topics.values()}
        if any(c.topic in images and c.msgtype == VIDEO for c in bag.connections):
            check_video()
        recording = Recording(
            path,
            topics,
            lidar=_chosen(bag, CLOUD, choice.lidar, "lidar", ("objects", "simulated_points")),
            boxes=_chosen(bag, BOXES, choice.boxes, "boxes"),
            choice=choice,
        )
        odometry = _chosen(bag, ODOMETRY, choice.odometry, "odometry")
        _read(bag, recording, odometry)
    return recording


def _chosen(bag: Bag, kind: str, given: str, option: str, not_named: tuple[str, ...] = ()) -> str:
    """The topic of a type: the given one, or the one with most messages; "" for none.

    not_named: how the names of topics end that are meant for something else.
    """
    counts = {c.topic: c.msgcount for c in bag.connections if c.msgtype == kind}
    if given:
        if given not in counts:
            known = ", ".join(sorted(counts)) or "none"
            raise UserError(f"{bag.path} has no {kind} on {given}; it has {known}")
        return given
    found = [t for t in counts if not t.endswith(not_named)]
    if not found:
        return ""
    best = max(found, key=lambda topic: (counts[topic], topic))
    if others := sorted(set(found) - {best}):
        print(
            f"{bag.path}: {option} from {best}; choose another by --{option}: {', '.join(others)}",
            file=sys.stderr,
        )
    return best


def _read(bag: Bag, recording: Recording, odometry: str) -> None:
    infos = {camera.camera_info: name for name, camera in recording.cameras.items()}
    images = {camera.image: name for name, camera in recording.cameras.items()}
    poses: dict[int, Any] = {}
    moved: dict[int, Any] = {}  # of /tf
    connections = connections_of(bag, recording, odometry)
    base = recording.choice.base_frame
    for item, _, data in read_messages(bag, connections):
        try:
            message = deserialize(data, item.msgtype)
            if item.msgtype == TRANSFORMS:
                if is_static(item.topic):
                    for fault in recording.static.add_all(message):
                        recording.left_out[f"transforms: {fault}"] += 1
                else:
                    moved |= _poses_of(message, base)
                continue
            stamp = stamp_ns(message.header.stamp)
            if item.topic not in infos and not has_place_in_time(stamp):
                raise UserError(f"no stamp that can be (header.stamp is {stamp * 1e-9:.9g} s)")
            if item.topic in infos:
                name = infos[item.topic]
                model = camera_model_from_msg(message, recording.cameras[name].rectified)
                recording.models.setdefault(name, model)
            elif item.topic in images:
                recording.image_stamps.setdefault(images[item.topic], []).append(stamp)
            elif item.topic == odometry:
                poses[stamp] = in_reach(
                    matrix_from_pose(message.pose.pose)
                    @ inverse(_mounting(recording, message.child_frame_id.lstrip("/") or base))
                )
            elif item.topic == recording.lidar:
                recording.lidar_stamps.append(stamp)
            elif item.topic == recording.boxes:
                recording.box_stamps.append(stamp)
        except SerdeError:
            recording.left_out[f"damaged messages on {item.topic}"] += 1
        except UserError as error:
            recording.left_out[f"messages on {item.topic}: {error}"] += 1
    _tell_jumps(recording)
    recording.track = _track(poses or moved, recording)


def _tell_jumps(recording: Recording) -> None:
    """Say where the stamps of a sensor, in the bag's order, go back or far ahead."""
    stamps = [*recording.image_stamps.values(), recording.lidar_stamps]
    steps = [np.diff(np.array(of, np.int64)) * 1e-9 for of in stamps if of]
    back = min((of.min(initial=0) for of in steps), default=0)
    ahead = max((of.max(initial=0) for of in steps), default=0)
    if back < -_BACK or ahead > _AHEAD:
        step = f"back by {-back:.1f} s" if back < -_BACK else f"ahead by {ahead:.1f} s"
        print(
            f"{recording.path}: stamps go {step}, as where a clock was set or a bag begins again: "
            "records are put in the order of their stamps; if that is wrong, cut the bag there",
            file=sys.stderr,
        )


def connections_of(bag: Bag, recording: Recording, odometry: str = "") -> list[Connection]:
    """Those that an import reads: each topic by its type, too, for it may have another beside it,
    and the name of `objects` may be that of anything."""
    wanted = {
        *((recording.lidar, CLOUD), (recording.boxes, BOXES), (recording.objects, CLOUD)),
        (odometry, ODOMETRY),
    }
    for camera in recording.cameras.values():
        wanted.add((camera.camera_info, CAMERA_INFO))
        wanted |= {(camera.image, kind) for kind in TRANSPORT_OF}
    return [
        item
        for item in bag.connections
        if (item.topic, item.msgtype) in wanted or item.msgtype == TRANSFORMS
    ]


def has_place_in_time(stamp: int) -> bool:
    """Whether a stamp in ns is one that a data set may have, and none that was not filled in."""
    return 0 < stamp < 1000 * MAX_STAMP


def in_reach(pose: Array) -> Array:
    """A pose (4, 4) as it is. Raises UserError for one that lies where nothing is."""
    if np.abs(pose[:3, 3]).max() > _FARTHEST:
        raise UserError(f"the pose is {np.abs(pose[:3, 3]).max():.3g} m away")
    return pose


def is_static(topic: str) -> bool:
    """Whether the transforms of a topic hold from when they come on."""
    return topic.endswith("tf_static")


def _mounting(recording: Recording, frame: str) -> Any:
    """base_from_frame (4, 4); the identity for the base frame itself."""
    base = recording.choice.base_frame
    return np.eye(4) if frame == base else recording.static.lookup(base, frame)


def _poses_of(message: Any, base: str) -> dict[int, Any]:
    return {
        stamp_ns(t.header.stamp): in_reach(matrix_from_transform(t.transform))
        for t in message.transforms
        if t.child_frame_id.lstrip("/") == base and t.header.frame_id.lstrip("/") in _FIXED_FRAMES
    }


def _track(poses: dict[int, Any], recording: Recording) -> EgoTrack:
    """The ego poses over time, in microseconds."""
    if not poses:
        print(
            f"{recording.path}: neither odometry nor /tf from {', '.join(_FIXED_FRAMES)} to "
            f"{recording.choice.base_frame}: the robot is taken to stand still",
            file=sys.stderr,
        )
        return EgoTrack(np.zeros(1, np.int64), np.eye(4)[None])
    by_stamp = {stamp // 1000: pose for stamp, pose in poses.items()}
    stamps = sorted(by_stamp)
    return EgoTrack(np.array(stamps, np.int64), np.stack([by_stamp[stamp] for stamp in stamps]))
