# SPDX-License-Identifier: Apache-2.0
"""The student: cameras to objects, by way of camera features and simulated points."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from asd_perception.network.backbone import ImageEncoder
from asd_perception.network.bev_encoder import BevEncoder
from asd_perception.network.center_head import CenterHead, HeadOutput
from asd_perception.network.config import StudentConfig
from asd_perception.network.fusion import HeterogeneousFusion, SymmetricFusion
from asd_perception.network.simulated_points import PointSimulator
from asd_perception.network.view_transform import FrameGeometry, LiftSplat, frame_geometry


class StudentOutput(NamedTuple):
    """The objects' maps, and on the way to them everything that training supervises.

    image_features (B, N, F, h, w). camera_depth, point_depth (B, N, D, h, w): logits.
    simulated_points (B, N * h * w, 4): x, y, z in base_link and confidence. camera_bev, point_bev,
    fused_bev (B, C, Y, X). encoded_bev (B, E, Y, X): the head's input. evidence (of the points),
    gate (B, 1, Y, X). A camera-only student has None for what comes from points, and fused_bev is
    camera_bev.
    """

    head: HeadOutput
    image_features: Tensor
    camera_depth: Tensor
    camera_bev: Tensor
    fused_bev: Tensor
    encoded_bev: Tensor
    point_depth: Tensor | None = None
    simulated_points: Tensor | None = None
    point_bev: Tensor | None = None
    evidence: Tensor | None = None
    gate: Tensor | None = None


class Student(nn.Module):
    """The camera-only detector network.

    Raises UserError where the backbone's stride is not the configured one.
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(config)
        self.lift_splat = LiftSplat(config)
        if config.fusion != "camera_only":
            self.point_simulator = PointSimulator(config)
            fusions: dict[str, type[nn.Module]] = {
                "heterogeneous": HeterogeneousFusion,
                "symmetric": SymmetricFusion,
            }
            self.fusion = fusions[config.fusion](config.bev_channels)
        self.bev_encoder = BevEncoder(
            config.bev_channels, config.encoder_channels, config.encoder_blocks
        )
        self.head = CenterHead(config.encoder_channels[0], config.head_channels)

    def forward(
        self,
        images: Tensor,
        intrinsics: Tensor,
        ego_from_camera: Tensor,
        seen: Tensor | None = None,
    ) -> StudentOutput:
        """Detect in one frame of N cameras per sample.

        images (B, N, 3, H, W): RGB in 0-255, uint8 or float. intrinsics (B, N, 3, 3): of these
        images, pixel centres at integers. ego_from_camera (B, N, 4, 4): at the reference time.
        seen (B, N, h, w) bool: as in `frame_geometry`.
        """
        geometry = self.geometry(images, intrinsics, ego_from_camera, seen)
        return self.forward_bev(self.image_encoder(images), geometry)

    def geometry(
        self,
        images: Tensor,
        intrinsics: Tensor,
        ego_from_camera: Tensor,
        seen: Tensor | None = None,
    ) -> FrameGeometry:
        """The geometry of such frames, for `forward_bev`."""
        size = (images.shape[-2], images.shape[-1])
        return frame_geometry(intrinsics, ego_from_camera, size, self.config, seen)

    def forward_bev(self, features: Tensor, geometry: FrameGeometry) -> StudentOutput:
        """All after the image encoder, from its features (B, N, F, h, w) and the geometry."""
        camera_bev, camera_depth = self.lift_splat(features, geometry)
        if self.config.fusion == "camera_only":
            encoded_bev = self.bev_encoder(camera_bev)
            return StudentOutput(
                head=HeadOutput(*self.head(encoded_bev)),
                image_features=features,
                camera_depth=camera_depth,
                camera_bev=camera_bev,
                fused_bev=camera_bev,
                encoded_bev=encoded_bev,
            )
        simulated = self.point_simulator(features, geometry, camera_bev)
        fused_bev, gate = self.fusion(camera_bev, simulated.bev, simulated.evidence)
        encoded_bev = self.bev_encoder(fused_bev)
        return StudentOutput(
            head=HeadOutput(*self.head(encoded_bev)),
            image_features=features,
            camera_depth=camera_depth,
            camera_bev=camera_bev,
            fused_bev=fused_bev,
            encoded_bev=encoded_bev,
            point_depth=simulated.depth,
            simulated_points=simulated.points,
            point_bev=simulated.bev,
            evidence=simulated.evidence,
            gate=gate,
        )
