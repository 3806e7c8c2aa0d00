# SPDX-License-Identifier: Apache-2.0
"""Promise: on a GPU the detector answers as on the CPU, after any change of calibration or cameras,
and nothing that is recorded as a CUDA graph waits for the GPU or talks to the host."""

from __future__ import annotations

import dataclasses
import functools
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.models import TINY
from asd_perception.network import center_head
from asd_perception.network.center_head import decode
from asd_perception.network.config import BACKBONES, BackboneConfig, StudentConfig
from asd_perception.network.model_directory import load
from asd_perception.network.student import Student
from asd_perception.network.view_transform import frame_geometry
from asd_perception.ops import bev_pool
from asd_perception.runtime import cuda as cuda_student
from asd_perception.runtime import cuda_graphs
from asd_perception.runtime.cuda import compiled_or_why_not, recorded_or_why_not, to_half
from asd_perception.runtime.cuda_graphs import CompiledCall, RecordedCall
from asd_perception.runtime.detector import Detector
from asd_perception.runtime.folding import folded
from asd_training.benchmarks.frame import one_by_one_from_raw
from asd_training.data.example import example_images, example_rig

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA GPU, and none is here"
)


class OneDevice(TorchDispatchMode):
    """Fails at an operation whose tensors are not all on one device."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
        assert {x.device.type for x in tensors} <= {self.device}, f"{func} leaves {self.device}"
        return result


@pytest.mark.parametrize(
    ("backbone", "fusion", "cameras"),
    [
        *((name, "heterogeneous", 6) for name in BACKBONES),
        *(("tiny", fusion, 6) for fusion in ("heterogeneous", "symmetric", "camera_only")),
        *(("tiny", "heterogeneous", cameras) for cameras in (1, 3, 5, 8)),
    ],
)
def test_what_is_recorded_stays_on_its_device_and_reads_no_value(
    backbone, fusion, cameras, monkeypatch
):
    """On the device "meta" tensors have shapes and no values: who asks for a value fails there, as
    does who sends something over from the CPU. Whether an operation's own CUDA code waits cannot
    be seen there, and pooling takes its plain form."""
    parts = BACKBONES.get(backbone, BackboneConfig())
    config = StudentConfig(image_size=(96, 256), backbone=parts, fusion=fusion)
    student = folded(Student(config)).to("meta")
    allowed = center_head._ALLOWED.to("meta")  # which is sent once, before a recording
    monkeypatch.setattr(center_head, "_allowed_on", lambda device: allowed)
    monkeypatch.setattr(bev_pool, "_TRITON", False)  # no kernel runs without values
    with torch.inference_mode(), OneDevice("meta"):
        features = student.image_encoder.features(torch.empty(1, 3, 96, 256, device="meta"))
        matrices = (torch.empty(1, cameras, n, n, device="meta") for n in (3, 4))
        geometry = frame_geometry(*matrices, config.image_size, config)
        encoded = torch.empty(1, cameras, *features.shape[1:], device="meta")
        found = decode(student.forward_bev(encoded, geometry).head, config.bev, config.max_objects)
    assert found.boxes.shape == (1, config.max_objects, 7)


def test_the_meta_device_would_show_it():
    with OneDevice("meta"), pytest.raises((AssertionError, RuntimeError, NotImplementedError)):
        torch.zeros(2, device="meta").cpu()
    with pytest.raises((RuntimeError, NotImplementedError)):
        int(torch.zeros(1, device="meta"))


def test_plain_attention_answers_as_the_fused_one_that_training_has():
    config = StudentConfig(image_size=(64, 96), backbone=BACKBONES["swin_t"])
    fused = folded(Student(config))
    plain = folded(fused)
    plain.image_encoder.backbone.set_attn_implementation("eager")
    layers = [m for m in plain.modules() if type(m).__name__ == "SwinAttention"]
    assert layers and {layer.config._attn_implementation for layer in layers} == {"eager"}
    pixels = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = fused.image_encoder.features(pixels)
        torch.testing.assert_close(plain.image_encoder.features(pixels), expected)


def test_half_precision_weights_under_autocast_answer_as_the_plain_network():
    """Here in bfloat16, for which CPUs are made; float16 has eight times its precision."""
    student = load(TINY)
    detector = Detector(student)
    images, *matrices, _ = detector.inputs(example_images(), example_rig())
    half = to_half(folded(student), torch.bfloat16)
    with torch.inference_mode():
        expected = student(images, *matrices).head.heatmap.sigmoid()
        with torch.autocast("cpu", torch.bfloat16):
            output = half(images, *matrices)
    assert output.camera_bev.dtype == torch.float32  # sums over cells
    assert half.head.heatmap.weight.dtype == torch.bfloat16
    assert {p.dtype for p in half.lift_splat.norm.parameters()} == {torch.float32}
    assert (output.head.heatmap.float().sigmoid() - expected).abs().max() < 0.05


def test_what_became_of_recordings_is_said():
    assert recorded_or_why_not([None, None]) == "recorded"
    told = recorded_or_why_not([None, "it waits", "it waits"])
    assert told == "not recorded on 2 of 3 streams (it waits)"


def test_a_part_that_cannot_be_compiled_runs_as_it_is_and_is_counted(monkeypatch, caplog):
    def no_compiler(graph, inputs):
        raise OSError("no compiler")

    monkeypatch.setattr(cuda_graphs, "TRITON", True)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=no_compiler))
    call = CompiledCall(lambda x: 2 * x + 1)
    assert call(torch.ones(2)).tolist() == [3.0, 3.0]
    assert call.fallbacks == 1
    assert "no compiler" in caplog.text

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    call = CompiledCall(lambda x: 3 * x)
    assert call(torch.ones(2)).tolist() == [3.0, 3.0]
    assert call.fallbacks == 0


def test_what_became_of_compiling_is_said(monkeypatch):
    monkeypatch.setattr(cuda_student, "TRITON", False)
    assert compiled_or_why_not({"geometry": 0}) == "no (triton is not installed)"
    monkeypatch.setattr(cuda_student, "TRITON", True)
    assert compiled_or_why_not({"image encoder": 0, "geometry": 0}) == "yes"
    told = compiled_or_why_not({"image encoder": 2, "geometry": 0, "detection": 1})
    assert told == "not all of image encoder, detection (the log says why)"


# On a GPU


@pytest.fixture(scope="module")
def detectors():
    gpu = Detector.from_pretrained(TINY, "cuda")
    assert all_recorded(gpu)
    return Detector.from_pretrained(TINY), gpu


def all_recorded(gpu):
    backend = gpu.backend
    calls = [stream.call for stream in (*backend.streams, backend.frame_stream)]
    return all(call.failure is None for call in (*calls, backend._geometry, backend._detection))


def assert_same_objects(found, expected):
    """Half precision moves scores and boxes a little, and may change the order of equals."""
    assert abs(len(found) - len(expected)) <= 0.1 * len(expected) + 1
    sure = expected.scores > 0.15
    assert sure.sum() > 0
    for box, score, label in zip(
        expected.boxes[sure], expected.scores[sure], expected.labels[sure], strict=True
    ):
        same = found.labels == label
        gap = np.linalg.norm(found.boxes[same, :3] - box[:3], axis=1)
        assert gap.min() < 0.1
        assert abs(found.scores[same][gap.argmin()] - score) < 0.03


@needs_gpu
def test_the_gpu_finds_what_the_cpu_finds_also_when_calibration_and_cameras_change(detectors):
    cpu, gpu = detectors
    rig, images = example_rig(), example_images()
    higher = rig.ego_from_camera.copy()
    higher[:, 2, 3] += 0.3
    distortion = rig.distortion.copy()
    distortion[2, 0] = -0.1
    for changed in (
        rig,
        dataclasses.replace(rig, ego_from_camera=higher),
        rig,
        dataclasses.replace(rig, distortion=distortion),
        rig,
    ):
        found = gpu.detect(images, changed, 0.05)
        assert_same_objects(found, cpu.detect(images, changed, 0.05))
        np.testing.assert_array_equal(found.boxes, gpu.detect(images, changed, 0.05).boxes)
    for lost in (0, 3):
        kept = [i for i in range(len(CAMERAS)) if i != lost]
        smaller = dataclasses.replace(
            rig,
            names=tuple(CAMERAS[i] for i in kept),
            **{
                name: getattr(rig, name)[kept]
                for name in ("intrinsics", "ego_from_camera", "image_sizes", "distortion")
            },
        )
        some = [images[i] for i in kept]
        assert_same_objects(gpu.detect(some, smaller, 0.05), cpu.detect(some, smaller, 0.05))
    assert_same_objects(gpu.detect(images, rig, 0.05), cpu.detect(images, rig, 0.05))


@needs_gpu
def test_images_encoded_by_many_threads_keep_apart(detectors):
    _, gpu = detectors
    images, views = example_images(), gpu.views(example_rig())

    def encode(i):
        return gpu.encode(images[i], views[i])

    expected = [encode(i) for i in range(len(CAMERAS))]
    torch.cuda.synchronize()
    with ThreadPoolExecutor(len(CAMERAS)) as threads:
        found = list(threads.map(encode, list(range(len(CAMERAS))) * 20))
    torch.cuda.synchronize()
    for i, each in enumerate(found):
        assert torch.equal(each.features.features, expected[i % len(CAMERAS)].features.features)


@needs_gpu
def test_a_frame_is_encoded_together_as_image_by_image(detectors):
    cpu, gpu = detectors
    rig, images = example_rig(), example_images()
    views = gpu.views(rig)
    together = gpu.backend.encode_frame(images, views)
    alone = list(map(gpu.backend.encode, images, views))
    torch.cuda.synchronize()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.features, other.features, rtol=0.02, atol=0.02)
    one_by_one = one_by_one_from_raw(images, rig, gpu)
    assert_same_objects(one_by_one, cpu.detect(images, rig, 0.0))


@needs_gpu
def test_encoding_waits_for_nothing(detectors):
    _, gpu = detectors
    rig, images = example_rig(), example_images()
    views = gpu.views(rig)
    gpu.encode(images[0], views[0])
    gpu.backend.encode_frame(images, views)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        gpu.encode(images[0], views[0])
        gpu.backend.encode_frame(images, views)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_gpu
def test_a_call_that_cannot_be_recorded_is_made_each_time_and_said(caplog):
    value = torch.ones(3, device="cuda")
    torch.cuda.synchronize()

    def waits():
        return (value * float(value.sum()),)

    stream = torch.cuda.Stream()
    with caplog.at_level(logging.WARNING):
        call = RecordedCall(waits, stream)
    assert "cannot be recorded" in caplog.text
    assert call.failure is not None and call.failure in caplog.text
    with torch.cuda.stream(stream):
        (kept,) = call.result
        value.fill_(2.0)
        assert call.replay()[0] is kept and kept.tolist() == [12.0] * 3


def test_a_call_that_memory_is_too_small_for_is_not_called_one_that_cannot_be_recorded():
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 ...")
    waits = RuntimeError("called a synchronizing CUDA operation")
    ended = RuntimeError("CUDA error: operation failed due to a previous error during capture")
    for cause in (full, waits):
        for error in (cause, ended):  # outside a recording, and inside one, whose end fails, too
            ended.__context__ = cause
            if cause is full:
                with pytest.raises(torch.OutOfMemoryError):
                    cuda_graphs._why_not_recorded(error)
            else:
                assert cuda_graphs._why_not_recorded(error) == str(waits)


@needs_gpu
@pytest.mark.parametrize("fusion", ["heterogeneous", "symmetric", "camera_only"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_student_is_recorded(backbone, fusion, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "TRITON", False)  # compiling takes half a minute each
    if fusion != "heterogeneous" and backbone != "resnet18":
        pytest.skip("the fusion does not depend on the backbone")
    config = StudentConfig(image_size=(256, 704), backbone=BACKBONES[backbone], fusion=fusion)
    torch.manual_seed(0)
    detector = Detector(Student(config), "cuda")
    assert all_recorded(detector)
    found = detector.detect(example_images(), example_rig(), 0.0)
    assert len(found) == config.max_objects and np.isfinite(found.boxes).all()


def test_only_convolutions_and_linear_maps_become_half_precision():
    student = to_half(folded(Student(StudentConfig(backbone=BACKBONES["swin_t"]))))
    for name, module in student.named_modules():
        if parameters := list(module.parameters(recurse=False)):
            half = isinstance(module, (nn.Conv2d, nn.Linear))
            expected = torch.float16 if half else torch.float32
            assert {p.dtype for p in parameters} == {expected}, name
