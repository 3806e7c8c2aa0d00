# SPDX-License-Identifier: Apache-2.0
"""What runs a student's network for the detector, on whatever device."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from asd_perception.network.center_head import Decoded


class Found(NamedTuple):
    """One frame's objects and simulated points (1, N * h * w, 4) or None, on the CPU."""

    objects: Decoded
    points: Tensor | None
