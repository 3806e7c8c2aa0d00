# SPDX-License-Identifier: Apache-2.0
"""The camera rig of one frame: where each camera was, seen from base_link at the reference time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asd_perception import geometry
from asd_perception.cameras.calibration import DISTORTION_LENGTHS, CameraCalibration
from asd_perception.constants import MAX_CAMERAS
from asd_perception.errors import UserError
from asd_perception.geometry import Array, inverse, transform_points

ABSENT_CAMERA: Array = np.array([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, -100], [0, 0, 0, 1]])
"""ego_from_camera of a camera that gave no image: 100 m below ground, looking straight down.

Whatever its intrinsics, all that it could see lies below every BEV grid, and every LiDAR point
behind it. So its pixels take no part in what the network finds, and training asks nothing of them;
the network needs no input that says which cameras are there.
"""


@dataclass(frozen=True)
class CameraRig:
    """N cameras at one reference time, at most MAX_CAMERAS.

    names: their names, whatever they are, in the order of every array below.
    intrinsics: (N, 3, 3) pinhole matrices in pixels, pixel centres at integer coordinates.
    ego_from_camera: (N, 4, 4) from each camera's optical frame at its own stamp to base_link at
        the reference time; ego motion between the two is folded in (`compensate`).
    image_sizes: (N, 2) width and height in pixels.
    distortion: (N, D) as in CameraCalibration, D one of DISTORTION_LENGTHS, for all cameras alike.
    equidistant: (N,) bool, fisheye lenses, with k1 k2 k3 k4 first in `distortion`; None: no camera.
    mountings: (N, 4, 4) from each camera's optical frame to base_link at its own stamp, which says
        how its image is turned for the network (`view_of`): ego motion must not. None: there was
        none, and ego_from_camera are the mountings.

    Raises UserError for too many cameras, or arrays that disagree in shape or hold no calibration.
    """

    names: tuple[str, ...]
    intrinsics: Array
    ego_from_camera: Array
    image_sizes: NDArray[np.int64]
    distortion: Array
    equidistant: NDArray[np.bool_] | None = None
    mountings: Array | None = None

    def __post_init__(self) -> None:
        n = len(self.names)
        if n > MAX_CAMERAS:
            raise UserError(f"camera rig: it has {n} cameras; at most {MAX_CAMERAS} are supported")
        coefficients = np.shape(self.distortion)[-1:]
        if coefficients and coefficients[0] not in DISTORTION_LENGTHS:
            raise UserError(
                f"camera rig: distortion has {coefficients[0]} coefficients, OpenCV's models have "
                f"{', '.join(map(str, DISTORTION_LENGTHS))}"
            )
        for field, shape in (
            ("intrinsics", (n, 3, 3)),
            ("ego_from_camera", (n, 4, 4)),
            *([("mountings", (n, 4, 4))] if self.mountings is not None else []),
            ("image_sizes", (n, 2)),
            ("distortion", (n, *coefficients)),
        ):
            value = np.asarray(getattr(self, field))
            if value.shape != shape:
                raise UserError(f"camera rig: {field} has shape {value.shape}, expected {shape}")
            if not np.all(np.isfinite(value)):
                raise UserError(f"camera rig: {field} has a value that is not finite")
        for name, k, size in zip(self.names, self.intrinsics, self.image_sizes, strict=True):
            if k[0, 0] <= 0 or k[1, 1] <= 0:
                raise UserError(f"camera rig: {name} has no focal length; is it calibrated?")
            if np.any(size <= 0):
                raise UserError(f"camera rig: {name} has image size {size[0]}x{size[1]}")

    def __len__(self) -> int:
        return len(self.names)

    def part(self, cameras: Sequence[int] | NDArray[np.integer]) -> CameraRig:
        """The rig of some of these cameras, in the order given."""
        kept = np.asarray(cameras, dtype=np.int64)
        return CameraRig(
            names=tuple(self.names[i] for i in kept),
            intrinsics=self.intrinsics[kept],
            ego_from_camera=self.ego_from_camera[kept],
            image_sizes=self.image_sizes[kept],
            distortion=self.distortion[kept],
            equidistant=None if self.equidistant is None else self.equidistant[kept],
            mountings=None if self.mountings is None else self.mountings[kept],
        )

    def calibration(self, camera: int) -> CameraCalibration:
        """One camera's calibration."""
        width, height = self.image_sizes[camera]
        return CameraCalibration(
            self.intrinsics[camera],
            (int(width), int(height)),
            self.distortion[camera],
            self.equidistant is not None and bool(self.equidistant[camera]),
        )

    def project(self, points: Array, camera: int) -> tuple[Array, Array]:
        """Pixels (..., 2) and depths (...) of base_link points (..., 3) in one camera."""
        camera_from_ego = inverse(self.ego_from_camera[camera])
        return geometry.project(transform_points(camera_from_ego, points), self.intrinsics[camera])


def compensate(
    ego_from_camera: Array, global_from_ego: Array, global_from_reference: Array
) -> Array:
    """Fold ego motion into camera poses: cameras at their own stamps, ego at the reference time.

    ego_from_camera (N, 4, 4) mounting; global_from_ego (N, 4, 4) ego pose at each camera's stamp;
    global_from_reference (4, 4) ego pose at the reference time. Returns (N, 4, 4).
    """
    return inverse(global_from_reference) @ global_from_ego @ ego_from_camera
