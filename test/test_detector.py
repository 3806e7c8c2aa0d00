# SPDX-License-Identifier: Apache-2.0
"""Promise: the detector finds valid objects in base_link, and names a fault of its input."""

import dataclasses
import errno
import os
import re
import sys
import time

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.cameras.rig import CameraRig
from asd_perception.constants import (
    ATTRIBUTES,
    CLASS_ATTRIBUTES,
    CLASSES,
    NO_ATTRIBUTE,
)
from asd_perception.errors import OutOfMemoryError, UserError, memory_checked
from asd_perception.geometry import transform_from
from asd_perception.models import TINY
from asd_perception.network import model_directory
from asd_perception.network.center_head import decode
from asd_perception.network.config import StudentConfig
from asd_perception.network.student import Student
from asd_perception.provenance import machine
from asd_perception.runtime.detector import Detector, detections_of
from asd_perception.runtime.onnx import OnnxPart


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    return Detector(Student(StudentConfig()))


def make_rig(names=CAMERAS):
    headings = np.deg2rad([55, 0, -55, 110, 180, -110, 25, -25])[: len(names)]
    poses = []
    for heading in headings:
        body = transform_from([np.cos(heading / 2), 0, 0, np.sin(heading / 2)], [1, 0, 1.5])
        poses.append(body @ transform_from([0.5, -0.5, 0.5, -0.5], [0, 0, 0]))  # optical frame
    n = len(names)
    return CameraRig(
        names=tuple(names),
        intrinsics=np.repeat([[[316.0, 0, 200], [0, 316.0, 112], [0, 0, 1]]], n, axis=0),
        ego_from_camera=np.stack(poses),
        image_sizes=np.repeat([[400, 225]], n, axis=0),
        distortion=np.zeros((n, 8)),
    )


def make_images(n=6, shape=(225, 400, 3)):
    return [np.random.default_rng(i).integers(0, 255, shape, dtype=np.uint8) for i in range(n)]


def test_objects_are_valid_and_sorted(detector):
    found = detector.detect(make_images(), make_rig(), score_threshold=0.0)
    assert len(found) == detector.config.max_objects
    assert np.all(np.diff(found.scores) <= 0)
    assert np.all((found.scores >= 0) & (found.scores <= 1))
    assert np.all(np.abs(found.boxes[:, :2]) <= detector.config.bev.half_extent + 5)
    assert np.all(found.boxes[:, 3:6] > 0)
    for label, attribute in zip(found.labels, found.attributes, strict=True):
        allowed = CLASS_ATTRIBUTES[CLASSES[label]]
        if allowed:
            assert ATTRIBUTES[attribute] in allowed
        else:
            assert attribute == NO_ATTRIBUTE
    assert found.simulated_points.shape[1] == 4
    assert np.isfinite(found.simulated_points).all()


def test_the_threshold_cuts_the_same_list(detector):
    everything = detector.detect(make_images(), make_rig(), 0.0)
    middle = float(everything.scores[50])
    kept = detector.detect(make_images(), make_rig(), middle)
    np.testing.assert_array_equal(kept.boxes, everything.boxes[everything.scores >= middle])


def test_camera_order_does_not_matter(detector):
    rig, images = make_rig(), make_images()
    order = [3, 1, 5, 0, 4, 2]
    shuffled = CameraRig(
        tuple(rig.names[i] for i in order),
        rig.intrinsics[order],
        rig.ego_from_camera[order],
        rig.image_sizes[order],
        rig.distortion[order],
    )
    first = detector.detect(images, rig, 0.0)
    second = detector.detect([images[i] for i in order], shuffled, 0.0)
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-5)


@pytest.mark.parametrize("there", [CAMERAS[:5], CAMERAS[2:4], CAMERAS[4:5]])
def test_absent_cameras_change_nothing_in_what_the_others_find(detector, there):
    """As if the network had been built for those that are there."""
    rig, images = make_rig(), make_images()
    indices = [CAMERAS.index(name) for name in there]
    partial = CameraRig(
        there,
        rig.intrinsics[indices],
        rig.ego_from_camera[indices],
        rig.image_sizes[indices],
        rig.distortion[indices],
    )
    found = detector.detect([images[i] for i in indices], partial, 0.0)
    batch = [tensor[:, indices] for tensor in detector.inputs(images, rig)]
    with torch.inference_mode():
        output = detector.student(*batch)
        decoded = decode(output.head, detector.config.bev, detector.config.max_objects)
    expected = detections_of(decoded, 0, 0.0)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(found.simulated_points, output.simulated_points[0], atol=1e-3)


