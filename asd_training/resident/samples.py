# SPDX-License-Identifier: Apache-2.0
"""Prepared samples that lie on a device, and become augmented batches there.

What a SampleStore holds of each keyframe, and its objects, are tensors with a place for each
keyframe. A batch of draws picks some and augments them, in operations whose shapes do not depend on
values: nothing waits for the device, and a CUDA graph can hold all of it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from asd_perception.cameras.rig import ABSENT_CAMERA
from asd_perception.cameras.view import mostly_seen
from asd_perception.network.config import StudentConfig
from asd_training.config.augmentation import AugmentationConfig
from asd_training.data.augmentation import look_all_round, rows_above
from asd_training.data.index import KeyframeIndex
from asd_training.data.samples import SampleContents, TrainingSample
from asd_training.data.store import SampleStore
from asd_training.data.targets import BACKGROUND, MAX_OBJECTS
from asd_training.resident.augmentation import (
    Cameras,
    Objects,
    augment_cameras,
    augment_images,
    augment_objects,
    augment_points,
    augment_seen,
    in_view,
    mostly_seen_of,
    moved_returns,
    seen_by_a_camera,
)
from asd_training.resident.draws import Draws, unpacked
from asd_training.resident.targets import detection_targets, nearest_returns, pixel_targets


class Keyframes(NamedTuple):
    """What is known of K keyframes; N cameras, the dataset's, and places for M objects.

    images (K, N, margin + rows, columns, 3) uint8, as they are stored. seen (K, N, rows, columns)
    bool: the pixels that a lens sees; where no image is warped (K, N, h, w), of the feature pixels.
    depths (K, N, h, w) float32 and classes int8: the nearest returns, where they are prepared.
    intrinsics (K, N, 3, 3), ego_from_camera (K, N, 4, 4) float64. has_camera (K, N) bool.
    first_camera (K,) int64: that it has. all_round (K,) bool: whether its cameras look all round.
    boxes (K, M, 7), velocities (K, M, 2) float64; labels, attributes (K, M) int64; there, observed
    (K, M) bool. first_point, points_in_all, points_in_present (K,) int64: where its points begin
    in `ResidentSamples.points`, how many there are, and how many of the present sweep, the first.
    """

    images: Tensor
    seen: Tensor
    depths: Tensor
    classes: Tensor
    intrinsics: Tensor
    ego_from_camera: Tensor
    has_camera: Tensor
    first_camera: Tensor
    all_round: Tensor
    boxes: Tensor
    velocities: Tensor
    labels: Tensor
    attributes: Tensor
    there: Tensor
    observed: Tensor
    first_point: Tensor
    points_in_all: Tensor
    points_in_present: Tensor


class ResidentSamples:
    """The samples of a store, on a device. Called with draws, it gives a batch of them.

    A sample is what `KeyframeDataset.sample` gives for the same draw, but for rounding. Each has as
    many points as the richest cloud: those that are missing are not finite, which networks leave
    out.
    """

    def __init__(
        self,
        store: SampleStore,
        index: KeyframeIndex,
        config: StudentConfig,
        contents: SampleContents,
        augmentation: AugmentationConfig | None,
        device: torch.device,
    ) -> None:
        """store: of these contents and this augmentation. On the device "meta" there are shapes
        alone; `nbytes` is then what a real device would hold.

        Raises UserError where the store is damaged.
        """
        self.config, self.contents, self.augmentation = config, contents, augmentation
        self.device = device
        self.cameras = len(index.cameras) if contents.images else 0
        self.warped = augmentation is not None and augmentation.warps_images and contents.images
        self.margin = rows_above(augmentation, config.image_size) if contents.images else 0
        numbers = store.records["keyframes"]
        clouds = np.diff(store.records["clouds"])
        self.most_points = int(clouds.max(initial=0))
        keeps_age = contents.sweeps > 0
        self.keyframes = self._places(index, numbers)
        self.points = torch.zeros(int(clouds.sum()), 5 if keeps_age else 3, device=device)
        self.place_of = torch.zeros(len(index), dtype=torch.int64, device=device)
        self.nowhere = torch.from_numpy(ABSENT_CAMERA).to(device)
        if device.type != "meta":
            self._fill(store, index, numbers)

    @property
    def nbytes(self) -> int:
        """Bytes of all that stays on the device."""
        return sum(tensor.nbytes for tensor in (*self.keyframes, self.points, self.place_of))

    def _places(self, index: KeyframeIndex, numbers: NDArray[np.int64]) -> Keyframes:
        """Room for keyframes, those of these numbers in the index."""
        config, device = self.config, self.device
        k, n, (rows, columns) = len(numbers), self.cameras, config.image_size
        objects = np.diff(index.object_offsets)[numbers]
        m = max(MAX_OBJECTS, int(objects.max(initial=0)))
        features = (k, n, *config.feature_size)

        def room(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        return Keyframes(
            images=room(k, n, self.margin + rows, columns, 3, dtype=torch.uint8),
            seen=room(*((k, n, rows, columns) if self.warped else features), dtype=torch.bool),
            depths=room(*features, dtype=torch.float32),
            classes=room(*features, dtype=torch.int8),
            intrinsics=room(k, n, 3, 3),
            ego_from_camera=room(k, n, 4, 4),
            has_camera=room(k, n, dtype=torch.bool),
            first_camera=room(k, dtype=torch.int64),
            all_round=room(k, dtype=torch.bool),
            boxes=room(k, m, 7),
            velocities=room(k, m, 2),
            labels=room(k, m, dtype=torch.int64),
            attributes=room(k, m, dtype=torch.int64),
            there=room(k, m, dtype=torch.bool),
            observed=room(k, m, dtype=torch.bool),
            first_point=room(k, dtype=torch.int64),
            points_in_all=room(k, dtype=torch.int64),
            points_in_present=room(k, dtype=torch.int64),
        )

    def _fill(self, store: SampleStore, index: KeyframeIndex, numbers: NDArray[np.int64]) -> None:
        """Copy the store, keyframe by keyframe, to its place on the device."""
        at, config = self.keyframes, self.config
        self.place_of[torch.from_numpy(numbers).to(self.device)] = torch.arange(
            len(numbers), device=self.device
        )
        first_points = store.records["clouds"]
        for i, number in enumerate(tqdm(numbers, desc=f"samples to {self.device}", delay=1)):
            recorded = store(int(number))
            cameras, points = recorded.cameras, recorded.points
            if self.cameras:
                there = index.has_camera[number]
                seen = cameras.seen
                if not self.warped:
                    seen = mostly_seen(seen, config.backbone.stride)
                for tensor, values, absent in (
                    (at.images, np.array(cameras.images), 0),
                    (at.seen, seen, True),
                    (at.depths, recorded.returns.depths, np.inf),
                    (at.classes, recorded.returns.classes, BACKGROUND),
                    (at.intrinsics, cameras.intrinsics, cameras.intrinsics[0]),
                    (at.ego_from_camera, cameras.ego_from_camera, ABSENT_CAMERA),
                    (at.has_camera, True, False),
                ):
                    of_all = np.empty(tensor.shape[1:], dtype=_NUMPY[tensor.dtype])
                    of_all[there], of_all[~there] = values, absent
                    tensor[i].copy_(torch.from_numpy(of_all))
                at.first_camera[i] = int(there.argmax())
                at.all_round[i] = look_all_round(cameras, config.image_size[1])
            objects = index.objects(int(number))
            of_objects = slice(len(objects.boxes))
            for tensor, of_each in (
                (at.boxes, objects.boxes),
                (at.velocities, objects.velocities),
                (at.labels, objects.labels),
                (at.attributes, objects.attributes),
                (at.there, np.ones(len(objects.boxes), bool)),
                (at.observed, objects.observed),
            ):
                tensor[i, of_objects].copy_(torch.from_numpy(of_each))
            first, last = (int(point) for point in first_points[i : i + 2])
            kept = points[:, : self.points.shape[1]].copy()
            self.points[first:last].copy_(torch.from_numpy(kept))
            at.first_point[i], at.points_in_all[i] = first, last - first
            at.points_in_present[i] = int((points[:, 4] == points[:1, 4]).sum())

    def __call__(self, draws: Tensor) -> TrainingSample:
        """The batch of these draws (B, D), `packed`, which lie on this device."""
        config, contents = self.config, self.contents
        drawn = unpacked(draws, self.cameras)
        place = self.place_of[drawn.keyframes]
        at = Keyframes(*(tensor[place] for tensor in self.keyframes))

        cameras = augment_cameras(
            drawn, Cameras(at.intrinsics, at.ego_from_camera), config.image_size[1]
        )
        objects = Objects(at.boxes, at.velocities, at.labels, at.attributes, at.there, at.observed)
        objects = augment_objects(drawn, objects)
        if self.cameras and not contents.network_sees_lidar:
            visible = in_view(objects, cameras, config.image_size)
            stay = seen_by_a_camera(drawn, visible, at.has_camera, at.all_round)
            objects = objects._replace(there=objects.there & stay)
        cameras = self._without_absent(drawn, cameras, at)

        points, real = self._points(drawn, at)
        seen = augment_seen(drawn, at.seen, self.warped)
        if self.warped:
            seen = mostly_seen_of(seen, config.backbone.stride)
        if contents.projects_points(self.augmentation):
            present = torch.arange(self.most_points, device=self.device)
            present = present < at.points_in_present[:, None]
            depths, classes = nearest_returns(
                points[..., :3].double(), present, objects, cameras, config
            )
        else:
            depths, classes = moved_returns(drawn, at.depths, at.classes)
        depths = depths.where(seen, torch.inf)
        images = augment_images(drawn, at.images, self.margin, self.warped)
        images = images.where(at.has_camera[..., None, None, None], 0)

        batch = len(draws)
        sample = torch.arange(batch, device=self.device)[:, None].expand(batch, self.most_points)
        cloud = torch.where(real[..., None], points, torch.nan).flatten(0, 1)
        if not contents.sweeps:
            cloud, sample = points.new_zeros(0, 5), sample[:0]
        return TrainingSample(
            images=images.movedim(-1, 2),
            intrinsics=cameras.intrinsics.float(),
            ego_from_camera=cameras.ego_from_camera.float(),
            seen=seen,
            points=cloud,
            point_sample=sample.flatten(),
            pixels=pixel_targets(depths, classes, config.depth),
            objects=detection_targets(objects, config.bev),
            keyframe=drawn.keyframes,
            mirrored=drawn.bev_flip,
        )

    def _without_absent(self, drawn: Draws, cameras: Cameras, at: Keyframes) -> Cameras:
        """The cameras, of which those that are not there, or dropped, see nothing."""
        if not self.cameras:
            return cameras
        first = at.first_camera[:, None, None, None].expand(-1, 1, 3, 3)
        there = at.has_camera[..., None, None]
        intrinsics = cameras.intrinsics.where(there, cameras.intrinsics.gather(1, first))
        sees = at.has_camera & ~drawn.dropped
        poses = cameras.ego_from_camera.where(sees[..., None, None], self.nowhere)
        return Cameras(intrinsics, poses)

    def _points(self, drawn: Draws, at: Keyframes) -> tuple[Tensor, Tensor]:
        """The points (B, P, 3 or 5) float32, augmented, and which of them are real (B, P)."""
        number = torch.arange(self.most_points, device=self.device)
        real = number < at.points_in_all[:, None]
        points = self.points[torch.where(real, at.first_point[:, None] + number, 0)]
        moved = augment_points(drawn, points[..., :3]).float()
        return torch.cat([moved, points[..., 3:]], dim=-1), real


def made_resident(
    store: SampleStore,
    index: KeyframeIndex,
    config: StudentConfig,
    contents: SampleContents,
    augmentation: AugmentationConfig | None,
    device: torch.device,
    beside: int = 0,
) -> ResidentSamples | str:
    """The samples of a store on a device, or why they are better left to the loader, in a line.

    beside: as in `lacking_room`.
    Raises UserError where the store is damaged.
    """
    if device.type not in ("cpu", "cuda"):
        return f"augmentation in float64 is for a CPU or a CUDA GPU, not for {device}"
    if augmentation is not None and augmentation.resize[0] <= 0.5 and contents.images:
        return f"resize to {augmentation.resize[0]} averages pixels, which only the loader does"
    if augmentation is not None and contents.images:
        for key in ("camera_rotation", "photometric"):
            if getattr(augmentation, key):
                return f"{key} is {getattr(augmentation, key)}, and only the loader does it"
    arguments = store, index, config, contents, augmentation
    size = ResidentSamples(*arguments, torch.device("meta")).nbytes
    return lacking_room(size, device, beside) or ResidentSamples(*arguments, device)


def lacking_room(size: int, device: torch.device, beside: int = 0) -> str | None:
    """Why so many bytes of prepared data should not be put on a device; None: there is room.

    beside: bytes of prepared data that are there already, and count together with these.
    """
    free = free_bytes(device) + beside
    if size + beside <= MEMORY_SHARE * free:
        return None
    others = f" beside {beside / 1e9:.1f} GB of answers" if beside else ""
    return (
        f"they take {size / 1e9:.1f} GB{others}, and at most {MEMORY_SHARE:.0%} of the "
        f"{free / 1e9:.1f} GB that are free on {device} are left to them"
    )


MEMORY_SHARE = 0.5
"""Of a device's free memory that samples and a teacher's answers may take; the rest is for
the network and its batches."""


def free_bytes(device: torch.device) -> int:
    """Memory of a device that is free now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    # Not the free pages, to which those of files that the system keeps at hand do not count.
    available = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.M)
    assert available is not None
    return 1024 * int(available[1])


_NUMPY = {
    torch.uint8: np.uint8,
    torch.bool: np.bool_,
    torch.int8: np.int8,
    torch.float32: np.float32,
    torch.float64: np.float64,
}
