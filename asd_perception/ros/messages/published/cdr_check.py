# SPDX-License-Identifier: Apache-2.0
"""Whether this installation's ROS reads the bytes that `cdr.py` writes."""

from __future__ import annotations

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from vision_msgs.msg import Detection3DArray

from asd_perception.constants import CLASSES
from asd_perception.ros.messages.geometry import time_from_ns
from asd_perception.ros.messages.published.cdr import detections_to_cdr
from asd_perception.ros.messages.published.detections import detections_to_msg
from asd_perception.runtime.detections import Detections

# Two objects whose class names differ in length, so that what follows is aligned differently.
_EXAMPLE = Detections(
    boxes=np.arange(1, 15, dtype=np.float32).reshape(2, 7) / 4,
    scores=np.array([0.75, 0.25], np.float32),
    labels=np.array([CLASSES.index("car"), CLASSES.index("pedestrian")]),
    velocities=np.zeros((2, 2), np.float32),
    attributes=np.zeros(2, np.int64),
)
_COVARIANCES = np.arange(72, dtype=np.float64).reshape(2, 6, 6)


def cdr_matches_rclpy() -> bool:
    """Whether `detections_to_cdr` and rclpy serialize the same message.

    They do not where vision_msgs has other fields, or the middleware another encoding, than this
    package knows. What is compared is what rclpy reads back: the bytes themselves may differ in
    the padding before a number, which Fast CDR leaves as it finds it.
    """
    header = Header(stamp=time_from_ns(1_600_000_000_000_000_001), frame_id="base_link")
    own = detections_to_cdr(_EXAMPLE, header, _COVARIANCES)
    by_rclpy = serialize_message(detections_to_msg(_EXAMPLE, header, _COVARIANCES))
    try:
        read = deserialize_message(own, Detection3DArray)
    except Exception:  # each middleware has its own for bytes that it cannot read
        return False
    return bool(read == deserialize_message(by_rclpy, Detection3DArray))
