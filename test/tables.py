# SPDX-License-Identifier: Apache-2.0
"""Data sets whose tables a test changes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def copy_of(root: Path, target: Path) -> Path:
    """A dataset of its own, with links to the other's sensor data and a copy of its tables."""
    target.mkdir(parents=True)
    for entry in root.iterdir():
        if entry.name.startswith("v1.0"):
            shutil.copytree(entry, target / entry.name, copy_function=shutil.copyfile)
        elif not entry.name.startswith("."):
            (target / entry.name).symlink_to(entry)
    return target


def table(root: Path, name: str) -> Path:
    return next(root.glob("v1.0*")) / f"{name}.json"


def change(root: Path, name: str, how: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Change a table's rows in place, or replace them by what `how` returns, if that is a list."""
    rows = json.loads(table(root, name).read_text())
    changed = how(rows)
    table(root, name).write_text(json.dumps(changed if isinstance(changed, list) else rows))


def each(root: Path, name: str, how: Callable[[dict[str, Any]], Any]) -> None:
    """Change every row of a table in place."""
    change(root, name, lambda rows: any(how(row) and False for row in rows))


def without_lidar(root: Path) -> None:
    """A camera-only data set, whose objects' points nobody counted."""
    change(root, "sample_data", lambda rows: [r for r in rows if "LIDAR" not in r["filename"]])
    each(root, "sample_annotation", lambda row: row.update(num_lidar_pts=-1, num_radar_pts=0))
