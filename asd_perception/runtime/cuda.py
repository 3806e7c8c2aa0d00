# SPDX-License-Identifier: Apache-2.0
"""The student on a CUDA GPU: half precision, recorded as CUDA graphs, no waiting in between.

`encode` copies an image into pinned memory, sends it off and leaves the rest to the GPU: one kernel
for channel order, crop, resize and normalisation (`ops/image_input_triton.py`), then the image
encoder as a recorded graph. One image does not fill a large GPU: there are as many lanes as
cameras, each a stream with the graph's buffers of its own, so that images that come at about the
same time are encoded at the same time. Where all of a frame's images are there to begin with, one
batch of them takes less of the GPU's time (`encode_together`). `find` lets the GPU wait for the
images of a frame, replays all that is behind them, with the decoding of boxes, as a second graph,
and waits once, on the CPU, for the objects.

Before it is recorded the network is compiled (`torch.compile`): what lies between convolutions,
biases and activations above all, becomes few kernels of many.

The cameras' geometry and the plan of BEV pooling are a third graph, replayed before the second when
a matrix differs in any digit from the frame before: with other calibration, with a lost camera, at
each frame with odometry. It writes where the second one reads, and both run on one stream, so that
no frame can see another frame's geometry, and nothing is ever recorded anew.

Convolutions and matrix products are in half precision; sums over a grid cell, normalisations, and
geometry up to where the network takes it in, in single precision.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, ParamSpec, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asd_perception.constants import CAMERAS
from asd_perception.network.center_head import Decoded, decode
from asd_perception.network.config import StudentConfig
from asd_perception.network.student import Student
from asd_perception.network.view_transform import FrameGeometry, frame_geometry
from asd_perception.preprocessing import crop_height, is_bgr
from asd_perception.runtime.backend import Found
from asd_perception.runtime.cuda_graphs import TRITON, RecordedCall, compiled
from asd_perception.runtime.folding import folded

P = ParamSpec("P")
Result = TypeVar("Result")
HALF = torch.float16


class OnGpu(NamedTuple):
    """An encoded image: features (F, h, w), there as soon as the event `ready` has happened."""

    features: Tensor
    ready: torch.cuda.Event


class Pinned(NamedTuple):
    """An image on its way: its rows that the network sees, in memory that a GPU reads by itself."""

    image: Tensor
    bgr: bool


class Lane:
    """A place where B images at a time are encoded: a stream, the network's input, its features."""

    def __init__(
        self,
        features_of: Callable[[Tensor], Tensor],
        config: StudentConfig,
        device: torch.device,
        images: int = 1,
    ) -> None:
        """features_of: the network's input (B, 3, H, W) to features (B, F, h, w), on `device`.
        images: B."""
        self.stream = torch.cuda.Stream(device)
        self._config = config
        with torch.cuda.stream(self.stream), torch.inference_mode():
            pixels = torch.zeros(images, 3, *config.image_size, dtype=HALF, device=device)
            self._pixels = pixels.contiguous(memory_format=torch.channels_last)
        self._encode = RecordedCall(lambda: features_of(self._pixels), self.stream)

    @property
    def recorded(self) -> bool:
        return self._encode.recorded

    @torch.inference_mode()
    def take(self, pinned: Pinned, i: int = 0) -> None:
        """Make an image the i-th of the network's input."""
        config, pixels = self._config, self._pixels[i : i + 1]
        with torch.cuda.stream(self.stream):
            image = pinned.image.to(pixels.device, non_blocking=True)
            if TRITON:
                from asd_perception.ops.image_input_triton import image_input

                image_input(
                    *(image[None], config.image_size, config.image_mean, config.image_std),
                    bgr=pinned.bgr,
                    out=pixels,
                )
                return
            levels = (image.flip(2) if pinned.bgr else image).permute(2, 0, 1)[None].float()
            for c, (mean, std) in enumerate(zip(config.image_mean, config.image_std, strict=True)):
                pixels[:, c].copy_((levels[:, c] - mean) / std)

    def encode(self) -> Tensor:
        """The features (B, F, h, w) of the images, on the lane's stream, until the next call."""
        with torch.cuda.stream(self.stream):
            return self._encode.replay()

    @torch.inference_mode()
    def encoded(self) -> tuple[Tensor, torch.cuda.Event]:
        """The features (B, F, h, w) of the images, to keep, and the event of their being there."""
        with torch.cuda.stream(self.stream):
            # On this stream's memory: if nobody wants it, its place is taken after it was written.
            features = self.encode().clone()
            ready = torch.cuda.Event()
            ready.record()
        return features, ready


