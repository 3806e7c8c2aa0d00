# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: one table, from which they are declared, checked and documented."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from asd_perception.constants import CAMERAS

_NEXT_CONFIGURE = "Takes effect at the next configure transition."
_TOPIC_NAME = re.compile(r"(~/|/)?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")


def _check_device(value: str) -> str | None:
    ok = re.fullmatch(r"auto|cpu|cuda(:\d+)?", value)
    return None if ok else f"{value!r} is not auto, cpu, cuda or cuda:N"


def _check_transport(value: str) -> str | None:
    return None if value in ("raw", "compressed") else f"{value!r} is not raw or compressed"


def _check_cameras(value: list[str]) -> str | None:
    if len(value) != len(CAMERAS) or len(set(value)) != len(value):
        return f"needs {len(CAMERAS)} different topic names, in the order {', '.join(CAMERAS)}"
    bad = [name for name in value if not _TOPIC_NAME.fullmatch(name)]
    return f"{bad[0]!r} is not a topic name" if bad else None


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
        "raw (CAMERA/image_raw, sensor_msgs/Image) or compressed (CAMERA/image_raw/compressed, "
        f"sensor_msgs/CompressedImage). {_NEXT_CONFIGURE}",
        _check_transport,
    ),
    ParameterEntry(
        "cameras",
        list(CAMERAS),
        "Topic names of the six cameras, in the order front left, front, front right, back left, "
        f"back, back right. {_NEXT_CONFIGURE}",
        _check_cameras,
    ),
    ParameterEntry(
        "base_frame",
        "base_link",
        "Frame of the detections; /tf_static must connect it to each camera's optical frame. "
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
        "Greatest difference in s between two image stamps of one frame. More than the cameras' "
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
        f"Fewest cameras that make a frame; 6 to detect in complete frames only. {_NEXT_CONFIGURE}",
        range=(1, len(CAMERAS)),
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


def declare_parameters(node: Node) -> None:
    """Declare all parameters, and refuse wrong values from now on, at start too.

    Raises rclpy.exceptions.ParameterException for a wrong value given at start.
    """
    checks = {entry.name: entry.check for entry in PARAMETERS if entry.check is not None}

    def refuse_wrong_values(parameters: list[Any]) -> SetParametersResult:  # Parameter
        for parameter in parameters:
            check = checks.get(parameter.name)
            if check is None or parameter.type_ == Parameter.Type.NOT_SET:
                continue
            reason = check(parameter.value)
            if reason is not None:
                return SetParametersResult(successful=False, reason=f"{parameter.name}: {reason}")
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(refuse_wrong_values)
    for entry in PARAMETERS:
        entry.declare(node)


@dataclass(frozen=True)
class Settings:
    """The values that hold from one configure transition to the next."""

    model: str
    device: str
    image_transport: str
    cameras: tuple[str, ...]
    base_frame: str
    sync_tolerance_ns: int
    sync_max_wait: float
    sync_min_cameras: int
    use_odometry: bool
    use_sim_time: bool

    def image_topic(self, camera: str) -> str:
        """The relative topic of a camera's images."""
        return f"{camera}/image_raw" + (
            "/compressed" if self.image_transport == "compressed" else ""
        )

    @classmethod
    def read(cls, node: Node) -> Settings:
        def value(name: str) -> Any:
            return node.get_parameter(name).value

        return cls(
            model=value("model"),
            device=value("device"),
            image_transport=value("image_transport"),
            cameras=tuple(value("cameras")),
            base_frame=value("base_frame"),
            sync_tolerance_ns=round(value("sync.tolerance") * 1e9),
            sync_max_wait=value("sync.max_wait"),
            sync_min_cameras=value("sync.min_cameras"),
            use_odometry=value("use_odometry"),
            use_sim_time=value("use_sim_time"),
        )
