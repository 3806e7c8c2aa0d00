# SPDX-License-Identifier: Apache-2.0
"""One recorded scene: drive through a world, capture every sensor, and note the annotations."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from asd_perception.geometry import quaternion_of, transform_points
from asd_training.synthetic.nuscenes_writer import (
    Tables,
    calibrated_sensor,
    visibility_token,
)
from asd_training.synthetic.rendering import shading
from asd_training.synthetic.sensors import lidar, rig, visibility
from asd_training.synthetic.sensors.camera import Camera
from asd_training.synthetic.world.world import View, World
from asd_training.tables.rows import Row, attribute_token, category_token, chain, token

ANNOTATION_RANGE = 60.0  # m from the ego vehicle to an annotated object's centre
MAP_RESOLUTION = 0.1  # m, what the devkit's MapMask takes for granted
MICROSECONDS = 1_000_000
KEYFRAME_PERIOD = MICROSECONDS // rig.KEYFRAME_HZ
EPOCH = 1_600_000_000 * MICROSECONDS
SPLITS = ("synthetic_train", "synthetic_val", "synthetic_test")
CHANNELS = tuple(sensor.channel for sensor in rig.NUSCENES_RIG)


@dataclass(frozen=True)
class SceneJob:
    """Which scene to record, and how."""

    split: str
    index: int
    seed: int
    keyframes: int
    scale: float
    sweeps: bool

    @property
    def name(self) -> str:
        return f"{self.split}-{self.seed}-{self.index:04d}"

    @property
    def start(self) -> int:
        """Stamp of the first keyframe in microseconds; scenes are an hour apart."""
        return EPOCH + (SPLITS.index(self.split) * 10_000 + self.index) * 3600 * MICROSECONDS

    def random_stream(self, *purpose: int) -> np.random.Generator:
        """A separate random stream for each scene and purpose."""
        return np.random.default_rng(
            [self.seed, zlib.crc32(self.split.encode()), self.index, *purpose]
        )

    @property
    def rig(self) -> tuple[rig.Sensor, ...]:
        """The scene's sensors, the LiDAR first; the test split keeps nuScenes' own."""
        if self.split == "synthetic_test":
            return rig.NUSCENES_RIG
        return rig.random_rig(self.random_stream(2))


@dataclass(frozen=True)
class Shot:
    """One firing of one sensor."""

    sensor: rig.Sensor
    number: int  # counts this sensor's firings
    keyframe: int  # the keyframe that it belongs to: the next one
    is_key_frame: bool
    stamp: int


def shots(job: SceneJob) -> list[Shot]:
    """All firings, in the order of time.

    Both the 12 Hz and the 20 Hz raster meet the 2 Hz keyframes exactly. A sweep belongs to the
    keyframe that follows it.
    """
    result = []
    for sensor in job.rig:
        rate = rig.CAMERA_HZ if sensor.pinhole else rig.LIDAR_HZ
        per_keyframe = rate // rig.KEYFRAME_HZ
        for number in range((job.keyframes - 1) * per_keyframe + 1):
            is_key_frame = number % per_keyframe == 0
            if is_key_frame or job.sweeps:
                stamp = job.start + round(number * MICROSECONDS / rate) + sensor.trigger
                keyframe = -(-number // per_keyframe)
                result.append(Shot(sensor, number, keyframe, is_key_frame, stamp))
    return sorted(result, key=lambda shot: shot.stamp)


@dataclass
class _Sight:
    """What one keyframe's sensors perceive of the objects near the ego vehicle."""

    actors: np.ndarray  # (A,) numbers of the objects
    samples: np.ndarray  # (A, SAMPLES, 3)
    inside: np.ndarray  # (A,) samples in any image
    seen: np.ndarray  # (A,) samples seen


