# SPDX-License-Identifier: Apache-2.0
"""The detector: images and a rig in, objects in 3D out.

The node, the offline evaluation and the demo all call this one class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from asd_perception import model_directory
from asd_perception.config import StudentConfig
from asd_perception.constants import CAMERAS
from asd_perception.detections import Detections
from asd_perception.errors import UserError
from asd_perception.geometry import Array
from asd_perception.inference import InferenceStudent
from asd_perception.network.center_head import Decoded, decode
from asd_perception.network.student import Student
from asd_perception.preprocessing import (
    image_from_camera,
    input_from_image,
    preprocess,
    reduction_of,
)
from asd_perception.rig import ABSENT_CAMERA, CameraRig


@dataclass(frozen=True)
class CameraInput:
    """One camera's part of the network's input.

    pixels: (3, H, W) uint8 RGB on the detector's device. intrinsics: (3, 3) of these pixels.
    """

    pixels: torch.Tensor
    intrinsics: Array


class Detector:
    """A student network, ready to detect.

    >>> detector = Detector.from_pretrained("asd_perception/models/tiny")
    >>> detections = detector.detect(images, rig)
    """

    def __init__(self, student: Student, device: str = "cpu") -> None:
        self.device = find_device(device)
        self.student = student.to(self.device).eval()
        self.network = InferenceStudent(self.student)
        on_gpu = self.device.type == "cuda"
        self._upload = torch.cuda.Stream(self.device) if on_gpu else None

    @classmethod
    def from_pretrained(
        cls, path: str | Path = model_directory.TINY, device: str = "cpu"
    ) -> Detector:
        """Load a model directory (default: the tiny student that ships with the package).

        device: "cpu", "cuda", "cuda:N", or "auto" (a GPU where there is one).
        Raises UserError if the folder is no valid model directory or the device is not there.
        """
        return cls(model_directory.load(path), device)

    @property
    def config(self) -> StudentConfig:
        return self.student.config

    def warm_up(self) -> None:
        """Detect once in black images, so that the first real frame is no slower than the rest."""
        cameras = len(CAMERAS)
        images = torch.zeros(1, cameras, 3, *self.config.image_size, dtype=torch.uint8)
        intrinsics = torch.eye(3).expand(1, cameras, 3, 3)
        ego_from_camera = torch.eye(4).expand(1, cameras, 4, 4)
        with torch.inference_mode():
            self.network(*(x.to(self.device) for x in (images, intrinsics, ego_from_camera)))

    def detect(
        self, images: Sequence[NDArray[np.uint8]], rig: CameraRig, score_threshold: float = 0.05
    ) -> Detections:
        """Find the objects of one frame.

        images: one (height, width, 3) uint8 RGB array a camera, in the rig's order; reduced ones
            (asd_perception.preprocessing) serve as well.
        rig: the cameras that gave an image, at the frame's reference time; the others are taken
            to see nothing (`rig.ABSENT_CAMERA`).
        Returns objects of at least `score_threshold`, best first, with the simulated points.
        Raises UserError for a camera of another name, or an image that disagrees with the rig.
        """
        inputs = self._camera_inputs(images, rig)
        return self.detect_inputs(inputs, _poses(rig), score_threshold)

    def camera_input(
        self,
        image: NDArray[np.uint8],
        image_size: tuple[int, int],
        intrinsics: Array,
        distortion: Array,
    ) -> CameraInput:
        """One camera's part of the input: undistorted, cropped, resized, and on the device.

        image (height, width, 3) uint8 RGB, in full or reduced (asd_perception.preprocessing);
        image_size (width, height), intrinsics (3, 3) and distortion (8,) of the camera.
        Raises UserError for an image of another size.
        """
        size = self.config.image_size
        intrinsics = image_from_camera(reduction_of(image, image_size)) @ intrinsics
        pixels = torch.from_numpy(preprocess(image, size, intrinsics, distortion))
        to_input = input_from_image(image.shape[1], image.shape[0], size)
        if self._upload is None:
            return CameraInput(pixels.permute(2, 0, 1).to(self.device), to_input @ intrinsics)
        with torch.cuda.stream(self._upload):  # beside the network that runs on the frame before
            on_device = pixels.to(self.device).permute(2, 0, 1)
        self._upload.synchronize()
        return CameraInput(on_device, to_input @ intrinsics)

    def detect_inputs(
        self,
        inputs: Mapping[str, CameraInput],
        ego_from_camera: Mapping[str, Array],
        score_threshold: float,
    ) -> Detections:
        """`detect` for inputs that are ready; by camera, as are their poses (4, 4)."""
        batch = self._batch(inputs, ego_from_camera)
        with torch.inference_mode():
            output = self.network(*batch)
            decoded = decode(output.head, self.config.bev, self.config.max_objects)
        found = detections_of(decoded, 0, score_threshold)
        if output.simulated_points is None:  # a camera-only student has none
            return found
        there = torch.tensor([name in inputs for name in CAMERAS])
        points = output.simulated_points[0].cpu().unflatten(0, (len(CAMERAS), -1))[there]
        return dataclasses.replace(found, simulated_points=points.flatten(0, 1).numpy())

    def _batch(
        self, inputs: Mapping[str, CameraInput], ego_from_camera: Mapping[str, Array]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The network's input: images (1, N, 3, H, W), intrinsics, poses of all N cameras."""
        unknown = [name for name in inputs if name not in CAMERAS]
        if unknown or not inputs:
            raise UserError(
                f"the rig's camera {unknown[0]} is none of {', '.join(CAMERAS)}"
                if unknown
                else "a frame needs an image of one camera at least"
            )
        # A camera that is not there: black, and placed where it sees nothing.
        some = next(iter(inputs.values()))
        absent = CameraInput(torch.zeros_like(some.pixels), some.intrinsics)
        cameras = [inputs.get(name, absent) for name in CAMERAS]
        poses = np.stack([ego_from_camera.get(name, ABSENT_CAMERA) for name in CAMERAS])
        intrinsics = np.stack([camera.intrinsics for camera in cameras])
        return (
            torch.stack([camera.pixels for camera in cameras])[None],
            torch.from_numpy(intrinsics).float()[None].to(self.device),
            torch.from_numpy(poses).float()[None].to(self.device),
        )

    def inputs(
        self, images: Sequence[NDArray[np.uint8]], rig: CameraRig
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The network's inputs for `detect`'s: images (1, N, 3, H, W), intrinsics, poses."""
        return self._batch(self._camera_inputs(images, rig), _poses(rig))

    def _camera_inputs(
        self, images: Sequence[NDArray[np.uint8]], rig: CameraRig
    ) -> dict[str, CameraInput]:
        if len(images) != len(rig):
            raise UserError(f"{len(images)} images for a rig of {len(rig)} cameras")
        inputs = {}
        for i, (name, image) in enumerate(zip(rig.names, images, strict=True)):
            try:
                inputs[name] = self.camera_input(
                    image, tuple(rig.image_sizes[i]), rig.intrinsics[i], rig.distortion[i]
                )
            except UserError as error:
                raise UserError(f"{name}: {error}") from error
        return inputs


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
