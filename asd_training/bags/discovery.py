# SPDX-License-Identifier: Apache-2.0
"""Which of a bag's topics are the cameras that a detector would be given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rosbags.interfaces import Connection
from rosbags.serde import SerdeError

from asd_perception.cameras.image_decoding import is_depth
from asd_perception.constants import MAX_CAMERAS
from asd_perception.errors import UserError
from asd_perception.ros.check.topics import CameraTopics, check_together
from asd_perception.ros.messages.images import COMPRESSED, TRANSPORT_OF, TRANSPORTS, VIDEO
from asd_perception.ros.parameters.table import camera_info_beside, default_image
from asd_training.bags.bag_files import read_messages
from asd_training.bags.message_types import deserialize
from asd_training.bags.storage.bag import Bag

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"

# Of several image topics of one camera, the one that a detector would be given
_NAMES = ("image_raw", "image_color", "image_rect_color", "image_rect", "image")
_LIKELIEST = ("compressed", "raw", "ffmpeg")

Parameters = Mapping[str, Any]  # the node's, by their names with dots


@dataclass(frozen=True)
class _ImageTopic:
    """An image topic of a bag, by the names that the node's parameters give it."""

    topic: str
    transport: str
    is_depth: bool

    @property
    def base(self) -> str:
        """Without /compressed or /ffmpeg."""
        return self.topic.removesuffix(TRANSPORTS[self.transport])

    @property
    def namespace(self) -> str:
        return self.base.rpartition("/")[0]

    @property
    def rank(self) -> tuple[int, int]:
        """The smaller, the likelier it is meant for a detector."""
        name = self.base.rpartition("/")[2]
        likeliest = _LIKELIEST.index(self.transport)
        return _NAMES.index(name) if name in _NAMES else len(_NAMES), likeliest


def camera_topics(
    reader: Bag, cameras: Sequence[str], parameters: Parameters
) -> tuple[dict[str, CameraTopics], dict[str, str]]:
    """The cameras' topics by name, and the image topics that are no camera's, each with the reason.

    cameras: of --cameras, in place of the parameter: names as the node has them, or as they are
    discovered, or image topics without /compressed. Raises UserError where there is no camera.
    """
    images = [_image_topic(reader, item) for item in reader.connections]
    available = [item for item in images if item is not None]
    discovered = _discovered(reader, [item for item in available if not item.is_depth])
    if cameras:
        topics = {name: _chosen(name, parameters, discovered, available) for name in cameras}
    elif names := parameters.get("cameras"):
        topics = {name: _named(name, parameters, available) for name in names}
    else:
        topics = discovered
    if len(topics) > MAX_CAMERAS:
        raise UserError(
            f"{reader.path} has {len(topics)} cameras, the detector takes up to {MAX_CAMERAS}: "
            f"choose by --cameras from {', '.join(topics)}"
        )
    looked_at = {camera.image for camera in topics.values()}
    if not any(item.topic in looked_at for item in available):
        known = ", ".join(sorted({item.base for item in available})) or "none"
        what = f"none of {', '.join(sorted(looked_at))}" if topics else "no camera"
        raise UserError(
            f"{reader.path} has {what}; its image topics are: {known} (choose by --cameras)"
        )
    check_together(topics, 1 if cameras else parameters.get("sync.min_cameras", 1))
    taken = {item.base: item.topic for item in available if item.topic in looked_at}
    left_out = {
        item.topic: _reason(item, taken) for item in available if item.topic not in looked_at
    }
    return topics, dict(sorted(left_out.items()))


def _reason(item: _ImageTopic, taken: Mapping[str, str]) -> str:
    """Why an image topic is not looked at; taken: the topics that are, by their bases."""
    if item.is_depth:
        return "its images are depths"
    if item.base in taken:
        return f"{taken[item.base]} has the same images"
    return f"choose it by --cameras {item.base}"


def _image_topic(reader: Bag, connection: Connection) -> _ImageTopic | None:
    transport = TRANSPORT_OF.get(connection.msgtype)
    if transport is None:
        return None
    depth = connection.topic.endswith("/compressedDepth") or _has_depth(reader, connection)
    return _ImageTopic(connection.topic, transport, depth)


def _has_depth(reader: Bag, connection: Connection) -> bool:
    """Whether the first image says that it is one of depths."""
    if connection.msgtype == VIDEO:
        return False
    for _, _, data in read_messages(reader, [connection]):
        try:
            message = deserialize(data, connection.msgtype)
        except SerdeError:  # the report counts it
            continue
        return is_depth(message.format if connection.msgtype == COMPRESSED else message.encoding)
    return False


def _chosen(
    name: str,
    parameters: Parameters,
    discovered: Mapping[str, CameraTopics],
    available: Sequence[_ImageTopic],
) -> CameraTopics:
    """The topics of a camera that --cameras names."""
    named = _named(name, parameters, available)
    base = f"/{name.strip('/')}"
    bases = {item.base for item in available}
    if parameters.get(f"camera.{name}.image") or default_image(base) in bases:
        return named
    if base not in bases and base.strip("/") in discovered:
        return discovered[base.strip("/")]
    if base not in bases:
        return named  # of which the report says that there is no image
    likeliest = "rectified" if "image_rect" in base else "raw"
    return _of_base(name, base, parameters, available, likeliest)


def _named(name: str, parameters: Parameters, available: Sequence[_ImageTopic]) -> CameraTopics:
    """As the node names the topics of a camera, in the root namespace."""
    image = parameters.get(f"camera.{name}.image") or default_image(name)
    return _of_base(name, f"/{image.lstrip('/')}", parameters, available, "raw")


def _of_base(
    name: str,
    base: str,
    parameters: Parameters,
    available: Sequence[_ImageTopic],
    calibration: str,
) -> CameraTopics:
    """The topics of the camera whose images are on `base`, perhaps with /compressed or /ffmpeg.

    calibration: raw or rectified, where the parameters do not say.
    """
    info = parameters.get(f"camera.{name}.camera_info")
    info = info or camera_info_beside(base)
    transport = parameters.get("image_transport")
    if transport is None:  # not said: the one that is there
        items = [item for item in available if item.base == base]
        transport = min(items, key=lambda item: item.rank).transport if items else "raw"
    said = parameters.get(f"camera.{name}.calibration") or parameters.get("calibration")
    calibration = said or calibration
    return CameraTopics(
        base + TRANSPORTS[transport], f"/{info.lstrip('/')}", calibration == "rectified"
    )


def _discovered(reader: Bag, colours: Sequence[_ImageTopic]) -> dict[str, CameraTopics]:
    """One image topic for each namespace that has some and a CameraInfo, or at least the name."""
    infos = {item.topic for item in reader.connections if item.msgtype == CAMERA_INFO}
    by_namespace: dict[str, list[_ImageTopic]] = defaultdict(list)
    for item in colours:
        if camera_info_beside(item.base) in infos or item.rank[0] < len(_NAMES):
            by_namespace[item.namespace].append(item)
    topics = {}
    for namespace, items in sorted(by_namespace.items()):
        best = min(items, key=lambda item: item.rank)
        topics[namespace.strip("/") or best.base.strip("/")] = CameraTopics(
            best.topic, camera_info_beside(best.base), "image_rect" in best.base
        )
    return topics
