# SPDX-License-Identifier: Apache-2.0
"""The values of the parameters: those that hold from one configure transition to the next, and
those that take effect on the next frame."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node

from asd_perception.cameras.ego_mask import EgoMask, read_ego_mask
from asd_perception.constants import CLASSES
from asd_perception.ros.check.topics import CameraTopics, check_together
from asd_perception.ros.messages.images import TRANSPORTS
from asd_perception.ros.parameters.table import camera_info_beside, default_image
from asd_perception.runtime.selection import Selection


@dataclass(frozen=True)
class CameraInput:
    """Where one camera's messages come from, and what they are.

    image_topic, info_topic: to subscribe to. image_name, info_name: these topics' full names, after
    remapping. rectified: whether the images are, so that P and R of the camera_info hold for them.
    ego_mask: where the vehicle itself is in them.
    """

    image_topic: str
    info_topic: str
    image_name: str
    info_name: str
    rectified: bool
    ego_mask: EgoMask | None = None

    @classmethod
    def read(cls, node: Node, camera: str, ego_mask: EgoMask | None) -> CameraInput:
        def value(key: str) -> str:
            return node.get_parameter(f"camera.{camera}.{key}").value

        image = value("image") or default_image(camera)
        info = value("camera_info") or camera_info_beside(image)
        image += TRANSPORTS[node.get_parameter("image_transport").value]
        calibration = value("calibration") or node.get_parameter("calibration").value
        return cls(
            image,
            info,
            node.resolve_topic_name(image),
            node.resolve_topic_name(info),
            calibration == "rectified",
            ego_mask,
        )

    @property
    def topics(self) -> CameraTopics:
        """By their full names."""
        return CameraTopics(self.image_name, self.info_name, self.rectified, self.ego_mask)


@dataclass(frozen=True)
class Settings:
    """The values that hold from one configure transition to the next."""

    model: str
    device: str
    image_transport: str
    cameras: Mapping[str, CameraInput]  # by name
    base_frame: str
    sync_tolerance_ns: int
    sync_max_wait: float
    sync_min_cameras: int
    use_odometry: bool
    odometry_name: str  # its topic's full name, after remapping
    use_sim_time: bool

    @classmethod
    def read(cls, node: Node) -> Settings:
        """Raises UserError for parameters that contradict each other, and for a wrong ego_mask."""

        def value(name: str) -> Any:
            return node.get_parameter(name).value

        masks = read_ego_mask(value("ego_mask"), value("cameras"))
        cameras = {
            camera: CameraInput.read(node, camera, masks.get(camera)) for camera in value("cameras")
        }
        topics = {camera: source.topics for camera, source in cameras.items()}
        check_together(topics, value("sync.min_cameras"))
        return cls(
            # No shell does it for what follows a parameter's name.
            model=os.path.expanduser(value("model")),
            device=value("device"),
            image_transport=value("image_transport"),
            cameras=cameras,
            base_frame=value("base_frame"),
            sync_tolerance_ns=round(value("sync.tolerance") * 1e9),
            sync_max_wait=value("sync.max_wait"),
            sync_min_cameras=value("sync.min_cameras"),
            use_odometry=value("use_odometry"),
            odometry_name=node.resolve_topic_name("odometry"),
            use_sim_time=value("use_sim_time"),
        )


def read_selection(node: Node, score_threshold: float) -> Selection:
    """Which objects are to be published, as the parameters say now.

    score_threshold: that of the parameter, or the model's own.
    """

    def value(name: str) -> Any:
        return node.get_parameter(name).value

    thresholds = {name: value(f"class_threshold.{name}") for name in CLASSES}
    return Selection(
        score_threshold=score_threshold,
        class_thresholds={name: score for name, score in thresholds.items() if score >= 0},
        classes=tuple(value("classes")),
        x=tuple(value("region.x")),
        y=tuple(value("region.y")),
        duplicate_radius=value("duplicate_radius"),
    )


@dataclass(frozen=True)
class LatencyBudget:
    """How long in s a stage may take: beyond `warn` it is a WARN, beyond `error` an ERROR; 0: no
    matter how long."""

    warn: float = 0.0
    error: float = 0.0


def read_budgets(node: Node) -> dict[str, LatencyBudget]:
    """How long which stages may take, as the parameters say now."""
    return {
        stage: LatencyBudget(*node.get_parameter(f"latency_budget.{stage}").value)
        for stage in ("total", "stamp")
    }
