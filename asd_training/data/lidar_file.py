# SPDX-License-Identifier: Apache-2.0
"""nuScenes' LiDAR files: five float32 per point, without a header.

No byte of such a file says what it is. Points of another width, or with other columns, would be
read as points elsewhere; so what the five columns must hold is checked.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asd_perception.errors import UserError
from asd_perception.files import check_fetched

_COLUMNS = 5
_MAX_RING = 255
_MAX_COORDINATE = 10_000.0  # m; no LiDAR reaches as far, and misread numbers are often beyond
_KINDS = {
    b"# .PCD": "PCD",
    b"#.PCD": "PCD",
    b"VERSION": "PCD",
    b"\x93NUMPY": "NumPy",
    b"PK\x03\x04": "ZIP or NumPy",
    b"\x1f\x8b\x08\x00": "gzip",
    b"\x1f\x8b\x08\x08": "gzip",
    b"ply\n": "PLY",
    b"LASF": "LAS",
    b"\x89HDF": "HDF5",
}
"""What files of other formats begin with: four bytes that are no point's coordinate as a float. Two
would be those of some of nuScenes' 300,000 sweeps, too."""
_FEW_BYTES = 4096
_REMEDY = "store x y z intensity ring, five float32 per point, as nuScenes does"


def read_lidar(path: Path) -> NDArray[np.float32]:
    """The points (P, 5) of a LiDAR file: x, y, z in m in the sensor's frame, intensity, ring.

    Raises UserError if the file is missing, damaged or of another format, with what it looks like.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; the dataset is incomplete") from error
    if not content:
        raise UserError(f"{path} is empty; it is damaged: copy it again")
    check_fetched(path, content)
    for mark, kind in _KINDS.items():
        if content.startswith(mark):
            raise UserError(f"{path} is a {kind} file; {_REMEDY}")
    if len(content) > _FEW_BYTES and not any(content):  # as a loss of power leaves it
        raise UserError(f"{path} holds nothing but zeros; it is damaged: copy it again")
    points = _whole_points(content, _COLUMNS)
    if not _are_rings(points[:, 4]):
        raise UserError(f"{path} {_looks_like(content)}; {_REMEDY}")
    if points.nbytes < len(content):
        raise UserError(
            f"{path} has {len(content)} bytes, not a multiple of 20 (5 floats per point); it is "
            "damaged: copy it again"
        )
    # Also false for what is not a number.
    if not (np.abs(points[:, :3]) <= _MAX_COORDINATE).all():
        raise UserError(
            f"{path} has points whose x, y or z is not finite or beyond "
            f"{_MAX_COORDINATE / 1000:.0f} km; leave such points out"
        )
    return points


def _whole_points(content: bytes, columns: int) -> NDArray[np.float32]:
    """The points (P, columns) that a file of that width begins with; less than a point is left."""
    count = len(content) // (4 * columns)
    return np.frombuffer(content, "<f4", count * columns).reshape(count, columns)


def _are_rings(values: NDArray[np.float32]) -> bool:
    return bool(((values >= 0) & (values <= _MAX_RING) & (values == np.floor(values))).all())


def _looks_like(content: bytes) -> str:
    """What a file is whose fifth column holds no ring numbers."""
    if len(content) % 16 == 0 and (_whole_points(content, 4)[:, 3] >= 0).all():  # intensities
        return "looks like 4 floats per point (KITTI)"
    if len(content) % 24 == 0 and _are_rings(_whole_points(content, 6)[:, 4]):
        return "looks like 6 floats per point"
    return f"has no ring number (whole, 0 to {_MAX_RING}) in the fifth column of each point"
