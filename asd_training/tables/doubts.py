# SPDX-License-Identifier: Apache-2.0
"""Values that can be used and are hardly meant: what converters of other data sets get wrong.

Each is used as it is, for it may be right; a line says what it would have to be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

Row = dict[str, Any]

_LONG = ("vehicle.car", "vehicle.truck", "vehicle.bus")  # what is never wider than long
_UPRIGHT = 0.7  # cosine of the angle from the vertical; nothing on a road leans as far


def doubtful(
    annotations: Collection[Row], poses: Collection[Row], cameras: Collection[Row]
) -> Iterator[str]:
    """A line for each kind of doubtful value in checked rows, with the first record.

    annotations: with their category_name. cameras: their rows of calibrated_sensor.
    """
    long = [row for row in annotations if row["category_name"].startswith(_LONG)]
    wide = [row for row in long if row["size"][0] > row["size"][1]]
    if 2 * len(wide) > len(long):
        yield (
            f"{len(wide)} of {len(long)} cars, trucks and buses are wider than long, as "
            f"sample_annotation {wide[0]['token']}: size must be width, length, height"
        )
    for table, rows in (("sample_annotation", annotations), ("ego_pose", poses)):
        fallen = [row for row in rows if not _is_upright(row["rotation"])]
        if fallen:
            yield (
                f"{len(fallen)} of {len(rows)} rows of {table} lie on their side or upside down, "
                f"as {fallen[0]['token']}: rotation must be w x y z, in the global frame"
            )
    distorted = [row for row in cameras if _is_distorted(row.get("camera_distortion"))]
    if distorted:
        yield (
            f"camera_distortion is not used, as that of calibrated_sensor {distorted[0]['token']}: "
            "images must be rectified, as nuScenes' are"
        )


def _is_upright(rotation: list[float]) -> bool:
    _, x, y, _ = rotation
    return 1 - 2 * (x * x + y * y) > _UPRIGHT


def _is_distorted(value: Any) -> bool:
    return isinstance(value, list) and any(value)
