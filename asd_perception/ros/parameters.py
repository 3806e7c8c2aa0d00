# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: one table, from which they are declared, checked and documented."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from asd_perception.constants import MAX_CAMERAS
from asd_perception.errors import UserError
from asd_perception.ros.check.topics import CameraTopics, check_separate
from asd_perception.ros.messages.images import TRANSPORTS

_NEXT_CONFIGURE = "Takes effect at the next configure transition."
_QOS = "qos_overrides."  # before the names that rclpy gives to a topic's QoS
_TOPIC_NAME = re.compile(r"(~/|/)?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")


def _check_device(value: str) -> str | None:
    ok = re.fullmatch(r"auto|cpu|cuda(:\d+)?", value)
    return None if ok else f"{value!r} is not auto, cpu, cuda or cuda:N"


def _one_of(words: Iterable[str], value: str) -> str | None:
    return None if value in words else f"{value!r} is not {' or '.join(filter(None, words))}"


def _check_cameras(value: list[str]) -> str | None:
    if not 1 <= len(value) <= MAX_CAMERAS:
        return f"has {len(value)} names; give 1 to {MAX_CAMERAS}"
    bad = [name for name in value if not _TOPIC_NAME.fullmatch(name)]
    if bad:
        return f"{bad[0]!r} is not a topic name, as a camera's name must be"
    twice = [name for i, name in enumerate(value) if name in value[:i]]
    return f"{twice[0]!r} is there twice; give each camera a name of its own" if twice else None


def _check_topic(value: str) -> str | None:
    return None if not value or _TOPIC_NAME.fullmatch(value) else f"{value!r} is not a topic name"


def _check_image_topic(value: str) -> str | None:
    base, _, transport = value.rpartition("/")
    if f"/{transport}" in TRANSPORTS.values():
        return f"give {base}; image_transport: {transport} adds /{transport} to it"
    return _check_topic(value)


def _check_frame(value: str) -> str | None:
    return None if value and not value.startswith("/") else "needs a frame name without a slash"


@dataclass(frozen=True)
class ParameterEntry:
    """One row of the table. `check` returns why a value is wrong, or None; `range` is inclusive."""

    name: str
    default: Any
    description: str
    check: Callable[[Any], str | None] | None = None
    range: tuple[float, float] | None = None
    read_only: bool = False

    def declare(self, node: Node) -> None:
        descriptor = ParameterDescriptor(description=self.description, read_only=self.read_only)
        if self.range is not None:
            low, high = self.range
            if isinstance(self.default, int):
                descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
            else:
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=low, to_value=high)
                ]
        node.declare_parameter(self.name, self.default, descriptor)


