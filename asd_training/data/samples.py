# SPDX-License-Identifier: Apache-2.0
"""Annotated keyframes as training samples."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from asd_perception.cameras.rig import ABSENT_CAMERA, CameraRig
from asd_perception.cameras.view import mostly_seen, views_of
from asd_perception.cores import available_cores
from asd_perception.network.config import StudentConfig
from asd_training.config.augmentation import AugmentationConfig
from asd_training.data.augmentation import (
    Augmentation,
    CameraImages,
    NetworkFrame,
    apply,
    camera_images,
    moved_returns,
)
from asd_training.data.index import KeyframeIndex
from asd_training.data.nuscenes import read_images
from asd_training.data.targets import (
    BACKGROUND,
    DetectionTargets,
    NearestReturns,
    PixelTargets,
    detection_targets,
    nearest_returns,
    pixel_targets,
)


class TrainingSample(NamedTuple):
    """One keyframe, or a batch with a leading axis B.

    images (N, 3, H, W) uint8, channels last in memory, as the network wants them; intrinsics
    (N, 3, 3) of the network's input; ego_from_camera (N, 4, 4); seen (N, h, w) bool, the feature
    pixels that a lens sees. N are the dataset's cameras; one that the keyframe lacks is black, and
    sees nothing (ABSENT_CAMERA). points (P, 5) float32: x, y, z in base_link, intensity, age in s,
    of all samples of a batch one after the other; point_sample (P,) int64: the sample that each
    belongs to. The targets are in asd_training.data.targets. keyframe: int64, its number in the
    index; mirrored: bool, whether left and right of the world are swapped.

    What the dataset does not load is empty: N is 0 without cameras, P without LiDAR, and the
    pixels' targets are UNKNOWN.
    """

    images: Tensor
    intrinsics: Tensor
    ego_from_camera: Tensor
    seen: Tensor
    points: Tensor
    point_sample: Tensor
    pixels: PixelTargets
    objects: DetectionTargets
    keyframe: Tensor
    mirrored: Tensor


def collate(samples: list[TrainingSample]) -> TrainingSample:
    """A batch; every field is stacked but the points, whose number differs."""
    empty = torch.zeros(0)
    stacked = default_collate(
        [
            s._replace(points=empty, point_sample=empty, images=s.images.movedim(1, -1))
            for s in samples
        ]
    )
    counts = torch.tensor([len(sample.points) for sample in samples])
    return stacked._replace(
        images=stacked.images.movedim(-1, 2),
        points=torch.cat([sample.points for sample in samples]),
        point_sample=torch.arange(len(samples)).repeat_interleave(counts),
    )


@dataclass(frozen=True)
class SampleContents:
    """What a training sample must hold; nothing else is read from the dataset.

    images: camera images with their calibration. sweeps: LiDAR sweeps put into `points`.
    pixel_targets: with images, LiDAR's targets of their pixels. network_sees_lidar: whether the
    points are an input of the network: objects that only a camera left out could see are then kept.
    """

    images: bool = True
    sweeps: int = 0
    pixel_targets: bool = True
    network_sees_lidar: bool = False

    @property
    def needs_returns(self) -> bool:
        """Whether the nearest LiDAR returns in the images are needed, for the pixels' targets."""
        return self.images and self.pixel_targets

    @property
    def sweeps_read(self) -> int:
        """Sweeps that are read. The nearest returns are those of the present one: older ones see
        other parts of the scene."""
        return max(self.sweeps, int(self.needs_returns))

    def projects_points(self, augmentation: AugmentationConfig | None) -> bool:
        """Whether each sample's nearest returns are found anew, because its images are warped."""
        return self.needs_returns and augmentation is not None and augmentation.warps_images

    def needs_points(self, augmentation: AugmentationConfig | None) -> bool:
        """Whether a sample is made with the points themselves."""
        return self.sweeps > 0 or self.projects_points(augmentation)

    def for_validation(self) -> SampleContents:
        """What the network itself needs, without what only its objective needs: LiDAR."""
        sweeps = self.sweeps if self.network_sees_lidar else 0
        return dataclasses.replace(self, sweeps=sweeps, pixel_targets=False)


class RecordedKeyframe(NamedTuple):
    """What the sensors recorded of a keyframe.

    returns: in the images' feature pixels; none where they are found in each sample anew
    (`projects_points`), or not needed. points (P, 5) float32: as in TrainingSample, where needed.
    """

    cameras: CameraImages
    returns: NearestReturns
    points: NDArray[np.float32]


def read_keyframe(
    index: KeyframeIndex,
    config: StudentConfig,
    contents: SampleContents,
    augmentation: AugmentationConfig | None,
    keyframe: int,
) -> RecordedKeyframe:
    """A keyframe from the dataset's files, with what this augmentation needs of it.

    Raises UserError that names a file which is missing or damaged.
    """
    frame = index.frame(keyframe)
    if not contents.images:
        frame = dataclasses.replace(frame, rig=_NO_CAMERAS, image_paths=())
    size, sweeps = config.image_size, contents.sweeps_read
    images = read_images(frame, views_of(frame.rig, config.trained_cameras, size))
    cameras = camera_images(images, frame.rig, size, config.trained_cameras)
    points = index.lidar(keyframe, sweeps) if sweeps else _NO_POINTS
    prepared = contents.needs_returns and not contents.projects_points(augmentation)
    returns = nearest_returns(
        _present(points if prepared else _NO_POINTS),
        index.objects(keyframe),
        cameras.intrinsics,
        cameras.ego_from_camera,
        config,
    )
    needed = contents.needs_points(augmentation)
    return RecordedKeyframe(cameras, returns, points if needed else _NO_POINTS)


