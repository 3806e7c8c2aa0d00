# SPDX-License-Identifier: Apache-2.0
"""ROS messages of a nuScenes scene's sensors and ego motion."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point, Quaternion, TransformStamped, Vector3
from nav_msgs.msg import Odometry
from numpy.typing import ArrayLike
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2, PointField
from std_msgs.msg import Header

from asd_perception.geometry import Array, quaternion_of
from asd_perception.ros.messages.conversions import time_from_ns

# The layout that LiDAR drivers publish; nuScenes stores all five as float32.
_LIDAR_POINT = np.dtype(
    {
        "names": ["x", "y", "z", "intensity", "ring"],
        "formats": ["<f4", "<f4", "<f4", "<f4", "<u2"],
        "offsets": [0, 4, 8, 12, 16],
        "itemsize": 20,
    }
)


def header(stamp_us: int, frame_id: str) -> Header:
    """A header with a stamp in microseconds."""
    return Header(frame_id=frame_id, stamp=time_from_ns(stamp_us * 1000))


def transform(stamp_us: int, parent: str, child: str, parent_from_child: Array) -> TransformStamped:
    """A transform (4, 4) for /tf or /tf_static."""
    result = TransformStamped(header=header(stamp_us, parent), child_frame_id=child)
    result.transform.translation = _vector(parent_from_child[:3, 3])
    result.transform.rotation = _quaternion(parent_from_child)
    return result


def odometry(stamp_us: int, map_from_base: Array, linear: Array, angular: Array) -> Odometry:
    """Ego pose (4, 4) in `map`, and velocities (3,) in m/s and rad/s in `base_link`."""
    result = Odometry(header=header(stamp_us, "map"), child_frame_id="base_link")
    x, y, z = map_from_base[:3, 3].tolist()
    result.pose.pose.position = Point(x=x, y=y, z=z)
    result.pose.pose.orientation = _quaternion(map_from_base)
    result.twist.twist.linear = _vector(linear)
    result.twist.twist.angular = _vector(angular)
    return result


def compressed_image(stamp_us: int, frame_id: str, jpeg: bytes) -> CompressedImage:
    """A JPEG image, its bytes untouched."""
    result = CompressedImage(header=header(stamp_us, frame_id), format="jpeg")
    result.data.frombytes(jpeg)
    return result


def camera_info(
    stamp_us: int, frame_id: str, intrinsics: ArrayLike, width: int, height: int
) -> CameraInfo:
    """Calibration of a rectified camera: intrinsics (3, 3) in pixels, no distortion."""
    k = np.asarray(intrinsics, dtype=np.float64)
    return CameraInfo(
        header=header(stamp_us, frame_id),
        width=width,
        height=height,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=k.ravel(),
        r=np.eye(3).ravel(),
        p=np.hstack([k, np.zeros((3, 1))]).ravel(),
    )


def lidar_cloud(stamp_us: int, frame_id: str, points: Array) -> PointCloud2:
    """A LiDAR sweep from points (P, 5): x, y, z in m, intensity, ring."""
    cloud = np.zeros(len(points), dtype=_LIDAR_POINT)
    for column, name in enumerate(_LIDAR_POINT.names or ()):
        cloud[name] = points[:, column]
    result = PointCloud2(
        header=header(stamp_us, frame_id),
        height=1,
        width=len(points),
        fields=[
            PointField(
                name=name,
                offset=_LIDAR_POINT.fields[name][1],  # type: ignore[index]
                datatype=PointField.UINT16 if name == "ring" else PointField.FLOAT32,
                count=1,
            )
            for name in _LIDAR_POINT.names or ()
        ],
        point_step=_LIDAR_POINT.itemsize,
        row_step=_LIDAR_POINT.itemsize * len(points),
        is_dense=True,
    )
    result.data.frombytes(cloud.tobytes())
    return result


def _vector(values: Array) -> Vector3:
    x, y, z = np.asarray(values).tolist()
    return Vector3(x=x, y=y, z=z)


def _quaternion(pose: Array) -> Quaternion:
    w, x, y, z = quaternion_of(pose).tolist()
    return Quaternion(w=w, x=x, y=y, z=z)
