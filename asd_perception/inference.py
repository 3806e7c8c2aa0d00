# SPDX-License-Identifier: Apache-2.0
"""The student as the robot runs it: the same answers as the plain network, for less work.

Three things are done once instead of every frame. A convolution and the batch normalisation behind
it are one affine map, so they become one convolution. Weights lie channels last, as the images do.
And what depends on the calibration alone, rays and the order of BEV pooling, is kept until a
calibration differs in any digit: the next frame then works it out anew, and is only slower.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from asd_perception.network.student import Student, StudentOutput
from asd_perception.network.view_transform import FrameGeometry, frame_geometry


class InferenceStudent:
    """Called like the `Student` that it is made from, which it leaves as it was; no gradients."""

    def __init__(self, student: Student) -> None:
        """student: on the device to run on."""
        self.student = copy.deepcopy(student).eval().requires_grad_(False)
        fold_batch_norms(self.student)
        self.student.to(memory_format=torch.channels_last)
        self._known: tuple[tuple[int, int], Tensor, Tensor, FrameGeometry] | None = None

    @torch.inference_mode()
    def __call__(
        self, images: Tensor, intrinsics: Tensor, ego_from_camera: Tensor
    ) -> StudentOutput:
        """Detect in one frame: shapes as `Student.forward`."""
        return self.student.look(images, self.geometry(images, intrinsics, ego_from_camera))

    @torch.inference_mode()
    def geometry(
        self, images: Tensor, intrinsics: Tensor, ego_from_camera: Tensor
    ) -> FrameGeometry:
        """The geometry of these cameras: the last call's if that had the same ones.

        intrinsics and ego_from_camera may stay on the CPU when the images are elsewhere; to compare
        them there, nothing has to be waited for.
        """
        size = (images.shape[-2], images.shape[-1])
        if self._known is not None:
            known_size, known_intrinsics, known_poses, geometry = self._known
            if (
                size == known_size
                and torch.equal(intrinsics, known_intrinsics)
                and torch.equal(ego_from_camera, known_poses)
            ):
                return geometry
        # Copies, since the geometry looks into them, and the caller may write into its own.
        intrinsics, ego_from_camera = intrinsics.clone(), ego_from_camera.clone()
        device = images.device
        geometry = frame_geometry(
            intrinsics.to(device), ego_from_camera.to(device), size, self.student.config
        )
        self._known = size, intrinsics, ego_from_camera, geometry
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
