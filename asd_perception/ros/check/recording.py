# SPDX-License-Identifier: Apache-2.0
"""What a rig sent: every image's stamp, the last calibration, and the sweeps they form.

Messages may be rclpy's or rosbags'. Nothing is judged here; `report.py` does that at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from asd_perception.cameras.image_decoding import encoded_size
from asd_perception.errors import UserError
from asd_perception.frames.synchronizer import FrameSynchronizer, SyncedFrame
from asd_perception.geometry import Array
from asd_perception.ros.check.topics import CameraTopics
from asd_perception.ros.messages.camera_info import (
    CalibrationWatch,
    CameraModel,
    camera_model_from_msg,
)
from asd_perception.ros.messages.geometry import stamp_ns
from asd_perception.ros.messages.images import check_image, image_warning
from asd_perception.ros.messages.transforms import TransformGraph, unheard_transforms

if TYPE_CHECKING:
    from ffmpeg_image_transport_msgs.msg import FFMPEGPacket
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
    from tf2_msgs.msg import TFMessage

    ImageMessage: TypeAlias = Image | CompressedImage | FFMPEGPacket


@dataclass
class CameraRecord:
    """One camera's messages. stamps and received in ns, of the images that can be used."""

    topics: CameraTopics
    stamps: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)  # encodings or formats
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # (width, height)
    frame_ids: Counter[str] = field(default_factory=Counter)  # of the images
    refused: Counter[str] = field(default_factory=Counter)  # images by the reason
    doubt: str | None = None  # about the colours
    last: ImageMessage | None = None
    camera_infos: int = 0
    model: CameraModel | None = None
    lens: str = ""  # the distortion model's name
    refused_info: str | None = None  # why the last bad camera_info is none
    watch: CalibrationWatch = field(default_factory=CalibrationWatch)
    contradiction: str | None = None  # of its camera_info with itself


