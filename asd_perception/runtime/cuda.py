# SPDX-License-Identifier: Apache-2.0
"""The student on a CUDA GPU: half precision, recorded as CUDA graphs, no waiting in between.

`encode` copies an image into pinned memory, sends it to the GPU and returns: one kernel for channel
order, crop, resize and normalisation (`ops/image_input_triton.py`), then the image encoder as a
recorded graph. One image does not fill a large GPU, so there are as many `EncoderStream`s as
cameras, and images that arrive at about the same time are encoded at the same time. Where all
images of a frame are there together, one batch of them takes less of the GPU's time
(`encode_frame`). `detect` makes the GPU wait for a frame's images, replays the rest of the network
and the decoding of boxes as a second graph, and waits once, on the CPU, for the objects.

The network is compiled before it is recorded (`torch.compile`): everything between convolutions,
biases and activations above all, becomes a few kernels.

The geometry of the cameras and the plan of BEV pooling are a third graph. It is replayed before the
second one when a matrix differs in any digit from the frame before: after a new calibration, when a
camera is lost, at each frame with odometry. It writes where the second one reads, and both run on
one stream: no frame can see another frame's geometry, and nothing is recorded twice.

What is recorded has fixed shapes, those of the rig's number of cameras. A frame with fewer images
is filled up with cameras that see nothing (`with_absent_cameras`).

Convolutions and matrix products are in half precision. Sums over a grid cell, normalisations, and
geometry up to the network's input are in single precision.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asd_perception.cameras.preprocessing import crop_height, is_bgr
from asd_perception.cameras.rig import ABSENT_CAMERA
from asd_perception.cameras.view import VIEWS, View
from asd_perception.network.center_head import Decoded, decode
from asd_perception.network.config import StudentConfig
from asd_perception.network.student import Student
from asd_perception.network.view_transform import FrameGeometry, frame_geometry
from asd_perception.runtime.backend import EncodingSteps, FrameResult
from asd_perception.runtime.cuda_graphs import TRITON, CompiledCall, RecordedCall
from asd_perception.runtime.folding import folded

HALF = torch.float16


class GpuFeatures(NamedTuple):
    """An encoded image: features (F, h, w), valid once the event `ready` has occurred."""

    features: Tensor
    ready: torch.cuda.Event


class Pinned(NamedTuple):
    """What the network sees of an image, in pinned memory, from which a GPU copies.

    image (height, width, 3) uint8, B, G, R where `bgr`. view: how it becomes the network's input;
    None: by a crop along the lower edge, and a resize.
    """

    image: Tensor
    bgr: bool
    view: DeviceMap | None


class DeviceMap(NamedTuple):
    """A `cameras.view.SourceMap` on a GPU."""

    u: Tensor
    v: Tensor
    size: tuple[int, int]


class EncoderStream:
    """Encodes B images at a time: a CUDA stream, the network's input on it, and the features."""

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
        self.call = RecordedCall(lambda: features_of(self._pixels), self.stream)

    @torch.inference_mode()
    def upload(self, pinned: Pinned, i: int = 0) -> None:
        """Make an image the i-th of the network's input."""
        config, pixels = self._config, self._pixels[i : i + 1]
        with torch.cuda.stream(self.stream):
            image = pinned.image.to(pixels.device, non_blocking=True)
            if TRITON:
                from asd_perception.ops.image_input_triton import image_input, view_input

                levels = config.image_mean, config.image_std
                if pinned.view is None:
                    image_input(image[None], config.image_size, *levels, bgr=pinned.bgr, out=pixels)
                else:
                    view_input(image, *pinned.view, *levels, bgr=pinned.bgr, out=pixels)
                return
            levels = (image.flip(2) if pinned.bgr else image).permute(2, 0, 1)[None].float()
            for c, (mean, std) in enumerate(zip(config.image_mean, config.image_std, strict=True)):
                pixels[:, c].copy_((levels[:, c] - mean) / std)

    def encode(self) -> Tensor:
        """The features (B, F, h, w) of the images, on this stream, until the next call."""
        with torch.cuda.stream(self.stream):
            return self.call.replay()

    @torch.inference_mode()
    def encoded(self) -> tuple[Tensor, torch.cuda.Event]:
        """The features (B, F, h, w) of the images, to keep, and the event of their being there."""
        with torch.cuda.stream(self.stream):
            # On this stream's memory: if nobody wants it, its place is taken after it was written.
            features = self.encode().clone()
            ready = torch.cuda.Event()
            ready.record()
        return features, ready


