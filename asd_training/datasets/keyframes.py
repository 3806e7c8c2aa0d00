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
from asd_perception.geometry import Array, inverse, project, transform_points
from asd_perception.network.view_transform import depth_bin_index
from asd_perception.preprocessing import input_from_image, preprocess
from asd_training.datasets.augmentation import jitter_colour, mirror, rotate
from asd_training.datasets.nuscenes import (
    annotated_objects,
    camera_frame,
    lidar_points,
    read_images,
    scene_samples,
)
from asd_training.objective import NO_DEPTH
from asd_training.targets import DetectionTargets, detection_targets

MAX_ROTATION = np.deg2rad(22.5)
COLOUR_GAIN = 0.25
COLOUR_OFFSET = 20.0


class TrainingSample(NamedTuple):
    """One keyframe, or a batch with a leading axis B.

    images (N, 3, H, W) uint8; intrinsics (N, 3, 3) of the network's input; ego_from_camera
    (N, 4, 4); depth_bins (N, h, w) int64 bin of the nearest LiDAR return or NO_DEPTH.
    """

    images: Tensor
    intrinsics: Tensor
    ego_from_camera: Tensor
    depth_bins: Tensor
    targets: DetectionTargets


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

        bins = depth_targets(points, intrinsics, ego_from_camera, self.config)
        return TrainingSample(
            images=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
            intrinsics=torch.from_numpy(intrinsics).float(),
            ego_from_camera=torch.from_numpy(ego_from_camera).float(),
            depth_bins=bins,
            targets=detection_targets(objects, self.config.bev),
        )


def depth_targets(
    points: Array, intrinsics: Array, ego_from_camera: Array, config: StudentConfig
) -> Tensor:
    """LiDAR depth a feature pixel: the bin of its nearest return, or NO_DEPTH. (N, h, w) int64.

    points (P, 3) in base_link; intrinsics (N, 3, 3) of the network's input.
    """
    stride = config.backbone.stride
    height, width = (side // stride for side in config.image_size)
    nearest = np.full((len(intrinsics), height * width), np.inf)
    for camera, (matrix, pose) in enumerate(zip(intrinsics, ego_from_camera, strict=True)):
        in_camera = transform_points(inverse(pose), points)
        in_front = in_camera[in_camera[:, 2] >= config.depth.near]
        pixels, depth = project(in_front, matrix)
        # Feature pixel j covers the input pixels from stride * j to stride * (j + 1) - 1.
        cell = np.floor((pixels + 0.5) / stride).astype(np.int64)
        seen = np.all((cell >= 0) & (cell < (width, height)), axis=1)
        flat = cell[seen, 1] * width + cell[seen, 0]
        np.minimum.at(nearest[camera], flat, depth[seen])
    bins, inside = depth_bin_index(torch.from_numpy(nearest), config.depth)
    return torch.where(inside, bins, NO_DEPTH).reshape(-1, height, width)
