# SPDX-License-Identifier: Apache-2.0
"""The tables of a nuScenes-format folder, checked, as the devkit's evaluator wants them.

The devkit's own constructor also loads maps, logs and visibilities, which nothing here uses, and
trusts every value. Data sets of other makers lack the former and differ in the latter.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from nuscenes import NuScenes

from asd_perception.cameras.calibration import implausible
from asd_perception.constants import ATTRIBUTES
from asd_perception.errors import UserError
from asd_training.tables.checks import (
    CAMERA_FIELDS,
    FIELDS,
    Row,
    Rows,
    check_fields,
    refuse,
    rows_by_token,
)
from asd_training.tables.doubts import doubtful

TABLES = tuple(FIELDS)
_OF_OBJECTS = ("attribute", "category", "instance", "sample_annotation")
"""The tables that a data set without annotations may lack."""
REQUIRED_TABLES = tuple(table for table in TABLES if table not in _OF_OBJECTS)

_KNOWN_CATEGORIES = ("human.", "vehicle.", "movable_object.", "static_object.", "animal", "flat.")
_MIN_PERIOD = 1000.0  # microseconds; keyframes that are nearer have stamps in another unit
_KEYFRAME_SPREAD = 5_000_000  # microseconds between a keyframe and what its sensors recorded


class Tables(NuScenes):
    """The checked tables, with the shortcuts of the devkit's NuScenes, of which this is one.

    scene_chains: by scene token its samples in time order.
    """

    def __init__(self, root: Path, version: str) -> None:
        """Says on stderr what is left out or changed, and how often.

        Raises UserError that names the table, the record and the field where a value is unusable.
        """
        self.dataroot, self.version, self.verbose = str(root), version, False
        self.table_names = list(TABLES)
        tables = {table: _read(root / version / f"{table}.json") for table in TABLES}
        notes = _without_empty_scenes(tables)
        self._token2ind = {
            table: {token: place for place, token in enumerate(rows)}
            for table, rows in tables.items()
        }
        for table, rows in tables.items():
            setattr(self, table, list(rows.values()))
        try:
            notes += self._check(tables)
            self.scene_chains = {scene["token"]: self._chain(scene, tables) for scene in self.scene}
            notes += self._check_chains(tables)
        except UserError as error:
            raise UserError(f"{root / version}: {error}") from error
        for note in notes:
            print(note, file=sys.stderr)

    def _check(self, tables: dict[str, Rows]) -> list[str]:
        """Check every record, and fill in the devkit's shortcuts. Returns what was changed."""
        for table, fields in FIELDS.items():
            check_fields(tables, table, fields)
        sensors = tables["sensor"]
        cameras = {
            token: row
            for token, row in tables["calibrated_sensor"].items()
            if sensors[row["sensor_token"]]["modality"] == "camera"
        }
        images = [r for r in self.sample_data if r["calibrated_sensor_token"] in cameras]
        for table, rows in (("calibrated_sensor", cameras.values()), ("sample_data", images)):
            check_fields(tables, table, CAMERA_FIELDS[table], rows)
        for row in images:
            row["width"], row["height"] = int(row["width"]), int(row["height"])
        _check_calibrations(cameras, images)
        _check_names(self.scene)
        for sample in self.sample:
            sample["data"], sample["anns"] = {}, []
        slashes = 0
        for row in self.sample_data:
            row["is_key_frame"] = bool(row["is_key_frame"])
            slashes += "\\" in row["filename"]
            row["filename"] = row["filename"].replace("\\", "/")
            sensor = sensors[
                tables["calibrated_sensor"][row["calibrated_sensor_token"]]["sensor_token"]
            ]
            row["channel"], row["sensor_modality"] = sensor["channel"], sensor["modality"]
            if row["is_key_frame"]:
                data = tables["sample"][row["sample_token"]]["data"]
                if row["channel"] in data:
                    raise UserError(
                        f"sample_data {row['token']}: sample {row['sample_token']} has "
                        f"{row['channel']} twice; remove one of them, or set is_key_frame to false"
                    )
                data[row["channel"]] = row["token"]
        for row in self.sample_annotation:
            row["num_lidar_pts"] = int(row["num_lidar_pts"])
            row["num_radar_pts"] = int(row["num_radar_pts"])
            instance = tables["instance"][row["instance_token"]]
            row["category_name"] = tables["category"][instance["category_token"]]["name"]
            tables["sample"][row["sample_token"]]["anns"].append(row["token"])
        notes = [*self._usable_attributes(tables), *self._unknown_categories()]
        if slashes:
            notes.append(f"{slashes} filenames have backslashes, which are taken for /")
        return [*notes, *doubtful(self.sample_annotation, self.ego_pose, cameras.values())]

    def _usable_attributes(self, tables: dict[str, Rows]) -> Iterator[str]:
        """Leave each annotation at most one attribute, which the evaluator knows."""
        unknown: Counter[str] = Counter()
        several = 0
        for row in self.sample_annotation:
            known = []
            for token in row["attribute_tokens"]:
                if token not in tables["attribute"]:
                    refuse("sample_annotation", row, "attribute_tokens", "tokens of attributes")
                name = tables["attribute"][token]["name"]
                if name in ATTRIBUTES:
                    known.append(token)
                else:
                    unknown[name] += 1
            several += len(known) > 1
            row["attribute_tokens"] = known[:1]
        if unknown:
            names = _counted(unknown)
            yield f"attributes that nuScenes does not have are left out: {names}"
        if several:
            yield f"{several} annotations have several attributes, of which the first is used"

    def _unknown_categories(self) -> Iterator[str]:
        unknown = Counter(
            name
            for row in self.sample_annotation
            if not (name := row["category_name"]).startswith(_KNOWN_CATEGORIES)
        )
        if unknown:
            yield (
                f"objects of categories that nuScenes does not have are left out: "
                f"{_counted(unknown)}; to use them give category.json nuScenes' names, such as "
                "vehicle.car"
            )

    def _chain(self, scene: Row, tables: dict[str, Rows]) -> list[Row]:
        """A scene's samples: to its last one, or to where another scene's begin."""
        samples = tables["sample"]
        first = samples[scene["first_sample_token"]]
        if first["scene_token"] != scene["token"]:
            refuse("scene", scene, "first_sample_token", "the token of one of its own samples")
        chain: list[Row] = []
        seen, token = set(), first["token"]
        while token and samples[token]["scene_token"] == scene["token"]:
            if token in seen:
                refuse("sample", chain[-1], "next", "the token of a later sample, or empty")
            seen.add(token)
            chain.append(samples[token])
            if token == scene["last_sample_token"]:
                break
            token = samples[token]["next"]
        return chain

    def _check_chains(self, tables: dict[str, Rows]) -> list[str]:
        """Check the order of time, and make stamps whole. Returns what was changed."""
        for scene in self.scene:
            _check_unit(self.scene_chains[scene["token"]])
        stamped = [*self.sample, *self.sample_data]
        broken = sum(row["timestamp"] != int(row["timestamp"]) for row in stamped)
        for row in stamped:
            row["timestamp"] = round(row["timestamp"])
        for chain in self.scene_chains.values():
            for before, after in pairwise(chain):
                if not before["timestamp"] < after["timestamp"]:
                    refuse("sample", after, "timestamp", "later than that of the sample before it")
        self._check_sensors(tables)
        self._check_tracks(tables)
        notes = []
        if broken:
            notes.append(f"{broken} stamps are no whole microseconds and are rounded to them")
        reached = sum(map(len, self.scene_chains.values()))
        if reached < len(self.sample):
            notes.append(
                f"{len(self.sample) - reached} of {len(self.sample)} keyframes are in no scene's "
                "chain of samples and are left out"
            )
        return notes

    def _check_sensors(self, tables: dict[str, Rows]) -> None:
        for row in self.sample_data:
            if row["is_key_frame"]:
                sample = tables["sample"][row["sample_token"]]
                if abs(row["timestamp"] - sample["timestamp"]) > _KEYFRAME_SPREAD:
                    refuse(
                        "sample_data", row, "timestamp", f"near its sample's {sample['timestamp']}"
                    )
            before = row.get("prev") if row["channel"] == "LIDAR_TOP" else None
            if not before:
                continue
            previous = tables["sample_data"].get(before) if isinstance(before, str) else None
            if (
                previous is None
                or previous["channel"] != row["channel"]
                or not previous["timestamp"] < row["timestamp"]
            ):
                refuse("sample_data", row, "prev", "the token of an earlier LIDAR_TOP, or empty")

    def _check_tracks(self, tables: dict[str, Rows]) -> None:
        """Velocities follow from the neighbours of an annotation: of the same object, in order."""
        annotations = tables["sample_annotation"]
        for row in self.sample_annotation:
            stamp = tables["sample"][row["sample_token"]]["timestamp"]
            for field, sign, order in (("prev", -1, "an earlier"), ("next", 1, "a later")):
                if not row[field]:
                    continue
                other = annotations[row[field]]
                then = tables["sample"][other["sample_token"]]["timestamp"]
                if other["instance_token"] != row["instance_token"] or (then - stamp) * sign <= 0:
                    refuse(
                        *("sample_annotation", row, field),
                        f"the token of {order} annotation of the same instance, or empty",
                    )


