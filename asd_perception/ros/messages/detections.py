# SPDX-License-Identifier: Apache-2.0
"""Detections as the messages that the node publishes; `objects.py` reads them back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header
from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose

from asd_perception.constants import CLASSES
from asd_perception.ros.messages.objects import objects_to_points, point_fields
from asd_perception.runtime.detections import Detections

_SIMULATED_POINT = np.dtype([(name, "<f4") for name in ("x", "y", "z", "confidence")])


def detections_to_msg(detections: Detections, header: Header) -> Detection3DArray:
    """The objects, best first; velocities and attributes travel in `objects_to_cloud`.

    The plain way: the node publishes the same message by `cdr.detections_to_cdr`, unless
    `cdr_check.py` finds that the two differ.
    """
    message = Detection3DArray(header=header)
    yaws = detections.boxes[:, 6].astype(np.float64)
    sines, cosines = np.sin(yaws / 2).tolist(), np.cos(yaws / 2).tolist()
    rows = zip(
        detections.boxes.tolist(),
        detections.labels.tolist(),
        detections.scores.tolist(),
        sines,
        cosines,
        strict=True,
    )
    for (x, y, z, length, width, height, _), label, score, sine, cosine in rows:
        detection = Detection3D(header=header)
        center = detection.bbox.center
        center.position.x, center.position.y, center.position.z = x, y, z
        center.orientation.z, center.orientation.w = sine, cosine
        size = detection.bbox.size
        size.x, size.y, size.z = length, width, height
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id = CLASSES[label]
        result.hypothesis.score = score
        result.pose.pose = center
        detection.results = [result]
        message.detections.append(detection)
    return message


def objects_to_cloud(detections: Detections, header: Header) -> PointCloud2:
    """The objects as points: `objects_to_points`, in the order of `detections_to_msg`."""
    return _cloud_to_msg(objects_to_points(detections), header)


def simulated_points_to_cloud(points: NDArray[np.float32], header: Header) -> PointCloud2:
    """The student's simulated points (P, 4): x, y, z in m and confidence."""
    packed = np.ascontiguousarray(points, dtype="<f4").view(_SIMULATED_POINT)
    return _cloud_to_msg(packed.reshape(len(points)), header)


def _cloud_to_msg(cloud: NDArray[np.void], header: Header) -> PointCloud2:
    """A packed PointCloud2 of a structured array (P,)."""
    message = PointCloud2(
        header=header,
        height=1,
        width=len(cloud),
        fields=[PointField(**field) for field in point_fields(cloud.dtype)],
        point_step=cloud.dtype.itemsize,
        row_step=cloud.nbytes,
        is_dense=True,
    )
    message.data.frombytes(cloud.tobytes())
    return message
