# SPDX-License-Identifier: Apache-2.0
"""A frozen teacher's answers, prepared: what a student learns from, in files that are mapped into
memory, beside the prepared samples and shared like them.

Each kind of map (`TeacherAnswer`) that some loss uses is a folder of its own, so that runs with
other losses share it:

    CACHE/<key>/maps.bin    (R, C, rows, columns) bfloat16: an answer per keyframe; where samples
                            may be mirrored, then one per mirrored keyframe
    CACHE/<key>/records.npz identity (text), checksums (R,)

The key is the beginning of the identity, a digest of the teacher's weights and of all that its
input depends on. An answer can be prepared where augmentation gives the teacher nothing new to see:
`changes` tells. Mirroring does, but only one thing; the teacher is asked about that, too, since its
convolutions do not commute with it.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from asd_perception.configuration import to_dict
from asd_perception.errors import UserError
from asd_perception.files import atomic_directory, built_once
from asd_perception.network.config import StudentConfig
from asd_training.config.augmentation import AugmentationConfig
from asd_training.config.distillation import DistillConfig
from asd_training.data.index import KeyframeIndex
from asd_training.data.samples import (
    KeyframeDataset,
    SampleContents,
    TrainingSample,
    collate,
    read_on_all_cores,
)
from asd_training.data.store import Readings, checksum
from asd_training.models.teacher import Teacher, TeacherAnswer, run_teacher

FORMAT = 2
"""Increment it when a teacher's answer changes its meaning, or the layout of the files."""

BATCH = 4  # keyframes that the teacher is asked about at once


_STILL_WORLD = {"bev_rotation": 0.0, "bev_scale": [1.0, 1.0]}
_STILL_IMAGES = {
    "resize": [1.0, 1.0],
    "rotation": 0.0,
    "camera_rotation": 0.0,
    "flip": False,
    "colour_gain": 0.0,
    "colour_offset": 0.0,
    "photometric": 0.0,
    "camera_dropout": 0.0,
}
"""The values of the augmentation's keys that change nothing. Any other key counts as a change."""


def changes(augmentation: AugmentationConfig | None, uses_cameras: bool) -> list[str]:
    """The keys of an augmentation because of which a teacher sees something else in each sample.

    Of images, a teacher without cameras sees nothing.
    """
    if augmentation is None:
        return []
    harmless = {"bev_flip"} if uses_cameras else {"bev_flip", *_STILL_IMAGES}
    still = _STILL_WORLD | _STILL_IMAGES
    return [
        key
        for key, value in to_dict(augmentation).items()
        if key not in harmless and (key not in still or value != still[key])
    ]