def _read(file: Path) -> Rows:
    if file.stem in _OF_OBJECTS and not file.is_file():
        print(f"there is no {file}: it is taken to be empty", file=sys.stderr)
        return {}
    try:
        return rows_by_token(file.stem, json.loads(file.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not valid JSON ({error})") from error
    except UserError as error:
        raise UserError(f"{file.parent}: {error}") from error


def _without_empty_scenes(tables: dict[str, Rows]) -> list[str]:
    """Take away the scenes that say of themselves that they have no sample."""
    ends = ("first_sample_token", "last_sample_token")
    empty = [t for t, row in tables["scene"].items() if all(row.get(end) == "" for end in ends)]
    for token in empty:
        del tables["scene"][token]
    return [f"{len(empty)} scenes without a sample are left out"] if empty else []


def _check_names(scenes: list[Row]) -> None:
    names: dict[str, Row] = {}
    for scene in scenes:
        if scene["name"] in names:
            refuse("scene", scene, "name", "a name of its own")
        names[scene["name"]] = scene


def _check_calibrations(cameras: Rows, images: list[Row]) -> None:
    """Raise UserError for a calibration that is not of its images' resolution."""
    used = {(r["calibrated_sensor_token"], r["width"], r["height"]) for r in images}
    for token, *size in sorted(used):
        fault = implausible(np.array(cameras[token]["camera_intrinsic"]), (size[0], size[1]))
        if fault:
            raise UserError(
                f"calibrated_sensor {token}: camera_intrinsic has {fault}; it must be in pixels of "
                "the images as they are, scaled as they were"
            )


def _check_unit(chain: list[Row]) -> None:
    """Raise UserError where a scene's stamps are in seconds or milliseconds."""
    stamps = [sample["timestamp"] for sample in chain]
    span = stamps[-1] - stamps[0]
    if len(stamps) > 1 and 0 < span < _MIN_PERIOD * (len(stamps) - 1):
        unit = "seconds" if span < len(stamps) * 100 and stamps[0] < 1e11 else "milliseconds"
        period = span / (len(stamps) - 1)
        raise UserError(
            f"sample {chain[0]['token']}: timestamp is {stamps[0]}, and the keyframes of its scene "
            f"are {period:g} apart, as in {unit}; it must be microseconds since 1970"
        )
    if 1e8 < stamps[0] < 1e11 and stamps[0] != int(stamps[0]):
        refuse("sample", chain[0], "timestamp", "microseconds since 1970, not seconds")


def _counted(names: Counter[str]) -> str:
    shown = ", ".join(f"{name} ({count})" for name, count in names.most_common(10))
    return shown + (", ..." if len(names) > 10 else "")