@pytest.mark.parametrize("model", [None, TINY], ids=["PyTorch", "ONNX Runtime"])
@pytest.mark.parametrize("cameras", [1, 3, 5, 8])
def test_a_rig_has_any_number_of_cameras_of_any_names(cameras, model):
    torch.manual_seed(0)
    student = model_directory.load(model) if model else Student(StudentConfig())
    detector = Detector(student, model=model, cameras=cameras)
    detector.warm_up()
    rig, images = make_rig([f"rig/camera{i}" for i in range(cameras)]), make_images(cameras)
    found = detector.detect(images, rig, 0.0)
    batch = detector.inputs(images, rig)
    with torch.inference_mode():
        output = student(*batch)
        decoded = decode(output.head, student.config.bev, student.config.max_objects)
    # Where no camera looks all cells are alike: rounding says which of them are peaks.
    expected = detections_of(decoded, 0, 0.0).scores
    np.testing.assert_allclose(found.scores, expected, atol=1e-2)
    np.testing.assert_allclose(found.scores[:10], expected[:10], atol=1e-4)
    assert output.simulated_points.shape[1] == batch[3].numel()
    expected = output.simulated_points[0][batch[3].flatten()]
    assert len(found.simulated_points) == len(expected) > 0
    np.testing.assert_allclose(found.simulated_points, expected, atol=2e-2)


def test_more_cameras_than_the_detector_is_for_are_refused(detector):
    names = [f"camera{i}" for i in range(8)]
    with pytest.raises(UserError, match="images of 1 to 6 cameras, not of 8; .* cameras="):
        detector.detect(make_images(8), make_rig(names))
    for cameras in (0, 9):
        with pytest.raises(UserError, match=f"a rig has 1 to 8 cameras, not {cameras}"):
            Detector(detector.student, cameras=cameras)


def test_wrong_inputs_are_named(detector):
    rig = make_rig()
    with pytest.raises(UserError, match="images of 1 to 6 cameras, not of 0"):
        detector.detect_encoded({}, {}, 0.0)
    with pytest.raises(UserError, match="5 images for a rig of 6"):
        detector.detect(make_images(5), rig)
    with pytest.raises(UserError, match="CAM_FRONT_LEFT: image is 100x50, its calibration says"):
        detector.detect(make_images(shape=(50, 100, 3)), rig)
    with pytest.raises(UserError, match="expected uint8"):
        detector.detect([image.astype(np.float32) for image in make_images()], rig)
    with pytest.raises(UserError, match="not finite"):
        dataclasses.replace(rig, intrinsics=rig.intrinsics * np.nan)
    with pytest.raises(UserError, match="CAM_FRONT_LEFT has no focal length"):
        dataclasses.replace(rig, intrinsics=rig.intrinsics * 0)
    with pytest.raises(UserError, match="intrinsics has shape"):
        dataclasses.replace(rig, intrinsics=rig.intrinsics[:3])


def test_devices_are_checked():
    student = Student(StudentConfig())
    with pytest.raises(UserError, match="unknown device"):
        Detector(student, "abacus")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no device cuda:7: PyTorch finds no GPU; use cpu or"):
            Detector(student, "cuda:7")
    else:
        with pytest.raises(UserError, match="no device cuda:99; there are cpu, cuda:0"):
            Detector(student, "cuda:99")
    with pytest.raises(UserError, match="device meta is not supported; use cpu"):
        Detector(student, "meta")
    assert Detector(student, "auto").device.type in ("cpu", "cuda")


def test_what_really_runs_is_said(tmp_path, monkeypatch):
    shipped = Detector.from_pretrained().describe()
    assert shipped["device"] == f"cpu ({machine()})"
    assert shipped["threads"] == str(torch.get_num_threads())
    assert shipped["convolutions"] == f"ONNX Runtime {onnxruntime.__version__}"

    model_directory.save(tmp_path / "model", Student(StudentConfig()), {})
    plain = Detector.from_pretrained(tmp_path / "model").describe()
    assert re.fullmatch(
        r"PyTorch .* \(the model has no ONNX graphs; .*export.*\)", plain["convolutions"]
    )


