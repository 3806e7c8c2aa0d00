# SPDX-License-Identifier: Apache-2.0
"""nuScenes-format folders, read through the devkit, in this project's conventions.

nuScenes keeps boxes in the global frame with sizes as (width, length, height); everything that
leaves this file is in base_link at the frame's reference time, with (length, width, height).

The reference time of a keyframe is the stamp of its latest camera image: the only time that a robot
without LiDAR can know as well. It lies within a millisecond of the LiDAR stamp.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from nuscenes import NuScenes
from nuscenes.eval.common.data_classes import EvalBox
from nuscenes.eval.detection.utils import category_to_detection_name

from asd_perception.cameras.image_decoding import decode_camera_image
from asd_perception.cameras.rig import CameraRig, compensate
from asd_perception.cameras.view import View
from asd_perception.constants import ATTRIBUTES, CLASSES, MAX_CAMERAS, NO_ATTRIBUTE
from asd_perception.errors import UserError
from asd_perception.files import check_fetched
from asd_perception.geometry import (
    Array,
    box_transform,
    inverse,
    quaternion_of,
    transform_from,
    transform_points,
    yaw_of,
)
from asd_perception.runtime.detections import Detections
from asd_training.data.cameras import in_rig_order
from asd_training.data.lidar_file import read_lidar
from asd_training.tables.reading import REQUIRED_TABLES, Tables
from asd_training.tables.splits import split_scene_names


@dataclass(frozen=True)
class CameraFrame:
    """One keyframe as the detector sees it, with the cameras that it has.

    stamp_us: the reference time in microseconds. global_from_ego: (4, 4) ego pose at that time.
    image_paths: one per camera, in the rig's order.
    """

    sample_token: str
    stamp_us: int
    rig: CameraRig
    image_paths: tuple[Path, ...]
    global_from_ego: Array

    @property
    def up(self) -> Array:
        """The vertical (3,), along which nuScenes' boxes stand, in base_link."""
        return self.global_from_ego[2, :3]


@dataclass(frozen=True)
class Annotations:
    """The M annotated objects of the ten detection classes of one keyframe, in base_link.

    boxes (M, 7), velocities (M, 2) with NaN where unknown, labels (M,), attributes (M,) as in
    Detections; tokens: sample_annotation tokens; num_lidar_points, num_radar_points (M,) as stored.
    """

    boxes: Array
    velocities: Array
    labels: NDArray[np.int64]
    attributes: NDArray[np.int64]
    tokens: tuple[str, ...]
    num_lidar_points: NDArray[np.int64]
    num_radar_points: NDArray[np.int64]

    @property
    def observed(self) -> NDArray[np.bool_]:
        """Which objects the official evaluator counts: those with a LiDAR or radar point, or for
        which points were not counted (-1). (M,)."""
        return self.num_lidar_points + self.num_radar_points != 0


def dataset_version(root: str | Path, version: str | None = None) -> str:
    """The version to read of a nuScenes-format folder; None means the only one there.

    Raises UserError if the folder, the version or a table is missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root} is no folder; give the root of a nuScenes-format dataset")
    versions = sorted(folder.name for folder in root.glob("v*") if folder.is_dir())
    if version is None and not versions:
        raise UserError(
            f"{root} has no version folder, such as v1.0-trainval; give the root of a "
            "nuScenes-format dataset"
        )
    found = ", ".join(versions)
    if version is None:
        if len(versions) != 1:
            raise UserError(f"{root} should hold one version folder, found {found}; give --version")
        version = versions[0]
    elif not (root / version).is_dir():
        raise UserError(f"{root} has no version {version}; versions there: {found or 'none'}")
    for table in REQUIRED_TABLES:
        path = root / version / f"{table}.json"
        if not path.is_file():
            raise UserError(f"{path} is missing; the dataset is incomplete")
    return version


def open_dataset(root: str | Path, version: str | None = None) -> Tables:
    """Open a nuScenes-format folder; `version` may be omitted if the folder holds only one.

    Says on stderr what is left out, such as keyframes without a camera. Raises UserError if that is
    all of them, if the folder, the version or a table is missing, and for unusable values.
    """
    root = Path(root)
    version = dataset_version(root, version)
    nusc = Tables(root, version)
    total = len(nusc.sample)
    blind = sum(not _has_camera(nusc, sample) for sample in nusc.sample)
    if total and blind == total:
        raise UserError(
            f"{root / version} has no camera: no keyframe has sample_data of the modality camera; "
            f"give a dataset with 1 to {MAX_CAMERAS} cameras, or add their tables and images"
        )
    if blind:
        print(f"{blind} of {total} keyframes have no camera and are left out", file=sys.stderr)
    return nusc


def split_scenes(nusc: Tables, split: str) -> list[str]:
    """The names of a split's scenes in this dataset. Raises UserError for an unknown split."""
    names = split_scene_names(nusc.dataroot, nusc.version, split)
    return [scene["name"] for scene in nusc.scene if scene["name"] in names]