class CudaStudent:
    """A `Student` on a GPU in two steps, without gradients, as `CpuStudent` on the CPU.

    `encode` and `encode_together` may be called by any thread, `find` by one at a time. The first
    call of `encode_together` compiles and records its part, and no other call may run beside it.
    """

    def __init__(self, student: Student) -> None:
        """student: on the GPU to run on."""
        self.student = halved(folded(student))
        self.config = config = student.config
        self.device = device = next(student.parameters()).device
        if TRITON and config.backbone.model_type == "swin":
            # Compiled with what is around it, plain attention in windows is faster than fused.
            self.student.image_encoder.backbone.set_attn_implementation("eager")
        self._finding = torch.cuda.Stream(device)
        self._lock = threading.Lock()  # around all that is put on the lanes' streams
        self._frame_lock = threading.Lock()  # ... on the stream of `all_at_once`
        self._frame_encoded: torch.cuda.Event | None = None
        self._under_way: deque[torch.cuda.Event] = deque(maxlen=2 * len(CAMERAS))  # images there
        with torch.inference_mode():
            self._matrices = torch.eye(3, device=device).repeat(1, len(CAMERAS), 1, 1)
            self._poses = torch.eye(4, device=device).repeat(1, len(CAMERAS), 1, 1)
        torch.cuda.synchronize(device)  # all this was made on another stream
        with torch.cuda.device(device):
            features_of, objects_of = compiled(self._image_features), compiled(self._objects)
            self.lanes = [Lane(features_of, config, device) for _ in CAMERAS]
            one = self.lanes[0].encode()  # (1, F, h, w)
            with torch.inference_mode():
                six = one.new_zeros(len(CAMERAS), *one.shape[1:])
                self._features = six.contiguous(memory_format=torch.channels_last)[None]
            torch.cuda.synchronize(device)  # and this
            self._geometry = RecordedCall(compiled(self._frame_geometry), self._finding)
            self._find = RecordedCall(
                lambda: objects_of(self._features, self._geometry.result), self._finding
            )
        self._next_lane = itertools.cycle(self.lanes)
        self._features_of = features_of
        self._seen: tuple[Tensor, Tensor] | None = None  # matrices of the geometry that stands

    # What is recorded

    def _image_features(self, pixels: Tensor) -> Tensor:
        with half_precision():
            return self.student.image_encoder.features(pixels)

    def _frame_geometry(self) -> FrameGeometry:
        return frame_geometry(self._matrices, self._poses, self.config.image_size, self.config)

    def _objects(self, features: Tensor, geometry: FrameGeometry) -> tuple[Decoded, Tensor | None]:
        with half_precision():
            output = self.student.look(features, geometry)
        decoded = decode(output.head, self.config.bev, self.config.max_objects)
        return decoded, output.simulated_points

    # What is called

    def takes(self, image: NDArray[np.uint8]) -> bool:
        """Whether `encode` takes an image (height, width, 3) as it is, before preprocessing."""
        rows, columns = self.config.image_size
        if image.dtype != np.uint8 or image.shape[2:] != (3,):
            return False
        return image.shape[:2] == (rows, columns) or (TRITON and image.shape[1] >= columns)

    @torch.inference_mode()
    def encode(self, image: NDArray[np.uint8]) -> OnGpu:
        """An image (height, width, 3), uint8 RGB, to features, before the GPU has begun with it.

        It waits if the GPU is two sweeps behind: what is too much then waits where it can be left
        out.
        """
        pinned = pin(image, self.config)
        with self._lock:
            if len(self._under_way) == self._under_way.maxlen:
                self._under_way[0].synchronize()
            lane = next(self._next_lane)
            lane.take(pinned)
            (features,), ready = lane.encoded()
            self._under_way.append(ready)
        return OnGpu(features, ready)

    @torch.inference_mode()
    def encode_together(self, images: Sequence[NDArray[np.uint8]]) -> list[OnGpu]:
        """`encode` for a whole frame's images, which are there to begin with; a frame at a time."""
        if len(images) != len(CAMERAS):
            return [self.encode(image) for image in images]
        with self._frame_lock:
            if self._frame_encoded is not None:
                self._frame_encoded.synchronize()
            for i, image in enumerate(images):  # while one goes over, the next one is copied
                self.all_at_once.take(pin(image, self.config), i)
            features, self._frame_encoded = self.all_at_once.encoded()
            return [OnGpu(each, self._frame_encoded) for each in features]

    @functools.cached_property
    def all_at_once(self) -> Lane:
        """The lane of a whole frame, recorded when it is first wanted: the node never does."""
        with torch.cuda.device(self.device):
            return Lane(self._features_of, self.config, self.device, len(CAMERAS))

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


def pin(image: NDArray[np.uint8], config: StudentConfig) -> Pinned:
    """Copy what the network sees of an image (height, width, 3), uint8 RGB."""
    bgr = is_bgr(image)
    image = image[-crop_height(image.shape[1], config.image_size) :]
    image = image[..., ::-1] if bgr else image
    pinned = torch.empty(image.shape, dtype=torch.uint8, pin_memory=True)
    if image.flags.c_contiguous and image.flags.writeable:  # as PyTorch wants its arrays
        pinned.copy_(torch.from_numpy(image))  # by several threads: 0.03 instead of 0.20 ms
    else:
        np.copyto(pinned.numpy(), image)
    return Pinned(pinned, bgr)


def halved(network: Student, dtype: torch.dtype = HALF) -> Student:
    """Give convolutions and linear maps weights in half precision, in place.

    The rest of the network, normalisations above all, stays as it is; autocast brings the inputs of
    each to what it wants.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.to(dtype)
    return network


def half_precision() -> torch.autocast:
    """The context in which a `halved` network runs."""
    # Its weights need no cast, and a cache of casts would outlive a recording.
    return torch.autocast("cuda", HALF, cache_enabled=False)
