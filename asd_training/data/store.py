# SPDX-License-Identifier: Apache-2.0
"""Prepared samples: what `read_keyframe` gives of a training set, in files that are mapped into
memory and shared by all runs and loader processes.

CACHE/<key>/ holds, keyframe after keyframe and without gaps,

    images.bin   (C, margin + rows, columns, 3) uint8: the network's input below `margin` rows of
                 what lies above it, which a smaller or turned image brings into view
    seen.bin     (C, rows, columns / 8) uint8: the pixels that the lenses see, eight to a byte
    depths.bin   (C, h, w) float32 and
    classes.bin  (C, h, w) int8: the nearest LiDAR return in each feature pixel
    points.bin   (P, 5) float32, of sweeps whose points themselves are needed
    records.npz  identity (text), keyframes (K,), cameras (K + 1,) and clouds (K + 1,): keyframe i
                 has the images cameras[i] to cameras[i + 1] and the points clouds[i] to
                 clouds[i + 1]; intrinsics (C, 3, 3), ego_from_camera (C, 4, 4), checksums (K,) of
                 what the other files hold of a keyframe

The key is the beginning of the identity, a digest of all that these depend on
(`Readings.identity`). That is not the BEV grid, and of depth bins and augmentation only the first
bin's beginning, whether images are warped, and the margin for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from asd_perception.cameras.preprocessing import input_from_image, preprocess
from asd_perception.configuration import to_dict
from asd_perception.errors import UserError
from asd_perception.files import atomic_directory, built_once
from asd_perception.network.config import StudentConfig
from asd_training.config.augmentation import AugmentationConfig
from asd_training.data.augmentation import CameraImages, rows_above, warp_image
from asd_training.data.index import KeyframeIndex
from asd_training.data.samples import (
    RecordedKeyframe,
    SampleContents,
    read_keyframe,
    read_on_all_cores,
)
from asd_training.data.targets import NearestReturns

FORMAT = 4
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
    depths: NDArray[np.float32]
    classes: NDArray[np.int8]
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
        augmentation: AugmentationConfig | None,
    ) -> SampleStore:
        """The store of these keyframes in the folder `cache`, built if it is not there yet.

        If several processes find no store, one builds it while the others wait; a damaged one is
        built anew. Raises UserError, or OSError where there is no room for it.
        """
        readings = Readings(index, keyframes, config, contents, augmentation)
        identity, layout = readings.identity(), _layout(config, readings.margin)
        folder = Path(cache) / identity[:16]
        (store,) = built_once(
            folder.with_suffix(".lock"),
            [folder],
            read=lambda _: cls._read(folder, identity, layout),
            build=lambda _: _build(folder, identity, layout, readings),
        )
        return store

    @classmethod
    def _read(cls, folder: Path, identity: str, layout: _Layout) -> SampleStore | str:
        """The store in a folder, or why there is none."""
        try:
            with np.load(folder / "records.npz", allow_pickle=False) as file:
                records = dict(file)
            if records["identity"].item() != identity:
                return "it holds other samples"
            cameras, points = int(records["cameras"][-1]), int(records["clouds"][-1])
            arrays = {
                name: _mapped(
                    folder / f"{name}.bin", dtype, (points if name == "points" else cameras, *shape)
                )
                for name, (dtype, shape) in layout.items()
            }
            places = {int(keyframe): place for place, keyframe in enumerate(records["keyframes"])}
            return cls(folder, **arrays, records=records, places=places)
        except Exception as error:  # a damaged archive fails in too many ways to list
            return " ".join(str(error).split()) or type(error).__name__

    def __call__(self, keyframe: int) -> RecordedKeyframe:
        """Raises UserError if the files have changed since they were written."""
        place, records = self.places[keyframe], self.records
        cameras = slice(*records["cameras"][place : place + 2])
        images, seen = self.images[cameras], self.seen[cameras]
        returns = NearestReturns(self.depths[cameras], self.classes[cameras])
        points = self.points[slice(*records["clouds"][place : place + 2])]
        if checksum(images, seen, *returns, points) != records["checksums"][place]:
            raise UserError(f"{self.folder} is damaged (keyframe {keyframe}); remove it")
        return RecordedKeyframe(
            CameraImages(
                tuple(images),
                np.unpackbits(seen, axis=-1).view(bool),
                records["intrinsics"][cameras],
                records["ego_from_camera"][cameras],
            ),
            returns,
            points,
        )


class Readings(Dataset[RecordedKeyframe]):
    """Keyframes from the dataset's files, with their images as they are stored."""

    def __init__(
        self,
        index: KeyframeIndex,
        keyframes: NDArray[np.int64],
        config: StudentConfig,
        contents: SampleContents,
        augmentation: AugmentationConfig | None,
    ) -> None:
        self.index, self.keyframes, self.config, self.contents = index, keyframes, config, contents
        self.augmentation = augmentation
        self.margin = rows_above(augmentation, config.image_size) if contents.images else 0

    def __len__(self) -> int:
        return len(self.keyframes)

    def __getitem__(self, place: int) -> RecordedKeyframe:
        recorded = read_keyframe(
            self.index, self.config, self.contents, self.augmentation, int(self.keyframes[place])
        )
        images = [
            with_margin(image, self.config.image_size, self.margin)
            for image in recorded.cameras.images
        ]
        return recorded._replace(cameras=recorded.cameras._replace(images=images))

    def identity(self) -> str:
        """A digest of all that they depend on. The dataset's files count with their sizes."""
        index, config, contents = self.index, self.config, self.contents
        paths = [
            path
            for keyframe in self.keyframes
            if contents.images
            for path in index.frame(keyframe).image_paths
        ]
        sweeps = contents.sweeps_read
        paths += [
            sweep.path
            for keyframe in self.keyframes
            for sweep in index.lidar_sweeps(keyframe)[:sweeps]
        ]
        sizes = [path.stat().st_size if path.is_file() else None for path in paths]
        of_images = of_returns = None
        if contents.images:
            of_images = config.image_size, to_dict(config)["trained_cameras"], self.margin
        if contents.needs_returns:
            # Those of warped images are found in each sample anew, and none are stored.
            found_anew = contents.projects_points(self.augmentation)
            of_returns = config.feature_size, config.depth.near, found_anew
        of_lidar = sweeps, contents.needs_points(self.augmentation), of_returns
        keyframes = self.keyframes.tolist()
        meaning = FORMAT, index.digest(), keyframes, of_images, of_lidar, sizes
        return hashlib.blake2b(json.dumps(meaning).encode(), digest_size=32).hexdigest()


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