def _present(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """The places (P, 3) of the points of the present sweep, which is the first one."""
    return points[points[:, 4] == points[:1, 4], :3].astype(np.float64)


class KeyframeDataset(Dataset[TrainingSample]):
    """The keyframes of an index as samples that hold `contents`.

    config: of the network's input, its BEV grid and its depth bins. augmentation: how far `sample`
    may change them; None: not at all. recorded: gives what the sensors recorded, as a SampleStore
    does; None: it is read from the dataset's files.
    """

    def __init__(
        self,
        index: KeyframeIndex,
        config: StudentConfig,
        contents: SampleContents,
        augmentation: AugmentationConfig | None = None,
        recorded: Callable[[int], RecordedKeyframe] | None = None,
    ) -> None:
        self.index = index
        self.config = config
        self.contents = contents
        self.augmentation = augmentation
        self.recorded = recorded or partial(read_keyframe, index, config, contents, augmentation)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, keyframe: int) -> TrainingSample:
        """A keyframe as it was recorded."""
        return self.sample(keyframe, None)

    def sample(self, keyframe: int, random: np.random.Generator | None) -> TrainingSample:
        """A keyframe, augmented by `random` if it is given."""
        recorded = self.recorded(keyframe)
        cameras = len(recorded.cameras.images)
        if self.augmentation is None or random is None:
            augmentation = Augmentation.none(cameras)
        else:
            augmentation = Augmentation.draw(
                self.augmentation, cameras, self.config.image_size, random
            )
        return self._augmented(keyframe, recorded, augmentation)

    def mirrored(self, keyframe: int) -> TrainingSample:
        """A keyframe as it was recorded, with left and right of the world swapped."""
        recorded = self.recorded(keyframe)
        augmentation = Augmentation.none(len(recorded.cameras.images))
        augmentation = dataclasses.replace(augmentation, bev_flip=True)
        return self._augmented(keyframe, recorded, augmentation)

    def _augmented(
        self, keyframe: int, recorded: RecordedKeyframe, augmentation: Augmentation
    ) -> TrainingSample:
        contents, config = self.contents, self.config
        cameras, returns, points = recorded
        frame = apply(
            augmentation,
            cameras,
            self.index.objects(keyframe),
            points[:, :3],
            config.image_size,
            contents.network_sees_lidar,
        )
        points = np.concatenate([frame.points, points[:, 3:]], axis=1)
        if contents.projects_points(self.augmentation):
            returns = nearest_returns(
                _present(points), frame.objects, frame.intrinsics, frame.ego_from_camera, config
            )
        else:
            returns = moved_returns(augmentation, returns)
        if contents.images:
            there = self.index.has_camera[keyframe]
            frame, returns = _with_absent_cameras(frame, returns, there)
        seen = mostly_seen(frame.seen, config.backbone.stride)
        returns.depths[~seen] = np.inf
        if not contents.sweeps:
            points = _NO_POINTS
        return TrainingSample(
            images=torch.from_numpy(frame.images).movedim(-1, 1),
            intrinsics=torch.from_numpy(frame.intrinsics).float(),
            ego_from_camera=torch.from_numpy(frame.ego_from_camera).float(),
            seen=torch.from_numpy(seen),
            points=torch.from_numpy(points),
            point_sample=torch.zeros(len(points), dtype=torch.int64),
            pixels=pixel_targets(returns, config.depth),
            objects=detection_targets(frame.objects, config.bev),
            keyframe=torch.tensor(keyframe),
            mirrored=torch.tensor(augmentation.bev_flip),
        )


def _with_absent_cameras(
    frame: NetworkFrame, returns: NearestReturns, there: NDArray[np.bool_]
) -> tuple[NetworkFrame, NearestReturns]:
    """A frame of the cameras that are `there` (N,), and its returns, as those of all N."""
    if there.all():
        return frame, returns

    def of_all(values: NDArray[Any], absent: Any) -> NDArray[Any]:
        result = np.empty((len(there), *values.shape[1:]), values.dtype)
        result[there], result[~there] = values, absent
        return result

    return frame._replace(
        images=of_all(frame.images, 0),
        seen=of_all(frame.seen, True),
        intrinsics=of_all(frame.intrinsics, frame.intrinsics[0]),
        ego_from_camera=of_all(frame.ego_from_camera, ABSENT_CAMERA),
    ), NearestReturns(of_all(returns.depths, np.inf), of_all(returns.classes, BACKGROUND))


def read_on_all_cores(
    dataset: Dataset[Any], batch_size: int | None, collate_fn: Callable[[Any], Any]
) -> DataLoader[Any]:
    """All items in their order, read by as many processes as there are cores; on one core by this
    process. batch_size, collate_fn: as DataLoader's."""
    cores = available_cores()
    return DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=cores if cores > 1 else 0,
        collate_fn=collate_fn,
        worker_init_fn=begin_loader_process,
    )


def begin_loader_process(_: int) -> None:
    """One thread, also of numpy's BLAS; as many processes as shall be busy are there. And no last
    words at Ctrl-C.

    A process lends its batches to the main one, from a thread of its own. When that one stops in
    the middle of taking one, the thread would print the connection's loss as a traceback.
    """
    cv2.setNumThreads(0)
    threadpool_limits(1)
    sys.excepthook = _all_but_lost_connections


def _all_but_lost_connections(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, traceback)


_NO_POINTS = np.zeros((0, 5), np.float32)
_NO_CAMERAS = CameraRig(
    names=(),
    intrinsics=np.zeros((0, 3, 3)),
    ego_from_camera=np.zeros((0, 4, 4)),
    image_sizes=np.zeros((0, 2), np.int64),
    distortion=np.zeros((0, 8)),
)