class CudaBackend:
    """A `Student` on a GPU (`runtime.backend.Backend`).

    The first call of `encode_frame` compiles and records its part, and no other call may run
    beside it.
    """

    def __init__(self, student: Student, cameras: int) -> None:
        """student: on the GPU to run on. cameras: of the rig; no frame has more images."""
        self.student = to_half(folded(student))
        self.cameras = cameras
        self.config = config = student.config
        self.device = device = next(student.parameters()).device
        if TRITON and config.backbone.model_type == "swin":
            # Compiled with what is around it, plain attention in windows is faster than fused.
            self.student.image_encoder.backbone.set_attn_implementation("eager")
        self._detecting = torch.cuda.Stream(device)
        self._lock = threading.Lock()  # around all that is put on the encoder streams
        self._frame_lock = threading.Lock()  # ... on the stream of `frame_stream`
        self._frame_encoded: torch.cuda.Event | None = None
        self._under_way: deque[torch.cuda.Event] = deque(maxlen=2 * cameras)  # images there
        with torch.inference_mode():
            self._matrices = torch.eye(3, device=device).repeat(1, cameras, 1, 1)
            self._poses = torch.eye(4, device=device).repeat(1, cameras, 1, 1)
            size = (1, cameras, *config.feature_size)
            self._seen = torch.ones(size, dtype=torch.bool, device=device)
        torch.cuda.synchronize(device)  # all this was made on another stream
        with torch.cuda.device(device):
            self._features_of = CompiledCall(self._image_features)
            self._geometry_of = CompiledCall(self._frame_geometry)
            self._objects_of = CompiledCall(self._objects)
            self.streams = [
                EncoderStream(self._features_of, config, device) for _ in range(cameras)
            ]
            one = self.streams[0].encode()  # (1, F, h, w)
            with torch.inference_mode():
                features = one.new_zeros(cameras, *one.shape[1:])
                self._features = features.contiguous(memory_format=torch.channels_last)[None]
            torch.cuda.synchronize(device)  # and this
            self._geometry = RecordedCall(self._geometry_of, self._detecting)
            self._detection = RecordedCall(
                lambda: self._objects_of(self._features, self._geometry.result), self._detecting
            )
        self._next_stream = itertools.cycle(self.streams)
        self._known: tuple[Tensor, ...] | None = None  # what the present geometry is of

    # What is recorded

    def _image_features(self, pixels: Tensor) -> Tensor:
        with half_precision():
            return self.student.image_encoder.features(pixels)

    def _frame_geometry(self) -> FrameGeometry:
        config = self.config
        return frame_geometry(self._matrices, self._poses, config.image_size, config, self._seen)

    def _objects(self, features: Tensor, geometry: FrameGeometry) -> tuple[Decoded, Tensor | None]:
        with half_precision():
            output = self.student.forward_bev(features, geometry)
        decoded = decode(output.head, self.config.bev, self.config.max_objects)
        return decoded, output.simulated_points

    # What is called

    def tune(self) -> None:
        """There is one way."""

    def describe(self) -> dict[str, str]:
        failures = {
            "image encoder": [stream.call.failure for stream in self.streams],
            "geometry": [self._geometry.failure],
            "detection": [self._detection.failure],
        }
        return {
            "device": f"{self.device} ({torch.cuda.get_device_name(self.device)})",
            "network": f"PyTorch {torch.__version__}",
            "torch.compile": compiled_or_why_not(
                {
                    "image encoder": self._features_of.fallbacks,
                    "geometry": self._geometry_of.fallbacks,
                    "detection": self._objects_of.fallbacks,
                }
            ),
            "CUDA graphs": "; ".join(
                f"{part} {recorded_or_why_not(reasons)}" for part, reasons in failures.items()
            ),
            "precision": "float16",
        }

    @torch.inference_mode()
    def encode(self, image: NDArray[np.uint8], view: View | None = None) -> GpuFeatures:
        """An image to features; returns before they are computed.

        Waits while the GPU is two sweeps behind: surplus images then queue in the node's intake,
        which can drop them.
        """
        pinned = pin(image, view, self.config, self.device)
        with self._lock:
            if len(self._under_way) == self._under_way.maxlen:
                self._under_way[0].synchronize()
            stream = next(self._next_stream)
            stream.upload(pinned)
            (features,), ready = stream.encoded()
            self._under_way.append(ready)
        return GpuFeatures(features, ready)

    @torch.inference_mode()
    def encode_frame(
        self, images: Sequence[NDArray[np.uint8]], views: Sequence[View | None]
    ) -> list[GpuFeatures]:
        """`encode` for all images of a frame at once; one frame at a time."""
        if len(images) != self.cameras:
            return list(map(self.encode, images, views))
        with self._frame_lock:
            if self._frame_encoded is not None:
                self._frame_encoded.synchronize()
            for i, (image, view) in enumerate(zip(images, views, strict=True)):
                # While one goes over, the next one is copied.
                self.frame_stream.upload(pin(image, view, self.config, self.device), i)
            features, self._frame_encoded = self.frame_stream.encoded()
            return [GpuFeatures(each, self._frame_encoded) for each in features]

    @functools.cached_property
    def frame_stream(self) -> EncoderStream:
        """The stream of whole frames, recorded at the first one: the node has none."""
        with torch.cuda.device(self.device):
            return EncoderStream(self._features_of, self.config, self.device, self.cameras)

    def encoding_steps(
        self, images: Sequence[NDArray[np.uint8]], views: Sequence[View | None]
    ) -> EncodingSteps:
        def upload() -> None:
            for i, (image, view) in enumerate(zip(images, views, strict=True)):
                self.frame_stream.upload(pin(image, view, self.config, self.device), i)

        def one_by_one() -> None:
            for stream in self.streams:
                stream.encode()

        return EncodingSteps(upload, self.frame_stream.encode, one_by_one)

    @torch.inference_mode()
    def detect(
        self,
        encoded: Sequence[GpuFeatures],
        intrinsics: Tensor,
        ego_from_camera: Tensor,
        seen: Tensor,
    ) -> FrameResult:
        with torch.cuda.stream(self._detecting):
            cameras = with_absent_cameras(intrinsics, ego_from_camera, seen, self.cameras)
            if self._known is None or not all(map(torch.equal, cameras, self._known)):
                self._known = None  # until the new geometry stands, whatever fails from here on
                for buffer, tensor in zip(
                    (self._matrices, self._poses, self._seen), cameras, strict=True
                ):
                    buffer.copy_(tensor.pin_memory(), non_blocking=True)
                self._geometry.replay()
                self._known = tuple(tensor.clone() for tensor in cameras)
            for i, image in enumerate(encoded):
                self._detecting.wait_event(image.ready)
                self._features[0, i].copy_(image.features)
            self._features[0, len(encoded) :].zero_()
            objects, points = self._detection.replay()
            if points is not None:
                points = points[:, : seen.numel()]  # none of absent cameras
            found = FrameResult(
                Decoded(*(tensor.to("cpu", non_blocking=True) for tensor in objects)),
                None if points is None else points.to("cpu", non_blocking=True),
            )
        self._detecting.synchronize()
        return found