def _build(folder: Path, identity: str, layout: _Layout, readings: Readings) -> None:
    """Write a store, read by as many processes as there are cores; on failure, nothing stays."""
    loader: DataLoader[RecordedKeyframe] = read_on_all_cores(readings, None, _as_it_is)
    cameras, clouds = [0], [0]
    checksums, intrinsics, poses = [], [], []
    with atomic_directory(folder) as temporary, ExitStack() as opened:
        files = [opened.enter_context((temporary / f"{name}.bin").open("wb")) for name in layout]
        for recorded in tqdm(loader, desc=f"samples into {folder.parent}", unit="keyframe"):
            images = np.array(recorded.cameras.images, np.uint8)
            seen = np.packbits(recorded.cameras.seen, axis=-1)
            parts = images, seen, *recorded.returns, recorded.points
            for file, part in zip(files, parts, strict=True):
                file.write(part.tobytes())
            checksums.append(checksum(*parts))
            cameras.append(cameras[-1] + len(images))
            clouds.append(clouds[-1] + len(recorded.points))
            intrinsics.append(recorded.cameras.intrinsics)
            poses.append(recorded.cameras.ego_from_camera)
        for file in files:
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


_Layout = dict[str, tuple[Any, tuple[int, ...]]]


def _layout(config: StudentConfig, margin: int) -> _Layout:
    """Each file's type and the shape of one item: of a camera, in points.bin of a point."""
    rows, columns = config.image_size
    return {
        "images": (np.uint8, (margin + rows, columns, 3)),
        "seen": (np.uint8, (rows, columns // 8)),
        "depths": (np.float32, config.feature_size),
        "classes": (np.int8, config.feature_size),
        "points": (np.float32, (5,)),
    }


def _mapped(file: Path, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """A file's array, mapped into memory. Raises ValueError if the file has another size."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if file.stat().st_size != size:
        raise ValueError(f"{file.name} has {file.stat().st_size} bytes, not {size}")
    if not size:  # an empty file cannot be mapped
        return np.zeros(shape, dtype)
    return np.asarray(np.memmap(file, dtype, "r", shape=shape))


def checksum(*parts: Any) -> int:
    """The CRC-32 of some arrays, one after the other."""
    total = 0
    for part in parts:
        total = zlib.crc32(part, total)
    return total