class PreparedAnswers:
    """A teacher's answers to the samples of some keyframes; see `open`.

    Called with a batch, it gives what the teacher would, in bfloat16; maps that no loss uses are
    empty. They are read from the files, unless `move` has put all of them on a device.
    """

    def __init__(
        self,
        folders: dict[str, Path],
        maps: dict[str, Tensor],
        checksums: dict[str, NDArray[np.uint32]],
        places: Tensor,
        keyframes: int,
    ) -> None:
        """By name of the map: its folder, the maps (R, C, rows, columns) and their checksums (R,).

        places: of each keyframe of the index among the `keyframes`.
        """
        self.folders, self.maps, self.checksums = folders, maps, checksums
        self.places, self.keyframes = places, keyframes

    @classmethod
    def open(
        cls,
        cache: str | Path,
        teacher: Teacher,
        losses: DistillConfig,
        index: KeyframeIndex,
        keyframes: NDArray[np.int64],
        config: StudentConfig,
        mirrored: bool,
        device: torch.device,
    ) -> PreparedAnswers:
        """The answers to these keyframes, in the folder `cache`; the teacher is asked for those
        that are not there yet, on `device`.

        losses: what is needed. config: the student's, of the samples. mirrored: whether samples may
        be. If several processes find none, one asks while the others wait; damaged ones are made
        anew. Raises UserError, or OSError where there is no room for them.
        """
        questions = _Questions(index, keyframes, config, teacher, mirrored)
        identities = {name: _digest(name, questions.digest) for name in _used(losses, teacher)}
        folders = {name: Path(cache) / identity[:16] for name, identity in identities.items()}
        names = {folder: name for name, folder in folders.items()}

        def read(folder: Path) -> tuple[Tensor, NDArray[np.uint32]] | str:
            name = names[folder]
            return _read(folder, identities[name], _shape(name, teacher), len(questions))

        def build(missing: list[Path]) -> None:
            named = {names[folder]: folder for folder in missing}
            _build(named, identities, questions, teacher, device)

        lock = Path(cache) / f"{questions.digest[:16]}.lock"
        found = dict(zip(folders, built_once(lock, [*folders.values()], read, build), strict=True))
        places = torch.full((len(index),), -1)
        places[torch.from_numpy(keyframes)] = torch.arange(len(keyframes))
        return cls(
            folders,
            {name: maps for name, (maps, _) in found.items()},
            {name: checksums for name, (_, checksums) in found.items()},
            places,
            len(keyframes),
        )

    @property
    def bytes_per_keyframe(self) -> int:
        """What the maps of a keyframe take, mirrored or not."""
        return self.nbytes // self.keyframes

    @property
    def nbytes(self) -> int:
        """What all maps take."""
        return sum(maps.nbytes for maps in self.maps.values())

    @property
    def device(self) -> torch.device:
        """Where they are; "cpu": in the files."""
        return self.places.device

    def move(self, device: torch.device) -> None:
        """Copy them to a device. Raises UserError if the files have changed since then."""
        self._check(torch.arange(len(next(iter(self.maps.values())))))
        self.places = self.places.to(device)
        self.maps = {name: maps.to(device) for name, maps in self.maps.items()}

    def __call__(self, batch: TrainingSample) -> TeacherAnswer:
        """Raises UserError if the files have changed since they were written."""
        keyframe, mirrored = batch.keyframe.to(self.device), batch.mirrored.to(self.device)
        rows = self.places[keyframe] + self.keyframes * mirrored
        if rows.device.type == "cpu":
            self._check(rows)
        asking = batch.keyframe.device
        maps = {name: maps.index_select(0, rows).to(asking) for name, maps in self.maps.items()}
        nothing = torch.zeros(0, device=asking)
        lidar_bev = maps.get("lidar_bev", nothing)
        return TeacherAnswer(
            lidar_bev=lidar_bev,
            camera_bev=maps.get("camera_bev"),
            fused_bev=maps.get("fused_bev", lidar_bev),  # which it is without cameras
            encoded_bev=maps.get("encoded_bev", nothing),
            heatmap=maps.get("heatmap", nothing),
            boxes=maps.get("boxes", nothing),
        )

    def _check(self, rows: Tensor) -> None:
        for name, maps in self.maps.items():
            values = maps.view(torch.int16).numpy()
            for row in rows.tolist():
                if checksum(values[row]) != self.checksums[name][row]:
                    raise UserError(f"{self.folders[name]} is damaged (answer {row}); remove it")


class _Questions(Dataset[TrainingSample]):
    """The samples about which a teacher is asked: keyframes as recorded, then those mirrored."""

    def __init__(
        self,
        index: KeyframeIndex,
        keyframes: NDArray[np.int64],
        config: StudentConfig,
        teacher: Teacher,
        mirrored: bool,
    ) -> None:
        contents = SampleContents(teacher.uses_cameras, teacher.config.sweeps, pixel_targets=False)
        self.samples = KeyframeDataset(index, config, contents)
        self.keyframes, self.teacher, self.mirrored = keyframes, teacher, mirrored

    def __len__(self) -> int:
        return len(self.keyframes) * (1 + self.mirrored)

    def __getitem__(self, row: int) -> TrainingSample:
        mirrored, place = divmod(row, len(self.keyframes))
        keyframe = int(self.keyframes[place])
        return self.samples.mirrored(keyframe) if mirrored else self.samples[keyframe]

    @cached_property
    def digest(self) -> str:
        """Of all that the teacher's answers depend on."""
        of_teacher = hashlib.blake2b(json.dumps(to_dict(self.teacher.config)).encode())
        for tensor in self.teacher.state_dict().values():
            of_teacher.update(tensor.cpu().numpy().tobytes())
        of_samples = Readings(
            self.samples.index, self.keyframes, self.samples.config, self.samples.contents, None
        ).identity()
        features = self.samples.config.feature_size  # of the pixels that a lens sees
        return _digest(FORMAT, self.mirrored, of_samples, features, of_teacher.hexdigest())


