# SPDX-License-Identifier: Apache-2.0
"""Bags in, a folder in nuScenes' format out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from asd_perception.errors import UserError
from asd_perception.files import atomic_directory
from asd_training.bags.discovery import Parameters
from asd_training.bags.importing.recording import Choice, look_at
from asd_training.bags.importing.scene import import_scene
from asd_training.tables.rows import Row, token, vocabulary

VERSION = "v1.0-bags"
_VALIDATION_SHARE = 5  # of as many bags one is for validation


def import_bags(
    bags: Sequence[Path],
    output: Path,
    *,
    val: Sequence[Path] = (),
    choice: Choice = Choice(),  # noqa: B008
    parameters: Parameters | None = None,
    period: float = 0.5,
    keyframes_only: bool = False,
) -> dict[str, int]:
    """Write a data set of which each bag is a scene; returns the number of rows by table.

    val: bags of the split val; by default the last fifth of them. The others are the split train.
    period: in s between keyframes. keyframes_only: without the images and sweeps between them.
    parameters: of the node, as for `asd-bag check`. Says on stderr what is left out. Raises
    UserError for a bag that cannot be used, two of one name, and an output that exists.
    """
    if not 0 < period < 100:
        raise UserError(f"the period must be some seconds above 0, not {period:g}")
    names = [_scene_name(bag) for bag in bags]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two bags are called {twice[0]}; scenes go by their bags' names")
    chosen = [_scene_name(bag) for bag in val]
    if unknown := [name for name in chosen if name not in names]:
        raise UserError(f"--val {unknown[0]} is none of the bags: {', '.join(names)}")
    if not chosen and len(names) > 1:
        chosen = names[-max(1, len(names) // _VALIDATION_SHARE) :]
    tables: dict[str, list[Row]] = {
        **vocabulary(),
        **{
            table: []
            for table in (
                *("sensor", "calibrated_sensor", "ego_pose", "log", "scene", "sample"),
                *("sample_data", "instance", "sample_annotation"),
            )
        },
    }
    sensors: dict[str, str] = {}
    with atomic_directory(output) as root:
        # All first: one that cannot be used is told before the images of others are written.
        recordings = [look_at(bag, choice, parameters or {}) for bag in bags]
        for recording, name in zip(recordings, names, strict=True):
            rows = import_scene(recording, name, root, period, keyframes_only)
            for table, more in rows.tables.items():
                tables[table] += more
            sensors |= rows.sensors
        tables["sensor"] = [
            {"token": token("sensor", channel), "channel": channel, "modality": modality}
            for channel, modality in sorted(sensors.items())
        ]
        tables["map"] = [_map(root, [row["token"] for row in tables["log"]])]
        (root / VERSION).mkdir()
        for table, content in tables.items():
            (root / VERSION / f"{table}.json").write_text(json.dumps(content, indent=0))
        splits = {"train": [n for n in names if n not in chosen], "val": chosen}
        (root / VERSION / "splits.json").write_text(
            json.dumps({split: scenes for split, scenes in splits.items() if scenes}, indent=1)
        )
    return {table: len(content) for table, content in tables.items()}


def _scene_name(bag: Path) -> str:
    return bag.resolve().name if bag.is_dir() else bag.stem


def _map(root: Path, logs: list[str]) -> Row:
    """A map without a road, which the devkit wants."""
    (root / "maps").mkdir()
    cv2.imwrite(str(root / "maps" / "none.png"), np.zeros((1, 1), np.uint8))
    return {
        "token": token("map", "none"),
        "log_tokens": logs,
        "category": "semantic_prior",
        "filename": "maps/none.png",
    }
