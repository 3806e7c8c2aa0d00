# SPDX-License-Identifier: Apache-2.0
"""A data set looked through: what is in it, whether every file can be read, and pictures of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset
from tqdm import tqdm

from asd_perception.cameras.rig_check import Finding, MountedCamera, check_rig
from asd_perception.constants import CLASSES
from asd_perception.errors import UserError, describe_os_error
from asd_training.data.index import KeyframeIndex
from asd_training.data.nuscenes import read_images
from asd_training.data.samples import read_on_all_cores
from asd_training.evaluation.pictures import (
    bev_picture,
    cameras_picture,
    encode_picture,
)
from asd_training.tables.splits import absent_scenes, dataset_splits

PICTURES = 12
"""Keyframes that are drawn, spread over the data set."""

_MOST_FAULTS = 50  # that are told one by one
_ANY_INPUT = (36, 64)  # rows, columns of a network, which these checks do not ask
_FAR = 300.0  # m; what most objects are not beyond, if both are in one frame
_RACING = 60.0  # m/s; what is faster has wrong stamps, or wrong neighbours


def format_contents(index: KeyframeIndex) -> str:
    """Scenes, splits, cameras, LiDAR and objects, in lines."""
    count = len(index)
    lines = [f"{index.root / index.version}: {count} keyframes of {len(index.scene_names)} scenes"]
    absent = absent_scenes(index.root, index.version)
    there = dataset_splits(index.root, index.version)
    for split in dict.fromkeys([*there, *absent]):
        lacking = f" ({absent[split]} others are not there)" if split in absent else ""
        keyframes = len(index.split(split))
        lines.append(
            f"  split {split}: {there.get(split, 0)} scenes{lacking}, {keyframes} keyframes"
        )
    for camera, images in zip(index.cameras, index.has_camera.sum(axis=0), strict=True):
        place = index.cameras.index(camera)
        sizes = np.unique(index.image_sizes[index.has_camera[:, place], place], axis=0)
        shown = ", ".join(f"{width}x{height}" for width, height in sizes.tolist())
        lines.append(f"  {camera}: {images} images of {shown}")
    sweeps = np.diff(index.sweep_offsets)
    others = _other_lidars(index)
    lines.append(
        f"  LIDAR_TOP: {(sweeps > 0).sum()} keyframes, with up to {sweeps.max()} sweeps each"
        if sweeps.any()
        else "  no LIDAR_TOP: there is nothing for a teacher, and for a student the boxes alone"
    )
    if others:
        lines.append(f"  {', '.join(others)}: not read; the one LiDAR that is, is LIDAR_TOP")
    observed = index.object_lidar_points + index.object_radar_points != 0
    lines.append(f"  {'class':<22}{'objects':>9}{'with points':>13}")
    for label, name in enumerate(CLASSES):
        of_class = index.object_labels == label
        lines.append(f"  {name:<22}{of_class.sum():>9}{(of_class & observed).sum():>13}")
    if not observed.any():
        lines.append(
            "  WARNING: no object has points: there is nothing to learn and nothing to score with; "
            "see num_lidar_pts (-1: not counted) and the categories' names"
        )
    speeds = np.linalg.norm(index.object_velocities, axis=1)
    racing = np.flatnonzero(np.nan_to_num(speeds) > _RACING)
    if len(racing):
        lines.append(
            f"  WARNING: {len(racing)} objects are faster than {_RACING:g} m/s, as "
            f"sample_annotation {index.object_tokens[racing[0]].decode()} with "
            f"{speeds[racing[0]]:.0f} m/s: see its neighbours prev and next, and the stamps of "
            "their samples"
        )
    distances = np.linalg.norm(index.object_boxes[:, :2], axis=1)
    far = np.flatnonzero(distances > _FAR)
    if 2 * len(far) > len(distances):
        lines.append(
            f"  WARNING: {len(far)} of {len(distances)} objects are farther than {_FAR:g} m from "
            f"the vehicle, as sample_annotation {index.object_tokens[far[0]].decode()} with "
            f"{distances[far[0]]:.0f} m: translation must be in the global frame of ego_pose"
        )
    return "\n".join(lines)


def _other_lidars(index: KeyframeIndex) -> list[str]:
    rows = json.loads((index.root / index.version / "sensor.json").read_bytes())
    lidars = {row["channel"] for row in rows if row["modality"] == "lidar"}
    return sorted(lidars - {"LIDAR_TOP"})


def rig_findings(index: KeyframeIndex) -> list[Finding]:
    """What cannot be right about calibrations and mountings, worst first; one for each text."""
    found: dict[str, Finding] = {}
    seen: set[bytes] = set()
    for keyframe in range(len(index)):
        rig = index.frame(keyframe).rig
        mountings = rig.ego_from_camera if rig.mountings is None else rig.mountings
        key = rig.intrinsics.tobytes() + mountings.tobytes() + repr(rig.names).encode()
        if key in seen:
            continue
        seen.add(key)
        cameras = {
            name: MountedCamera(name, rig.calibration(i), mountings[i])
            for i, name in enumerate(rig.names)
        }
        for name, findings in check_rig(cameras, (), _ANY_INPUT, "the ego frame").items():
            for finding in findings:
                text = f"{index.scene_name(keyframe)}, {name}: {finding.text}"
                found.setdefault(f"{name}: {finding.text}", Finding(finding.level, text))
    return sorted(found.values(), key=lambda finding: -finding.level)


class _Readings(Dataset[str]):
    """Why a keyframe's files cannot be read; empty where they can."""

    def __init__(self, index: KeyframeIndex) -> None:
        self.index = index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, keyframe: int) -> str:
        try:
            read_images(self.index.frame(keyframe))
            if self.index.lidar_sweeps(keyframe):
                self.index.lidar(keyframe)
        except OSError as error:
            return describe_os_error(error)
        except UserError as error:
            return str(error)
        return ""


