# SPDX-License-Identifier: Apache-2.0
"""What training needs of a nuScenes-format folder's keyframes, in flat arrays instead of tables.

nuScenes trainval has gigabytes of JSON tables. They are slow to parse, larger still as Python
objects, and reference counting copies them page by page into every DataLoader worker. The index is
built from them once, through the functions of nuscenes.py that define our conventions, kept in a
file beside the dataset, and loaded at every later start. Forked workers share its arrays.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from nuscenes import NuScenes
from tqdm import tqdm

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES
from asd_perception.cameras.rig import CameraRig
from asd_perception.constants import ATTRIBUTES, CLASSES
from asd_perception.errors import UserError
from asd_perception.files import atomic_file, locked
from asd_perception.geometry import Array, transform_points
from asd_training.config.teacher import MAX_SWEEPS
from asd_training.data.lidar_file import read_lidar
from asd_training.data.nuscenes import (
    Annotations,
    CameraFrame,
    annotated_objects,
    camera_frame,
    dataset_cameras,
    dataset_version,
    open_dataset,
    reference_from_sensor,
    scene_samples,
)
from asd_training.tables.reading import TABLES, Tables
from asd_training.tables.splits import split_scene_names

FORMAT = 6
"""Increment it when the meaning of a stored array changes, also through a change in nuscenes.py."""

MIN_DISTANCE = 1.0
"""LiDAR points closer to the sensor than this (m) in both x and y lie on the own vehicle."""

_LONGEST_LAG = 10_000_000  # microseconds; older sweeps are from before a clock was set

_Arrays = dict[str, NDArray[Any]]


class LidarSweep(NamedTuple):
    """One LiDAR sweep seen from a keyframe.

    time_lag: seconds from the sweep's stamp to the keyframe's reference time. ego_from_lidar
    (4, 4): from the sensor at its stamp to base_link at the reference time.
    """

    path: Path
    time_lag: float
    ego_from_lidar: Array


@dataclass(frozen=True, eq=False)
class KeyframeIndex:
    """The K annotated keyframes of a dataset, scene by scene in time order; see `open`.

    Texts are bytes of fixed width, paths relative to the root. N cameras, S scenes. A camera that
    keyframe i lacks has an empty path there, and zeros. The objects and sweeps of keyframe i are
    the rows offsets[i] to offsets[i + 1] of the arrays named after them.
    """

    root: Path
    version: str

    camera_names: NDArray[np.bytes_]  # (N,)
    scene_names: NDArray[np.bytes_]  # (S,)
    scene_ids: NDArray[np.int32]  # (K,)
    sample_tokens: NDArray[np.bytes_]  # (K,)
    stamps_us: NDArray[np.int64]  # (K,)
    global_from_ego: Array  # (K, 4, 4)
    image_paths: NDArray[np.bytes_]  # (K, N)
    intrinsics: Array  # (K, N, 3, 3)
    ego_from_camera: Array  # (K, N, 4, 4)
    mountings: Array  # (K, N, 4, 4)
    image_sizes: NDArray[np.int32]  # (K, N, 2)
    distortion: Array  # (K, N, 8)
    equidistant: NDArray[np.bool_]  # (K, N)

    object_offsets: NDArray[np.int64]  # (K + 1,)
    object_boxes: Array  # (objects, 7)
    object_velocities: Array  # (objects, 2)
    object_labels: NDArray[np.int8]  # (objects,)
    object_attributes: NDArray[np.int8]  # (objects,)
    object_tokens: NDArray[np.bytes_]  # (objects,)
    object_lidar_points: NDArray[np.int32]  # (objects,)
    object_radar_points: NDArray[np.int32]  # (objects,)

    sweep_offsets: NDArray[np.int64]  # (K + 1,)
    sweep_paths: NDArray[np.bytes_]  # (sweeps,)
    sweep_time_lags: Array  # (sweeps,)
    sweep_ego_from_lidar: Array  # (sweeps, 4, 4)

    @classmethod
    def open(cls, root: str | Path, version: str | None = None) -> KeyframeIndex:
        """The index of a dataset, from its file if that is up to date, otherwise built and saved.

        The file is up to date while the tables have the size and modification time, or else the
        content, that they had. If several processes find none, one builds it while the others
        wait.

        Raises UserError if the dataset is incomplete or its tables do not fit together.
        """
        root = Path(root)
        version = dataset_version(root, version)
        identity = _identity(version)
        files = index_files(root, version)
        tables = [root / version / f"{table}.json" for table in TABLES]
        tables = [table for table in tables if table.is_file()]  # others may be absent
        # Stats and digests are taken before the tables are read, so that a change in between is
        # noticed at the next start.
        stats = np.array([(s.st_size, s.st_mtime_ns) for s in map(os.stat, tables)], np.int64)
        arrays, _ = _read_first(files, identity, stats, tell=False)
        if arrays is None:
            with _build_lock(files):
                # Another process may have built it since.
                arrays, outdated = _read_first(files, identity, stats, tell=True)
                if arrays is None:
                    digests = _digests(tables)
                    for arrays in outdated:
                        if np.array_equal(arrays["table_digests"], digests):
                            break
                    else:
                        arrays = _build(open_dataset(root, version))
                    arrays["identity"] = np.array(identity)
                    arrays["table_stats"] = stats
                    arrays["table_digests"] = digests
                    _write(files, arrays)
        return cls._of(root, version, arrays)

    @classmethod
    def _of(cls, root: Path, version: str, arrays: _Arrays) -> KeyframeIndex:
        return cls(root, version, **{name: arrays[name] for name in _ARRAYS})

    def __len__(self) -> int:
        return len(self.sample_tokens)

    @property
    def cameras(self) -> tuple[str, ...]:
        """The names of the dataset's N cameras, in rig order."""
        return tuple(name.decode() for name in self.camera_names)

    @cached_property
    def has_camera(self) -> NDArray[np.bool_]:
        """Which keyframes have which camera. Shape (K, N)."""
        return self.image_paths != b""

    def digest(self) -> str:
        """A digest of all that is stored."""
        digest = hashlib.blake2b(digest_size=32)
        for name in _ARRAYS:
            array = getattr(self, name)
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def split(self, name: str) -> NDArray[np.int64]:
        """The keyframes of a split, ascending: official, or of splits.json as it is now.

        Raises UserError for an unknown split; a split without a scene in the dataset is empty.
        """
        split = split_scene_names(self.root, self.version, name)
        scenes = [scene.decode() in split for scene in self.scene_names]
        return np.flatnonzero(np.array(scenes, dtype=bool)[self.scene_ids])

    def scene_name(self, i: int) -> str:
        """The name of a keyframe's scene."""
        return self.scene_names[self.scene_ids[self._checked(i)]].decode()

    def class_counts(self) -> NDArray[np.int64]:
        """The number of objects of each class in each keyframe. Shape (K, 10)."""
        shape = (len(self), len(CLASSES))
        keyframes = np.repeat(np.arange(len(self)), np.diff(self.object_offsets))
        cells = keyframes * len(CLASSES) + self.object_labels
        return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)

    def frame(self, i: int) -> CameraFrame:
        """What `camera_frame` says of the keyframe."""
        i = self._checked(i)
        there = np.flatnonzero(self.has_camera[i])
        equidistant = self.equidistant[i, there]
        rig = CameraRig(
            names=tuple(self.camera_names[camera].decode() for camera in there),
            intrinsics=self.intrinsics[i, there],
            ego_from_camera=self.ego_from_camera[i, there],
            image_sizes=self.image_sizes[i, there].astype(np.int64),
            distortion=self.distortion[i, there],
            equidistant=equidistant if equidistant.any() else None,
            mountings=self.mountings[i, there],
        )
        return CameraFrame(
            sample_token=self.sample_tokens[i].decode(),
            stamp_us=int(self.stamps_us[i]),
            rig=rig,
            image_paths=tuple(self.root / path.decode() for path in self.image_paths[i, there]),
            global_from_ego=self.global_from_ego[i].copy(),
        )

    def objects(self, i: int) -> Annotations:
        """What `annotated_objects` says of the keyframe, in base_link at its reference time."""
        i = self._checked(i)
        rows = slice(self.object_offsets[i], self.object_offsets[i + 1])
        return Annotations(
            boxes=self.object_boxes[rows].copy(),
            velocities=self.object_velocities[rows].copy(),
            labels=self.object_labels[rows].astype(np.int64),
            attributes=self.object_attributes[rows].astype(np.int64),
            tokens=tuple(token.decode() for token in self.object_tokens[rows]),
            num_lidar_points=self.object_lidar_points[rows].astype(np.int64),
            num_radar_points=self.object_radar_points[rows].astype(np.int64),
        )

    def lidar_sweeps(self, i: int) -> list[LidarSweep]:
        """The keyframe's own LiDAR sweep, then earlier ones, latest first.

        There are fewer than MAX_SWEEPS at a scene's start, and none without LIDAR_TOP.
        """
        i = self._checked(i)
        return [
            LidarSweep(
                self.root / self.sweep_paths[row].decode(),
                float(self.sweep_time_lags[row]),
                self.sweep_ego_from_lidar[row].copy(),
            )
            for row in range(self.sweep_offsets[i], self.sweep_offsets[i + 1])
        ]

    def lidar(self, i: int, sweeps: int | None = None) -> NDArray[np.float32]:
        """The points (P, 5) of the keyframe's sweeps: x, y, z, intensity, time lag in seconds.

        sweeps: only this many of the latest; None: all.

        x, y, z are in base_link at the reference time. Points on the own vehicle are left out, as
        by the devkit's `LidarPointCloud.from_file_multisweep`.

        Raises UserError if the keyframe has no LIDAR_TOP, or a file is missing or damaged.
        """
        chain = self.lidar_sweeps(i)[:sweeps]
        if not chain:
            raise UserError(f"sample {self.sample_tokens[i].decode()} has no LIDAR_TOP")
        clouds = []
        for sweep in chain:
            points = read_lidar(sweep.path)
            points = points[(np.abs(points[:, :2]) >= MIN_DISTANCE).any(axis=1)]
            cloud = np.empty((len(points), 5), dtype=np.float32)
            cloud[:, :3] = transform_points(sweep.ego_from_lidar, points[:, :3])
            cloud[:, 3] = points[:, 3]
            cloud[:, 4] = sweep.time_lag
            clouds.append(cloud)
        return np.concatenate(clouds)

    def _checked(self, i: int) -> int:
        # A negative i would pair the wrong offsets.
        if not 0 <= i < len(self):
            raise IndexError(f"keyframe {i} of {len(self)}")
        return int(i)


