# SPDX-License-Identifier: Apache-2.0
"""Supervision by ground truth, in training: boxes, and LiDAR per feature pixel."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat

from asd_perception.configuration import configuration

DEPTH_WEIGHT = 0.5
"""Weight of a depth term in the loss, the student's and the teacher's."""


@configuration
class Supervision:
    """Weights of the losses on ground truth: of the objects, and, from the keyframe's LiDAR sweep,
    per feature pixel; 0: off."""

    detection: PositiveFloat = 1.0
    """Factor of heatmap, boxes, velocities and attributes; 1.3: a control for rows whose teacher's
    answers repeat them."""
    depth_loss: Literal["cross_entropy", "crps"] = "cross_entropy"
    """What compares a depth distribution with the LiDAR's depth: cross-entropy of the bin alone, or
    the continuous ranked probability score, which knows how far off it is."""
    camera_depth: NonNegativeFloat = DEPTH_WEIGHT
    """Depth bins of the lift-splat."""
    point_depth: NonNegativeFloat = DEPTH_WEIGHT
    """Depth bins of the simulated points."""
    semantics: NonNegativeFloat = 0.5
    """Class of the object that the LiDAR return lies on, predicted by an auxiliary head."""

    @property
    def needs_lidar(self) -> bool:
        """Whether something is learnt from LiDAR: not so from boxes alone."""
        return bool(self.camera_depth or self.point_depth or self.semantics)
