# SPDX-License-Identifier: Apache-2.0
"""The teacher network: LiDAR, alone or with the cameras, to objects on the student's BEV grid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

from asd_perception.config import StudentConfig
from asd_perception.errors import UserError
from asd_perception.network.backbone import ImageEncoder
from asd_perception.network.bev_encoder import BevEncoder
from asd_perception.network.center_head import CenterHead, HeadOutput
from asd_perception.network.fusion import SymmetricFusion
from asd_perception.network.view_transform import LiftSplat, frame_geometry
from asd_training.datasets.index import SWEEPS
from asd_training.teacher.pillars import PillarEncoder

MODALITIES = ("lidar", "lidar_camera")


@dataclass(frozen=True)
class TeacherConfig:
    """Architecture of the teacher.

    modality: "lidar_camera", or "lidar" alone.
    sweeps: LiDAR sweeps that it sees of a keyframe: its own, and the latest before it.
    pillar_cells: pillars along one side of a BEV cell.
    pillar_channels: channels of a pillar's feature.
    network: all that the teacher has in common with the student: image size, backbone, depth bins,
        BEV grid, and the widths of BEV, encoder and head. Its `fusion` means nothing here.
    """

    modality: str = "lidar_camera"
    sweeps: int = SWEEPS
    pillar_cells: int = 2
    pillar_channels: int = 32
    network: StudentConfig = field(default_factory=StudentConfig)

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise UserError(f"modality is {self.modality!r}; it must be {' or '.join(MODALITIES)}")
        for name in ("pillar_cells", "pillar_channels"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 1 <= self.sweeps <= SWEEPS:
            raise UserError(f"sweeps is {self.sweeps}; it must be in 1 ... {SWEEPS}")


class TeacherOutput(NamedTuple):
    """The objects' maps, and on the way to them everything that a student can learn from.

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


class Teacher(nn.Module):
    """The detector that sees LiDAR.

    Parts that the student has too carry the same names as there, so that weights can be handed over
    by name. Raises UserError where the backbone's stride is not the configured one.
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
    ) -> TeacherOutput:
        """Detect in a batch of clouds, each with N cameras unless the modality is LiDAR alone.

        points (P, 5): x, y, z in base_link in m, intensity in 0-255, age in s; of all samples in
        one list. sample_index (P) int64: the sample that each belongs to. images (B, N, 3, H, W),
        intrinsics (B, N, 3, 3), ego_from_camera (B, N, 4, 4) as in Student.
        """
        lidar_bev = self.lidar_encoder(points, sample_index, batch_size)
        camera_bev, camera_depth, fused_bev = None, None, lidar_bev
        if self.uses_cameras:
            if images is None or intrinsics is None or ego_from_camera is None:
                raise ValueError("a teacher of modality lidar_camera needs images and their rig")
            size = (images.shape[-2], images.shape[-1])
            geometry = frame_geometry(intrinsics, ego_from_camera, size, self.config.network)
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