_ARRAYS = [field.name for field in fields(KeyframeIndex)][2:]  # all but root and version


def index_files(root: str | Path, version: str) -> list[Path]:
    """Where the index of a dataset may be: in the dataset, or else in the user's cache."""
    root = Path(root)
    name = f"{version}.npz"
    files = [root / ".asd_index" / name]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    if cache.is_absolute():  # it is not where the user has no home
        place = hashlib.blake2b(os.fsencode(root.resolve()), digest_size=8).hexdigest()
        files.append(cache / "asd_perception" / f"{place}-{name}")
    return files


def _identity(version: str) -> bytes:
    """What an index file must start with to be readable by this program."""
    meaning = (FORMAT, version, MAX_SWEEPS, NUSCENES_CAMERA_NAMES, CLASSES, ATTRIBUTES)
    return json.dumps(meaning).encode()


def _digests(tables: list[Path]) -> NDArray[np.uint8]:
    """The BLAKE2b digest of each file. Shape (files, 32)."""
    digests = []
    total = sum(table.stat().st_size for table in tables)
    with tqdm(total=total, desc="checking tables", unit="B", unit_scale=True, delay=1) as bar:
        for table in tables:
            digest = hashlib.blake2b(digest_size=32)
            with table.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
                    bar.update(len(block))
            digests.append(np.frombuffer(digest.digest(), np.uint8))
    return np.stack(digests)


