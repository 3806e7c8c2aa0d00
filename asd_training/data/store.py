# SPDX-License-Identifier: Apache-2.0
"""Prepared samples: what `read_keyframe` gives of a training set, in files that are mapped into
memory and shared by all runs and loader processes.

CACHE/<key>/ holds, keyframe after keyframe and without gaps,

    images.bin   (C, margin + rows, columns, 3) uint8: the network's input below `margin` rows of
                 what lies above it, which a smaller or turned image brings into view
    seen.bin     (C, rows, columns / 8) uint8: the pixels that the lenses see, eight to a byte
    points.bin   (P, 5) float32
    records.npz  identity (text), keyframes (K,), cameras (K + 1,) and clouds (K + 1,): keyframe i
                 has the images cameras[i] to cameras[i + 1] and the points clouds[i] to
                 clouds[i + 1]; intrinsics (C, 3, 3), ego_from_camera (C, 4, 4), checksums (K,) of
                 what the other three files hold of a keyframe

The key is the beginning of the identity, a digest of all that these depend on (`_identity`): not
BEV grid, depth bins, targets and augmentation, but for the margin.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from asd_perception.cameras.preprocessing import input_from_image, preprocess
from asd_perception.configuration import to_dict
from asd_perception.cores import available_cores
from asd_perception.errors import UserError
from asd_perception.files import atomic_directory, locked
from asd_perception.network.config import StudentConfig
from asd_training.data.augmentation import CameraImages, warp_image
from asd_training.data.index import KeyframeIndex
from asd_training.data.samples import (
    RecordedKeyframe,
    SampleContents,
    begin_loader_process,
    read_keyframe,
)

FORMAT = 2
"""Increment it when what `read_keyframe` gives changes its meaning, or the layout of the files."""


@dataclass(frozen=True, eq=False)
class SampleStore:
    """The prepared samples of some keyframes; see `open`.

    Called with a keyframe's number in the index, it gives what `read_keyframe` gives, with images
    of the network's width.
    """

    folder: Path
    images: NDArray[np.uint8]
    seen: NDArray[np.uint8]
    points: NDArray[np.float32]
    records: dict[str, NDArray[Any]]
    places: dict[int, int]

    @classmethod
    def open(
        cls,
        cache: str | Path,
        index: KeyframeIndex,
        keyframes: NDArray[np.int64],
        config: StudentConfig,
        contents: SampleContents,
        margin: int,
    ) -> SampleStore:
        """The store of these keyframes in the folder `cache`, built if it is not there yet.

        margin: rows kept above the network's input. If several processes find no store, one builds
        it while the others wait; a damaged one is built anew. Raises UserError, or OSError where
        there is no room for it.
        """
        margin = margin if contents.images else 0
        identity = _identity(index, keyframes, config, contents, margin)
        folder = Path(cache) / identity[:16]
        rows, columns = config.image_size
        store = cls._read(folder, identity, (margin, rows, columns))
        if isinstance(store, cls):
            return store
        with locked(folder.with_suffix(".lock")) as alone:
            store = cls._read(folder, identity, (margin, rows, columns))
            if isinstance(store, cls):  # built by another process
                return store
            if folder.exists():
                print(f"{folder} is damaged and is built anew ({store})", file=sys.stderr)
                shutil.rmtree(folder)
            if alone:  # then what is here, a killed process left
                for leftover in folder.parent.glob(f".{folder.name}.*"):
                    shutil.rmtree(leftover, ignore_errors=True)
            try:
                _build(folder, identity, _Readings(index, keyframes, config, contents, margin))
            except (OSError, UserError):
                if not folder.exists():  # else a process that did not wait was faster
                    raise
            store = cls._read(folder, identity, (margin, rows, columns))
        if not isinstance(store, cls):
            raise UserError(f"{folder} cannot be read ({store})")
        return store

    @classmethod
    def _read(cls, folder: Path, identity: str, size: tuple[int, int, int]) -> SampleStore | str:
        """The store in a folder, or why there is none. size: margin, rows and columns."""
        margin, rows, columns = size
        try:
            with np.load(folder / "records.npz", allow_pickle=False) as file:
                records = dict(file)
            if records["identity"].item() != identity:
                return "it holds other samples"
            cameras, points = int(records["cameras"][-1]), int(records["clouds"][-1])
            return cls(
                folder,
                _mapped(folder / "images.bin", np.uint8, (cameras, margin + rows, columns, 3)),
                _mapped(folder / "seen.bin", np.uint8, (cameras, rows, columns // 8)),
                _mapped(folder / "points.bin", np.float32, (points, 5)),
                records,
                {int(keyframe): place for place, keyframe in enumerate(records["keyframes"])},
            )
        except Exception as error:  # a damaged archive fails in too many ways to list
            return " ".join(str(error).split()) or type(error).__name__

    def __call__(self, keyframe: int) -> RecordedKeyframe:
        """Raises UserError if the files have changed since they were written."""
        place, records = self.places[keyframe], self.records
        cameras = slice(*records["cameras"][place : place + 2])
        images, seen = self.images[cameras], self.seen[cameras]
        points = self.points[slice(*records["clouds"][place : place + 2])]
        if _checksum(images, seen, points) != records["checksums"][place]:
            raise UserError(f"{self.folder} is damaged (keyframe {keyframe}); remove it")
        return RecordedKeyframe(
            CameraImages(
                tuple(images),
                np.unpackbits(seen, axis=-1).view(bool),
                records["intrinsics"][cameras],
                records["ego_from_camera"][cameras],
            ),
            points,
        )


class _Readings(Dataset[RecordedKeyframe]):
    """Keyframes from the dataset's files, with their images as they are stored."""

    def __init__(
        self,
        index: KeyframeIndex,
        keyframes: NDArray[np.int64],
        config: StudentConfig,
        contents: SampleContents,
        margin: int,
    ) -> None:
        self.keyframes = keyframes
        self.read: Callable[[int], RecordedKeyframe] = partial(
            read_keyframe, index, config, contents
        )
        self.size, self.margin = config.image_size, margin

    def __len__(self) -> int:
        return len(self.keyframes)

    def __getitem__(self, place: int) -> RecordedKeyframe:
        recorded = self.read(int(self.keyframes[place]))
        images = [with_margin(image, self.size, self.margin) for image in recorded.cameras.images]
        return recorded._replace(cameras=recorded.cameras._replace(images=images))


