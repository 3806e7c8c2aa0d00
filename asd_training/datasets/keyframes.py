# SPDX-License-Identifier: Apache-2.0
"""Annotated keyframes as training samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from asd_perception.config import StudentConfig
from asd_training.datasets.augmentation import Augmentation, AugmentationConfig, apply
from asd_training.datasets.index import KeyframeIndex
from asd_training.datasets.nuscenes import read_images
from asd_training.targets import (
    DetectionTargets,
    PixelTargets,
    detection_targets,
    pixel_targets,
)


class TrainingSample(NamedTuple):
    """One keyframe, or a batch with a leading axis B.

    images (N, 3, H, W) uint8; intrinsics (N, 3, 3) of the network's input; ego_from_camera
    (N, 4, 4). points (P, 5) float32: x, y, z in base_link, intensity, age in s, of all samples of
    a batch one after the other; point_sample (P,) int64: the sample that each belongs to.
    The targets are in asd_training.targets. keyframe: int64, its number in the index.
    """

    images: Tensor
    intrinsics: Tensor
    ego_from_camera: Tensor
    points: Tensor
    point_sample: Tensor
    pixels: PixelTargets
    objects: DetectionTargets
    keyframe: Tensor


def collate(samples: list[TrainingSample]) -> TrainingSample:
    """A batch; every field is stacked but the points, whose number differs."""
    empty = torch.zeros(0)
    stacked = default_collate([s._replace(points=empty, point_sample=empty) for s in samples])
    counts = torch.tensor([len(sample.points) for sample in samples])
    return stacked._replace(
        points=torch.cat([sample.points for sample in samples]),
        point_sample=torch.arange(len(samples)).repeat_interleave(counts),
    )


class KeyframeDataset(Dataset[TrainingSample]):
    """The keyframes of an index, augmented where `augmentation` says how far.

    sweeps: LiDAR sweeps put into a sample's `points`; 0 leaves them empty.
    """

    def __init__(
        self,
        index: KeyframeIndex,
        config: StudentConfig,
        augmentation: AugmentationConfig | None = None,
        sweeps: int = 0,
    ) -> None:
        self.index = index
        self.config = config
        self.augmentation = augmentation
        self.sweeps = sweeps

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, keyframe: int) -> TrainingSample:
        """A keyframe as it was recorded."""
        return self.sample(keyframe, None)

    def sample(self, keyframe: int, random: np.random.Generator | None) -> TrainingSample:
        """A keyframe, augmented by `random` if it is given."""
        frame = self.index.frame(keyframe)
        objects = self.index.objects(keyframe)
        # The pixels' targets need the present sweep: older ones see other parts of the scene.
        points = self.index.lidar(keyframe, max(1, self.sweeps)).astype(np.float64)

        cameras, size = len(frame.rig), self.config.image_size
        augmentation = Augmentation.none(cameras)
        if self.augmentation is not None and random is not None:
            augmentation = Augmentation.draw(self.augmentation, cameras, size, random)
        seen = apply(augmentation, read_images(frame), frame.rig, objects, points[:, :3], size)

        present = seen.points[points[:, 4] == points[0, 4]] if len(points) else seen.points
        cloud = np.zeros((0, 5))
        if self.sweeps:
            cloud = np.concatenate([seen.points, points[:, 3:]], axis=1)
        return TrainingSample(
            images=torch.from_numpy(seen.images).permute(0, 3, 1, 2).contiguous(),
            intrinsics=torch.from_numpy(seen.intrinsics).float(),
            ego_from_camera=torch.from_numpy(seen.ego_from_camera).float(),
            points=torch.from_numpy(cloud).float(),
            point_sample=torch.zeros(len(cloud), dtype=torch.int64),
            pixels=pixel_targets(
                present, seen.objects, seen.intrinsics, seen.ego_from_camera, self.config
            ),
            objects=detection_targets(seen.objects, self.config.bev),
            keyframe=torch.tensor(keyframe),
        )