PARAMETERS = (
    ParameterEntry(
        "model",
        "",
        f"Model directory; empty for the tiny model that ships with the package. {_NEXT_CONFIGURE}",
    ),
    ParameterEntry(
        "device",
        "auto",
        f"cpu, cuda, cuda:N, or auto (a GPU where there is one). {_NEXT_CONFIGURE}",
        _check_device,
    ),
    ParameterEntry(
        "image_transport",
        "raw",
        "raw (CAMERA/image_raw, sensor_msgs/Image), compressed (CAMERA/image_raw/compressed, "
        "sensor_msgs/CompressedImage) or ffmpeg (CAMERA/image_raw/ffmpeg, video as "
        f"ffmpeg_image_transport_msgs/FFMPEGPacket). {_NEXT_CONFIGURE}",
        partial(_one_of, TRANSPORTS),
    ),
    ParameterEntry(
        "cameras",
        [
            *("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT"),
            *("CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT"),
        ],
        f"Names of the cameras, 1 to {MAX_CAMERAS} in any order; each has camera.NAME.image and so "
        f"on. {_NEXT_CONFIGURE}",
        _check_cameras,
    ),
    ParameterEntry(
        "calibration",
        "raw",
        "What the images are, of all cameras that do not say otherwise: raw (K and D of their "
        f"camera_info) or rectified (P and R; image_rect topics). {_NEXT_CONFIGURE}",
        partial(_one_of, ("raw", "rectified")),
    ),
    ParameterEntry(
        "base_frame",
        "base_link",
        "Frame of the detections; /tf_static (or /tf) must connect it to each camera's frame. "
        f"{_NEXT_CONFIGURE}",
        _check_frame,
    ),
    ParameterEntry(
        "score_threshold",
        0.05,
        "Objects with a lower score are not published. Takes effect on the next frame.",
        range=(0.0, 1.0),
    ),
    ParameterEntry(
        "sync.tolerance",
        0.06,
        "Largest difference in s between two image stamps of one frame. More than the cameras' "
        "spread, less than their period minus the largest gap between cameras that fire one "
        f"after the other. {_NEXT_CONFIGURE}",
        range=(0.001, 0.5),
    ),
    ParameterEntry(
        "sync.max_wait",
        0.1,
        "How long in s a frame waits for the images of missing cameras after its first image. "
        "More than the cameras' spread plus the jitter of their transport; less than three of "
        "their periods, since no more images are kept. A camera that was "
        f"silent for a second is not waited for. {_NEXT_CONFIGURE}",
        range=(0.02, 1.0),
    ),
    ParameterEntry(
        "sync.min_cameras",
        1,
        "Minimum number of cameras in a frame; the number of all cameras: complete frames only. "
        f"{_NEXT_CONFIGURE}",
        range=(1, MAX_CAMERAS),
    ),
    ParameterEntry(
        "use_odometry",
        True,
        "Compensate the ego motion between camera stamps by the odometry topic; without messages "
        f"there, the robot is taken to stand still between them. {_NEXT_CONFIGURE}",
    ),
    ParameterEntry(
        "autostart",
        True,
        "Configure and activate at start; false where a launch file or a lifecycle manager does.",
        read_only=True,
    ),
)


CAMERA_PARAMETERS = (
    ParameterEntry(
        "image",
        "",
        f"image topic, without /compressed; empty: CAMERA/image_raw. {_NEXT_CONFIGURE}",
        _check_image_topic,
    ),
    ParameterEntry(
        "camera_info",
        "",
        f"topic of its camera_info; empty: camera_info beside its image topic. {_NEXT_CONFIGURE}",
        _check_topic,
    ),
    ParameterEntry(
        "calibration",
        "",
        f"raw or rectified; empty: as the parameter calibration. {_NEXT_CONFIGURE}",
        partial(_one_of, ("raw", "rectified", "")),
    ),
)
"""Of each camera in `cameras`, as camera.CAMERA.image and so on."""


def camera_parameters(camera: str) -> list[ParameterEntry]:
    """CAMERA_PARAMETERS of one camera."""
    return [
        replace(
            entry,
            name=f"camera.{camera}.{entry.name}",
            description=f"{camera}: {entry.description}",
        )
        for entry in CAMERA_PARAMETERS
    ]


def declare_parameters(node: Node) -> None:
    """Declare all parameters, and refuse wrong values from now on, at start too.

    Raises rclpy.exceptions.ParameterException for a wrong value given at start.
    """
    checks = {entry.name: entry.check for entry in PARAMETERS}

    def refuse_wrong_values(parameters: list[Any]) -> SetParametersResult:  # Parameter
        for parameter in parameters:
            check = checks.get(parameter.name)
            if check is None or parameter.type_ == Parameter.Type.NOT_SET:
                continue
            reason = check(parameter.value)
            if reason is not None:
                return SetParametersResult(successful=False, reason=f"{parameter.name}: {reason}")
        return SetParametersResult(successful=True)

    def declare_cameras(parameters: list[Any]) -> None:  # Parameter
        """Those of cameras that are new. Of one that is gone they stay, without effect."""
        for camera in (name for p in parameters if p.name == "cameras" for name in p.value):
            for entry in camera_parameters(camera):
                if not node.has_parameter(entry.name):
                    checks[entry.name] = entry.check
                    entry.declare(node)

    def declare_new_cameras(parameters: list[Any]) -> None:
        try:
            declare_cameras(parameters)
        except ParameterException as error:  # given at start, when there was no such camera
            node.get_logger().warning(str(error))

    node.add_on_set_parameters_callback(refuse_wrong_values)
    for entry in PARAMETERS:
        entry.declare(node)
    declare_cameras([node.get_parameter("cameras")])
    node.add_post_set_parameters_callback(declare_new_cameras)