def _read(file: Path, identity: bytes, tell: bool) -> _Arrays | None:
    """The arrays of an index file; None, and a line on stderr, if the file is unusable."""
    try:
        with np.load(file, allow_pickle=False) as content:
            if content["identity"].item() != identity:
                raise ValueError("it has another format")
            names = ["identity", "table_stats", "table_digests", *_ARRAYS]
            return {name: content[name] for name in names}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # a damaged archive fails in too many ways to list
        reason = " ".join(str(error).split()) or type(error).__name__
        if tell:
            print(f"{file} is no usable index and is left out ({reason})", file=sys.stderr)
        return None


def _read_first(
    files: list[Path], identity: bytes, stats: NDArray[np.int64], tell: bool
) -> tuple[_Arrays | None, list[_Arrays]]:
    """The index of tables with these stats; otherwise None and the indices of other tables.

    tell: say which files are unusable.
    """
    outdated = []
    for file in files:
        arrays = _read(file, identity, tell)
        if arrays is not None:
            if np.array_equal(arrays["table_stats"], stats):
                return arrays, []
            outdated.append(arrays)
    return None, outdated


def _write(files: list[Path], arrays: _Arrays) -> None:
    """Write the first file that can be written; if none can, say so and continue."""
    for file in files:
        try:
            with atomic_file(file) as temporary:
                np.savez(temporary, **arrays)
            return
        except (UserError, OSError) as error:
            reason = error
    print(f"the index cannot be kept and is built at every start ({reason})", file=sys.stderr)


@contextmanager
def _build_lock(files: list[Path]) -> Iterator[None]:
    """Wait while another process is in here for the same dataset.

    The lock, which ends with its process, is on a file beside the first of `files` whose folder can
    be written. Without such a folder nobody waits, since no index could be saved.
    """
    with ExitStack() as stack:
        for path in (file.with_suffix(".lock") for file in files):
            try:
                stack.enter_context(locked(path))
            except (UserError, OSError):
                continue
            stack.callback(_remove_lock, path)
            break
        yield


def _remove_lock(path: Path) -> None:
    # Those who wait hold it still; who comes later finds the index.
    with suppress(OSError):
        path.unlink()
        path.parent.rmdir()  # where no index came of it


