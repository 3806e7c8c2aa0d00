# SPDX-License-Identifier: Apache-2.0
"""Objects as `~/detections` and `~/objects` carry them, without any message package.

A machine without ROS reads and writes bags with rosbags: the functions here take messages of
either kind, rclpy's or rosbags', and look at their fields alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asd_perception.constants import ATTRIBUTES, CLASSES, NO_ATTRIBUTE
from asd_perception.errors import UserError
from asd_perception.runtime.detections import Detections

_BOX = ("x", "y", "z", "length", "width", "height", "yaw")
_OBJECT = np.dtype(
    [(name, "<f4") for name in (*_BOX, "vx", "vy", "score")]
    + [("label", "<u4"), ("attribute", "<i4")]
)
# The codes of sensor_msgs/msg/PointField.
_DATATYPES = {
    4: np.dtype("<u2"),
    5: np.dtype("<i4"),
    6: np.dtype("<u4"),
    7: np.dtype("<f4"),
}


def point_fields(layout: np.dtype[np.void]) -> list[dict[str, Any]]:
    """The arguments of a PointField message for each field of a structured array's type."""
    codes = {kind: code for code, kind in _DATATYPES.items()}
    fields: Mapping[str, Any] = layout.fields or {}
    return [
        {"name": name, "offset": offset, "datatype": codes[kind], "count": 1}
        for name, (kind, offset, *_) in fields.items()
    ]


def objects_to_points(detections: Detections) -> NDArray[np.void]:
    """One point per object, (P,), in the order of `~/detections`, without loss.

    Fields: x y z length width height yaw vx vy score (float32), label (uint32, index into
    constants.CLASSES), attribute (int32, index into constants.ATTRIBUTES or -1).
    """
    points = np.zeros(len(detections), _OBJECT)
    for i, name in enumerate(_BOX):
        points[name] = detections.boxes[:, i]
    points["vx"], points["vy"] = detections.velocities[:, 0], detections.velocities[:, 1]
    points["score"] = detections.scores
    points["label"] = detections.labels
    points["attribute"] = detections.attributes
    return points


def objects_from_cloud(msg: Any) -> Detections:
    """The objects of an `~/objects` PointCloud2, with velocities and attributes.

    Raises UserError for a cloud that does not hold them.
    """
    points = _points_from_cloud(msg, _OBJECT)
    if np.any(points["label"] >= len(CLASSES)):
        raise UserError(
            f"an object has label {points['label'].max()}; the last is {len(CLASSES) - 1}"
        )
    if np.any((points["attribute"] < NO_ATTRIBUTE) | (points["attribute"] >= len(ATTRIBUTES))):
        raise UserError(
            f"an object has an attribute beyond {NO_ATTRIBUTE} to {len(ATTRIBUTES) - 1}"
        )
    return Detections(
        boxes=np.stack([points[name] for name in _BOX], axis=1),
        scores=points["score"],
        labels=points["label"].astype(np.int64),
        velocities=np.stack([points["vx"], points["vy"]], axis=1),
        attributes=points["attribute"].astype(np.int64),
    )


def detections_from_msg(msg: Any, objects: Detections | None = None) -> Detections:
    """The objects of a Detection3DArray; each has its first hypothesis' class and score.

    objects: those of the `~/objects` cloud with the same stamp (`objects_from_cloud`), which hold
    the velocities and attributes; without it velocities are NaN and attributes NO_ATTRIBUTE.
    Raises UserError for a message that does not hold what its type promises.
    """
    count = len(msg.detections)
    boxes = np.zeros((count, 7))
    scores = np.zeros(count, np.float32)
    labels = np.zeros(count, np.int64)
    for i, detection in enumerate(msg.detections):
        if not detection.results:
            raise UserError(f"detection {i} has no hypothesis")
        hypothesis = detection.results[0].hypothesis
        if hypothesis.class_id not in CLASSES:
            raise UserError(f"detection {i} has the unknown class {hypothesis.class_id!r}")
        center, size = detection.bbox.center, detection.bbox.size
        q = center.orientation
        yaw = np.arctan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z))
        position = center.position
        boxes[i] = (position.x, position.y, position.z, size.x, size.y, size.z, yaw)
        scores[i] = hypothesis.score
        labels[i] = CLASSES.index(hypothesis.class_id)
    if not np.isfinite(boxes).all() or not np.isfinite(scores).all():
        raise UserError("a detection has a pose, size or score that is not finite")
    if objects is not None and len(objects) != count:
        raise UserError(f"{count} detections but {len(objects)} objects of the same stamp")
    return Detections(
        boxes=boxes.astype(np.float32),
        scores=scores,
        labels=labels,
        velocities=np.full((count, 2), np.nan, np.float32)
        if objects is None
        else objects.velocities,
        attributes=np.full(count, NO_ATTRIBUTE, np.int64)
        if objects is None
        else objects.attributes,
    )


def _points_from_cloud(msg: Any, expected: np.dtype[np.void]) -> NDArray[np.void]:
    """A structured array (P,) of the expected fields, which may lie anywhere in the points."""
    offsets = {field.name: field.offset for field in msg.fields}
    kinds = {field.name: _DATATYPES.get(field.datatype) for field in msg.fields}
    layout: Mapping[str, Any] = expected.fields or {}
    for name, (kind, *_) in layout.items():
        if kinds.get(name) != kind:
            raise UserError(f"point cloud has no field {name} of type {kind}")
    count = msg.width * msg.height
    if msg.is_bigendian or len(msg.data) != count * msg.point_step:
        raise UserError(f"point cloud of {len(msg.data)} bytes does not hold {count} packed points")
    stored = np.dtype(
        {
            "names": list(layout),
            "formats": [kind for kind, *_ in layout.values()],
            "offsets": [offsets[name] for name in layout],
            "itemsize": msg.point_step,
        }
    )
    return np.frombuffer(msg.data, stored).astype(expected)
