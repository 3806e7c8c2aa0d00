# SPDX-License-Identifier: Apache-2.0
"""The nuScenes tables: rows that all scenes share, tokens, and their files."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from asd_perception.files import atomic_directory
from asd_training.synthetic.sensors import rig

VERSION = "v1.0-synthetic"
Row = dict[str, Any]
Tables = dict[str, list[Row]]

CATEGORIES = (
    "human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.wheelchair",
    "human.pedestrian.stroller", "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer", "human.pedestrian.construction_worker", "animal",
    "vehicle.car", "vehicle.motorcycle", "vehicle.bicycle", "vehicle.bus.bendy",
    "vehicle.bus.rigid", "vehicle.truck", "vehicle.construction", "vehicle.emergency.ambulance",
    "vehicle.emergency.police", "vehicle.trailer", "movable_object.barrier",
    "movable_object.trafficcone", "movable_object.pushable_pullable", "movable_object.debris",
    "static_object.bicycle_rack",
)  # fmt: skip
ATTRIBUTES = (
    "vehicle.moving", "vehicle.stopped", "vehicle.parked", "cycle.with_rider",
    "cycle.without_rider", "pedestrian.sitting_lying_down", "pedestrian.standing",
    "pedestrian.moving",
)  # fmt: skip
VISIBILITY_BOUNDS = (0.4, 0.6, 0.8)
SCENE_TABLES = (
    "log", "map", "scene", "sample", "calibrated_sensor", "sample_data", "ego_pose", "instance",
    "sample_annotation",
)  # fmt: skip


def token(*key: object) -> str:
    """32 hexadecimal digits that depend on nothing but the key."""
    return hashlib.md5("/".join(map(str, key)).encode(), usedforsecurity=False).hexdigest()


def category_token(name: str) -> str:
    return token("category", name)


def attribute_token(name: str) -> str:
    return token("attribute", name)


def visibility_token(fraction: float) -> str:
    """nuScenes' visibility level "1".."4" of a visible fraction."""
    return str(1 + int(np.searchsorted(VISIBILITY_BOUNDS, fraction, side="right")))


def calibrated_sensor(sensor: rig.Sensor, scale: float, row_token: str) -> Row:
    """The row of one sensor as it is mounted in one scene."""
    return {
        "token": row_token,
        "sensor_token": token("sensor", sensor.channel),
        "translation": list(sensor.translation),
        "rotation": list(sensor.rotation),
        "camera_intrinsic": rig.intrinsics(sensor, scale).tolist() if sensor.pinhole else [],
    }


def shared_tables() -> Tables:
    """Rows that do not depend on the scenes."""
    bounds = ("0", "40", "60", "80", "100")
    return {
        "category": [
            {"token": category_token(name), "name": name, "description": ""} for name in CATEGORIES
        ],
        "attribute": [
            {"token": attribute_token(name), "name": name, "description": ""} for name in ATTRIBUTES
        ],
        "visibility": [
            {
                "token": str(level),
                "level": f"v{low}-{high}",
                "description": f"visibility of whole object is between {low} and {high}%",
            }
            for level, (low, high) in enumerate(pairwise(bounds), start=1)
        ],
        "sensor": [
            {
                "token": token("sensor", sensor.channel),
                "channel": sensor.channel,
                "modality": "camera" if sensor.pinhole else "lidar",
            }
            for sensor in rig.NUSCENES_RIG
        ],
    }


def chain(rows: list[Row]) -> None:
    """Fill in the prev and next tokens of rows that follow each other."""
    for i, row in enumerate(rows):
        row["prev"] = rows[i - 1]["token"] if i > 0 else ""
        row["next"] = rows[i + 1]["token"] if i + 1 < len(rows) else ""


def write_tables(root: Path, scenes: list[Tables], splits: dict[str, list[str]]) -> None:
    """Write the 13 tables and splits.json under `root`, all at once."""
    tables = shared_tables()
    for name in SCENE_TABLES:
        tables[name] = [row for scene in scenes for row in scene[name]]
    with atomic_directory(root / VERSION) as folder:
        for name, rows in tables.items():
            (folder / f"{name}.json").write_text(json.dumps(rows, indent=0))
        (folder / "splits.json").write_text(json.dumps(splits, indent=1))
