# SPDX-License-Identifier: Apache-2.0
"""Boxes of a Detection3DArray topic as nuScenes' annotations."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asd_perception.constants import ATTRIBUTES, CLASSES
from asd_perception.errors import UserError
from asd_perception.geometry import Array, inverse, points_in_box, transform_from, transform_points
from asd_perception.ros.messages.published.detections import detections_from_msg
from asd_perception.ros.messages.published.objects import objects_from_cloud
from asd_training.bags.importing.files import SceneFiles
from asd_training.bags.importing.recording import Recording
from asd_training.bags.importing.sensors import MAX_COORDINATE
from asd_training.data.lidar_file import read_lidar
from asd_training.data.nuscenes import submission_boxes
from asd_training.tables.rows import (
    CATEGORY_OF,
    Row,
    attribute_token,
    category_token,
    chain,
    token,
)


def annotation_rows(
    recording: Recording,
    name: str,
    root: Path,
    keyframes: Sequence[tuple[int, str]],
    files: SceneFiles,
    tables: dict[str, list[Row]],
) -> dict[str, list[Row]]:
    """The rows of `instance` and `sample_annotation`.

    name: the scene's. keyframes: stamp in ns and sample token of each. tables: those of its sensors
    are complete. An object keeps its instance while its id and class stay; without an id it is one
    of its own. Boxes that cannot be used are counted.
    """
    tracks: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    clouds = _Clouds(root, tables)
    guessed = 0
    for stamp, sample in keyframes:
        message = files.boxes.get(stamp)
        if message is None:
            if recording.boxes:
                recording.left_out[f"keyframes without a message on {recording.boxes}"] += 1
            continue
        try:
            base_from_frame = recording.base_from(message.header.frame_id, stamp)
            usable = [_usable(item, recording.left_out) for item in message.detections]
            attributes = _attributes(recording, files.objects.get(stamp), len(usable))
            kept = np.flatnonzero(np.array(usable, bool))
            message.detections = [message.detections[i] for i in kept]
            found = detections_from_msg(message)
        except UserError as error:
            recording.left_out[f"messages on {recording.boxes}: {error}"] += 1
            continue
        guessed += int((found.scores < 1).sum())
        points = clouds.points(sample)
        global_from_frame = recording.ego_pose(stamp) @ base_from_frame
        boxes = submission_boxes(found, sample, global_from_frame)
        for place, (i, box) in enumerate(zip(kept, boxes, strict=True)):
            label = box["detection_name"]
            identity = message.detections[place].id
            key: tuple[str, ...] = (label, identity) if identity else (label, sample, str(place))
            if tracks[key] and tracks[key][-1]["sample_token"] == sample:
                key = (*key, sample, str(place))  # an id that is given twice
            tracks[key].append(
                {
                    "token": token("sample_annotation", name, sample, place),
                    "sample_token": sample,
                    "visibility_token": "",
                    "attribute_tokens": [attribute_token(a) for a in attributes[i : i + 1] if a],
                    "translation": box["translation"],
                    "size": box["size"],
                    "rotation": box["rotation"],
                    "num_lidar_pts": _count(points, box),
                    "num_radar_pts": 0,
                }
            )
    if guessed:
        print(
            f"{recording.path}: {guessed} boxes on {recording.boxes} have a score below 1, as what "
            "a detector found has: they are taken for the truth; choose another topic by --boxes",
            file=sys.stderr,
        )
    instances, annotations = [], []
    for key, rows in tracks.items():
        instance = token("instance", name, *key)
        chain(rows)
        for row in rows:
            row["instance_token"] = instance
        annotations += rows
        instances.append(
            {
                "token": instance,
                "category_token": category_token(CATEGORY_OF[key[0]]),
                "nbr_annotations": len(rows),
                "first_annotation_token": rows[0]["token"],
                "last_annotation_token": rows[-1]["token"],
            }
        )
    return {"instance": instances, "sample_annotation": annotations}


def _usable(detection: Any, left_out: Any) -> bool:
    """Whether a box has one of the ten classes and a size; counted if not."""
    if not detection.results:
        left_out["boxes without a class"] += 1
        return False
    name = detection.results[0].hypothesis.class_id
    if name not in CLASSES:
        left_out[f"boxes of the class {name!r}, which is none of the ten"] += 1
        return False
    size, centre = detection.bbox.size, detection.bbox.center
    q, p = centre.orientation, centre.position
    values = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w, size.x, size.y, size.z])
    is_near = (np.abs(values[:3]) <= MAX_COORDINATE).all()
    has_size = ((values[7:] >= 1e-3) & (values[7:] <= 1000)).all()
    if not (np.isfinite(values).all() and is_near and has_size):
        left_out["boxes without a size or place"] += 1
        return False
    return True


def _attributes(recording: Recording, cloud: Any, count: int) -> list[str]:
    """The attribute of each of a message's boxes, of the cloud beside it; "" where unknown."""
    if cloud is None:
        return [""] * count
    try:
        objects = objects_from_cloud(cloud)
        if len(objects) != count:
            raise UserError(f"{len(objects)} objects of {count} boxes")
    except UserError as error:
        recording.left_out[f"messages on {recording.objects}: {error}"] += 1
        return [""] * count
    return [ATTRIBUTES[a] if a >= 0 else "" for a in objects.attributes]


class _Clouds:
    """The LiDAR points of keyframes, read one by one: all of them are more than memory holds."""

    def __init__(self, root: Path, tables: dict[str, list[Row]]) -> None:
        self._root = root
        self._poses = {row["token"]: row for row in tables["ego_pose"]}
        self._mountings = {row["token"]: row for row in tables["calibrated_sensor"]}
        self._rows = {
            row["sample_token"]: row
            for row in tables["sample_data"]
            if row["is_key_frame"] and row["filename"].endswith(".pcd.bin")
        }

    def points(self, sample: str) -> NDArray[np.float64] | None:
        """Those of a sample, (P, 3) in the global frame; None: it has no LiDAR."""
        row = self._rows.get(sample)
        if row is None:
            return None
        points = read_lidar(self._root / row["filename"])[:, :3].astype(np.float64)
        for record in (
            self._mountings[row["calibrated_sensor_token"]],
            self._poses[row["ego_pose_token"]],
        ):
            points = transform_points(
                transform_from(record["rotation"], record["translation"]), points
            )
        return points


def _count(points: Array | None, box: dict[str, Any]) -> int:
    """How many points lie in a box; -1 where there is no LiDAR."""
    if points is None:
        return -1
    box_from_global = inverse(transform_from(box["rotation"], box["translation"]))
    width, length, height = box["size"]
    reach = np.linalg.norm(box["size"]) / 2
    near = points[(np.abs(points - box["translation"]) <= reach).all(axis=1)]
    local = transform_points(box_from_global, near)
    return int(points_in_box(local, np.array([0, 0, 0, length, width, height, 0.0])).sum())