def with_margin(image: NDArray[np.uint8], size: tuple[int, int], margin: int) -> NDArray[np.uint8]:
    """The network's input of an image, below `margin` rows of what lies above it.

    size: (rows, columns) of the input. Above the image it is black.
    """
    of_input = preprocess(image, size)
    if not margin:
        return of_input
    to_margin = input_from_image(image.shape[1], image.shape[0], size)
    to_margin[1, 2] += margin
    return np.concatenate([warp_image(image, to_margin, (margin, size[1])), of_input])


def _build(folder: Path, identity: str, readings: _Readings) -> None:
    """Write a store, read by as many processes as there are cores; on failure, nothing stays."""
    cores = available_cores()
    loader: DataLoader[RecordedKeyframe] = DataLoader(
        readings,
        batch_size=None,
        num_workers=cores if cores > 1 else 0,
        collate_fn=_as_it_is,
        worker_init_fn=begin_loader_process,
    )
    cameras, clouds = [0], [0]
    checksums, intrinsics, poses = [], [], []
    with (
        atomic_directory(folder) as temporary,
        (temporary / "images.bin").open("wb") as image_file,
        (temporary / "seen.bin").open("wb") as seen_file,
        (temporary / "points.bin").open("wb") as point_file,
    ):
        for recorded in tqdm(loader, desc=f"samples into {folder.parent}", unit="keyframe"):
            images = np.array(recorded.cameras.images, np.uint8)
            seen = np.packbits(recorded.cameras.seen, axis=-1)
            image_file.write(images.tobytes())
            seen_file.write(seen.tobytes())
            point_file.write(recorded.points.tobytes())
            checksums.append(_checksum(images, seen, recorded.points))
            cameras.append(cameras[-1] + len(images))
            clouds.append(clouds[-1] + len(recorded.points))
            intrinsics.append(recorded.cameras.intrinsics)
            poses.append(recorded.cameras.ego_from_camera)
        for file in (image_file, seen_file, point_file):
            file.flush()
            os.fsync(file.fileno())
        np.savez(
            temporary / "records.npz",
            identity=np.array(identity),
            keyframes=readings.keyframes,
            cameras=np.array(cameras),
            clouds=np.array(clouds),
            checksums=np.array(checksums, np.uint32),
            intrinsics=np.concatenate(intrinsics),
            ego_from_camera=np.concatenate(poses),
        )


def _as_it_is(recorded: RecordedKeyframe) -> RecordedKeyframe:
    return recorded


def _identity(
    index: KeyframeIndex,
    keyframes: NDArray[np.int64],
    config: StudentConfig,
    contents: SampleContents,
    margin: int,
) -> str:
    """A digest of all that the content depends on. The dataset's files count with their sizes."""
    paths = [path for i in keyframes if contents.images for path in index.frame(i).image_paths]
    sweeps = contents.sweeps_read
    paths += [sweep.path for i in keyframes for sweep in index.lidar_sweeps(i)[:sweeps]]
    sizes = [path.stat().st_size if path.is_file() else None for path in paths]
    of_images = None
    if contents.images:
        of_images = config.image_size, to_dict(config)["trained_cameras"], margin
    meaning = FORMAT, index.digest(), keyframes.tolist(), sweeps, of_images, sizes
    return hashlib.blake2b(json.dumps(meaning).encode(), digest_size=32).hexdigest()


def _mapped(file: Path, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """A file's array, mapped into memory. Raises ValueError if the file has another size."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if file.stat().st_size != size:
        raise ValueError(f"{file.name} has {file.stat().st_size} bytes, not {size}")
    if not size:  # an empty file cannot be mapped
        return np.zeros(shape, dtype)
    return np.asarray(np.memmap(file, dtype, "r", shape=shape))


def _checksum(*parts: Any) -> int:
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return checksum
