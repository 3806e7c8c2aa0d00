# SPDX-License-Identifier: Apache-2.0
"""What the values of nuScenes' tables must be for training, conversion and the evaluator.

A stranger's data set differs from nuScenes in some field sooner or later. Here that is told once,
before any work: the table, the record's token, the field, what is there and what belongs there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from asd_perception.errors import UserError
from asd_perception.geometry import MAX_METRES

Row = dict[str, Any]
Rows = dict[str, Row]  # by token

MAX_STAMP = 2**31 * 1_000_000
"""A stamp in microseconds beyond this (the year 2038) has no place in a ROS message."""

_NUMBERS = (int, float)


class Kind(NamedTuple):
    """holds: whether a value is of the kind. what: the kind in words."""

    holds: Callable[[Any], bool]
    what: str


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable()


def _is_number(value: Any) -> bool:
    return type(value) in _NUMBERS and math.isfinite(value)


def _is_vector(value: Any) -> bool:
    return (
        type(value) is list
        and len(value) == 3
        and all(type(x) in _NUMBERS and -MAX_METRES <= x <= MAX_METRES for x in value)
    )


def _is_size(value: Any) -> bool:
    return _is_vector(value) and all(1e-3 <= x <= 1000 for x in value)


def _is_rotation(value: Any) -> bool:
    return (
        type(value) is list
        and len(value) == 4
        and all(type(x) in _NUMBERS and -2 <= x <= 2 for x in value)
        and abs(math.hypot(*value) - 1) < 0.01
    )


def _is_intrinsics(value: Any) -> bool:
    if not (type(value) is list and len(value) == 3):
        return False
    if not all(
        type(row) is list
        and len(row) == 3
        and all(type(x) in _NUMBERS and -MAX_METRES <= x <= MAX_METRES for x in row)
        for row in value
    ):
        return False
    return all(1 <= value[i][i] <= 1e6 for i in (0, 1)) and value[2] == [0, 0, 1]


def _is_stamp(value: Any) -> bool:
    return type(value) in _NUMBERS and 0 <= value < MAX_STAMP


def _is_count(value: Any) -> bool:
    return type(value) in _NUMBERS and -1 <= value < 2**31 and value == int(value)


def _is_pixels(value: Any) -> bool:
    return type(value) in _NUMBERS and 1 <= value <= 65535 and value == int(value)


def _is_flag(value: Any) -> bool:
    return type(value) in (bool, int) and value in (0, 1)


def _is_token_list(value: Any) -> bool:
    return type(value) is list and all(isinstance(x, str) for x in value)


TEXT = Kind(_is_text, "a text")
VECTOR = Kind(_is_vector, "three numbers in m")
SIZE = Kind(_is_size, "width, length and height in m, above 0")
ROTATION = Kind(_is_rotation, "a unit quaternion w x y z")
INTRINSICS = Kind(_is_intrinsics, "three rows fx 0 cx, 0 fy cy, 0 0 1 in pixels")
STAMP = Kind(_is_stamp, "microseconds since 1970")
COUNT = Kind(_is_count, "a whole number (-1: not counted)")
PIXELS = Kind(_is_pixels, "a whole number of pixels")
FLAG = Kind(_is_flag, "true or false")
TOKENS = Kind(_is_token_list, "a list of tokens")


class Reference(NamedTuple):
    """A field with a token of another table. may_end: whether it may be empty."""

    table: str
    may_end: bool = False


FIELDS: dict[str, dict[str, Kind | Reference]] = {
    "category": {"name": TEXT},
    "attribute": {"name": TEXT},
    "sensor": {"channel": TEXT, "modality": TEXT},
    "calibrated_sensor": {
        "sensor_token": Reference("sensor"),
        "translation": VECTOR,
        "rotation": ROTATION,
    },
    "ego_pose": {"translation": VECTOR, "rotation": ROTATION},
    "instance": {"category_token": Reference("category")},
    "scene": {
        "name": TEXT,
        "first_sample_token": Reference("sample"),
        "last_sample_token": Reference("sample"),
    },
    "sample": {
        "timestamp": STAMP,
        "scene_token": Reference("scene"),
        "next": Reference("sample", may_end=True),
    },
    "sample_data": {
        "sample_token": Reference("sample"),
        "ego_pose_token": Reference("ego_pose"),
        "calibrated_sensor_token": Reference("calibrated_sensor"),
        "timestamp": STAMP,
        "is_key_frame": FLAG,
        "filename": TEXT,
    },
    "sample_annotation": {
        "sample_token": Reference("sample"),
        "instance_token": Reference("instance"),
        "attribute_tokens": TOKENS,
        "translation": VECTOR,
        "size": SIZE,
        "rotation": ROTATION,
        "num_lidar_pts": COUNT,
        "num_radar_pts": COUNT,
        "prev": Reference("sample_annotation", may_end=True),
        "next": Reference("sample_annotation", may_end=True),
    },
}
"""By table and field what is used of nuScenes' tables. Of cameras there is more: CAMERA_FIELDS."""

CAMERA_FIELDS: dict[str, dict[str, Kind | Reference]] = {
    "calibrated_sensor": {"camera_intrinsic": INTRINSICS},
    "sample_data": {"width": PIXELS, "height": PIXELS},
}

_ABSENT = object()


def rows_by_token(table: str, content: Any) -> Rows:
    """The records of a table's JSON by their tokens. Raises UserError."""
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise UserError(f"{table} is no list of records")
    rows: Rows = {}
    for number, row in enumerate(content):
        token = row.get("token")
        if "token" not in row:
            raise UserError(f"{table}: record {number} has no token")
        if not _is_text(token):
            raise UserError(
                f"{table}: the token of record {number} is {_short(token)}; it must be a text"
            )
        if token in rows:
            raise UserError(f"{table} {token}: the token is there twice; each record needs its own")
        rows[token] = row
    return rows


def check_fields(
    tables: dict[str, Rows],
    table: str,
    fields: dict[str, Kind | Reference],
    rows: Iterable[Row] | None = None,
) -> None:
    """Raise UserError for the first record of a table, or of `rows`, with an unusable field."""
    rows = list(tables[table].values() if rows is None else rows)
    for field, kind in fields.items():
        if isinstance(kind, Reference):
            there = tables[kind.table]
            bad = [
                row
                for row in rows
                if not isinstance(token := row.get(field, _ABSENT), str)
                or (token not in there and not (kind.may_end and token == ""))
            ]
            what = f"a token of {kind.table}" + (", or empty" if kind.may_end else "")
        else:
            bad = [row for row in rows if not kind.holds(row.get(field, _ABSENT))]
            what = kind.what
        if bad:
            refuse(table, bad[0], field, what, others=len(bad) - 1)


def refuse(table: str, row: Row, field: str, what: str, others: int = 0) -> None:
    """Raise UserError: a record's field is not what it must be, in words."""
    value = row.get(field, _ABSENT)
    found = "is missing" if value is _ABSENT else f"is {_short(value)}"
    more = f" (and so in {others} other records)" if others else ""
    raise UserError(f"{table} {row['token']}: {field} {found}{more}; it must be {what}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
