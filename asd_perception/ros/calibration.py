# SPDX-License-Identifier: Apache-2.0
"""Calibration from what the ROS graph says: camera_info for each camera, and /tf_static."""

from __future__ import annotations

from collections.abc import Iterable

from asd_perception.cameras.rig_check import MountedCamera
from asd_perception.errors import UserError
from asd_perception.geometry import Array
from asd_perception.ros.messages.camera_info import CameraModel
from asd_perception.ros.messages.transforms import StaticTransforms


class Calibration:
    """Camera models and static transforms, as they arrive; asked at each image and each frame.

    cameras: the rig's cameras by their topic names.
    """

    def __init__(self, cameras: Iterable[str], base_frame: str) -> None:
        self.base_frame = base_frame
        self.models: dict[str, CameraModel | None] = dict.fromkeys(cameras)
        self.transforms = StaticTransforms()

    def mounting(self, model: CameraModel) -> Array:
        """ego_from_camera (4, 4) of a camera. Raises UserError that says what is missing."""
        return self.transforms.lookup(self.base_frame, model.frame_id)

    def mounted(self) -> dict[str, MountedCamera]:
        """The cameras whose calibration and mounting are both known, by topic name."""
        found = {}
        for camera, model in self.models.items():
            if model is not None and self.fault(camera) is None:
                mounting = self.mounting(model)
                found[camera] = MountedCamera(model.frame_id, model.calibration, mounting)
        return found

    def fault(self, camera: str) -> str | None:
        """What is missing or contradictory in a camera's calibration, with its remedy."""
        model = self.models[camera]
        if model is None:
            return f"no valid camera_info on {camera}/camera_info; start or mend its publisher"
        duplicates = [
            name
            for name, other in self.models.items()
            if name != camera and other is not None and other.frame_id == model.frame_id
        ]
        if duplicates:
            return (
                f"its camera_info has the same frame_id {model.frame_id!r} as that of "
                f"{duplicates[0]}; give each camera an optical frame of its own"
            )
        try:
            self.mounting(model)
        except UserError as error:
            return str(error)
        return None
