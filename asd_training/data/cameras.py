# SPDX-License-Identifier: Apache-2.0
"""The cameras of a dataset: nuScenes' six, or others of any names."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES


def in_rig_order(cameras: Iterable[str]) -> tuple[str, ...]:
    """Names of cameras, each once, as every rig has them: nuScenes' own, then others by name."""
    known = {name: place for place, name in enumerate(NUSCENES_CAMERA_NAMES)}
    return tuple(sorted(set(cameras), key=lambda name: (known.get(name, len(known)), name)))


def tell_lacking_cameras(cameras: Sequence[str], there: NDArray[np.bool_]) -> None:
    """Say on stderr how many keyframes lack which camera, if any does; there (K, N)."""
    for camera, count in zip(cameras, (~there).sum(axis=0), strict=True):
        if count:
            print(f"{count} of {len(there)} keyframes lack {camera}", file=sys.stderr)
