# SPDX-License-Identifier: Apache-2.0
"""The cloud `~/objects`: its layout, and how it is written and read.

Messages that are read may be rclpy's or rosbags'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from asd_perception.constants import ATTRIBUTES, CLASSES, NO_ATTRIBUTE
from asd_perception.errors import UserError
from asd_perception.ros.messages.clouds import cloud_to_msg, points_from_cloud
from asd_perception.runtime.detections import Detections

if TYPE_CHECKING:
    from sensor_msgs.msg import PointCloud2
    from std_msgs.msg import Header

_BOX = ("x", "y", "z", "length", "width", "height", "yaw")
_OBJECT = np.dtype(
    [(name, "<f4") for name in (*_BOX, "vx", "vy", "score")]
    + [("label", "<u4"), ("attribute", "<i4")]
)


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


def objects_to_cloud(detections: Detections, header: Header) -> PointCloud2:
    """The objects as points: `objects_to_points`."""
    return cloud_to_msg(objects_to_points(detections), header)


def objects_from_cloud(msg: Any) -> Detections:
    """The objects of an `~/objects` PointCloud2, with velocities and attributes.

    Raises UserError for a cloud that does not hold them.
    """
    points = points_from_cloud(msg, _OBJECT)
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