def with_absent_cameras(
    intrinsics: Tensor, ego_from_camera: Tensor, seen: Tensor, cameras: int
) -> tuple[Tensor, Tensor, Tensor]:
    """A frame's cameras (1, N, ...), and behind them absent ones: (1, cameras, ...)."""
    absent = cameras - intrinsics.shape[1]
    nowhere = torch.from_numpy(ABSENT_CAMERA).to(ego_from_camera)
    return (
        torch.cat([intrinsics, intrinsics[:, :1].expand(-1, absent, -1, -1)], dim=1),
        torch.cat([ego_from_camera, nowhere.expand(1, absent, -1, -1)], dim=1),
        torch.cat([seen, torch.ones_like(seen[:, :1]).expand(-1, absent, -1, -1)], dim=1),
    )


def pin(
    image: NDArray[np.uint8], view: View | None, config: StudentConfig, device: torch.device
) -> Pinned:
    """Copy what the network sees of an image. image, view: as for `Backend.encode`."""
    device_map = None
    if view is not None and view.is_plain and TRITON and image.shape[1] >= config.image_size[1]:
        view = None  # the GPU crops and resizes
    elif view is not None and not view.is_plain and TRITON:
        device_map = _device_map(view, view.check(image), device)
    elif view is not None:
        image = view.apply(image)
    bgr = is_bgr(image)
    if device_map is None:
        image = image[-crop_height(image.shape[1], config.image_size) :]
    image = image[..., ::-1] if bgr else image
    pinned = torch.empty(image.shape, dtype=torch.uint8, pin_memory=True)
    if image.flags.c_contiguous and image.flags.writeable:  # as PyTorch wants its arrays
        pinned.copy_(torch.from_numpy(image))  # by several threads: 0.03 instead of 0.20 ms
    else:
        np.copyto(pinned.numpy(), image)
    return Pinned(pinned, bgr, device_map)


@functools.lru_cache(maxsize=VIEWS)
def _device_map(view: View, reduction: int, device: torch.device) -> DeviceMap:
    """The look-up table of images so much reduced on the GPU; it is copied once."""
    source = view.source_map(reduction)
    u, v = (torch.from_numpy(x).to(device) for x in (source.u, source.v))
    return DeviceMap(u, v, source.size)


def compiled_or_why_not(fallbacks: Mapping[str, int]) -> str:
    """In words; fallbacks: of each part of the network, how often it could not be compiled."""
    if not TRITON:
        return "no (triton is not installed)"
    parts = [part for part, count in fallbacks.items() if count]
    return f"not all of {', '.join(parts)} (the log says why)" if parts else "yes"


def recorded_or_why_not(failures: Sequence[str | None]) -> str:
    """In words; failures: of each stream's recording, why it failed, or None."""
    reasons = [failure for failure in failures if failure is not None]
    if not reasons:
        return "recorded"
    return f"not recorded on {len(reasons)} of {len(failures)} streams ({reasons[0]})"


def to_half(network: Student, dtype: torch.dtype = HALF) -> Student:
    """Give convolutions and linear maps weights in half precision, in place.

    The rest of the network, normalisations above all, stays as it is; autocast brings the inputs of
    each to what it wants.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.to(dtype)
    return network


def half_precision() -> torch.autocast:
    """The context in which a `to_half` network runs."""
    # Its weights need no cast, and a cache of casts would outlive a recording.
    return torch.autocast("cuda", HALF, cache_enabled=False)
