# SPDX-License-Identifier: Apache-2.0
"""Scores that are probabilities: of a detection of this score, how often is there an object?

A network's scores rank the detections of a class; how high they are depends on its losses. A model
directory may hold, under `score_calibration` in its config.yaml, a straight line for the logits of
each class, found on validation data by `asd-train evaluate --calibrate` (Platt scaling). A line
that rises leaves the ranking within a class as it is, and with it the class's AP. Objects are
chosen by their raw scores, and the calibrated ones reported.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat

from asd_perception.configuration import configuration, fault
from asd_perception.constants import CLASSES
from asd_perception.network import model_directory

KEY = "score_calibration"
SCORE_THRESHOLD = 0.05
"""Score under which a model without calibration shows no object, unless told otherwise."""


@configuration
class ScoreCalibration:
    """A calibrated score is sigmoid(scale * logit + offset), with its class's two numbers."""

    scale: dict[str, PositiveFloat]
    """Of each class."""
    offset: dict[str, float]
    """Of each class."""
    score_threshold: Annotated[float, Field(ge=0, le=1)]
    """The calibrated score from which on the F1 of all objects together is best."""
    provenance: dict[str, Any]
    """On what data it was found, and when."""

    def __post_init__(self) -> None:
        for key, values in (("scale", self.scale), ("offset", self.offset)):
            if values.keys() != set(CLASSES):
                raise fault(key, f"names {', '.join(values) or 'nothing'}; it needs each class")

    def apply(self, scores: NDArray[np.floating], labels: NDArray[np.int64]) -> NDArray[Any]:
        """Calibrated scores (M,) of raw ones, of their type. A score of 0, no object, stays 0."""
        scale, offset = self._lines[labels].T
        clipped = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
        logits = scale * np.log(clipped / (1 - clipped)) + offset
        return np.where(scores > 0, 1 / (1 + np.exp(-logits)), 0.0).astype(scores.dtype)

    @cached_property
    def _lines(self) -> NDArray[np.float64]:
        """(10, 2): scale and offset of each class."""
        return np.array([[self.scale[name], self.offset[name]] for name in CLASSES])


def read_score_calibration(model: str | Path) -> ScoreCalibration | None:
    """The calibration in a model directory; None: it has none. Raises UserError."""
    return model_directory.section(Path(model), KEY, ScoreCalibration)