def record(job: SceneJob, root: Path) -> Tables:
    """Record a scene: write its files under `root`, return its rows of the tables."""
    duration = (job.keyframes - 1) / rig.KEYFRAME_HZ
    world = World(job.random_stream(0), duration)
    key = (job.seed, job.split, job.index)
    samples: list[Row] = [
        {
            "token": token(*key, "sample", k),
            "timestamp": job.start + k * KEYFRAME_PERIOD,
            "scene_token": token(*key, "scene"),
        }
        for k in range(job.keyframes)
    ]
    chain(samples)
    surfaces = np.array(
        [visibility.surface_samples(actor, i) for i, actor in enumerate(world.actors)]
    )
    sights = [_nearby(world, surfaces, k / rig.KEYFRAME_HZ) for k in range(job.keyframes)]
    cameras = {
        sensor.channel: Camera(
            sensor,
            job.scale,
            make=job.random_stream(3),
            own=job.random_stream(3, CHANNELS.index(sensor.channel)),
            rain=world.light.rain,
        )
        for sensor in job.rig
        if sensor.pinhole
    }
    data: dict[str, list[Row]] = {}
    poses: list[Row] = []
    annotations: dict[int, list[Row]] = {}
    for shot in shots(job):
        time = (shot.stamp - job.start) / MICROSECONDS
        channel = shot.sensor.channel
        rng = job.random_stream(1, CHANNELS.index(channel), shot.number)
        global_from_ego = world.ego_pose(time)
        global_from_sensor = global_from_ego @ shot.sensor.ego_from_sensor
        instant = world.at(time, _view(shot.sensor, global_from_sensor))
        sight = sights[shot.keyframe]
        width, height = 0, 0
        if camera := cameras.get(channel):
            width, height = camera.size
            directions = camera.rays @ global_from_sensor[:3, :3].T.astype(np.float32)
            origin = global_from_sensor[:3, 3]
            radiance = shading.render(world, instant, time, origin, directions, camera.size, rng)
            content = camera.encode(camera.develop(radiance, rng))
            if shot.is_key_frame and len(sight.actors):
                inside, seen = visibility.count_visible(
                    world, instant, time, global_from_sensor,
                    camera.intrinsics, camera.size, sight.actors, sight.samples,
                )  # fmt: skip
                sight.inside += inside
                sight.seen += seen
        else:
            points = lidar.scan(world, instant, global_from_sensor, rng)
            content = points.tobytes()
            if shot.is_key_frame:
                # The LiDAR fires last: every camera of this keyframe has been counted.
                annotated = _annotate(
                    world, time, sight, transform_points(global_from_sensor, points[:, :3])
                )
                for actor, row in annotated:
                    row["token"] = token(*key, "annotation", shot.keyframe, actor)
                    row["sample_token"] = samples[shot.keyframe]["token"]
                    row["instance_token"] = token(*key, "instance", actor)
                    annotations.setdefault(actor, []).append(row)
        folder = f"{'samples' if shot.is_key_frame else 'sweeps'}/{channel}"
        extension = "jpg" if shot.sensor.pinhole else "pcd.bin"
        filename = f"{folder}/{job.name}__{channel}__{shot.stamp}.{extension}"
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / filename).write_bytes(content)
        data_token = token(*key, channel, shot.number)
        poses.append(
            {
                "token": data_token,
                "timestamp": shot.stamp,
                "translation": global_from_ego[:3, 3].tolist(),
                "rotation": quaternion_of(global_from_ego).tolist(),
            }
        )
        data.setdefault(channel, []).append(
            {
                "token": data_token,
                "sample_token": samples[shot.keyframe]["token"],
                "ego_pose_token": data_token,
                "calibrated_sensor_token": token(*key, "calibrated_sensor", channel),
                "timestamp": shot.stamp,
                "fileformat": "jpg" if shot.sensor.pinhole else "pcd",
                "is_key_frame": shot.is_key_frame,
                "height": height,
                "width": width,
                "filename": filename,
            }
        )
    for rows in (*data.values(), *annotations.values()):
        chain(rows)
    return {
        "log": [
            {
                "token": token(*key, "log"),
                "logfile": job.name,
                "vehicle": "synthetic",
                "date_captured": "2020-09-13",
                "location": f"synthetic-street-{job.name}",
            }
        ],
        "map": [_write_map(job, world, root)],
        "scene": [
            {
                "token": token(*key, "scene"),
                "log_token": token(*key, "log"),
                "nbr_samples": job.keyframes,
                "first_sample_token": samples[0]["token"],
                "last_sample_token": samples[-1]["token"],
                "name": job.name,
                "description": "Procedural street, ray-traced",
            }
        ],
        "sample": samples,
        "calibrated_sensor": [
            calibrated_sensor(sensor, job.scale, token(*key, "calibrated_sensor", sensor.channel))
            for sensor in job.rig
        ],
        "sample_data": [row for rows in data.values() for row in rows],
        "ego_pose": poses,
        "instance": [
            {
                "token": token(*key, "instance", actor),
                "category_token": category_token(world.actors[actor].category),
                "nbr_annotations": len(rows),
                "first_annotation_token": rows[0]["token"],
                "last_annotation_token": rows[-1]["token"],
            }
            for actor, rows in sorted(annotations.items())
        ],
        "sample_annotation": [row for _, rows in sorted(annotations.items()) for row in rows],
    }


