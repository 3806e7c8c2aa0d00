# SPDX-License-Identifier: Apache-2.0
"""Sensor rigs: mounting, intrinsics, trigger times and rays of each sensor.

nuScenes' rig are the calibrated_sensor and sample_data records of one of its keyframes (log
n015-2018-07-24-11-22-45+0800, LiDAR stamp 1532402927647951). Others vary about it: a network that
has seen one rig alone takes its numbers for laws of nature.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from asd_perception.geometry import camera_angles, level_camera, quaternion_of, transform_from

NUSCENES_SIZE = (1600, 900)  # width, height at scale 1
CAMERA_HZ, LIDAR_HZ, KEYFRAME_HZ = 12, 20, 2
LIDAR_CHANNEL = "LIDAR_TOP"
LIDAR_RINGS, LIDAR_COLUMNS = 32, 1084
LIDAR_ELEVATION = (-30.67, 10.67)  # degrees, ring 0 is the lowest
LIDAR_RANGE = (1.0, 100.0)  # m


@dataclass(frozen=True)
class Sensor:
    """Where a sensor is mounted, and a camera's pinhole and size at scale 1."""

    channel: str
    translation: tuple[float, float, float]  # of the sensor in the ego frame, m
    rotation: tuple[float, float, float, float]  # ego from sensor, w x y z
    pinhole: tuple[float, float, float] | None = None  # focal length, cx, cy in pixels
    trigger: int = 0  # microseconds after the LiDAR stamp
    size: tuple[int, int] = NUSCENES_SIZE  # width, height of a camera's image

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


NUSCENES_RIG = (LIDAR, *CAMERA_SENSORS)
SIZES = (
    NUSCENES_SIZE,
    (1600, 1000),
    (1500, 1000),
    (1280, 960),
    (1600, 800),
)  # of about as many rays
LIKE_NUSCENES = 0.35  # share of the random rigs that differ no more than two of nuScenes' vehicles


def random_rig(rng: np.random.Generator) -> tuple[Sensor, ...]:
    """A LiDAR and four to six of nuScenes' cameras, mounted and made otherwise."""
    lidar = replace(
        LIDAR,
        translation=_shifted(LIDAR, rng.uniform([-0.2, -0.03, -0.15], [0.2, 0.03, 0.25])),
    )
    if rng.random() < LIKE_NUSCENES:
        return lidar, *(_varied(camera, rng, share=0.12) for camera in CAMERA_SENSORS)
    # What a vehicle's cameras have in common: they sit on one roof, and are of one make.
    place = rng.uniform([-0.4, 0.0, -0.28], [0.5, 0.0, 0.62])
    zoom, size = (
        np.exp(rng.uniform(-0.25, 0.15)),
        SIZES[rng.choice(5, p=[0.4, 0.15, 0.15, 0.2, 0.1])],
    )
    pitch = np.radians(rng.normal(0.0, 1.2))
    cameras = [_varied(camera, rng, 1.0, place, zoom, size, pitch) for camera in CAMERA_SENSORS]
    left_out = rng.choice(6, rng.choice(3, p=[0.6, 0.25, 0.15]), replace=False)
    return lidar, *(camera for i, camera in enumerate(cameras) if i not in left_out)


def _shifted(sensor: Sensor, offset: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (np.array(sensor.translation) + offset).round(6).tolist()
    return x, y, z


def _varied(
    camera: Sensor,
    rng: np.random.Generator,
    share: float,
    place: np.ndarray | tuple[float, float, float] = (0.0, 0.0, 0.0),
    zoom: float = 1.0,
    size: tuple[int, int] = NUSCENES_SIZE,
    pitch: float = 0.0,
) -> Sensor:
    """A camera of a rig whose cameras have `place` (m), `zoom`, `size` and `pitch` (rad) in common.

    Its own deviations are `share` of what they are at most.
    """
    assert camera.pinhole is not None, f"{camera.channel} is no camera"
    heading, up, roll = camera_angles(camera.ego_from_sensor)
    heading += share * np.radians(rng.uniform(-8.0, 8.0))
    up += pitch + share * np.radians(rng.uniform(-2.0, 2.0))
    roll += share * np.radians(rng.uniform(-1.5, 1.5))
    pose = np.eye(4)
    pose[:3, :3] = level_camera(heading, up, roll)
    own = share * rng.uniform([-0.15, -0.1, -0.06], [0.15, 0.1, 0.06])
    w, x, y, z = quaternion_of(pose).tolist()
    focal, cx, cy = camera.pinhole
    stretch = size[0] / NUSCENES_SIZE[0]
    centre = share * rng.uniform(-0.02, 0.02, 2) * size[0]
    return replace(
        camera,
        translation=_shifted(camera, own + place),
        rotation=(w, x, y, z),
        pinhole=(
            float(focal * stretch * zoom * np.exp(share * rng.uniform(-0.08, 0.08))),
            float((cx + 0.5) * stretch - 0.5 + centre[0]),
            float((cy + 0.5) * size[1] / NUSCENES_SIZE[1] - 0.5 + centre[1]),
        ),
        size=size,
    )


def image_size(camera: Sensor, scale: float) -> tuple[int, int]:
    """Width and height of the scaled images."""
    return round(camera.size[0] * scale), round(camera.size[1] * scale)


def intrinsics(camera: Sensor, scale: float) -> np.ndarray:
    """Intrinsic matrix (3, 3) of the scaled image; pixel centres are at integer coordinates.

    Resizing by s maps pixel u to s (u + 0.5) - 0.5.
    """
    assert camera.pinhole is not None, f"{camera.channel} is no camera"
    focal, cx, cy = camera.pinhole
    width, height = image_size(camera, scale)
    sx, sy = width / camera.size[0], height / camera.size[1]
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
    return float(np.arctan(max(cx + 0.5, camera.size[0] - 0.5 - cx) / focal))


def camera_rays(camera: Sensor, scale: float) -> np.ndarray:
    """Unit viewing directions (H * W, 3) in the camera frame, row by row."""
    width, height = image_size(camera, scale)
    v, u = np.mgrid[0:height, 0:width]
    return rays_through(intrinsics(camera, scale), u, v)


def rays_through(matrix: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Unit directions (N, 3) float32 in the camera frame through pixels u, v of N elements."""
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
