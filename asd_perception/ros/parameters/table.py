# SPDX-License-Identifier: Apache-2.0
"""The table from which the node's parameters are declared, checked and documented; no ROS."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf, isfinite
from typing import Any

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES
from asd_perception.constants import CLASSES, MAX_CAMERAS
from asd_perception.errors import did_you_mean
from asd_perception.ros.messages.images import TRANSPORTS

_NEXT_CONFIGURE = "Takes effect at the next configure transition."
_NEXT_FRAME = "Takes effect on the next frame."
MAX_BUDGET = 60.0  # s
QOS = "qos_overrides."  # before the names that rclpy gives to a topic's QoS
_TOPIC_NAME = re.compile(r"(~/|/)?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")


def _check_policy(words: Iterable[str], value: str) -> str | None:
    return _one_of(words, value.lower())


def _check_device(value: str) -> str | None:
    ok = re.fullmatch(r"auto|cpu|cuda(:\d+)?", value)
    return None if ok else f"{value!r} is not auto, cpu, cuda or cuda:N"


def _one_of(words: Iterable[str], value: str) -> str | None:
    return None if value in words else f"{value!r} is not {' or '.join(filter(None, words))}"


def _check_cameras(value: list[str]) -> str | None:
    if not 1 <= len(value) <= MAX_CAMERAS:
        return f"there are {len(value)} names; give 1 to {MAX_CAMERAS}"
    bad = [name for name in value if not _TOPIC_NAME.fullmatch(name)]
    if bad:
        return f"{bad[0]!r} is not a topic name, as a camera's name must be"
    twice = [name for i, name in enumerate(value) if name in value[:i]]
    return f"{twice[0]!r} is there twice; give each camera a name of its own" if twice else None


def _check_classes(value: list[str]) -> str | None:
    if not value:
        return "there is no class in it; give at least one"
    unknown = [name for name in value if name not in CLASSES]
    return f"there is no class {unknown[0]!r}; {_known(unknown[0], CLASSES)}" if unknown else None


def _check_interval(value: Sequence[float]) -> str | None:
    if len(value) != 2 or not all(map(isfinite, value)) or not value[0] < value[1]:
        return f"{list(value)!r} is not two numbers, from and to, of which the first is smaller"
    return None


def _check_budget(value: Sequence[float]) -> str | None:
    if len(value) != 2 or not all(0 <= seconds <= MAX_BUDGET for seconds in value):
        return (
            f"{list(value)!r} is not two times from 0 to {MAX_BUDGET:g} s, of the WARN and of the "
            "ERROR"
        )
    if 0 < value[1] < value[0]:
        return f"{list(value)!r}: the ERROR would come before the WARN"
    return None


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

    def refusal(self, value: Any) -> str | None:
        """Why a value is wrong, or None."""
        low, high = self.range or (-inf, inf)
        if not _is_like(self.default, value) or (self.range and not low <= value <= high):
            return f"{value!r} is not {self._kind}"
        return None if self.check is None else self.check(value)

    @property
    def _kind(self) -> str:
        """What its values are, in words."""
        if isinstance(self.default, list):
            return "a list of names" if isinstance(self.default[0], str) else "a list of numbers"
        kind = _KINDS[type(self.default)]
        return kind if self.range is None else f"{kind} from {self.range[0]:g} to {self.range[1]:g}"


_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}


def _is_like(default: object, value: object) -> bool:
    """Whether a value is of a default's type. A whole number also stands for a float.

    Of a default list every item has the type of the first.
    """
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, list):
        if not isinstance(value, list | array):  # an array: numbers in a message
            return False
        return all(_is_like(default[0], item) for item in value)
    return isinstance(value, type(default))


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
        list(NUSCENES_CAMERA_NAMES),
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
        "ego_mask",
        "",
        "YAML file with the parts of the cameras' images in which the vehicle itself is, by "
        "camera: {size: [width, height], polygons: [[[u, v], ...], ...]}; empty: none. "
        f"{_NEXT_CONFIGURE}",
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
        -1.0,
        "Objects with a lower score are not published; below 0: the model's own threshold, which "
        "asd-train evaluate --calibrate chose, or 0.05 where it has none. "
        f"{_NEXT_FRAME}",
        range=(-1.0, 1.0),
    ),
    ParameterEntry(
        "classes",
        list(CLASSES),
        f"Objects of other classes are not published. {_NEXT_FRAME}",
        _check_classes,
    ),
    ParameterEntry(
        "region.x",
        [-1000.0, 1000.0],
        "Objects whose centre is not between these two x in m, in base_frame, are not published. "
        f"{_NEXT_FRAME}",
        _check_interval,
    ),
    ParameterEntry(
        "region.y",
        [-1000.0, 1000.0],
        f"The same for y, which points to the left. {_NEXT_FRAME}",
        _check_interval,
    ),
    ParameterEntry(
        "duplicate_radius",
        0.0,
        "Of objects whose centres, seen from above, are closer than this in m, whatever their "
        f"classes, only the best is published; 0: all are. {_NEXT_FRAME}",
        range=(0.0, 10.0),
    ),
    ParameterEntry(
        "latency_budget.total",
        [0.0, 0.0],
        "Times in s from a frame's last image to its published detections: /diagnostics are WARN "
        "beyond the first, and ERROR beyond the second, if more than 5 of the last 100 frames "
        f"take longer; 0: none. {_NEXT_FRAME}",
        _check_budget,
    ),
    ParameterEntry(
        "latency_budget.stamp",
        [0.0, 0.0],
        "The same from a frame's reference stamp, on the node's clock: with the time that images "
        f"take to the node. {_NEXT_FRAME}",
        _check_budget,
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

AT_NEXT_CONFIGURE = frozenset(p.name for p in PARAMETERS if _NEXT_CONFIGURE in p.description)


CAMERA_PARAMETERS = (
    ParameterEntry(
        "image",
        "",
        f"image topic, without /compressed or /ffmpeg; empty: CAMERA/image_raw. {_NEXT_CONFIGURE}",
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


QOS_POLICIES = {
    "history": ParameterEntry(
        "history", "", "", partial(_check_policy, ("keep_last", "keep_all", "system_default"))
    ),
    "reliability": ParameterEntry(
        "reliability", "", "", partial(_check_policy, ("reliable", "best_effort", "system_default"))
    ),
    "depth": ParameterEntry("depth", 1, "", range=(1, 100_000)),
}
"""What the last part of a name of QOS may be, which ROS declares, and its values."""


CLASS_THRESHOLDS = tuple(
    ParameterEntry(
        f"class_threshold.{name}",
        -1.0,
        f"score_threshold of the class {name}; below 0: as score_threshold. {_NEXT_FRAME}",
        range=(-1.0, 1.0),
    )
    for name in CLASSES
)


def unknown_names(given: Iterable[str], cameras: Sequence[str]) -> list[str]:
    """A line for each given name that is no parameter of a node with these cameras."""
    known = [entry.name for entry in (*PARAMETERS, *CLASS_THRESHOLDS)]
    known += [entry.name for camera in cameras for entry in camera_parameters(camera)]
    lines = {}
    for name in given:
        table = name.rpartition(".")[0]
        camera = table.removeprefix("camera.")
        if camera != table and camera not in cameras:
            lines[table] = f"{table}, which is not in cameras, {advice(camera, cameras)}"
        elif name not in known:
            lines[name] = f"unknown parameter {name} {advice(name, known)}"
    return list(lines.values())


def advice(name: str, known: Sequence[str]) -> str:
    """What is to be said of a name that has no effect: the known one that it is near, or all."""
    return f"has no effect; {_known(name, known)}"


def _known(name: str, known: Sequence[str]) -> str:
    return did_you_mean(name, known) or f"known are {', '.join(known)}"


def default_image(camera: str) -> str:
    """The topic of a camera's images where its parameter `image` names none."""
    return f"{camera}/image_raw"


def camera_info_beside(image: str) -> str:
    """The topic of the camera_info that belongs to an image topic, as image_transport has it."""
    namespace, slash, _ = image.rpartition("/")
    return f"{namespace}{slash}camera_info"
