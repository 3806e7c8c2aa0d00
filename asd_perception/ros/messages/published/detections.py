# SPDX-License-Identifier: Apache-2.0
"""The message `~/detections`, written and read.

Messages that are read may be rclpy's or rosbags': only what writes them needs rclpy's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from asd_perception.constants import CLASSES, NO_ATTRIBUTE
from asd_perception.errors import UserError
from asd_perception.geometry import Array
from asd_perception.runtime.detections import Detections

if TYPE_CHECKING:
    from std_msgs.msg import Header
    from vision_msgs.msg import Detection3DArray


def detections_to_msg(
    detections: Detections, header: Header, covariances: Array | None = None
) -> Detection3DArray:
    """The objects, best first; velocities and attributes travel in `~/objects`.

    covariances: (M, 6, 6) of their poses; None: unknown, for which the message has 0.
    The plain way: the node publishes the same message by `cdr.detections_to_cdr`, unless
    `cdr_check.py` finds that the two differ.
    """
    from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose

    message = Detection3DArray(header=header)
    ids = object_ids(header, len(detections))
    if covariances is None:
        covariances = np.zeros((len(detections), 6, 6))
    yaws = detections.boxes[:, 6].astype(np.float64)
    sines, cosines = np.sin(yaws / 2).tolist(), np.cos(yaws / 2).tolist()
    rows = zip(
        detections.boxes.tolist(),
        detections.labels.tolist(),
        detections.scores.tolist(),
        sines,
        cosines,
        ids,
        covariances.reshape(-1, 36),
        strict=True,
    )
    for (x, y, z, length, width, height, _), label, score, sine, cosine, name, covariance in rows:
        detection = Detection3D(header=header, id=name)
        center = detection.bbox.center
        center.position.x, center.position.y, center.position.z = x, y, z
        center.orientation.z, center.orientation.w = sine, cosine
        size = detection.bbox.size
        size.x, size.y, size.z = length, width, height
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id = CLASSES[label]
        result.hypothesis.score = score
        result.pose.pose = center
        result.pose.covariance = covariance
        detection.results = [result]
        message.detections.append(detection)
    return message


def object_ids(header: Any, count: int) -> list[str]:
    """An id for each object of a frame that no other frame has: its stamp, and its row.

    Nothing is tracked: the same thing has another id in the next frame.
    """
    frame = f"{header.stamp.sec}.{header.stamp.nanosec:09d}"
    return [f"{frame}-{row}" for row in range(count)]


def detections_from_msg(msg: Any, objects: Detections | None = None) -> Detections:
    """The objects of a Detection3DArray; each has its first hypothesis' class and score.

    objects: those of the `~/objects` cloud with the same stamp (`objects_from_cloud`), which hold
    the velocities and attributes; without it velocities are NaN and attributes NO_ATTRIBUTE.
    Raises UserError for a message that does not hold what its type promises.
    """
    count = len(msg.detections)
    boxes, scores = np.zeros((count, 7)), np.zeros(count)
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
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite
        boxes, scores = boxes.astype(np.float32), scores.astype(np.float32)
    if not np.isfinite(boxes).all() or not np.isfinite(scores).all():
        raise UserError("a detection has a pose, size or score that is not finite")
    if objects is not None and len(objects) != count:
        raise UserError(f"{count} detections but {len(objects)} objects of the same stamp")
    return Detections(
        boxes=boxes,
        scores=scores,
        labels=labels,
        velocities=np.full((count, 2), np.nan, np.float32)
        if objects is None
        else objects.velocities,
        attributes=np.full(count, NO_ATTRIBUTE, np.int64)
        if objects is None
        else objects.attributes,
    )
