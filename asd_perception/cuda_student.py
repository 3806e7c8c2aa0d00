# SPDX-License-Identifier: Apache-2.0
"""The student on a CUDA GPU: half precision, recorded as CUDA graphs, no waiting in between.

`encode` copies an image into pinned memory, sends it off and leaves the rest to the GPU: one kernel
for channel order, crop, resize and normalisation (`ops/image_input_triton.py`), then the image
encoder as a recorded graph. `find` lets the GPU wait for the images of a frame, replays all that is
behind them, with the decoding of boxes, as a second graph, and waits once, on the CPU, for the
objects.

The cameras' geometry and the plan of BEV pooling are a third graph, replayed before the second when
a matrix differs in any digit from the frame before: with other calibration, with a lost camera, at
each frame with odometry. It writes where the second one reads, and both run on one stream, so that
no frame can see another frame's geometry, and nothing is ever recorded anew.

Convolutions and matrix products are in half precision; sums over a grid cell, and geometry up to
where the network takes it in, in single precision.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asd_perception.constants import CAMERAS
from asd_perception.inference import Found, folded
from asd_perception.network.center_head import Decoded, decode
from asd_perception.network.student import Student
from asd_perception.network.view_transform import FrameGeometry, frame_geometry
from asd_perception.preprocessing import crop_height, is_bgr

Result = TypeVar("Result")
HALF = torch.float16
_TRITON = find_spec("triton") is not None  # it comes with the CUDA builds of torch for Linux
WARM_UP = 3
"""Calls before a recording: kernels are compiled, and libraries choose their algorithms."""


class OnGpu(NamedTuple):
    """An encoded image: features (F, h, w), there as soon as the event `ready` has happened."""

    features: Tensor
    ready: torch.cuda.Event


class RecordedCall(Generic[Result]):
    """A function of tensors, on one stream, recorded as a CUDA graph and replayed from then on.

    The function must neither wait for the GPU nor do anything on the host that a later call needs.
    `result` keeps its place in memory: each replay writes into it. Where the function cannot be
    recorded it is called every time, which is said in the log: slower, and the same answers.
    """

    def __init__(self, function: Callable[[], Result], stream: torch.cuda.Stream) -> None:
        """function: reads its inputs from tensors that stay in place."""
        self._function = function
        with torch.cuda.stream(stream), torch.inference_mode():
            for _ in range(WARM_UP):
                self.result = function()
            stream.synchronize()
            self._graph: torch.cuda.CUDAGraph | None = None
            graph = torch.cuda.CUDAGraph()
            try:
                # A recording that fails leaves PyTorch's allocator in disorder, so what waits is
                # found out before one is begun.
                torch.cuda.set_sync_debug_mode("error")
                try:
                    function()
                finally:
                    torch.cuda.set_sync_debug_mode("default")
                with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                    result = function()
            except RuntimeError as error:
                reason = " ".join(str(error.__context__ or error).split())
                logging.getLogger(__name__).warning(
                    "a part of the network cannot be recorded as a CUDA graph and runs slower: %s",
                    reason,
                )
            else:
                self._graph, self.result = graph, result
                del self._function  # which likely refers to who holds this
                self.replay()  # recording computes nothing
            stream.synchronize()

    @property
    def recorded(self) -> bool:
        return self._graph is not None

    @torch.inference_mode()
    def replay(self) -> Result:
        """Compute `result` anew, on the present stream, which must be the recording's."""
        if self._graph is not None:
            self._graph.replay()
        else:
            for kept, new in zip(
                tensors_of(self.result), tensors_of(self._function()), strict=True
            ):
                kept.copy_(new)
        return self.result


