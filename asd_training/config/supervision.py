# SPDX-License-Identifier: Apache-2.0
"""LiDAR supervision per feature pixel, in training."""

from __future__ import annotations

from pydantic import NonNegativeFloat

from asd_perception.configuration import configuration

DEPTH_WEIGHT = 0.5
"""Weight of a depth term in the loss, the student's and the teacher's."""


@configuration
class PixelSupervision:
    """Weights of the losses that the keyframe's LiDAR sweep gives per feature pixel; 0: off."""

    camera_depth: NonNegativeFloat = DEPTH_WEIGHT
    """Depth bins of the lift-splat."""
    point_depth: NonNegativeFloat = DEPTH_WEIGHT
    """Depth bins of the simulated points."""
    semantics: NonNegativeFloat = 0.5
    """Class of the object that the LiDAR return lies on, predicted by an auxiliary head."""