def _view(sensor: rig.Sensor, global_from_sensor: np.ndarray) -> View | None:
    """What a camera looks over; None for the LiDAR, which looks all around."""
    if not sensor.pinhole:
        return None
    axis = global_from_sensor[:2, 2]
    return View(
        global_from_sensor[:2, 3], axis / np.linalg.norm(axis), rig.half_field_of_view(sensor)
    )


def _nearby(world: World, surfaces: np.ndarray, time: float) -> _Sight:
    """The objects within annotation range at a keyframe."""
    offsets = world.box_poses(time)[:, :2, 3] - world.ego.poses(time)[:2]
    actors = np.flatnonzero(np.hypot(*offsets.T) < ANNOTATION_RANGE)
    nothing = np.zeros(len(actors), int)
    return _Sight(actors, surfaces[actors], nothing, nothing.copy())


def _annotate(
    world: World, time: float, sight: _Sight, points: np.ndarray
) -> list[tuple[int, Row]]:
    """Object number and row, less tokens, of each object that the LiDAR hits.

    `points` (N, 3) global. nuScenes annotates objects with at least one point, and its evaluation
    ignores all others.
    """
    rows = []
    poses = world.box_poses(time)[sight.actors]
    for number, pose, inside, seen in zip(
        sight.actors, poses, sight.inside, sight.seen, strict=True
    ):
        actor = world.actors[number]
        width, length, height = actor.size
        radius = np.hypot(width, length) / 2.0
        near = points[np.abs(points[:, 0] - pose[0, 3]) < radius]
        near = near[np.abs(near[:, 1] - pose[1, 3]) < radius]
        local = (near - pose[:3, 3]) @ pose[:3, :3]
        hits = int(np.all(np.abs(local) <= np.array([length, width, height]) / 2.0, axis=1).sum())
        if not hits:
            continue
        attribute = actor.attribute(time)
        row = {
            "visibility_token": visibility_token(seen / max(inside, 1)),
            "attribute_tokens": [attribute_token(attribute)] if attribute else [],
            "translation": pose[:3, 3].tolist(),
            "size": [width, length, height],
            "rotation": quaternion_of(pose).tolist(),
            "num_lidar_pts": hits,
            "num_radar_pts": 0,
        }
        rows.append((int(number), row))
    return rows


def _write_map(job: SceneJob, world: World, root: Path) -> Row:
    """The semantic prior: a mask of the drivable surface."""
    x, y = world.road.corridor_outline()
    # Computed on cells of two pixels, which is fine enough for a kerb.
    cell = 2 * MAP_RESOLUTION
    columns, lines = (int(np.ceil(v.max() / cell)) for v in (x, y))
    cell_y = (lines - 0.5 - np.arange(lines, dtype=np.float32)) * cell  # first line northernmost
    cell_x = (np.arange(columns, dtype=np.float32) + 0.5) * cell
    s, d = world.road.to_road(cell_x[None, :], cell_y[:, None])
    mask = np.kron(255 * world.road.drivable(s, d).astype(np.uint8), np.ones((2, 2), np.uint8))
    filename = f"maps/{job.name}.png"
    (root / "maps").mkdir(parents=True, exist_ok=True)
    content = cv2.imencode(".png", mask)[1].tobytes()
    (root / filename).write_bytes(content)
    key = (job.seed, job.split, job.index)
    return {
        "token": token(*key, "map"),
        "log_tokens": [token(*key, "log")],
        "category": "semantic_prior",
        "filename": filename,
    }
