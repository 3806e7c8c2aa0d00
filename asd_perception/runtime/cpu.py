# SPDX-License-Identifier: Apache-2.0
"""The student on a CPU: the same results as the plain network, for less work.

Three things are done once instead of per frame. A convolution and the batch normalisation after it
are one affine map, so they become one convolution. Weights lie channels last, as the images do.
What depends on the calibration alone, rays and the plan of BEV pooling, is kept until a calibration
differs in any digit; the next frame then computes it again, and is only slower. The last few are
kept, so that a camera that comes and goes costs nothing.

ONNX Runtime runs the convolutions if the model directory has graphs for it (`onnx.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asd_perception.cameras.view import View
from asd_perception.cores import available_cores
from asd_perception.network.center_head import decode
from asd_perception.network.student import Student, StudentOutput
from asd_perception.network.view_transform import FrameGeometry, frame_geometry
from asd_perception.provenance import machine
from asd_perception.runtime.backend import FrameResult
from asd_perception.runtime.folding import folded
from asd_perception.runtime.onnx import load_parts, onnx_runtime, why_unavailable

KEPT_GEOMETRIES = 4
"""Of all cameras, and of those left where one or two come and go."""


class CpuBackend:
    """A `Student` on the CPU (`runtime.backend.Backend`)."""

    def __init__(self, student: Student, model: Path | None = None) -> None:
        """model: the model directory whose ONNX graphs are used if they can be; None: PyTorch only.

        Raises UserError for graphs that are not the student's.
        """
        self.student = folded(student)
        self._without_graphs = why_unavailable(model)
        threads = min(torch.get_num_threads(), available_cores())
        if model is not None and self._without_graphs is None:
            load_parts(self.student, model, threads)
        # A graph encodes an image in one thread; PyTorch takes all of them for each.
        self._parallel_images = 1 if self._without_graphs else threads
        # With the cameras that it is of; the newest first.
        self._known: deque[tuple[tuple[Tensor, ...], FrameGeometry]] = deque(maxlen=KEPT_GEOMETRIES)

    def describe(self) -> dict[str, str]:
        pytorch = f"PyTorch {torch.__version__}"
        without = self._without_graphs
        return {
            "device": f"cpu ({machine()})",
            "threads": str(torch.get_num_threads()),
            "convolutions": onnx_runtime() if without is None else f"{pytorch} ({without})",
            "geometry and pooling": pytorch,
            "precision": "float32",
        }

    @torch.inference_mode()
    def encode(self, image: NDArray[np.uint8], view: View | None = None) -> Tensor:
        """An image to features (F, h, w)."""
        pixels = torch.from_numpy(image if view is None else view.apply(image)).permute(2, 0, 1)
        return self.student.image_encoder(pixels[None, None])[0, 0]

    def encode_frame(
        self, images: Sequence[NDArray[np.uint8]], views: Sequence[View | None]
    ) -> list[Tensor]:
        if self._parallel_images == 1:
            return list(map(self.encode, images, views))
        with ThreadPoolExecutor(self._parallel_images) as threads:
            return list(threads.map(self.encode, images, views))

    def encoding_steps(
        self, images: Sequence[NDArray[np.uint8]], views: Sequence[View | None]
    ) -> None:
        return None

    @torch.inference_mode()
    def detect(
        self,
        encoded: Sequence[Tensor],
        intrinsics: Tensor,
        ego_from_camera: Tensor,
        seen: Tensor,
    ) -> FrameResult:
        features = torch.stack(list(encoded))[None]
        output = self.forward_bev(features, intrinsics, ego_from_camera, seen)
        config = self.student.config
        decoded = decode(output.head, config.bev, config.max_objects)
        return FrameResult(decoded, output.simulated_points)

    @torch.inference_mode()
    def forward_bev(
        self,
        features: Tensor,
        intrinsics: Tensor,
        ego_from_camera: Tensor,
        seen: Tensor | None = None,
    ) -> StudentOutput:
        """Detect in one frame of encoded images, whose geometry is as for `frame_geometry`."""
        geometry = self.geometry(intrinsics, ego_from_camera, seen)
        return self.student.forward_bev(features, geometry)

    @torch.inference_mode()
    def geometry(
        self, intrinsics: Tensor, ego_from_camera: Tensor, seen: Tensor | None = None
    ) -> FrameGeometry:
        """The geometry of these cameras: an earlier call's if one had the same ones."""
        config = self.student.config
        if seen is None:
            seen = intrinsics.new_ones(*intrinsics.shape[:2], *config.feature_size).bool()
        cameras = intrinsics, ego_from_camera, seen
        for known, geometry in self._known:
            if all(map(torch.equal, cameras, known)):
                return geometry
        # Copies, since the geometry looks into them, and the caller may write into its own.
        intrinsics, ego_from_camera, seen = (tensor.clone() for tensor in cameras)
        size = config.image_size
        geometry = frame_geometry(intrinsics, ego_from_camera, size, config, seen)
        self._known.appendleft(((intrinsics, ego_from_camera, seen), geometry))
        return geometry
