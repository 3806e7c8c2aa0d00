# SPDX-License-Identifier: Apache-2.0
"""ROS messages of a nuScenes scene's sensors and ego motion, of rosbags' classes: no ROS needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rosbags.typesys.stores import ros2_kilted as ros

from asd_perception.cameras.image_decoding import encoded_format
from asd_perception.geometry import Array, quaternion_of
from asd_perception.ros.messages.clouds import point_fields

Header = ros.std_msgs__msg__Header
TransformStamped = ros.geometry_msgs__msg__TransformStamped
TFMessage = ros.tf2_msgs__msg__TFMessage
Odometry = ros.nav_msgs__msg__Odometry
CompressedImage = ros.sensor_msgs__msg__CompressedImage
CameraInfo = ros.sensor_msgs__msg__CameraInfo
PointCloud2 = ros.sensor_msgs__msg__PointCloud2

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
    seconds, rest = divmod(stamp_us, 1_000_000)
    return Header(ros.builtin_interfaces__msg__Time(seconds, rest * 1000), frame_id)


def transforms(stamp_us: int, parent: str, parent_from_child: dict[str, Array]) -> TFMessage:
    """Transforms (4, 4) from child frames, by name, to one parent, for /tf or /tf_static."""
    return TFMessage(
        [
            TransformStamped(
                header(stamp_us, parent),
                child,
                ros.geometry_msgs__msg__Transform(_vector(pose[:3, 3]), _quaternion(pose)),
            )
            for child, pose in parent_from_child.items()
        ]
    )


def odometry(stamp_us: int, map_from_base: Array, linear: Array, angular: Array) -> Odometry:
    """Ego pose (4, 4) in `map`, and velocities (3,) in m/s and rad/s in `base_link`."""
    position = ros.geometry_msgs__msg__Point(*map_from_base[:3, 3].tolist())
    pose = ros.geometry_msgs__msg__Pose(position, _quaternion(map_from_base))
    twist = ros.geometry_msgs__msg__Twist(_vector(linear), _vector(angular))
    unknown = np.zeros(36)
    return Odometry(
        header(stamp_us, "map"),
        "base_link",
        ros.geometry_msgs__msg__PoseWithCovariance(pose, unknown),
        ros.geometry_msgs__msg__TwistWithCovariance(twist, unknown),
    )


def compressed_image(stamp_us: int, frame_id: str, encoded: bytes) -> CompressedImage:
    """A JPEG, PNG or WebP image, its bytes untouched. Raises UserError for other bytes."""
    image = np.frombuffer(encoded, np.uint8)
    return CompressedImage(header(stamp_us, frame_id), encoded_format(image), image)


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
        d=np.zeros(5),
        k=k.ravel(),
        r=np.eye(3).ravel(),
        p=np.hstack([k, np.zeros((3, 1))]).ravel(),
        binning_x=0,
        binning_y=0,
        roi=ros.sensor_msgs__msg__RegionOfInterest(0, 0, 0, 0, do_rectify=False),
    )


def lidar_cloud(stamp_us: int, frame_id: str, points: NDArray[np.float32]) -> PointCloud2:
    """A LiDAR sweep from points (P, 5): x, y, z in m, intensity, ring."""
    cloud = np.zeros(len(points), dtype=_LIDAR_POINT)
    for column, name in enumerate(_LIDAR_POINT.names or ()):
        cloud[name] = points[:, column]
    return point_cloud(header(stamp_us, frame_id), cloud)


def point_cloud(head: Header, points: NDArray[np.void]) -> PointCloud2:
    """The points of a structured array (P,), as they lie in memory."""
    return PointCloud2(
        header=head,
        height=1,
        width=len(points),
        fields=[ros.sensor_msgs__msg__PointField(**field) for field in point_fields(points.dtype)],
        is_bigendian=False,
        point_step=points.dtype.itemsize,
        row_step=points.nbytes,
        data=np.frombuffer(points.tobytes(), np.uint8),
        is_dense=True,
    )


def _vector(values: Array) -> ros.geometry_msgs__msg__Vector3:
    return ros.geometry_msgs__msg__Vector3(*np.asarray(values).tolist())


def _quaternion(pose: Array) -> ros.geometry_msgs__msg__Quaternion:
    w, x, y, z = quaternion_of(pose).tolist()
    return ros.geometry_msgs__msg__Quaternion(x, y, z, w)
