# SPDX-License-Identifier: Apache-2.0
"""The student on a CPU: the same results as the plain network, for less work.

Three things are done once instead of per frame. A convolution and the batch normalisation after it
are one affine map, so they become one convolution. Weights lie channels last, as the images do.
What depends on the calibration alone, rays and the plan of BEV pooling, is kept until a calibration
differs in any digit; the next frame then computes it again, and is only slower. The last few are
kept, so that a camera that comes and goes costs nothing.

ONNX Runtime runs the convolutions if the model directory has graphs for it (`onnx.py`), each part
unless PyTorch was measured to be faster on this machine (`tune`).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asd_perception.cameras.view import View
from asd_perception.cores import available_cores
from asd_perception.network.center_head import decode
from asd_perception.network.student import Student, StudentOutput
from asd_perception.network.view_transform import FrameGeometry, frame_geometry
from asd_perception.provenance import machine
from asd_perception.runtime.backend import FrameResult
from asd_perception.runtime.folding import folded
from asd_perception.runtime.onnx import OnnxPart, load_parts, onnx_runtime, why_unavailable

KEPT_GEOMETRIES = 4
"""Of all cameras, and of those left where one or two come and go."""

ROUNDS = 3
"""How often each way to run a part is timed; the shortest time tells, whatever else runs beside."""


class CpuBackend:
    """A `Student` on the CPU (`runtime.backend.Backend`)."""

    def __init__(self, student: Student, model: Path | None = None) -> None:
        """model: the model directory whose ONNX graphs are used if they can be; None: PyTorch only.

        Raises UserError for graphs that are not the student's.
        """
        self.student = folded(student)
        self._without_graphs = why_unavailable(model)
        self._threads = min(torch.get_num_threads(), available_cores())
        self._graphs: dict[str, OnnxPart] = {}
        if model is not None and self._without_graphs is None:
            self._graphs = load_parts(self.student, model, self._threads)
        self._plain = {name: getattr(self.student, name) for name in self._graphs}
        self._use(self._graphs)
        # With the cameras that it is of; the newest first.
        self._known: deque[tuple[tuple[Tensor, ...], FrameGeometry]] = deque(maxlen=KEPT_GEOMETRIES)

    def _use(self, parts: Mapping[str, nn.Module]) -> None:
        for name, part in parts.items():
            setattr(self.student, name, part)

    def describe(self) -> dict[str, str]:
        pytorch = f"PyTorch {torch.__version__}"
        convolutions = f"{pytorch} ({self._without_graphs})"
        if self._without_graphs is None:
            convolutions = onnx_runtime()
            faster = [n for n, part in self._plain.items() if getattr(self.student, n) is part]
            if faster:
                convolutions += f"; {pytorch}, faster here, for {', '.join(faster)}"
        return {
            "device": f"cpu ({machine()})",
            "threads": str(torch.get_num_threads()),
            "convolutions": convolutions,
            "geometry and pooling": pytorch,
            "precision": "float32",
        }

    @torch.inference_mode()
    def tune(self) -> None:
        """Let PyTorch run each part that it runs faster than ONNX Runtime, as measured here, now.

        The image encoder has images to encode beside each other, the other parts one frame's maps.
        """
        if not self._graphs:
            return
        inputs = self._inputs_of_graphs()
        images = [_black(self.student)] * (2 * self._threads)
        for name, graph in self._graphs.items():
            shortest = {graph: math.inf, self._plain[name]: math.inf}
            for part in [*shortest] * ROUNDS:
                self._use({name: part})
                began = time.perf_counter()
                if name == "image_encoder":
                    self.encode_frame(images, [None] * len(images))
                else:
                    part(*inputs[graph])
                shortest[part] = min(shortest[part], time.perf_counter() - began)
            self._use({name: min(shortest, key=shortest.__getitem__)})

    def _inputs_of_graphs(self) -> dict[nn.Module, tuple[Tensor, ...]]:
        """What each graph is given in a frame of one black image."""
        inputs: dict[nn.Module, tuple[Tensor, ...]] = {}
        self._use(self._graphs)
        hooks = [
            graph.register_forward_pre_hook(inputs.__setitem__) for graph in self._graphs.values()
        ]
        features = self.encode(_black(self.student))[None, None]
        self.forward_bev(features, torch.eye(3)[None, None], torch.eye(4)[None, None])
        for hook in hooks:
            hook.remove()
        return inputs

    @torch.inference_mode()
    def encode(self, image: NDArray[np.uint8], view: View | None = None) -> Tensor:
        """An image to features (F, h, w)."""
        pixels = torch.from_numpy(image if view is None else view.apply(image)).permute(2, 0, 1)
        return self.student.image_encoder(pixels[None, None])[0, 0]

    def encode_frame(
        self, images: Sequence[NDArray[np.uint8]], views: Sequence[View | None]
    ) -> list[Tensor]:
        # A graph encodes an image in one thread; PyTorch takes all of them for each.
        if self._threads == 1 or not isinstance(self.student.image_encoder, OnnxPart):
            return list(map(self.encode, images, views))
        with ThreadPoolExecutor(self._threads) as threads:
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


def _black(student: Student) -> NDArray[np.uint8]:
    """A network-size image."""
    return np.zeros((*student.config.image_size, 3), np.uint8)
