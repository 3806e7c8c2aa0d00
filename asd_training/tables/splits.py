# SPDX-License-Identifier: Apache-2.0
"""The splits of a data set: nuScenes' official ones, which the devkit knows, or its own.

Its own are in the version folder's splits.json: a list of scenes' names per split.
"""

from __future__ import annotations

import json
from pathlib import Path

from nuscenes.utils.splits import create_splits_scenes

from asd_perception.errors import UserError


def split_scene_names(root: str | Path, version: str, split: str) -> set[str]:
    """The names of a split's scenes, whether the dataset has them or not.

    Raises UserError for an unknown split, with those that the dataset has, and for damaged files.
    """
    known = {**create_splits_scenes(), **_own(root, version)}
    if split not in known:
        raise UserError(f"{root}: no split {split!r}; {_those_there(root, version)}")
    return set(known[split])


def dataset_splits(root: str | Path, version: str) -> dict[str, int]:
    """The splits of which the dataset has scenes, and how many.

    Its own come first, then the official ones of which it has the largest share. Reads no table
    but that of the scenes. Raises UserError for damaged files.
    """
    scenes = _scene_names(root, version)
    own, official = _own(root, version), create_splits_scenes()
    counts = {name: len(scenes.intersection(names)) for name, names in {**official, **own}.items()}
    largest = sorted(official, key=lambda name: -counts[name] / len(official[name]))
    return {name: counts[name] for name in [*own, *largest] if counts[name]}


def chosen_split(root: str | Path, version: str, split: str, purpose: str) -> str:
    """A split of which the dataset has scenes: the given one, or that for a purpose.

    split auto: the one called `purpose` (train, val), or *_purpose, or else the only one. Raises
    UserError, with the splits that the dataset has, where there is none.
    """
    there = dataset_splits(root, version)
    if split != "auto":
        split_scene_names(root, version, split)
        if split not in there:
            raise UserError(f"{root}: it has no scene of {split}; {_those_there(root, version)}")
        return split
    fitting = [name for name in there if name == purpose or name.endswith(f"_{purpose}")]
    if fitting:
        return fitting[0]
    if len(there) == 1:
        return next(iter(there))
    raise UserError(f"{root}: which split is for {purpose}? {_those_there(root, version)}")


def absent_scenes(root: str | Path, version: str) -> dict[str, int]:
    """Of the dataset's own splits those that name scenes it does not have, and how many."""
    there = _scene_names(root, version)
    counts = {split: len(set(names) - there) for split, names in _own(root, version).items()}
    return {split: count for split, count in counts.items() if count}


def shared_scenes(root: str | Path, version: str, *splits: str) -> set[str]:
    """The dataset's scenes that are in all of some splits."""
    names = [split_scene_names(root, version, split) for split in splits]
    return _scene_names(root, version).intersection(*names)


def _those_there(root: str | Path, version: str) -> str:
    there = dataset_splits(root, version)
    listed = ", ".join(f"{name} ({n} scene{'s' * (n != 1)})" for name, n in there.items())
    return f"it has {listed or 'no split: name its scenes in splits.json'}"


def _scene_names(root: str | Path, version: str) -> set[str]:
    file = Path(root) / version / "scene.json"
    try:
        return {str(scene["name"]) for scene in json.loads(file.read_bytes())}
    except FileNotFoundError as error:
        raise UserError(f"{file} is missing; the dataset is incomplete") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{file} is no list of scenes with names ({error})") from error


def _own(root: str | Path, version: str) -> dict[str, list[str]]:
    file = Path(root) / version / "splits.json"
    try:
        own = json.loads(file.read_bytes()) if file.is_file() else {}
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not valid JSON ({error})") from error
    lists = own.values() if isinstance(own, dict) else [None]
    if not all(isinstance(x, list) and all(isinstance(n, str) for n in x) for x in lists):
        raise UserError(f"{file} is damaged: it should hold a list of scenes' names per split")
    return own
