# SPDX-License-Identifier: Apache-2.0
"""Where a camera sees the vehicle that carries it, as polygons in a YAML file.

CAM_BACK:
  size: [1600, 900]     # width and height of the image in which they were drawn
  polygons:
    - [[0, 900], [0, 760], [800, 700], [1600, 760], [1600, 900]]
"""

from __future__ import annotations

from collections.abc import Collection
from math import isfinite
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from asd_perception.cameras.calibration import Polygons
from asd_perception.configuration import configuration, fault, from_dict, read_yaml
from asd_perception.errors import UserError, did_you_mean

LARGEST = 20_000  # pixels along one side of an image


@configuration
class EgoMask:
    """The parts of one camera's images in which its own vehicle is."""

    size: tuple[int, int]
    """Width and height in pixels of the image in which the polygons were drawn."""
    polygons: Polygons
    """Each a list of three or more corners [u, v] in pixels, from the image's upper left corner."""

    def __post_init__(self) -> None:
        width, height = self.size
        if not (0 < width <= LARGEST and 0 < height <= LARGEST):
            raise fault("size", f"is {list(self.size)}; give width and height in pixels")
        for i, polygon in enumerate(self.polygons):
            if len(polygon) < 3:
                raise fault(f"polygons[{i}]", f"has {len(polygon)} corners; give three or more")
            for u, v in polygon:
                if not (isfinite(u) and isfinite(v) and 0 <= u <= width and 0 <= v <= height):
                    raise fault(
                        f"polygons[{i}]",
                        f"has the corner [{u:g}, {v:g}], outside of the {width}x{height} image",
                    )
        if drawn(self.polygons, self.size).all():
            raise fault("polygons", "hide the whole image; leave the camera out of cameras instead")

    def at(self, size: tuple[int, int]) -> Polygons:
        """The polygons in an image of another (width, height)."""
        x, y = size[0] / self.size[0], size[1] / self.size[1]
        return tuple(tuple((u * x, v * y) for u, v in polygon) for polygon in self.polygons)


def read_ego_mask(path: str, cameras: Collection[str]) -> dict[str, EgoMask]:
    """The masks in a file, by camera; none for an empty path.

    Raises UserError that names file and key for what cannot be, also for a camera that is unknown.
    """
    if not path:
        return {}
    values = read_yaml(Path(path).expanduser())
    if not isinstance(values, dict):
        raise UserError(f"ego_mask: {path} has no cameras with size and polygons")
    masks = {}
    for camera, mask in values.items():
        if camera not in cameras:
            remedy = did_you_mean(str(camera), cameras) or f"there are {', '.join(cameras)}"
            raise UserError(f"ego_mask: {path} has {camera}, which is not in cameras; {remedy}")
        try:
            masks[camera] = from_dict(EgoMask, mask, f"{camera}.")
        except UserError as error:
            raise UserError(f"ego_mask: {path}: {error}") from error
    return masks


def drawn(polygons: Polygons, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixels (height, width) of an image of (width, height) lie in one of the polygons."""
    width, height = size
    canvas = np.zeros((height, width), np.uint8)
    for polygon in polygons:  # one by one: together, what lies in two of them would be in none
        corners = np.round(np.array(polygon) - 0.5).astype(np.int32)
        cv2.fillPoly(canvas, [corners], 1)
    return canvas.astype(bool)
