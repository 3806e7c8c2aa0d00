# SPDX-License-Identifier: Apache-2.0
"""The teacher's architecture as a configuration."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from asd_perception.configuration import configuration
from asd_perception.network.config import StudentConfig

MAX_SWEEPS = 10
"""Most LiDAR sweeps of a keyframe, its own and earlier ones: the usual number for nuScenes."""


@configuration
class TeacherConfig:
    """Architecture of the teacher."""

    modality: Literal["lidar", "lidar_camera"] = "lidar"
    """lidar_camera, or lidar alone."""
    sweeps: Annotated[int, Field(ge=1, le=MAX_SWEEPS)] = 1
    """LiDAR sweeps per keyframe: its own, and the latest before it."""
    pillar_cells: PositiveInt = 2
    """Pillars along one side of a BEV cell."""
    pillar_channels: PositiveInt = 32
    """Channels of a pillar's feature."""
    network: StudentConfig = field(default_factory=StudentConfig)
    """What it has in common with the student: image size, backbone, depth bins, BEV grid, and the
    widths of BEV, encoder and head. Its `fusion` has no effect here."""
