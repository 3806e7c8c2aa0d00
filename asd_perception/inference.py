# SPDX-License-Identifier: Apache-2.0
"""The student as the robot runs it: the same answers as the plain network, for less work.

Three things are done once instead of every frame. A convolution and the batch normalisation behind
it are one affine map, so they become one convolution. Weights lie channels last, as the images do.
And what depends on the calibration alone, rays and the order of BEV pooling, is kept until a
calibration differs in any digit: the next frame then works it out anew, and is only slower.

Cameras trigger one after the other, so each image is encoded by itself, when it comes (`encode`);
behind the last one only its own encoding and the part in bird's-eye view remain (`look`). On the
CPU ONNX Runtime does the convolutions where the model directory has graphs for it (`onnx_parts`).
"""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from asd_perception.network.student import Student, StudentOutput
from asd_perception.network.view_transform import FrameGeometry, frame_geometry
from asd_perception.onnx_parts import load_parts


class InferenceStudent:
    """A `Student` in two steps, without gradients; the one that it is made from stays as it was."""

    def __init__(self, student: Student, model: Path | None = None) -> None:
        """student: on the device to run on; model: the model directory whose graphs are to be used.

        Raises UserError for graphs that cannot be used.
        """
        self.student = copy.deepcopy(student).eval().requires_grad_(False)
        self.device = next(student.parameters()).device
        fold_batch_norms(self.student)
        self.student.to(memory_format=torch.channels_last)
        if model is not None:
            load_parts(self.student, model)
        self._known: tuple[Tensor, Tensor, FrameGeometry] | None = None

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Images (B, N, 3, H, W), uint8 RGB of the configured size, to features (B, N, F, h, w)."""
        return self.student.image_encoder(images)

    @torch.inference_mode()
    def look(self, features: Tensor, intrinsics: Tensor, ego_from_camera: Tensor) -> StudentOutput:
        """Detect in one frame of encoded images; the rest as `Student.forward`."""
        return self.student.look(features, self.geometry(intrinsics, ego_from_camera))

    @torch.inference_mode()
    def geometry(self, intrinsics: Tensor, ego_from_camera: Tensor) -> FrameGeometry:
        """The geometry of these cameras: the last call's if that had the same ones.

        intrinsics and ego_from_camera may stay on the CPU when the student is elsewhere; to compare
        them there, nothing has to be waited for.
        """
        if self._known is not None:
            known_intrinsics, known_poses, geometry = self._known
            if torch.equal(intrinsics, known_intrinsics) and torch.equal(
                ego_from_camera, known_poses
            ):
                return geometry
        # Copies, since the geometry looks into them, and the caller may write into its own.
        intrinsics, ego_from_camera = intrinsics.clone(), ego_from_camera.clone()
        config = self.student.config
        geometry = frame_geometry(
            intrinsics.to(self.device), ego_from_camera.to(self.device), config.image_size, config
        )
        self._known = intrinsics, ego_from_camera, geometry
        return geometry


def fold_batch_norms(network: nn.Module) -> None:
    """Fold each batch normalisation that follows a convolution into its weights, in place.

    It follows where they are neighbours in an `nn.Sequential`, or the `convolution` and
    `normalization` of a transformers layer. The network must be in evaluation mode.
    """
    for module in list(network.modules()):
        names = list(module._modules)
        if isinstance(module, nn.Sequential):
            pairs = list(pairwise(names))
        else:
            pairs = [("convolution", "normalization")]
        for first, second in pairs:
            convolution, norm = getattr(module, first, None), getattr(module, second, None)
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, first, fuse_conv_bn_eval(convolution, norm))
                setattr(module, second, nn.Identity())
