# SPDX-License-Identifier: Apache-2.0
"""The student as the robot runs it: the same answers as the plain network, for less work.

Three things are done once instead of every frame. A convolution and the batch normalisation behind
it are one affine map, so they become one convolution. Weights lie channels last, as the images do.
And what depends on the calibration alone, rays and the order of BEV pooling, is kept until a
calibration differs in any digit: the next frame then works it out anew, and is only slower.

Cameras trigger one after the other, so each image is encoded by itself, when it comes (`encode`);
behind the last one only its own encoding and the part in bird's-eye view remain (`find`). Here it
is done on the CPU, where ONNX Runtime does the convolutions if the model directory has graphs for
it (`onnx_parts`); `cuda_student.py` does the same on a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asd_perception.constants import CAMERAS
from asd_perception.network.center_head import decode
from asd_perception.network.student import Student, StudentOutput
from asd_perception.network.view_transform import FrameGeometry, frame_geometry
from asd_perception.runtime.backend import Found
from asd_perception.runtime.folding import folded
from asd_perception.runtime.onnx import load_parts


class CpuStudent:
    """A `Student` on the CPU in two steps, without gradients."""

    def __init__(self, student: Student, model: Path | None = None) -> None:
        """model: the model directory whose graphs are to be used; None: PyTorch does it all.

        Raises UserError for graphs that cannot be used.
        """
        self.student = folded(student)
        if model is not None:
            load_parts(self.student, model)
        self._known: tuple[Tensor, Tensor, FrameGeometry] | None = None

    def takes(self, image: NDArray[np.uint8]) -> bool:
        """Whether `encode` takes an image (height, width, 3) as it is, before preprocessing."""
        return False

    @torch.inference_mode()
    def encode(self, image: NDArray[np.uint8]) -> Tensor:
        """An image (H, W, 3), uint8 RGB of the configured size, to features (F, h, w)."""
        pixels = torch.from_numpy(image).permute(2, 0, 1)
        return self.student.image_encoder(pixels[None, None])[0, 0]

    @torch.inference_mode()
    def find(
        self, encoded: Mapping[str, Tensor], intrinsics: Tensor, ego_from_camera: Tensor
    ) -> Found:
        """The objects of one frame, from its encoded images by camera.

        intrinsics (1, N, 3, 3) and ego_from_camera (1, N, 4, 4) of all CAMERAS; those that are not
        in `encoded` must be placed where they see nothing (`rig.ABSENT_CAMERA`).
        """
        absent = torch.zeros_like(next(iter(encoded.values())))
        features = torch.stack([encoded.get(name, absent) for name in CAMERAS])[None]
        output = self.look(features, intrinsics, ego_from_camera)
        config = self.student.config
        decoded = decode(output.head, config.bev, config.max_objects)
        return Found(decoded, output.simulated_points)

    @torch.inference_mode()
    def look(self, features: Tensor, intrinsics: Tensor, ego_from_camera: Tensor) -> StudentOutput:
        """Detect in one frame of encoded images; the rest as `Student.forward`."""
        return self.student.look(features, self.geometry(intrinsics, ego_from_camera))

    @torch.inference_mode()
    def geometry(self, intrinsics: Tensor, ego_from_camera: Tensor) -> FrameGeometry:
        """The geometry of these cameras: the last call's if that had the same ones."""
        if self._known is not None:
            known_intrinsics, known_poses, geometry = self._known
            if torch.equal(intrinsics, known_intrinsics) and torch.equal(
                ego_from_camera, known_poses
            ):
                return geometry
        # Copies, since the geometry looks into them, and the caller may write into its own.
        intrinsics, ego_from_camera = intrinsics.clone(), ego_from_camera.clone()
        config = self.student.config
        geometry = frame_geometry(intrinsics, ego_from_camera, config.image_size, config)
        self._known = intrinsics, ego_from_camera, geometry
        return geometry
