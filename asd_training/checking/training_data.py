# SPDX-License-Identifier: Apache-2.0
"""What a data set must have for a training, told before its first step."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from asd_perception.bev_grid import BevGrid
from asd_perception.errors import UserError
from asd_training.config.run import TrainingConfig
from asd_training.data.index import KeyframeIndex
from asd_training.data.samples import SampleContents
from asd_training.tables.splits import chosen_split, shared_scenes, split_scene_names

Config = TypeVar("Config", bound=TrainingConfig)


def with_splits(config: Config, root: Path, version: str) -> Config:
    """The configuration with splits of which the dataset has scenes.

    Raises UserError, with the splits that it has, for an unknown or empty one. A split to validate
    on may be empty where nothing is validated on the way.
    """
    train = chosen_split(root, version, config.train_split, "train")
    val = config.val_split
    if val == "auto" or config.validate_every:
        val = chosen_split(root, version, val, "val")
        if val == train and config.val_split == "auto":
            print(f"validated on {val}, too: the data set has no other split", file=sys.stderr)
    else:
        split_scene_names(root, version, val)
    if val != train and (both := shared_scenes(root, version, train, val)):
        print(
            f"{len(both)} scenes, such as {min(both)}, are in both {train} and {val}: what is "
            "validated on them says nothing of other scenes",
            file=sys.stderr,
        )
    return dataclasses.replace(config, train_split=train, val_split=val)


def check_data(
    config: TrainingConfig, index: KeyframeIndex, contents: SampleContents, grid: BevGrid
) -> None:
    """Raise UserError where there is nothing to learn, or a file is missing.

    contents: of a sample. grid: outside of which nothing is learnt.
    """
    trained, validated = index.split(config.train_split), index.split(config.val_split)
    _check_objects(index, config, trained, grid)
    if config.validate_every and not index.class_counts()[validated].any():
        raise UserError(
            f"{index.root}: the split {config.val_split} holds no annotated keyframe to validate "
            "on; set validate_every=0 or another val_split"
        )
    if config.cache is None:
        check_files(index, trained, contents)
    check_files(index, validated, contents.for_validation())


def _check_objects(
    index: KeyframeIndex, config: TrainingConfig, keyframes: NDArray[np.int64], grid: BevGrid
) -> None:
    """Raise UserError unless an object of the split can become a target."""
    if not len(keyframes):
        raise UserError(f"{index.root}: the split {config.train_split} holds no keyframe")
    owners = np.repeat(np.arange(len(index)), np.diff(index.object_offsets))
    ours = np.isin(owners, keyframes)
    seen = ours & (index.object_lidar_points + index.object_radar_points != 0)
    near = seen & (np.abs(index.object_boxes[:, :2]) < grid.half_extent).all(axis=1)
    if not near.any():
        raise UserError(
            f"{index.root}: no object of the split {config.train_split} can be learnt: of "
            f"{ours.sum()} annotated ones of the ten classes in {len(keyframes)} keyframes "
            f"{seen.sum()} have LiDAR or radar points (or -1: not counted), and none of these lies "
            f"within {grid.half_extent:g} m; mend num_lidar_pts, the categories' names, or "
            "choose another train_split"
        )


def check_files(
    index: KeyframeIndex, keyframes: NDArray[np.int64], contents: SampleContents
) -> None:
    """Raise UserError for the first missing file of those that samples are read from."""
    paths = index.image_paths[keyframes].ravel() if contents.images else np.zeros(0, "S1")
    begins, ends = index.sweep_offsets[keyframes], index.sweep_offsets[keyframes + 1]
    read = np.minimum(ends, begins + contents.sweeps_read)
    if contents.sweeps_read and (begins == ends).any():
        blind = index.sample_tokens[keyframes[np.argmax(begins == ends)]].decode()
        raise UserError(
            f"{index.root}: sample {blind} has no LIDAR_TOP, from which this training learns; a "
            "student learns from boxes alone with --set supervision.camera_depth=0 --set "
            "supervision.point_depth=0 --set supervision.semantics=0"
        )
    rows = [np.arange(begin, end) for begin, end in zip(begins, read, strict=True)]
    sweeps = index.sweep_paths[np.concatenate([*rows, np.zeros(0, np.int64)]).astype(np.int64)]
    files = np.unique([*paths.tolist(), *sweeps.tolist()])
    missing = [
        file.decode()
        for file in tqdm(files, desc="looking for files", unit="file", delay=1)
        if file and not os.path.exists(index.root / file.decode())
    ]
    if missing:
        more = f", and {len(missing) - 1} others" if missing[1:] else ""
        raise UserError(
            f"{index.root / missing[0]} is missing{more}; the dataset is incomplete: copy "
            "the rest, or name the scenes that are whole in splits.json (asd-train check counts)"
        )