class CudaStudent:
    """A `Student` on a GPU in two steps, without gradients, as `CpuStudent` on the CPU.

    `encode` may be called by any thread, `find` by one at a time.
    """

    def __init__(self, student: Student) -> None:
        """student: on the GPU to run on."""
        self.student = halved(folded(student))
        self.config = config = student.config
        self.device = device = next(student.parameters()).device
        self._encoding, self._finding = (torch.cuda.Stream(device) for _ in range(2))
        self._lock = threading.Lock()  # around all that is put on the stream _encoding
        self._under_way: deque[torch.cuda.Event] = deque(maxlen=2 * len(CAMERAS))  # images there
        height, width = config.image_size
        with torch.inference_mode():
            self._pixels = torch.zeros(1, 3, height, width, dtype=HALF, device=device).contiguous(
                memory_format=torch.channels_last
            )
            self._matrices = torch.eye(3, device=device).repeat(1, len(CAMERAS), 1, 1)
            self._poses = torch.eye(4, device=device).repeat(1, len(CAMERAS), 1, 1)
        torch.cuda.synchronize(device)  # these were made on another stream
        self._encode = RecordedCall(self._image_features, self._encoding)
        one = self._encode.result  # (1, F, h, w)
        with torch.inference_mode():
            six = one.new_zeros(len(CAMERAS), *one.shape[1:])
            self._features = six.contiguous(memory_format=torch.channels_last)[None]
        torch.cuda.synchronize(device)
        self._geometry = RecordedCall(self._frame_geometry, self._finding)
        self._find = RecordedCall(self._objects, self._finding)
        self._seen: tuple[Tensor, Tensor] | None = None  # matrices of the geometry that stands

    # What is recorded

    def _image_features(self) -> Tensor:
        with half_precision():
            return self.student.image_encoder.features(self._pixels)

    def _frame_geometry(self) -> FrameGeometry:
        return frame_geometry(self._matrices, self._poses, self.config.image_size, self.config)

    def _objects(self) -> tuple[Decoded, Tensor | None]:
        with half_precision():
            output = self.student.look(self._features, self._geometry.result)
        decoded = decode(output.head, self.config.bev, self.config.max_objects)
        return decoded, output.simulated_points

    # What is called

    def takes(self, image: NDArray[np.uint8]) -> bool:
        """Whether `encode` takes an image (height, width, 3) as it is, before preprocessing."""
        rows, columns = self.config.image_size
        if image.dtype != np.uint8 or image.shape[2:] != (3,):
            return False
        return image.shape[:2] == (rows, columns) or (_TRITON and image.shape[1] >= columns)

    @torch.inference_mode()
    def encode(self, image: NDArray[np.uint8]) -> OnGpu:
        """An image (height, width, 3), uint8 RGB, to features, before the GPU has begun with it.

        It waits if the GPU is two sweeps behind: what is too much then waits where it can be left
        out.
        """
        bgr = is_bgr(image)
        image = image[-crop_height(image.shape[1], self.config.image_size) :]
        pinned = torch.empty(image.shape, dtype=torch.uint8, pin_memory=True)
        np.copyto(pinned.numpy(), image[..., ::-1] if bgr else image)
        with self._lock, torch.cuda.stream(self._encoding):
            if len(self._under_way) == self._under_way.maxlen:
                self._under_way[0].synchronize()
            self._set_input(pinned.to(self.device, non_blocking=True), bgr)
            # On this stream's memory: if nobody wants it, its place is taken after it was written.
            features = self._encode.replay()[0].clone()
            ready = torch.cuda.Event()
            ready.record()
            self._under_way.append(ready)
        return OnGpu(features, ready)

    def _set_input(self, image: Tensor, bgr: bool) -> None:
        """Make the network's input of an image (height, width, 3) on the GPU."""
        config = self.config
        if not _TRITON:
            encoder = self.student.image_encoder
            image = image.flip(2) if bgr else image
            self._pixels.copy_(((image.permute(2, 0, 1) - encoder.mean) / encoder.std)[None])
            return
        from asd_perception.ops.image_input_triton import image_input

        image_input(
            *(image[None], config.image_size, config.image_mean, config.image_std),
            bgr=bgr,
            out=self._pixels,
        )

    @torch.inference_mode()
    def find(
        self, encoded: Mapping[str, OnGpu], intrinsics: Tensor, ego_from_camera: Tensor
    ) -> Found:
        """As `CpuStudent.find`; intrinsics and ego_from_camera are on the CPU."""
        with torch.cuda.stream(self._finding):
            if self._seen is None or not (
                torch.equal(intrinsics, self._seen[0])
                and torch.equal(ego_from_camera, self._seen[1])
            ):
                self._seen = None  # until the new geometry stands, whatever fails from here on
                self._matrices.copy_(intrinsics.pin_memory(), non_blocking=True)
                self._poses.copy_(ego_from_camera.pin_memory(), non_blocking=True)
                self._geometry.replay()
                self._seen = intrinsics.clone(), ego_from_camera.clone()
            for i, name in enumerate(CAMERAS):
                if name in encoded:
                    self._finding.wait_event(encoded[name].ready)
                    self._features[0, i].copy_(encoded[name].features)
                else:
                    self._features[0, i].zero_()
            objects, points = self._find.replay()
            found = Found(
                Decoded(*(tensor.to("cpu", non_blocking=True) for tensor in objects)),
                None if points is None else points.to("cpu", non_blocking=True),
            )
        self._finding.synchronize()
        return found


def halved(network: Student, dtype: torch.dtype = HALF) -> Student:
    """Give convolutions and linear maps weights in half precision, in place.

    The rest of the network, normalisations above all, stays as it is; autocast brings the inputs of
    each to what it wants.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.to(dtype)
    return network


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors in nested tuples, in their order."""
    if isinstance(value, Tensor):
        return [value]
    return [x for item in value for x in tensors_of(item)] if isinstance(value, tuple) else []


def half_precision() -> torch.autocast:
    """The context in which a `halved` network runs."""
    # Its weights need no cast, and a cache of casts would outlive a recording.
    return torch.autocast("cuda", HALF, cache_enabled=False)