def scene_samples(nusc: Tables, scene_name: str) -> list[dict[str, Any]]:
    """The keyframes of a scene that have a camera, in time order.

    Raises UserError for an unknown scene.
    """
    samples = all_scene_samples(nusc, scene_name)
    return [sample for sample in samples if _has_camera(nusc, sample)]


def all_scene_samples(nusc: Tables, scene_name: str) -> list[dict[str, Any]]:
    """All keyframes of a scene in time order. Raises UserError for an unknown scene."""
    for scene in nusc.scene:
        if scene["name"] == scene_name:
            return list(nusc.scene_chains[scene["token"]])
    names = [scene["name"] for scene in nusc.scene]
    shown = ", ".join(names[:5]) + (", ..." if names[5:] else "")
    raise UserError(f"{nusc.dataroot} has no scene {scene_name!r}; it has {shown}")


def ego_from_sensor(nusc: NuScenes, sample_data: dict[str, Any]) -> Array:
    """The mounting (4, 4) of the sensor that took a sample_data record."""
    record = nusc.get("calibrated_sensor", sample_data["calibrated_sensor_token"])
    return transform_from(record["rotation"], record["translation"])


def global_from_ego(nusc: NuScenes, sample_data: dict[str, Any]) -> Array:
    """The ego pose (4, 4) at the stamp of a sample_data record."""
    record = nusc.get("ego_pose", sample_data["ego_pose_token"])
    return transform_from(record["rotation"], record["translation"])


def reference_from_sensor(
    nusc: NuScenes, sample_data: dict[str, Any], global_from_reference: Array
) -> Array:
    """From a sensor at its own stamp to the ego frame (4, 4) of a reference time, including the
    ego motion between the two."""
    return (
        inverse(global_from_reference)
        @ global_from_ego(nusc, sample_data)
        @ ego_from_sensor(nusc, sample_data)
    )


def _has_camera(nusc: NuScenes, sample: dict[str, Any]) -> bool:
    return bool(camera_records(nusc, sample))


def camera_records(nusc: NuScenes, sample: dict[str, Any]) -> list[dict[str, Any]]:
    """The sample_data records of a keyframe's cameras, in rig order."""
    records = {
        channel: record
        for channel, token in sample["data"].items()
        if (record := nusc.get("sample_data", token))["sensor_modality"] == "camera"
    }
    return [records[channel] for channel in in_rig_order(records)]


def dataset_cameras(nusc: NuScenes) -> tuple[str, ...]:
    """The cameras of a dataset's keyframes, in rig order; not every keyframe need have them all.

    Raises UserError for none, and for more than MAX_CAMERAS.
    """
    cameras = in_rig_order(
        record["channel"] for sample in nusc.sample for record in camera_records(nusc, sample)
    )
    if not 1 <= len(cameras) <= MAX_CAMERAS:
        found = f"{len(cameras)} cameras ({', '.join(cameras)})" if cameras else "no camera"
        raise UserError(
            f"{Path(nusc.dataroot) / nusc.version} has {found}; 1 to {MAX_CAMERAS} are supported"
        )
    return cameras


def camera_frame(nusc: NuScenes, sample: dict[str, Any]) -> CameraFrame:
    """The cameras of a keyframe. Raises UserError if it has none."""
    records = camera_records(nusc, sample)
    if not records:
        raise UserError(f"sample {sample['token']} has no camera")
    latest = max(records, key=lambda record: record["timestamp"])
    reference = global_from_ego(nusc, latest)
    mountings = np.stack([ego_from_sensor(nusc, record) for record in records])
    rig = CameraRig(
        names=tuple(record["channel"] for record in records),
        intrinsics=np.stack([_intrinsics(nusc, record) for record in records]),
        ego_from_camera=compensate(
            mountings,
            np.stack([global_from_ego(nusc, record) for record in records]),
            reference,
        ),
        image_sizes=np.array([(record["width"], record["height"]) for record in records]),
        distortion=np.zeros((len(records), 8)),  # nuScenes images are rectified
        mountings=mountings,
    )
    paths = tuple(Path(nusc.dataroot) / record["filename"] for record in records)
    return CameraFrame(sample["token"], latest["timestamp"], rig, paths, reference)


