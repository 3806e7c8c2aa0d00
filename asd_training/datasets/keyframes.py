# SPDX-License-Identifier: Apache-2.0
"""Annotated keyframes as training samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from nuscenes import NuScenes
from torch import Tensor
from torch.utils.data import Dataset

from asd_perception.config import StudentConfig
from asd_perception.preprocessing import input_from_image, preprocess
from asd_training.datasets.augmentation import jitter_colour, mirror, rotate
from asd_training.datasets.nuscenes import (
    annotated_objects,
    camera_frame,
    lidar_points,
    read_images,
    scene_samples,
)
from asd_training.targets import (
    DetectionTargets,
    PixelTargets,
    detection_targets,
    pixel_targets,
)

MAX_ROTATION = np.deg2rad(22.5)
COLOUR_GAIN = 0.25
COLOUR_OFFSET = 20.0


class TrainingSample(NamedTuple):
    """One keyframe, or a batch with a leading axis B.

    images (N, 3, H, W) uint8; intrinsics (N, 3, 3) of the network's input; ego_from_camera
    (N, 4, 4). The targets are in asd_training.targets.
    """

    images: Tensor
    intrinsics: Tensor
    ego_from_camera: Tensor
    pixels: PixelTargets
    objects: DetectionTargets


class KeyframeDataset(Dataset[TrainingSample]):
    """The keyframes of some scenes, with augmentation if `augment`.

    The augmentation of a sample is drawn from torch's generator, which Lightning seeds in every
    worker.
    """

    def __init__(
        self, nusc: NuScenes, scenes: list[str], config: StudentConfig, augment: bool
    ) -> None:
        self.nusc = nusc
        self.samples = [sample for scene in scenes for sample in scene_samples(nusc, scene)]
        self.config = config
        self.augment = augment

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> TrainingSample:
        sample = self.samples[index]
        frame = camera_frame(self.nusc, sample)
        objects = annotated_objects(self.nusc, sample, frame.global_from_ego)
        points = lidar_points(self.nusc, sample, frame.global_from_ego)[:, :3]

        size = self.config.image_size
        images = np.stack([preprocess(image, size) for image in read_images(frame)])
        to_input = [input_from_image(w, h, size) for w, h in frame.rig.image_sizes]
        intrinsics = np.stack(to_input) @ frame.rig.intrinsics
        ego_from_camera = frame.rig.ego_from_camera

        if self.augment:
            random = np.random.default_rng(int(torch.randint(2**31, ())))
            if random.random() < 0.5:
                images, intrinsics, ego_from_camera, objects, points = mirror(
                    images, intrinsics, ego_from_camera, objects, points
                )
            angle = random.uniform(-MAX_ROTATION, MAX_ROTATION)
            ego_from_camera, objects, points = rotate(ego_from_camera, objects, points, angle)
            gain = 1 + random.uniform(-COLOUR_GAIN, COLOUR_GAIN) + random.normal(0, 0.05, 3)
            images = jitter_colour(images, gain, random.uniform(-COLOUR_OFFSET, COLOUR_OFFSET))

        return TrainingSample(
            images=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
            intrinsics=torch.from_numpy(intrinsics).float(),
            ego_from_camera=torch.from_numpy(ego_from_camera).float(),
            pixels=pixel_targets(points, objects, intrinsics, ego_from_camera, self.config),
            objects=detection_targets(objects, self.config.bev),
        )
