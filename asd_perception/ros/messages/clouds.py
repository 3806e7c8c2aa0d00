# SPDX-License-Identifier: Apache-2.0
"""Point clouds as structured arrays, both ways.

A machine without ROS reads clouds of rosbags' messages: only what writes them needs rclpy's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from asd_perception.errors import UserError

if TYPE_CHECKING:
    from sensor_msgs.msg import PointCloud2
    from std_msgs.msg import Header

# The codes of sensor_msgs/msg/PointField.
_DATATYPES = {
    4: np.dtype("<u2"),
    5: np.dtype("<i4"),
    6: np.dtype("<u4"),
    7: np.dtype("<f4"),
}
_SIMULATED_POINT = np.dtype([(name, "<f4") for name in ("x", "y", "z", "confidence")])


def point_fields(layout: np.dtype[np.void]) -> list[dict[str, Any]]:
    """The arguments of a PointField message for each field of a structured array's type."""
    codes = {kind: code for code, kind in _DATATYPES.items()}
    fields: Mapping[str, Any] = layout.fields or {}
    return [
        {"name": name, "offset": offset, "datatype": codes[kind], "count": 1}
        for name, (kind, offset, *_) in fields.items()
    ]


def points_from_cloud(msg: Any, expected: np.dtype[np.void]) -> NDArray[np.void]:
    """A structured array (P,) of the expected fields, which may lie anywhere in the points.

    Raises UserError for a cloud without them.
    """
    offsets = {field.name: field.offset for field in msg.fields}
    kinds = {field.name: _DATATYPES.get(field.datatype) for field in msg.fields}
    layout: Mapping[str, Any] = expected.fields or {}
    for name, (kind, *_) in layout.items():
        if kinds.get(name) != kind:
            raise UserError(f"point cloud has no field {name} of type {kind}")
    if max(offsets[name] + kind.itemsize for name, (kind, *_) in layout.items()) > msg.point_step:
        raise UserError(f"point cloud's fields lie outside of its points of {msg.point_step} bytes")
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


def cloud_to_msg(cloud: NDArray[np.void], header: Header) -> PointCloud2:
    """A packed PointCloud2 of a structured array (P,)."""
    from sensor_msgs.msg import PointCloud2, PointField

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


def simulated_points_to_cloud(points: NDArray[np.float32], header: Header) -> PointCloud2:
    """The student's simulated points (P, 4): x, y, z in m and confidence."""
    packed = np.ascontiguousarray(points, dtype="<f4").view(_SIMULATED_POINT)
    return cloud_to_msg(packed.reshape(len(points)), header)