def _digest(*values: Any) -> str:
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=32).hexdigest()


def _used(losses: DistillConfig, teacher: Teacher) -> list[str]:
    """The maps that these losses use, by their names in TeacherAnswer."""
    used = {name for key, methods in _USED.items() for name in methods[getattr(losses, key)]}
    if not teacher.uses_cameras:
        used = {"lidar_bev" if name == "fused_bev" else name for name in used - {"camera_bev"}}
    return [name for name in TeacherAnswer._fields if name in used]


_USED: dict[str, dict[str, list[str]]] = {
    "cross_modal": {
        "none": [],
        "raw": ["lidar_bev"],
        "l2": ["lidar_bev"],
        "adaptive": ["lidar_bev"],
        "adaptive_ray": ["lidar_bev"],
    },
    "multi_modal": {
        "none": [],
        "raw": ["camera_bev", "fused_bev"],
        "l2": ["fused_bev"],
        "adaptive": ["fused_bev"],
        "adaptive_ray": ["encoded_bev"],
        "functional": ["heatmap", "boxes"],
    },
    "response": {
        "none": [],
        "unweighted": ["heatmap", "boxes"],
        "soft": ["heatmap", "boxes"],
        "replaces": ["heatmap", "boxes"],
    },
}
"""The maps that a loss uses, by its key in DistillConfig and its value there."""


def _shape(name: str, teacher: Teacher) -> tuple[int, int, int]:
    """Channels, rows and columns of a map."""
    network, head = teacher.config.network, teacher.head
    channels = {
        "encoded_bev": network.encoder_channels[0],
        "heatmap": head.heatmap.out_channels,
        "boxes": head.boxes.out_channels,
    }.get(name, network.bev_channels)
    return channels, network.bev.size, network.bev.size


def _read(
    folder: Path, identity: str, shape: tuple[int, int, int], rows: int
) -> tuple[Tensor, NDArray[np.uint32]] | str:
    """The maps in a folder with their checksums, or why there are none."""
    try:
        with np.load(folder / "records.npz", allow_pickle=False) as file:
            records = dict(file)
        if records["identity"].item() != identity:
            return "it holds other answers"
        file, numbers = folder / "maps.bin", rows * int(np.prod(shape))
        if file.stat().st_size != 2 * numbers:
            return f"{file.name} has {file.stat().st_size} bytes, not {2 * numbers}"
        maps = torch.from_file(str(file), shared=False, size=numbers, dtype=torch.bfloat16)
        return maps.view(rows, *shape), records["checksums"]
    except Exception as error:  # a damaged archive fails in too many ways to list
        return " ".join(str(error).split()) or type(error).__name__


@torch.no_grad()
def _build(
    folders: dict[str, Path],
    identities: dict[str, str],
    questions: _Questions,
    teacher: Teacher,
    device: torch.device,
) -> None:
    """Write the maps of these names. The samples are read by as many processes as there are cores;
    on failure, nothing stays."""
    loader: DataLoader[TrainingSample] = read_on_all_cores(questions, BATCH, collate)
    network = teacher.to(device)
    checksums: dict[str, list[int]] = {name: [] for name in folders}
    with ExitStack() as stack:
        into = {name: stack.enter_context(atomic_directory(f)) for name, f in folders.items()}
        files = {name: stack.enter_context((f / "maps.bin").open("wb")) for name, f in into.items()}
        cache = next(iter(folders.values())).parent
        bar = tqdm(desc=f"teacher's answers into {cache}", total=len(questions), unit="keyframe")
        stack.enter_context(bar)
        for batch in loader:
            inputs = {
                name: value.to(device)
                for name, value in batch._asdict().items()
                if isinstance(value, Tensor)  # and not the targets
            }
            with torch.autocast(device.type, enabled=False):  # whoever asks: files are shared
                answer = run_teacher(network, batch._replace(**inputs)).answer
            for name, file in files.items():
                maps = getattr(answer, name).bfloat16().contiguous().cpu().view(torch.int16).numpy()
                file.write(maps.tobytes())
                checksums[name] += map(checksum, maps)
            bar.update(len(batch.keyframe))
        for name, file in files.items():
            file.flush()
            os.fsync(file.fileno())
            np.savez(
                into[name] / "records.npz",
                identity=np.array(identities[name]),
                checksums=np.array(checksums[name], np.uint32),
            )