class RigRecording:
    """Takes in a rig's messages in the order of their receipt.

    cameras: topics by camera name. tolerance_ns, max_wait: as the node's sync.tolerance and
    sync.max_wait; the sweeps are those that its synchronizer makes of the images.
    frames: the cameras and stamps of each sweep. images: by camera, those of the last complete
    sweep. clouds: by topic, the newest at that time. Without one, the last of each.
    left_out: image topics that are no camera's, each with the reason, where these are known.
    unheard: publishers of which nothing arrives, by topic, each with the remedy.
    """

    def __init__(
        self,
        cameras: Mapping[str, CameraTopics],
        base_frame: str,
        tolerance_ns: int,
        max_wait: float,
    ) -> None:
        self.left_out: Mapping[str, str] = {}
        self.unheard: Mapping[str, list[str]] = {}
        self.base_frame = base_frame
        self.tolerance_ns = tolerance_ns
        self.cameras = {name: CameraRecord(topics) for name, topics in cameras.items()}
        self.frames: list[SyncedFrame[None]] = []
        self.images: dict[str, ImageMessage] = {}
        self.clouds: dict[str, PointCloud2] = {}
        self._newest_clouds: dict[str, PointCloud2] = {}
        self.frame_names: set[str] = set()  # in any transform
        self.bad_transforms: Counter[str] = Counter()
        self.bad_clouds: Counter[str] = Counter()
        self._static = TransformGraph()
        self._all = TransformGraph()  # with those that may move, as last heard of
        self._synchronizer: FrameSynchronizer[Any] = FrameSynchronizer(
            self.cameras, tolerance_ns, max_wait
        )

    def add_image(self, camera: str, msg: ImageMessage, received_ns: int) -> None:
        record = self.cameras[camera]
        stamp = stamp_ns(msg.header.stamp)
        try:
            check_image(msg)
            size = _size(msg)
        except UserError as error:
            self.refuse_image(camera, str(error))
            return
        record.stamps.append(stamp)
        record.received.append(received_ns)
        record.sizes[size] += 1
        record.kinds[msg.format if hasattr(msg, "format") else msg.encoding] += 1
        record.frame_ids[msg.header.frame_id.lstrip("/")] += 1
        record.doubt = image_warning(msg) or record.doubt
        record.last = msg
        now = received_ns * 1e-9
        self._synchronizer.add(camera, stamp, msg, now)
        self._take_frames(now)

    def refuse_image(self, camera: str, reason: str) -> None:
        self.cameras[camera].refused[reason] += 1

    def add_camera_info(self, camera: str, msg: CameraInfo) -> None:
        record = self.cameras[camera]
        try:
            record.model = camera_model_from_msg(
                msg, record.topics.rectified, record.topics.ego_mask
            )
        except UserError as error:
            self.refuse_camera_info(camera, str(error))
        else:
            record.camera_infos += 1
            record.contradiction = record.watch.see(record.model) or record.contradiction
            record.lens = "rectified" if record.topics.rectified else msg.distortion_model

    def refuse_camera_info(self, camera: str, reason: str) -> None:
        record = self.cameras[camera]
        record.camera_infos += 1
        record.refused_info = reason

    def add_transforms(self, msg: TFMessage, static: bool) -> None:
        """Of /tf_static, or of /tf."""
        for transform in msg.transforms:
            self.frame_names |= {transform.header.frame_id, transform.child_frame_id}
            try:
                self._all.add(transform, "/tf_static" if static else "/tf")
                if static:
                    self._static.add(transform)
            except UserError as error:
                self.refuse_transforms(str(error))

    def changed_transforms(self) -> list[str]:
        """How the static way from a camera to the base frame has changed."""
        models = [record.model for record in self.cameras.values() if record.model is not None]
        return self._static.changes_between(self.base_frame, [m.frame_id for m in models])

    def refuse_transforms(self, reason: str) -> None:
        self.bad_transforms[reason] += 1

    def note_unheard(self, lines: Mapping[str, list[str]]) -> None:
        self.unheard = lines
        for graph in (self._static, self._all):
            graph.unheard = unheard_transforms(lines)

    def add_cloud(self, topic: str, msg: PointCloud2) -> None:
        if "label" not in {field.name for field in msg.fields}:  # objects, as in ~/objects
            self._newest_clouds[topic] = msg

    def refuse_cloud(self, reason: str) -> None:
        self.bad_clouds[reason] += 1

    def finish(self) -> None:
        """Take the sweeps that still wait for images: none will come."""
        last = max((r.received[-1] for r in self.cameras.values() if r.received), default=0)
        self._take_frames(last * 1e-9 + self._synchronizer.max_wait)
        if not self.images:
            self.images = {name: r.last for name, r in self.cameras.items() if r.last is not None}
        self.clouds = self._newest_clouds | self.clouds

    def base_from(self, frame_id: str) -> Array:
        """The pose (4, 4) of a frame in the base frame. Raises UserError that says what is missing.

        Where /tf alone has it, it is the last one heard of.
        """
        try:
            return self._static.lookup(self.base_frame, frame_id)
        except UserError:
            return self._all.pose_in_base(self.base_frame, frame_id)

    def moves(self, frame_id: str) -> bool:
        """Whether /tf_static alone does not connect a frame to the base frame."""
        try:
            self._static.lookup(self.base_frame, frame_id)
        except UserError:
            return True
        return False

    def mounting(self, model: CameraModel) -> Array:
        """ego_from_camera (4, 4) of the image of a camera. Raises UserError."""
        pose = self.base_from(model.frame_id)
        pose[:3, :3] = pose[:3, :3] @ model.frame_from_image
        return pose

    @property
    def period(self) -> float | None:
        """Of the cameras, in s; None before there is one."""
        return self._synchronizer.period

    def _take_frames(self, now: float) -> None:
        while (frame := self._synchronizer.poll(now)) is not None:
            self.frames.append(SyncedFrame(frame.cameras, frame.stamps, ()))
            if len(frame.cameras) == len(self.cameras):
                self.images = dict(zip(frame.cameras, frame.items, strict=True))
                self.clouds = dict(self._newest_clouds)


def _size(msg: ImageMessage) -> tuple[int, int]:
    """(width, height). Raises UserError."""
    if hasattr(msg, "format"):
        return encoded_size(np.frombuffer(msg.data, np.uint8))
    return int(msg.width), int(msg.height)
