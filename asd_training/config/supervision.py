# SPDX-License-Identifier: Apache-2.0
"""What LiDAR tells the student's feature pixels while it is trained."""

from __future__ import annotations

from pydantic import NonNegativeFloat

from asd_perception.configuration import configuration

DEPTH_WEIGHT = 0.5
"""Weight of a depth term in the loss, the student's and the teacher's."""


@configuration
class PixelSupervision:
    """Weights of what the keyframe's LiDAR sweep tells the feature pixels; 0 leaves a term out."""

    camera_depth: NonNegativeFloat = DEPTH_WEIGHT
    """Depth bins of the lift-splat."""
    point_depth: NonNegativeFloat = DEPTH_WEIGHT
    """Depth bins of the simulated points."""
    semantics: NonNegativeFloat = 0.5
    """Class of the object that the return lies on, through an auxiliary head."""
