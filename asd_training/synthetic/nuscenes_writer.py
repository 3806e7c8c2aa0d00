# SPDX-License-Identifier: Apache-2.0
"""The nuScenes tables: rows that all scenes share, tokens, and their files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from asd_perception.files import atomic_directory
from asd_training.synthetic.sensors import rig
from asd_training.tables.rows import Row, token, vocabulary

VERSION = "v1.0-synthetic"
Tables = dict[str, list[Row]]

VISIBILITY_BOUNDS = (0.4, 0.6, 0.8)
SCENE_TABLES = (
    "log", "map", "scene", "sample", "calibrated_sensor", "sample_data", "ego_pose", "instance",
    "sample_annotation",
)  # fmt: skip


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
    return {
        **vocabulary(),
        "sensor": [
            {
                "token": token("sensor", sensor.channel),
                "channel": sensor.channel,
                "modality": "camera" if sensor.pinhole else "lidar",
            }
            for sensor in rig.NUSCENES_RIG
        ],
    }


def write_tables(root: Path, scenes: list[Tables], splits: dict[str, list[str]]) -> None:
    """Write the 13 tables and splits.json under `root`, all at once."""
    tables = shared_tables()
    for name in SCENE_TABLES:
        tables[name] = [row for scene in scenes for row in scene[name]]
    with atomic_directory(root / VERSION) as folder:
        for name, rows in tables.items():
            (folder / f"{name}.json").write_text(json.dumps(rows, indent=0))
        (folder / "splits.json").write_text(json.dumps(splits, indent=1))