def _build(nusc: Tables) -> _Arrays:
    """The arrays of KeyframeIndex, from the tables."""
    root = Path(nusc.dataroot)
    scene_names = [scene["name"] for scene in nusc.scene]
    scene_ids, frames, objects, chains = [], [], [], []
    with tqdm(total=len(nusc.sample), desc=f"index of {nusc.version}", unit="keyframe") as bar:
        for scene_id, scene_name in enumerate(scene_names):
            for sample in scene_samples(nusc, scene_name):
                frame = camera_frame(nusc, sample)
                frames.append(frame)
                objects.append(annotated_objects(nusc, sample, frame.global_from_ego))
                chains.append(_sweep_chain(nusc, sample, frame))
                scene_ids.append(scene_id)
                bar.update()
    if not frames:
        raise UserError(f"{root / nusc.version} has no keyframe")
    cameras = dataset_cameras(nusc)
    sweep_rows = [sweep for chain in chains for sweep in chain]
    return {
        "camera_names": _texts(cameras),
        "scene_names": _texts(scene_names),
        "scene_ids": np.array(scene_ids, np.int32),
        "sample_tokens": _texts([frame.sample_token for frame in frames]),
        "stamps_us": np.array([frame.stamp_us for frame in frames], np.int64),
        "global_from_ego": np.stack([frame.global_from_ego for frame in frames]),
        **_rigs(frames, cameras, root),
        "object_offsets": _offsets([len(found.tokens) for found in objects]),
        "object_boxes": np.concatenate([found.boxes for found in objects]),
        "object_velocities": np.concatenate([found.velocities for found in objects]),
        "object_labels": np.concatenate([found.labels for found in objects]).astype(np.int8),
        "object_attributes": np.concatenate([f.attributes for f in objects]).astype(np.int8),
        "object_tokens": _texts([token for found in objects for token in found.tokens]),
        "object_lidar_points": np.concatenate([f.num_lidar_points for f in objects]).astype(
            np.int32
        ),
        "object_radar_points": np.concatenate([f.num_radar_points for f in objects]).astype(
            np.int32
        ),
        "sweep_offsets": _offsets([len(chain) for chain in chains]),
        "sweep_paths": _texts([_relative(sweep.path, root) for sweep in sweep_rows]),
        "sweep_time_lags": np.array([sweep.time_lag for sweep in sweep_rows], np.float64),
        "sweep_ego_from_lidar": np.array(
            [sweep.ego_from_lidar for sweep in sweep_rows], np.float64
        ).reshape(-1, 4, 4),
    }


def _rigs(frames: list[CameraFrame], cameras: tuple[str, ...], root: Path) -> _Arrays:
    """The arrays of all cameras in all keyframes."""
    shape = len(frames), len(cameras)
    paths = np.full(shape, "", dtype=object)
    arrays: _Arrays = {
        "intrinsics": np.zeros((*shape, 3, 3)),
        "ego_from_camera": np.zeros((*shape, 4, 4)),
        "mountings": np.zeros((*shape, 4, 4)),
        "image_sizes": np.zeros((*shape, 2), np.int32),
        "distortion": np.zeros((*shape, frames[0].rig.distortion.shape[-1])),
        "equidistant": np.zeros(shape, bool),
    }
    for i, frame in enumerate(frames):
        there = [cameras.index(name) for name in frame.rig.names]
        paths[i, there] = [_relative(path, root) for path in frame.image_paths]
        for name, array in arrays.items():
            if (value := getattr(frame.rig, name)) is not None:  # no lens is equidistant
                array[i, there] = value
    return {"image_paths": _texts(paths.flatten()).reshape(shape), **arrays}


def _sweep_chain(nusc: NuScenes, sample: dict[str, Any], frame: CameraFrame) -> list[LidarSweep]:
    """The keyframe's LiDAR sweep and up to MAX_SWEEPS - 1 earlier ones."""
    chain: list[LidarSweep] = []
    token = sample["data"].get("LIDAR_TOP", "")
    while token and len(chain) < MAX_SWEEPS:
        record = nusc.get("sample_data", token)
        if frame.stamp_us - record["timestamp"] > _LONGEST_LAG:
            break
        chain.append(
            LidarSweep(
                Path(nusc.dataroot) / record["filename"],
                1e-6 * (frame.stamp_us - record["timestamp"]),
                reference_from_sensor(nusc, record, frame.global_from_ego),
            )
        )
        token = record.get("prev", "")
    return chain


def _texts(texts: Iterable[str]) -> NDArray[np.bytes_]:
    return np.array([text.encode() for text in texts], dtype=np.bytes_)


def _offsets(counts: ArrayLike) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def _relative(path: Path, root: Path) -> str:
    # A table may also name files by absolute paths.
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
