# SPDX-License-Identifier: Apache-2.0
"""How far objects are from where a model finds them, as a covariance for those who track them.

A model directory may hold, under `validation_errors` in its config.yaml, the errors of the objects
that it found in validation data, by class, measured by `asd-train evaluate --calibrate`. A camera
sees a direction better than a distance, so they are told along and across the way from the vehicle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat

from asd_perception.configuration import configuration, fault
from asd_perception.constants import CLASSES
from asd_perception.geometry import Array
from asd_perception.network import model_directory

KEY = "validation_errors"
AXES = ("along", "across", "up", "yaw")


@configuration
class ValidationErrors:
    """Root mean squares of the errors of right detections (`asd_training.evaluation`), by class.

    A right detection is within 2 m of its object: where `along` is near 1 m, it says no more.
    """

    along: dict[str, PositiveFloat]
    """In m along the ground from base_link's origin to the object."""
    across: dict[str, PositiveFloat]
    """In m on the ground, at a right angle to that."""
    up: dict[str, PositiveFloat]
    """In m."""
    yaw: dict[str, PositiveFloat]
    """In rad."""
    provenance: dict[str, Any]
    """On what data they were measured, and when."""

    def __post_init__(self) -> None:
        for key in AXES:
            values = getattr(self, key)
            if values.keys() != set(CLASSES):
                raise fault(key, f"names {', '.join(values) or 'nothing'}; it needs each class")

    def covariances(self, boxes: NDArray[np.float32], labels: NDArray[np.int64]) -> Array:
        """(M, 6, 6): of x, y, z in m, and roll, pitch, yaw in rad, along the axes of base_link.

        boxes (M, 7) and labels (M,) as of `Detections`.

        Boxes are found level: of roll and pitch nothing is known, and they are 0.
        """
        along, across, up, yaw = (self._table[labels] ** 2).T
        x, y = boxes[:, :2].astype(np.float64).T
        distance = np.maximum(np.hypot(x, y), 1e-9)
        cosine, sine = x / distance, y / distance
        result = np.zeros((len(boxes), 6, 6))
        result[:, 0, 0] = along * cosine**2 + across * sine**2
        result[:, 1, 1] = along * sine**2 + across * cosine**2
        result[:, 0, 1] = result[:, 1, 0] = (along - across) * cosine * sine
        result[:, 2, 2] = up
        result[:, 5, 5] = yaw
        return result

    @property
    def _table(self) -> NDArray[np.float64]:
        """(10, 4): by class, in the order of AXES."""
        return np.array([[getattr(self, axis)[name] for axis in AXES] for name in CLASSES])


def read_validation_errors(model: str | Path) -> ValidationErrors | None:
    """Those of a model directory; None: it has none. Raises UserError."""
    return model_directory.section(Path(model), KEY, ValidationErrors)
