# SPDX-License-Identifier: Apache-2.0
"""The detector: six images and a rig in, objects in 3D out.

The node, the offline evaluation and the demo all call this one class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from asd_perception import model_directory
from asd_perception.config import StudentConfig
from asd_perception.constants import CAMERAS
from asd_perception.detections import Detections
from asd_perception.errors import UserError
from asd_perception.inference import InferenceStudent
from asd_perception.network.center_head import Decoded, decode
from asd_perception.network.student import Student
from asd_perception.preprocessing import input_from_image, preprocess
from asd_perception.rig import CameraRig


class Detector:
    """A student network, ready to detect.

    >>> detector = Detector.from_pretrained("asd_perception/models/tiny")
    >>> detections = detector.detect(images, rig)
    """

    def __init__(self, student: Student, device: str = "cpu") -> None:
        self.device = find_device(device)
        self.student = student.to(self.device).eval()
        self.network = InferenceStudent(self.student)

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

        images: one (height, width, 3) uint8 RGB array a camera, in the rig's order.
        rig: the six cameras at the frame's reference time.
        Returns objects of at least `score_threshold`, best first, with the simulated points.
        Raises UserError if a camera is missing or an image disagrees with the rig.
        """
        inputs = self.inputs(images, rig)
        with torch.inference_mode():
            output = self.network(*inputs)
            decoded = decode(output.head, self.config.bev, self.config.max_objects)
        found = detections_of(decoded, 0, score_threshold)
        if output.simulated_points is None:  # a camera-only student has none
            return found
        points = output.simulated_points[0].cpu().numpy()
        return dataclasses.replace(found, simulated_points=points)

    def inputs(
        self, images: Sequence[NDArray[np.uint8]], rig: CameraRig
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The network's inputs for `detect`'s: images (1, N, 3, H, W), intrinsics, poses."""
        missing = [name for name in CAMERAS if name not in rig.names]
        if missing:
            raise UserError(f"the rig has no {', '.join(missing)}; the model needs all cameras")
        if len(images) != len(rig):
            raise UserError(f"{len(images)} images for a rig of {len(rig)} cameras")
        pixels, intrinsics = [], []
        for i, image in enumerate(images):
            rig.check_image(i, image)
            width, height = (int(side) for side in rig.image_sizes[i])
            size = self.config.image_size
            pixels.append(preprocess(image, size, rig.intrinsics[i], rig.distortion[i]))
            intrinsics.append(input_from_image(width, height, size) @ rig.intrinsics[i])
        batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)[None]
        return (
            batch.to(self.device),
            torch.from_numpy(np.stack(intrinsics)).float()[None].to(self.device),
            torch.from_numpy(rig.ego_from_camera).float()[None].to(self.device),
        )


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
