# SPDX-License-Identifier: Apache-2.0
"""What the student learns from the teacher, and with which weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from asd_perception.configuration import configuration, fault

CrossModal = Literal["none", "raw", "l2", "adaptive", "adaptive_ray"]
MultiModal = Literal["none", "raw", "l2", "adaptive", "adaptive_ray", "functional"]

PRESETS: dict[str, dict[str, str | float | bool]] = {
    "none": {
        "cross_modal": "none",
        "multi_modal": "none",
        "response": "none",
        "initialise": False,
    },
    "l2": {
        "cross_modal": "l2",
        "multi_modal": "l2",
        "response": "none",
        "initialise": True,
        "cross_modal_weight": 0.1,
        "multi_modal_weight": 0.5,
    },
    "adaptive": {
        "cross_modal": "adaptive",
        "multi_modal": "adaptive",
        "response": "soft",
        "initialise": True,
        "cross_modal_weight": 3.0,
        "multi_modal_weight": 10.0,
        "response_weight": 2.0,
    },
}
"""What `asd-train student --distill` sets: nothing, plain L2 features, or the full method.

The losses' scales differ: the gradient of plain L2 on a student's features is about 20 times that
of adaptive-smooth. The weights were chosen on validation scenes. Initialising BEV encoder and head
from the teacher helps most (docs/results.md).
"""


@configuration
class DistillConfig:
    """What the student learns from the teacher, and with which weights. By default nothing."""

    teacher: str | None = None
    """Model directory of the teacher."""
    cross_modal: CrossModal = "none"
    """How LiDAR features teach those of the simulated points: adaptive (adaptive_smooth.py),
    adaptive_ray (adaptive_ray.py), l2, raw (both feature_l2.py) or none."""
    multi_modal: MultiModal = "none"
    """How the teacher's fused features teach the student's: adaptive, l2, raw (which compares the
    cameras' features, too) or none; adaptive_ray compares what the BEV encoders make of them,
    functional what the teacher's encoder and head answer to the student's."""
    response: Literal["none", "unweighted", "soft", "replaces"] = "none"
    """How the teacher's heatmap and boxes teach (response.py): soft by their quality, unweighted,
    or none, each beside ground truth; or in its place, for a share of it (replaces)."""
    cross_modal_weight: NonNegativeFloat = 1.0
    """Weight of the cross-modal term in the loss."""
    multi_modal_weight: NonNegativeFloat = 1.0
    """Weight of the multi-modal term in the loss."""
    response_weight: NonNegativeFloat = 1.0
    """Weight of the response terms in the loss, of soft and unweighted."""
    response_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of ground truth that a perfect answer of the teacher replaces, of replaces."""
    initialise: bool = False
    """Initialise BEV encoder and head from the teacher."""
    adapters: bool = True
    """Compare the student's features through learned 1x1 convolutions, or as they are (raw: fused
    features as they are, the points' through its own convolution)."""
    alpha: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the teacher's probability, against the overlap of its box, in its quality. Below 1:
    at 1 a box that misses would count."""
    discrepancy: Literal["local", "grid"] = "local"
    """What the discrepancy is relative to: the features' energy around the cell (local), or over
    the whole grid (grid)."""
    delta: PositiveFloat = 1.0
    """Discrepancy at which half of the granularity's range is used."""
    levels: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0)
    """Standard deviations of the Gaussian smoothing in cells, finest first."""
    tau: PositiveFloat = 0.5
    """Temperature of the softmax over the levels."""
    background_floor: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Weight of the features where there is no object."""
    ramp_steps: NonNegativeInt = 500
    """Optimiser steps over which the weights rise from 0."""

    @property
    def asks_teacher(self) -> bool:
        """Whether training runs the teacher, beyond initialisation."""
        return {self.cross_modal, self.multi_modal, self.response} != {"none"}

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher is needed at all."""
        return self.asks_teacher or self.initialise

    def __post_init__(self) -> None:
        if not self.levels or self.levels[0] < 0 or sorted(set(self.levels)) != list(self.levels):
            raise fault("levels", f"are {self.levels}; they must rise from 0 or more")