def unknown_parameters(node: Node, of_qos: bool) -> list[str]:
    """A line for each value given at start that no declared parameter takes: ROS is silent there.

    of_qos: those of topics' QoS, which are declared with the topics; else all others.
    """
    given = [
        name
        for name in node._parameter_overrides  # rclpy offers no public way to them
        if name.startswith(_QOS) == of_qos and not node.has_parameter(name)
    ]
    if of_qos:
        known = [_QOS + name for name in node.get_parameters_by_prefix(_QOS.rstrip("."))]
        return [f"unknown parameter {name} {_advice(name, known)}" for name in given]
    cameras = node.get_parameter("cameras").value
    known = [entry.name for entry in PARAMETERS]
    known += [entry.name for camera in cameras for entry in camera_parameters(camera)]
    lines = {}
    for name in given:
        table = name.rpartition(".")[0]
        camera = table.removeprefix("camera.")
        if camera != table and camera not in cameras:
            lines[table] = f"{table}, which is not in cameras, {_advice(camera, cameras)}"
        else:
            lines[name] = f"unknown parameter {name} {_advice(name, known)}"
    return list(lines.values())


def _advice(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return f"has no effect; {advice}"


@dataclass(frozen=True)
class CameraInput:
    """Where one camera's messages come from, and what they are.

    image_topic, info_topic: to subscribe to. image_name, info_name: these topics' full names, after
    remapping. rectified: whether the images are, so that P and R of the camera_info hold for them.
    """

    image_topic: str
    info_topic: str
    image_name: str
    info_name: str
    rectified: bool

    @classmethod
    def read(cls, node: Node, camera: str) -> CameraInput:
        def value(key: str) -> str:
            return node.get_parameter(f"camera.{camera}.{key}").value

        image = value("image") or f"{camera}/image_raw"
        namespace, slash, _ = image.rpartition("/")
        info = value("camera_info") or f"{namespace}{slash}camera_info"
        image += TRANSPORTS[node.get_parameter("image_transport").value]
        calibration = value("calibration") or node.get_parameter("calibration").value
        return cls(
            image,
            info,
            node.resolve_topic_name(image),
            node.resolve_topic_name(info),
            calibration == "rectified",
        )

    @property
    def topics(self) -> CameraTopics:
        """By their full names."""
        return CameraTopics(self.image_name, self.info_name, self.rectified)


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
    use_sim_time: bool

    @classmethod
    def read(cls, node: Node) -> Settings:
        """Raises UserError for parameters that contradict each other."""

        def value(name: str) -> Any:
            return node.get_parameter(name).value

        cameras = {camera: CameraInput.read(node, camera) for camera in value("cameras")}
        _check_together(cameras, value("sync.min_cameras"))
        return cls(
            model=value("model"),
            device=value("device"),
            image_transport=value("image_transport"),
            cameras=cameras,
            base_frame=value("base_frame"),
            sync_tolerance_ns=round(value("sync.tolerance") * 1e9),
            sync_max_wait=value("sync.max_wait"),
            sync_min_cameras=value("sync.min_cameras"),
            use_odometry=value("use_odometry"),
            use_sim_time=value("use_sim_time"),
        )


def _check_together(cameras: Mapping[str, CameraInput], min_cameras: int) -> None:
    if min_cameras > len(cameras):
        raise UserError(
            f"sync.min_cameras is {min_cameras}, but cameras has {len(cameras)}; lower it"
        )
    check_separate({camera: source.topics for camera, source in cameras.items()})