def unreadable(index: KeyframeIndex) -> dict[int, str]:
    """The keyframes whose files cannot be read, and what is wrong with each: one line."""
    readings = read_on_all_cores(_Readings(index), None, str)
    progress = tqdm(readings, total=len(index), desc="reading", unit="keyframe")
    return {keyframe: fault for keyframe, fault in enumerate(progress) if fault}


def format_faults(index: KeyframeIndex, faults: Mapping[int, str]) -> str:
    """What `unreadable` found, in lines: a part of a large data set may be all that was copied."""
    told = list(dict.fromkeys(faults.values()))
    lines = [f"ERROR: {fault}" for fault in told[:_MOST_FAULTS]]
    if told[_MOST_FAULTS:]:
        lines.append(f"... and {len(told) - _MOST_FAULTS} others")
    scenes = set(index.scene_ids.tolist())
    whole = len(scenes - {int(index.scene_ids[keyframe]) for keyframe in faults})
    lines.append(
        f"{len(faults)} keyframes that cannot be read; {whole} of {len(scenes)} scenes are whole"
        if faults
        else "every file can be read"
    )
    return "\n".join(lines)


def draw_keyframes(index: KeyframeIndex, folder: Path) -> None:
    """Write pictures of keyframes that can be read: boxes in the images, and from above."""
    chosen = np.unique(np.linspace(0, len(index) - 1, PICTURES).round().astype(int))
    for keyframe in tqdm(chosen, desc="drawing", unit="keyframe"):
        frame, objects = index.frame(keyframe), index.objects(keyframe)
        try:
            images = read_images(frame)
            lidar = np.zeros((0, 5))
            if index.lidar_sweeps(keyframe):
                lidar = index.lidar(keyframe, 1).astype(np.float64)
        except UserError:  # `unreadable` has named it
            continue
        cameras = cameras_picture(images, frame.rig, objects.boxes, objects.labels, frame.up)
        above = bev_picture(objects.boxes, objects.labels, None, lidar, cameras.shape[0])
        picture = np.concatenate([cameras, above], axis=1)
        name = f"{index.scene_name(keyframe)}__{frame.stamp_us}".replace("/", "_")
        (folder / f"{name}.jpg").write_bytes(encode_picture(picture, ".jpg"))