def read_images(frame: CameraFrame, views: Sequence[View] | None = None) -> list[NDArray[np.uint8]]:
    """The images of a frame, (height, width, 3) uint8 RGB each.

    views: one per camera, how the network is shown its image, which may be read at a reduced size
    as fine as that. None: full size. Raises UserError that names a file which is missing, damaged
    or not of the tables' size.
    """
    images = []
    sizes = [(width, height) for width, height in frame.rig.image_sizes.tolist()]
    fine = [size[::-1] for size in sizes] if views is None else [v.scaled_size for v in views]
    for path, size, rows_columns in zip(frame.image_paths, sizes, fine, strict=True):
        try:
            content = path.read_bytes()
            check_fetched(path, content)
            images.append(decode_camera_image(content, size, rows_columns))
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing; the dataset is incomplete") from error
        except UserError as error:
            told = str(error)
            raise UserError(told if str(path) in told else f"{path}: {told}") from error
    return images


def lidar_points(nusc: NuScenes, sample: dict[str, Any], global_from_ego_: Array) -> Array:
    """The keyframe's LiDAR points (P, 4): x, y, z in the given ego pose's frame, and intensity."""
    if "LIDAR_TOP" not in sample["data"]:
        raise UserError(f"sample {sample['token']} has no LIDAR_TOP")
    record = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
    points = read_lidar(Path(nusc.dataroot) / record["filename"])
    ego_from_lidar = reference_from_sensor(nusc, record, global_from_ego_)
    return np.concatenate([transform_points(ego_from_lidar, points[:, :3]), points[:, 3:4]], axis=1)


def annotated_objects(
    nusc: NuScenes, sample: dict[str, Any], global_from_ego_: Array
) -> Annotations:
    """A keyframe's annotated objects in the frame of the given ego pose (4, 4)."""
    ego_from_global = inverse(global_from_ego_)
    boxes, velocities, labels, attributes, tokens = [], [], [], [], []
    lidar_counts, radar_counts = [], []
    for token in sample["anns"]:
        record = nusc.get("sample_annotation", token)
        name = category_to_detection_name(record["category_name"])
        if name is None:
            continue
        boxes.append(
            _ego_box(ego_from_global, record["translation"], record["size"], record["rotation"])
        )
        velocities.append((ego_from_global[:3, :3] @ nusc.box_velocity(token))[:2])
        labels.append(CLASSES.index(name))
        names = [nusc.get("attribute", item)["name"] for item in record["attribute_tokens"]]
        attributes.append(ATTRIBUTES.index(names[0]) if names else NO_ATTRIBUTE)
        tokens.append(token)
        lidar_counts.append(record["num_lidar_pts"])
        radar_counts.append(record["num_radar_pts"])
    return Annotations(
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 7),
        velocities=np.array(velocities, dtype=np.float64).reshape(-1, 2),
        labels=np.array(labels, dtype=np.int64),
        attributes=np.array(attributes, dtype=np.int64),
        tokens=tuple(tokens),
        num_lidar_points=np.array(lidar_counts, dtype=np.int64),
        num_radar_points=np.array(radar_counts, dtype=np.int64),
    )


def submission_boxes(
    detections: Detections, sample_token: str, global_from_ego_: Array
) -> list[dict[str, Any]]:
    """Detections in the frame of the given ego pose, as one sample of a nuScenes submission."""
    result = []
    for box, score, label, velocity, attribute in zip(
        detections.boxes,
        detections.scores,
        detections.labels,
        detections.velocities,
        detections.attributes,
        strict=True,
    ):
        pose = global_from_ego_ @ box_transform(box, global_from_ego_[2, :3])
        length, width, height = (float(side) for side in box[3:6])
        result.append(
            {
                "sample_token": sample_token,
                "translation": pose[:3, 3].tolist(),
                "size": [width, length, height],
                "rotation": quaternion_of(pose).tolist(),
                "velocity": (global_from_ego_[:2, :2] @ velocity).tolist(),
                "detection_name": CLASSES[label],
                "detection_score": float(score),
                "attribute_name": ATTRIBUTES[attribute] if attribute != NO_ATTRIBUTE else "",
            }
        )
    return result


def ego_boxes(boxes: Iterable[EvalBox], global_from_ego_: Array) -> Array:
    """Boxes of the devkit's evaluation as (M, 7) in the frame of the given ego pose (4, 4)."""
    ego_from_global = inverse(global_from_ego_)
    converted = [
        _ego_box(ego_from_global, box.translation, box.size, box.rotation) for box in boxes
    ]
    return np.array(converted, dtype=np.float64).reshape(-1, 7)


def _ego_box(
    ego_from_global: Array, translation: ArrayLike, size: Sequence[float], rotation: ArrayLike
) -> list[float]:
    """A box in nuScenes' convention (global frame, width-length-height) as one in base_link."""
    pose = ego_from_global @ transform_from(rotation, translation)
    width, length, height = size
    return [*pose[:3, 3], length, width, height, yaw_of(pose)]


def _intrinsics(nusc: NuScenes, sample_data: dict[str, Any]) -> Array:
    record = nusc.get("calibrated_sensor", sample_data["calibrated_sensor_token"])
    return np.asarray(record["camera_intrinsic"], dtype=np.float64)
