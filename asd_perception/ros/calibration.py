# SPDX-License-Identifier: Apache-2.0
"""Calibration from what the ROS graph says: camera_info for each camera, /tf_static and /tf."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from asd_perception.cameras.rig_check import Finding, MountedCamera, check_rig
from asd_perception.errors import UserError
from asd_perception.geometry import Array
from asd_perception.network.config import StudentConfig
from asd_perception.ros.check.faults import duplicate_frame, nothing_heard
from asd_perception.ros.messages.camera_info import (
    CalibrationWatch,
    CameraModel,
    camera_model_from_msg,
    wrongly_rectified,
)
from asd_perception.ros.messages.transforms import unheard_transforms
from asd_perception.ros.parameters.settings import CameraInput
from asd_perception.ros.transforms import TransformBuffer


class Calibration:
    """Camera models and transforms, as they arrive; asked at each image and each frame.

    cameras: the rig's cameras by their names.
    """

    def __init__(self, cameras: Mapping[str, CameraInput], base_frame: str) -> None:
        self.cameras = cameras
        self.base_frame = base_frame
        self.models: dict[str, CameraModel | None] = dict.fromkeys(cameras)
        self.transforms = TransformBuffer()
        self._watches = {camera: CalibrationWatch() for camera in cameras}
        self._names_in_messages: tuple[bytes, ...] = ()
        self._unheard: Mapping[str, list[str]] = {}

    def note_unheard(self, lines: Mapping[str, list[str]]) -> None:
        """Publishers of which nothing arrives, by topic: what is missing may be theirs."""
        self._unheard = lines
        self.transforms.unheard = unheard_transforms(lines)

    def take_camera_info(self, camera: str, message: CameraInfo) -> str | None:
        """What is wrong with a message that is used all the same.

        Raises UserError for a bad one; the last good one stays in use.
        """
        source = self.cameras[camera]
        model = camera_model_from_msg(message, source.rectified, source.ego_mask)
        before = self.models[camera]
        self.models[camera] = model
        if before is None or before.frame_id != model.frame_id:
            self._follow()
        return self._watches[camera].see(model)

    def take_static_transforms(self, message: TFMessage) -> list[str]:
        """What is wrong in a message of /tf_static; its other transforms are used."""
        faults = self.transforms.add_all(message)
        self._follow()
        return faults

    def changes(self) -> list[str]:
        """How the static way from a camera to the base frame has changed, each told once."""
        models = [model for model in self.models.values() if model is not None]
        return self.transforms.changes_between(self.base_frame, [m.frame_id for m in models])

    def concerns_cameras(self, serialized: bytes) -> bool:
        """Whether a serialized message of /tf may be of a frame that leads to a camera.

        Robots send thousands of others per second, and to deserialize them would take a core.
        """
        return any(name in serialized for name in self._names_in_messages)

    def take_moving_transforms(self, message: TFMessage) -> list[str]:
        """What is wrong in a message of /tf for the frames that lead to a camera."""
        faults, is_new = [], False
        for transform in message.transforms:
            try:
                is_new |= self.transforms.add_moving(transform)
            except UserError as error:
                faults.append(str(error))
        if is_new:
            self._follow()
        return faults

    @property
    def needs_tf(self) -> bool:
        """Whether some camera's way to the base frame is not all in /tf_static."""
        return bool(self.transforms.followed)

    def moves(self, model: CameraModel) -> bool:
        """Whether /tf says how this camera is mounted."""
        return bool(self.transforms.open_ends(self.base_frame, model.frame_id))

    def _follow(self) -> None:
        frames: set[str] = set()
        for model in self.models.values():
            if model is not None:
                frames |= self.transforms.open_ends(self.base_frame, model.frame_id)
        if frames != self.transforms.followed:
            self.transforms.follow(frames)
            self._names_in_messages = tuple(frame.encode() + b"\0" for frame in frames)

    def mounting(self, model: CameraModel, stamp_ns: int | None = None) -> Array:
        """ego_from_camera (4, 4) of the camera that took an image, at the image's stamp.

        stamp_ns None: as last heard of. Raises UserError that says what is missing.
        """
        mounting = self.transforms.pose_in_base(self.base_frame, model.frame_id, stamp_ns)
        mounting[:3, :3] = mounting[:3, :3] @ model.frame_from_image
        return mounting

    def mounted(self) -> dict[str, MountedCamera]:
        """The cameras whose calibration and mounting are both known, and stay, by their names."""
        found = {}
        for camera, model in self.models.items():
            if model is not None and not self.moves(model) and self.fault(camera) is None:
                mounting = self.mounting(model)
                found[camera] = MountedCamera(
                    *(model.frame_id, model.calibration, mounting, model.whole, model.rectified)
                )
        return found

    def fault(self, camera: str, stamp_ns: int | None = None) -> str | None:
        """What is missing or contradictory in a camera's calibration, with its remedy.

        stamp_ns: of its last image, if it sends any.
        """
        model = self.models[camera]
        if model is None:
            topic = self.cameras[camera].info_name
            return nothing_heard(
                f"no valid camera_info on {topic}",
                self._unheard.get(topic, []),
                "start or mend its publisher (one that publishes once must be reliable and "
                "transient local)",
            )
        duplicates = [
            name
            for name, other in self.models.items()
            if name != camera and other is not None and other.frame_id == model.frame_id
        ]
        if duplicates:
            return duplicate_frame(model.frame_id, duplicates[0])
        try:
            self.mounting(model, stamp_ns)
        except UserError as error:
            return str(error)
        return None

    def doubt(self, camera: str) -> str | None:
        """What looks wrong in a camera's calibration that is used all the same, with the remedy."""
        model, source = self.models[camera], self.cameras[camera]
        if model is None:
            return None
        return wrongly_rectified(camera, source.image_name, model)


class RigWatch:
    """Looks at the rig when it has changed; what is new goes into the log by warn(kind, text).

    A look takes milliseconds, in which no image is taken in.
    """

    def __init__(
        self, calibration: Calibration, config: StudentConfig, warn: Callable[[str, str], None]
    ) -> None:
        self._calibration = calibration
        self._config = config
        self._warn = warn
        self._seen: dict[str, Any] = {}  # by camera: frame, calibrations and pose
        self._findings: dict[str, list[Finding]] = {}

    def findings(self) -> dict[str, list[Finding]]:
        """What is wrong with the calibrated cameras that do not move, by camera."""
        cameras = self._calibration.mounted()
        rig = {
            name: (
                *(camera.frame_id, camera.calibration, camera.whole, camera.rectified),
                camera.ego_from_camera.tolist(),
            )
            for name, camera in cameras.items()
        }
        if rig == self._seen:
            return self._findings
        findings = check_rig(
            cameras,
            self._config.trained_cameras,
            self._config.image_size,
            self._calibration.base_frame,
        )
        told = {(name, item.text) for name, items in self._findings.items() for item in items}
        new: dict[str, list[str]] = {}
        for name, items in findings.items():
            for item in items:
                if (name, item.text) not in told:
                    new.setdefault(item.text, []).append(name)
        for text, names in new.items():
            self._warn(f"rig {text}", f"{', '.join(names)}: {text}")
        self._seen, self._findings = rig, findings
        return findings
