# SPDX-License-Identifier: Apache-2.0
"""A data set looked through: what is in it, whether every file can be read, and pictures of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch.utils.data import Dataset
from tqdm import tqdm

from asd_perception.cameras.rig_check import Finding, MountedCamera, check_rig
from asd_perception.constants import CLASSES
from asd_perception.errors import UserError
from asd_training.data.index import KeyframeIndex
from asd_training.data.nuscenes import read_images
from asd_training.data.samples import read_on_all_cores
from asd_training.evaluation.pictures import (
    bev_picture,
    cameras_picture,
    encode_picture,
)
from asd_training.tables.splits import dataset_splits

PICTURES = 12
"""Keyframes that are drawn, spread over the data set."""

_ANY_INPUT = (36, 64)  # rows, columns of a network, which these checks do not ask
_RACING = 60.0  # m/s; what is faster has wrong stamps, or wrong neighbours


def format_contents(index: KeyframeIndex) -> str:
    """Scenes, splits, cameras, LiDAR and objects, in lines."""
    count = len(index)
    lines = [f"{index.root / index.version}: {count} keyframes of {len(index.scene_names)} scenes"]
    for split, scenes in dataset_splits(index.root, index.version).items():
        lines.append(f"  split {split}: {scenes} scenes, {len(index.split(split))} keyframes")
    for camera, there in zip(index.cameras, index.has_camera.sum(axis=0), strict=True):
        place = index.cameras.index(camera)
        sizes = np.unique(index.image_sizes[index.has_camera[:, place], place], axis=0)
        shown = ", ".join(f"{width}x{height}" for width, height in sizes.tolist())
        lines.append(f"  {camera}: {there} images of {shown}")
    sweeps = np.diff(index.sweep_offsets)
    lines.append(
        f"  LIDAR_TOP: {(sweeps > 0).sum()} keyframes, with up to {sweeps.max()} sweeps each"
        if sweeps.any()
        else "  no LIDAR_TOP: there is nothing for a teacher, and for a student the boxes alone"
    )
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
    return "\n".join(lines)


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
        except (OSError, UserError) as error:
            return str(error)
        return ""


def unreadable(index: KeyframeIndex) -> list[str]:
    """What is wrong with the files of the keyframes that cannot be read: one line each."""
    readings = read_on_all_cores(_Readings(index), None, str)
    progress = tqdm(readings, total=len(index), desc="reading", unit="keyframe")
    return [fault for fault in progress if fault]


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
