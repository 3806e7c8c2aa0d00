# SPDX-License-Identifier: Apache-2.0
"""The objects as Autoware's trackers take them, on machines that have its messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from asd_perception.constants import CLASSES
from asd_perception.geometry import Array
from asd_perception.runtime.detections import Detections

if TYPE_CHECKING:
    from std_msgs.msg import Header

# The names of Autoware's classes; any other of ours is UNKNOWN there.
_LABELS = ("CAR", "TRUCK", "BUS", "TRAILER", "MOTORCYCLE", "BICYCLE", "PEDESTRIAN")
_ORIENTATIONS = {"barrier": "SIGN_UNKNOWN", "traffic_cone": "UNAVAILABLE"}  # others: AVAILABLE


def detected_objects_type() -> type | None:
    """autoware_perception_msgs/DetectedObjects; None: it is not installed."""
    try:
        from autoware_perception_msgs.msg import DetectedObjects
    except ImportError:
        return None
    kind: type = DetectedObjects
    return kind


def detected_objects_to_msg(
    detections: Detections, header: Header, covariances: Array | None = None
) -> Any:
    """The DetectedObjects message, in the order of the objects.

    covariances: (M, 6, 6) of their poses; None: unknown. Velocities turn from the axes of base_link
    into those of each object, as Autoware has them, without a covariance.
    """
    from autoware_perception_msgs.msg import (
        DetectedObject,
        DetectedObjectKinematics,
        DetectedObjects,
        ObjectClassification,
        Shape,
    )

    message = DetectedObjects(header=header)
    for row, (label, score) in enumerate(
        zip(detections.labels.tolist(), detections.scores.tolist(), strict=True)
    ):
        name = CLASSES[label]
        x, y, z, length, width, height, yaw = detections.boxes[row].astype(np.float64).tolist()
        known = name.upper() if name.upper() in _LABELS else "UNKNOWN"
        found = DetectedObject(existence_probability=score)
        found.classification = [
            ObjectClassification(label=getattr(ObjectClassification, known), probability=1.0)
        ]
        kinematics = found.kinematics
        orientation = _ORIENTATIONS.get(name, "AVAILABLE")
        kinematics.orientation_availability = getattr(DetectedObjectKinematics, orientation)
        if orientation == "UNAVAILABLE":
            yaw = 0.0
        pose = kinematics.pose_with_covariance.pose
        pose.position.x, pose.position.y, pose.position.z = x, y, z
        pose.orientation.z, pose.orientation.w = np.sin(yaw / 2), np.cos(yaw / 2)
        if covariances is not None:
            kinematics.pose_with_covariance.covariance = covariances[row].ravel()
            kinematics.has_position_covariance = True
        vx, vy = detections.velocities[row].astype(np.float64).tolist()
        if np.isfinite([vx, vy]).all():
            sine, cosine = np.sin(yaw), np.cos(yaw)
            linear = kinematics.twist_with_covariance.twist.linear
            linear.x, linear.y = cosine * vx + sine * vy, cosine * vy - sine * vx
            kinematics.has_twist = True
        found.shape.type = Shape.BOUNDING_BOX
        size = found.shape.dimensions
        size.x, size.y, size.z = length, width, height
        message.objects.append(found)
    return message
