# SPDX-License-Identifier: Apache-2.0
"""The nuScenes sensor rig: mounting, intrinsics, trigger times and rays of each sensor.

The numbers are the calibrated_sensor and sample_data records of one nuScenes keyframe (log
n015-2018-07-24-11-22-45+0800, LiDAR stamp 1532402927647951).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asd_perception.geometry import transform_from

IMAGE_SIZE = (1600, 900)  # width, height at scale 1
CAMERA_HZ, LIDAR_HZ, KEYFRAME_HZ = 12, 20, 2
LIDAR_CHANNEL = "LIDAR_TOP"
LIDAR_RINGS, LIDAR_COLUMNS = 32, 1084
LIDAR_ELEVATION = (-30.67, 10.67)  # degrees, ring 0 is the lowest
LIDAR_RANGE = (1.0, 100.0)  # m


@dataclass(frozen=True)
class Sensor:
    """Where a sensor is mounted, and a camera's pinhole at 1600 x 900."""

    channel: str
    translation: tuple[float, float, float]  # of the sensor in the ego frame, m
    rotation: tuple[float, float, float, float]  # ego from sensor, w x y z
    pinhole: tuple[float, float, float] | None = None  # focal length, cx, cy in pixels
    trigger: int = 0  # microseconds after the LiDAR stamp

    @property
    def ego_from_sensor(self) -> np.ndarray:
        return transform_from(self.rotation, self.translation)


LIDAR = Sensor(
    LIDAR_CHANNEL,
    (0.943713009, 0.0, 1.840229988),
    (0.707795511916, -0.006492241858, 0.010646214602, -0.706307314291),
)
CAMERA_SENSORS = (
    Sensor(
        "CAM_FRONT_LEFT",
        (1.523877978, 0.49463135, 1.509328246),
        (0.675726504049, -0.673626652802, 0.212140148607, -0.211228269202),
        (1272.5979470598488, 826.6154927353808, 479.75165386361925),
        -43107,
    ),
    Sensor(
        "CAM_FRONT",
        (1.70079124, 0.015945632, 1.510957599),
        (0.499801543055, -0.503031616251, 0.499779811441, -0.497370838195),
        (1266.417203046554, 816.2670197447984, 491.50706579294757),
        -35491,
    ),
    Sensor(
        "CAM_FRONT_RIGHT",
        (1.550847769, -0.493404806, 1.495748043),
        (0.206034792889, -0.202694053997, 0.682450783723, -0.671361089422),
        (1260.8474446004698, 807.968244525554, 495.3344268742088),
        -27612,
    ),
    Sensor(
        "CAM_BACK_LEFT",
        (1.035691023, 0.484795034, 1.590970159),
        (0.692418558606, -0.703161941818, -0.116483430288, 0.112033181448),
        (1256.7414812095406, 792.1125740759628, 492.7757465151356),
        -528,
    ),
    Sensor(
        "CAM_BACK",
        (0.028326031, 0.003451368, 1.57910347),
        (0.503787266557, -0.497402498001, -0.494185022474, 0.504549609651),
        (809.2209905677063, 829.2196003259838, 481.77842384512485),
        -10426,
    ),
    Sensor(
        "CAM_BACK_RIGHT",
        (1.014878154, -0.48056823, 1.562395453),
        (0.122809800174, -0.132400841807, -0.700430582333, 0.690496031417),
        (1259.5137405846733, 807.2529053838625, 501.19579884916527),
        -20058,
    ),
)


def image_size(scale: float) -> tuple[int, int]:
    """Width and height of the scaled images."""
    return round(IMAGE_SIZE[0] * scale), round(IMAGE_SIZE[1] * scale)


def intrinsics(camera: Sensor, scale: float) -> np.ndarray:
    """Intrinsic matrix (3, 3) of the scaled image; pixel centres are at integer coordinates.

    Resizing by s maps pixel u to s (u + 0.5) - 0.5.
    """
    assert camera.pinhole is not None, f"{camera.channel} is no camera"
    focal, cx, cy = camera.pinhole
    width, height = image_size(scale)
    sx, sy = width / IMAGE_SIZE[0], height / IMAGE_SIZE[1]
    return np.array(
        [
            [focal * sx, 0.0, sx * (cx + 0.5) - 0.5],
            [0.0, focal * sy, sy * (cy + 0.5) - 0.5],
            [0.0, 0.0, 1.0],
        ]
    )


def half_field_of_view(camera: Sensor) -> float:
    """The larger horizontal angle between the optical axis and an edge of the image, rad."""
    assert camera.pinhole is not None, f"{camera.channel} is no camera"
    focal, cx, _ = camera.pinhole
    return float(np.arctan(max(cx + 0.5, IMAGE_SIZE[0] - 0.5 - cx) / focal))


def camera_rays(camera: Sensor, scale: float) -> np.ndarray:
    """Unit viewing directions (H * W, 3) in the camera frame, row by row."""
    matrix = intrinsics(camera, scale)
    width, height = image_size(scale)
    v, u = np.mgrid[0:height, 0:width]
    x = (u - matrix[0, 2]) / matrix[0, 0]
    y = (v - matrix[1, 2]) / matrix[1, 1]
    rays = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)
    return (rays / np.linalg.norm(rays, axis=1, keepdims=True)).astype(np.float32)


def lidar_rays(phase: float) -> tuple[np.ndarray, np.ndarray]:
    """Unit directions (N, 3) in the LiDAR frame and rings (N,) of one revolution.

    Points come column by column, ring 0 first, turning clockwise as in nuScenes, from an azimuth
    of `phase` radians.
    """
    low, high = np.radians(LIDAR_ELEVATION)
    elevation = np.linspace(low, high, LIDAR_RINGS)
    azimuth = phase - 2.0 * np.pi * np.arange(LIDAR_COLUMNS) / LIDAR_COLUMNS
    a, e = np.meshgrid(azimuth, elevation, indexing="ij")
    rays = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], axis=-1)
    rings = np.tile(np.arange(LIDAR_RINGS), LIDAR_COLUMNS)
    return rays.reshape(-1, 3).astype(np.float32), rings