def test_why_onnx_runtime_is_not_used_is_said(tmp_path, monkeypatch):
    def convolutions():
        return Detector.from_pretrained().describe()["convolutions"]

    monkeypatch.delitem(sys.modules, "onnxruntime")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libonnx.so is damaged')")
    assert "onnxruntime cannot be imported: libonnx.so is damaged" in convolutions()
    (tmp_path / "onnxruntime.py").write_text("import a_part_of_it")
    assert "a_part_of_it is not installed" in convolutions()


def slow_down(part):
    """Make a part of the network take its time, in place."""
    forward = part.forward

    def later(*tensors):
        time.sleep(0.1)
        return forward(*tensors)

    part.forward = later


def test_each_part_is_run_by_what_is_faster_here():
    detector = Detector.from_pretrained()
    backend, images, rig = detector.backend, make_images(), make_rig()
    before = detector.detect(images, rig, 0.0)
    for name in ("image_encoder", "head"):
        slow_down(backend._graphs[name])
    for name in ("fusion", "bev_encoder"):
        slow_down(backend._plain[name])
    detector.warm_up()
    for name in ("image_encoder", "head"):
        assert getattr(backend.student, name) is backend._plain[name]
    for name in ("fusion", "bev_encoder"):
        assert getattr(backend.student, name) is backend._graphs[name]
    assert detector.describe()["convolutions"].endswith("faster here, for image_encoder, head")
    after = detector.detect(images, rig, 0.0)
    np.testing.assert_allclose(after.scores[:20], before.scores[:20], rtol=1e-3)
    np.testing.assert_allclose(after.boxes[:20], before.boxes[:20], rtol=1e-2, atol=1e-2)


class TooLarge(torch.nn.Module):
    """A part of the network that asks for 1 PiB."""

    def forward(self, *tensors):
        return torch.empty(1 << 50, dtype=torch.uint8)


def too_large_for_onnx_runtime(file):
    """The same for ONNX Runtime, which has errors of its own."""
    size = onnx.helper.make_tensor("size", onnx.TensorProto.INT64, [5], [1 << 40, 1, 1, 1, 1])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Expand", ["images", "size"], ["features"])],
        "too_large",
        [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, [1, 1, 3, 96, 256])],
        [onnx.helper.make_tensor_value_info("features", onnx.TensorProto.UINT8, None)],
        [size],
    )
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9), file)
    return OnnxPart(file, threads=1)


@pytest.mark.parametrize("part", ["image_encoder", "bev_encoder", "a graph"])
def test_out_of_memory_is_called_that(tmp_path, part):
    detector = Detector(Student(StudentConfig()))
    student = detector.backend.student
    if part == "a graph":
        student.image_encoder = too_large_for_onnx_runtime(tmp_path / "image_encoder.onnx")
    else:
        setattr(student, part, TooLarge())
    with pytest.raises(OutOfMemoryError, match="out of memory on cpu; use a smaller model"):
        detector.warm_up()


def test_a_model_that_does_not_fit_into_memory_is_no_broken_model(tmp_path):
    model_directory.save(tmp_path / "model", Student(StudentConfig()), {})
    file = tmp_path / "model" / "config.yaml"
    file.write_text(file.read_text().replace("head_channels: 32", "head_channels: 1000000000000"))
    with pytest.raises(OutOfMemoryError, match="out of memory on cpu; use a smaller model"):
        Detector.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize(
    ("error", "of_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 ..."), True),
        (RuntimeError("CUDA error: out of memory"), True),  # before PyTorch's allocator is there
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("std::bad_alloc"), True),
        (MemoryError(), True),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), True),
        (RuntimeError("The size of tensor a (2) must match the size of tensor b (3)"), False),
    ],
)
def test_each_librarys_own_words_for_out_of_memory_are_known(error, of_memory):
    expected = OutOfMemoryError if of_memory else type(error)
    with pytest.raises(expected) as raised, memory_checked("cuda:0"):
        raise error
    assert isinstance(raised.value, OutOfMemoryError) == of_memory
