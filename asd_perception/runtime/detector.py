# SPDX-License-Identifier: Apache-2.0
"""The detector: images and a rig in, objects in 3D out.

The node, the offline evaluation and the demo all call this one class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from asd_perception.constants import CAMERAS
from asd_perception.errors import UserError, memory_checked
from asd_perception.geometry import Array
from asd_perception.network import model_directory
from asd_perception.network.center_head import Decoded
from asd_perception.network.config import StudentConfig
from asd_perception.network.student import Student
from asd_perception.preprocessing import (
    image_from_camera,
    input_from_image,
    preprocess,
    reduction_of,
)
from asd_perception.rig import ABSENT_CAMERA, CameraRig
from asd_perception.runtime.backend import Backend, Features
from asd_perception.runtime.cpu import CpuBackend
from asd_perception.runtime.cuda import CudaBackend
from asd_perception.runtime.detections import Detections

T = TypeVar("T")


@dataclass(frozen=True)
class EncodedImage(Generic[Features]):
    """One camera's image, encoded. intrinsics: (3, 3) of the network's input."""

    features: Features
    intrinsics: Array


class Detector:
    """A student network, ready to detect.

    >>> detector = Detector.from_pretrained("asd_perception/models/tiny")
    >>> detections = detector.detect(images, rig)
    """

    def __init__(self, student: Student, device: str = "cpu", model: Path | None = None) -> None:
        """model: the student's model directory, whose ONNX graphs run on a CPU where it has any.

        Raises UserError for a device that does not exist or has too little memory, and for graphs
        that are not the student's.
        """
        self.device = find_device(device)
        with memory_checked(self.device):
            self.student = student.to(self.device).eval()
            # Any: what an encoded image is, the backend alone knows.
            self.backend: Backend[Any] = _backend(self.student, self.device, model)

    @classmethod
    def from_pretrained(
        cls, path: str | Path = model_directory.TINY, device: str = "cpu"
    ) -> Detector:
        """Load a model directory (default: the tiny student that ships with the package).

        device: "cpu", "cuda", "cuda:N", or "auto" (a GPU where there is one).
        Raises UserError if the folder is no valid model directory, or the device does not exist or
        has too little memory.
        """
        path = Path(path)
        return cls(model_directory.load(path), device, path)

    def describe(self) -> dict[str, str]:
        """What really runs, in words: device, libraries, and what could not be used and why."""
        return self.backend.describe()

    @property
    def config(self) -> StudentConfig:
        return self.student.config

    def warm_up(self) -> None:
        """Detect once in black images, encoded one by one as they come to a node, so that the first
        real frame is no slower than the rest."""
        height, width = self.config.image_size
        black = np.zeros((height, width, 3), np.uint8)
        seen = {
            name: self.encode(black, (width, height), np.eye(3), np.zeros(8)) for name in CAMERAS
        }
        self.detect_encoded(seen, dict.fromkeys(CAMERAS, np.eye(4)), 0.0)

    def detect(
        self, images: Sequence[NDArray[np.uint8]], rig: CameraRig, score_threshold: float = 0.05
    ) -> Detections:
        """Find the objects of one frame.

        images: one (height, width, 3) uint8 RGB array per camera, in the rig's order; reduced ones
            (asd_perception.preprocessing) serve as well.
        rig: the cameras that gave an image, at the frame's reference time; the others are taken
            to see nothing (`rig.ABSENT_CAMERA`).
        On a GPU the first call with all cameras takes some 10 s more: it compiles for six at once.
        Returns objects of at least `score_threshold`, best first, with the simulated points.
        Raises UserError for a camera of another name, or an image that disagrees with the rig, and
        OutOfMemoryError.
        """
        with memory_checked(self.device):
            prepared = _by_camera(self._prepare, images, rig, self.backend.parallel_images)
            features = self.backend.encode_frame([image for image, _ in prepared])
        encoded = {
            name: EncodedImage(of_image, of_input)
            for name, of_image, (_, of_input) in zip(rig.names, features, prepared, strict=True)
        }
        return self.detect_encoded(encoded, _poses(rig), score_threshold)

    def encode(
        self,
        image: NDArray[np.uint8],
        image_size: tuple[int, int],
        intrinsics: Array,
        distortion: Array,
    ) -> EncodedImage:
        """One camera's part of the work, as soon as its image is there; any thread may call it.

        image (height, width, 3) uint8 RGB, in full or reduced (asd_perception.preprocessing);
        image_size (width, height), intrinsics (3, 3) and distortion (8,) of the camera.
        Raises UserError for an image of another size, and OutOfMemoryError.
        """
        with memory_checked(self.device):
            image, of_input = self._prepare(image, image_size, intrinsics, distortion)
            return EncodedImage(self.backend.encode(image), of_input)

    def _prepare(
        self,
        image: NDArray[np.uint8],
        image_size: tuple[int, int],
        intrinsics: Array,
        distortion: Array,
    ) -> tuple[NDArray[np.uint8], Array]:
        """An image as the network's `encode` takes it, and the intrinsics of its input."""
        of_image, of_input = self._intrinsics(image, image_size, intrinsics)
        if np.any(distortion) or not self.backend.accepts_raw(image):
            image = preprocess(image, self.config.image_size, of_image, distortion)
        return image, of_input

    def _intrinsics(
        self, image: NDArray[np.uint8], image_size: tuple[int, int], intrinsics: Array
    ) -> tuple[Array, Array]:
        """The intrinsics of an image, which may be a reduced one, and of the network's input."""
        of_image = image_from_camera(reduction_of(image, image_size)) @ intrinsics
        height, width = image.shape[:2]
        return of_image, input_from_image(width, height, self.config.image_size) @ of_image

    def detect_encoded(
        self,
        encoded: Mapping[str, EncodedImage],
        ego_from_camera: Mapping[str, Array],
        score_threshold: float,
    ) -> Detections:
        """`detect` for images that are encoded already; by camera, as are their poses (4, 4)."""
        intrinsics = {name: image.intrinsics for name, image in encoded.items()}
        with memory_checked(self.device):
            found = self.backend.detect(
                {name: image.features for name, image in encoded.items()},
                *_calibration(intrinsics, ego_from_camera),
            )
        detections = detections_of(found.objects, 0, score_threshold)
        if found.points is None:  # a camera-only student has none
            return detections
        there = torch.tensor([name in encoded for name in CAMERAS])
        points = found.points[0].unflatten(0, (len(CAMERAS), -1))[there]
        return dataclasses.replace(detections, simulated_points=points.flatten(0, 1).numpy())

    def inputs(
        self, images: Sequence[NDArray[np.uint8]], rig: CameraRig
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the student's `forward` takes for `detect`'s frame, on the CPU."""
        size = self.config.image_size

        def prepare(
            image: NDArray[np.uint8],
            image_size: tuple[int, int],
            intrinsics: Array,
            distortion: Array,
        ) -> tuple[NDArray[np.uint8], Array]:
            of_image, of_input = self._intrinsics(image, image_size, intrinsics)
            return preprocess(image, size, of_image, distortion), of_input

        found = dict(zip(rig.names, _by_camera(prepare, images, rig), strict=True))
        intrinsics = {name: of_input for name, (_, of_input) in found.items()}
        pixels = torch.zeros(1, len(CAMERAS), 3, *size, dtype=torch.uint8)
        for name, (image, _) in found.items():
            pixels[0, CAMERAS.index(name)] = torch.from_numpy(image).permute(2, 0, 1)
        return pixels, *_calibration(intrinsics, _poses(rig))


def _backend(student: Student, device: torch.device, model: Path | None) -> Backend[Any]:
    """What runs a student on its device. model: as for Detector."""
    return CudaBackend(student) if device.type == "cuda" else CpuBackend(student, model)


def _by_camera(
    work: Callable[[NDArray[np.uint8], tuple[int, int], Array, Array], T],
    images: Sequence[NDArray[np.uint8]],
    rig: CameraRig,
    at_once: int = 1,
) -> list[T]:
    """What `work` makes of each camera's image and calibration; so many of them at once."""
    if len(images) != len(rig):
        raise UserError(f"{len(images)} images for a rig of {len(rig)} cameras")

    def one(i: int) -> T:
        size = int(rig.image_sizes[i, 0]), int(rig.image_sizes[i, 1])
        try:
            return work(images[i], size, rig.intrinsics[i], rig.distortion[i])
        except UserError as error:
            raise UserError(f"{rig.names[i]}: {error}") from error

    if at_once == 1:
        return [one(i) for i in range(len(rig))]
    with ThreadPoolExecutor(at_once) as threads:
        return list(threads.map(one, range(len(rig))))


def _calibration(
    intrinsics: Mapping[str, Array], ego_from_camera: Mapping[str, Array]
) -> tuple[torch.Tensor, torch.Tensor]:
    """One frame's intrinsics (1, N, 3, 3) and poses (1, N, 4, 4) of all CAMERAS.

    One that is not in `intrinsics` is placed where it sees nothing.
    """
    unknown = [name for name in intrinsics if name not in CAMERAS]
    if unknown or not intrinsics:
        raise UserError(
            f"the rig's camera {unknown[0]} is none of {', '.join(CAMERAS)}"
            if unknown
            else "a frame needs an image of one camera at least"
        )
    some = next(iter(intrinsics.values()))
    matrices = np.stack([intrinsics.get(name, some) for name in CAMERAS])
    poses = np.stack([ego_from_camera.get(name, ABSENT_CAMERA) for name in CAMERAS])
    return torch.from_numpy(matrices).float()[None], torch.from_numpy(poses).float()[None]


def _poses(rig: CameraRig) -> dict[str, Array]:
    return dict(zip(rig.names, rig.ego_from_camera, strict=True))


def detections_of(decoded: Decoded, sample: int, score_threshold: float) -> Detections:
    """One sample's objects of at least `score_threshold`, without simulated points."""
    boxes, scores, labels, velocities, attributes = (x[sample].cpu().numpy() for x in decoded)
    keep = scores >= score_threshold
    return Detections(
        boxes=boxes[keep],
        scores=scores[keep],
        labels=labels[keep],
        velocities=velocities[keep],
        attributes=attributes[keep],
    )


def find_device(name: str) -> torch.device:
    """The torch device of a name: "cpu", "cuda", "cuda:N" or "auto". Raises UserError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"unknown device {name!r}; use cpu, cuda or auto") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda is not available on this machine; use cpu or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device {name} does not exist; there are {torch.cuda.device_count()} GPUs")
    return device
