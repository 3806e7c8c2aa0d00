# SPDX-License-Identifier: Apache-2.0
"""Datasets with other cameras than nuScenes'."""

import json
from pathlib import Path

THREE = {"left": "CAM_FRONT_LEFT", "front": "CAM_FRONT", "right": "CAM_FRONT_RIGHT"}
FIVE = {**THREE, "CAM_BACK_LEFT": "CAM_BACK_LEFT", "CAM_BACK_RIGHT": "CAM_BACK_RIGHT"}
EIGHT = {**FIVE, "rear": "CAM_BACK", "tele": "CAM_FRONT", "wide": "CAM_FRONT"}


def with_cameras(
    source: Path, target: Path, cameras: dict[str, str], lacking: dict[str, int] | None = None
) -> Path:
    """A dataset like another, with cameras by their names, each with the images of one there.

    lacking: by camera, how many of the first keyframes lack it.
    """
    target.mkdir(parents=True)
    (target / "samples").symlink_to(source / "samples")
    (target / "maps").symlink_to(source / "maps")
    (version,) = source.glob("v1.0*")
    tables = {file.name: json.loads(file.read_text()) for file in version.iterdir()}
    sensors = {row["token"]: row for row in tables["sensor.json"]}
    calibrated = {row["token"]: row for row in tables["calibrated_sensor.json"]}

    def channel(row: dict) -> str:
        return sensors[calibrated[row["calibrated_sensor_token"]]["sensor_token"]]["channel"]

    def renamed(row: dict, name: str, *keys: str) -> dict:
        return {**row, **{key: row[key] and f"{name}-{row[key]}" for key in keys}}

    def copies(file: str, channel_of, *keys: str) -> list[dict]:
        rows = [row for row in tables[file] if not channel_of(row).startswith("CAM_")]
        for name, original in cameras.items():
            found = [row for row in tables[file] if channel_of(row) == original]
            rows += [renamed(row, name, "token", *keys) for row in found]
        return rows

    data = copies("sample_data.json", channel, "calibrated_sensor_token", "prev", "next")
    samples = [row["token"] for row in sorted(tables["sample.json"], key=lambda r: r["timestamp"])]
    for name, count in (lacking or {}).items():
        data = [
            row
            for row in data
            if not (
                row["calibrated_sensor_token"].startswith(f"{name}-")
                and row["sample_token"] in samples[:count]
            )
        ]
    tables["calibrated_sensor.json"] = copies(
        *("calibrated_sensor.json", lambda row: sensors[row["sensor_token"]]["channel"]),
        "sensor_token",
    )
    tables["sensor.json"] = copies("sensor.json", lambda row: row["channel"])
    for row in tables["sensor.json"]:
        if row["modality"] == "camera":
            row["channel"] = row["token"].rpartition("-")[0]
    tables["sample_data.json"] = data
    (target / version.name).mkdir()
    for name, rows in tables.items():
        (target / version.name / name).write_text(json.dumps(rows))
    return target
