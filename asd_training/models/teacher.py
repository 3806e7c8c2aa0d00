# SPDX-License-Identifier: Apache-2.0
"""The teacher network: LiDAR, alone or with the cameras, to objects on the student's BEV grid."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from asd_perception.network import model_directory
from asd_perception.network.backbone import ImageEncoder
from asd_perception.network.bev_encoder import BevEncoder
from asd_perception.network.center_head import CenterHead, HeadOutput
from asd_perception.network.fusion import SymmetricFusion
from asd_perception.network.view_transform import LiftSplat, frame_geometry
from asd_training.config.teacher import TeacherConfig
from asd_training.data.samples import SampleContents, TrainingSample
from asd_training.models.pillars import PillarEncoder


class TeacherAnswer(NamedTuple):
    """What a student learns from: features and the head's maps, each (B, C, Y, X).

    As in TeacherOutput and HeadOutput, of any precision; a map that no loss uses may be empty.
    """

    lidar_bev: Tensor
    camera_bev: Tensor | None
    fused_bev: Tensor
    encoded_bev: Tensor
    heatmap: Tensor
    boxes: Tensor


class TeacherOutput(NamedTuple):
    """The head's maps, and the features from which a student can learn.

    lidar_bev (L_T), camera_bev (C_T), fused_bev (F_T): (B, C, Y, X). encoded_bev (B, E, Y, X): the
    head's input. camera_depth (B, N, D, h, w): logits. Without cameras, camera_bev and camera_depth
    are None and fused_bev is lidar_bev.
    """

    head: HeadOutput
    camera_depth: Tensor | None
    lidar_bev: Tensor
    camera_bev: Tensor | None
    fused_bev: Tensor
    encoded_bev: Tensor

    @property
    def answer(self) -> TeacherAnswer:
        """What a student learns from."""
        return TeacherAnswer(
            self.lidar_bev,
            self.camera_bev,
            self.fused_bev,
            self.encoded_bev,
            self.head.heatmap,
            self.head.boxes,
        )


class Teacher(nn.Module):
    """The detector that sees LiDAR.

    Parts that the student has too have the same names there, so that weights can be copied by name.
    Raises UserError if the backbone's stride is not the configured one.
    """

    def __init__(self, config: TeacherConfig) -> None:
        super().__init__()
        self.config = config
        network = config.network
        self.lidar_encoder = PillarEncoder(
            network.bev, config.pillar_cells, config.pillar_channels, network.bev_channels
        )
        if self.uses_cameras:
            self.image_encoder = ImageEncoder(network)
            self.lift_splat = LiftSplat(network)
            self.fusion = SymmetricFusion(network.bev_channels)
        self.bev_encoder = BevEncoder(
            network.bev_channels, network.encoder_channels, network.encoder_blocks
        )
        self.head = CenterHead(network.encoder_channels[0], network.head_channels)

    @property
    def uses_cameras(self) -> bool:
        """Whether it needs images."""
        return self.config.modality == "lidar_camera"

    def forward(
        self,
        points: Tensor,
        sample_index: Tensor,
        batch_size: int,
        images: Tensor | None = None,
        intrinsics: Tensor | None = None,
        ego_from_camera: Tensor | None = None,
        seen: Tensor | None = None,
    ) -> TeacherOutput:
        """Detect in a batch of clouds, each with N cameras unless the modality is LiDAR alone.

        points (P, 5): x, y, z in base_link in m, intensity in 0-255, age in s; of all samples in
        one list. sample_index (P) int64: the sample that each belongs to. images (B, N, 3, H, W),
        intrinsics (B, N, 3, 3), ego_from_camera (B, N, 4, 4), seen (B, N, h, w) as in Student.
        """
        lidar_bev = self.lidar_encoder(points, sample_index, batch_size)
        camera_bev, camera_depth, fused_bev = None, None, lidar_bev
        if self.uses_cameras:
            if images is None or intrinsics is None or ego_from_camera is None:
                raise ValueError("a teacher of modality lidar_camera needs images and their rig")
            size = (images.shape[-2], images.shape[-1])
            geometry = frame_geometry(intrinsics, ego_from_camera, size, self.config.network, seen)
            camera_bev, camera_depth = self.lift_splat(self.image_encoder(images), geometry)
            fused_bev, _ = self.fusion(camera_bev, lidar_bev, lidar_bev[:, :1])
        encoded_bev = self.bev_encoder(fused_bev)
        return TeacherOutput(
            head=self.head(encoded_bev),
            camera_depth=camera_depth,
            lidar_bev=lidar_bev,
            camera_bev=camera_bev,
            fused_bev=fused_bev,
            encoded_bev=encoded_bev,
        )


def load_teacher(path: str | Path) -> Teacher:
    """The teacher of a model directory, on the CPU, in evaluation mode. Raises UserError."""
    return model_directory.load_network(path, "teacher", TeacherConfig, Teacher)


def sample_contents(config: TeacherConfig) -> SampleContents:
    """What a sample must hold for a teacher to be trained on it."""
    images = config.modality == "lidar_camera"
    return SampleContents(images, config.sweeps, network_sees_lidar=True)


def run_teacher(teacher: nn.Module, batch: TrainingSample) -> TeacherOutput:
    """What a teacher sees in a batch."""
    return teacher(
        batch.points,
        batch.point_sample,
        len(batch.images),
        batch.images,
        batch.intrinsics,
        batch.ego_from_camera,
        batch.seen,
    )
