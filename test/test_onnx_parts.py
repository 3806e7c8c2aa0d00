# SPDX-License-Identifier: Apache-2.0
"""Promise: the ONNX graphs of a model directory are used if they belong to its weights, and refused
by name if not; several threads may encode at once."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
import torch

from asd_perception.errors import UserError
from asd_perception.models import TINY
from asd_perception.network import model_directory
from asd_perception.network.model_directory import WEIGHTS
from asd_perception.runtime.detector import Detector
from asd_perception.runtime.onnx import FOLDER, PARTS, OnnxPart, why_unavailable
from asd_training.data.example import example_images, example_rig


@pytest.fixture
def model(tmp_path):
    return shutil.copytree(TINY, tmp_path / "model")


def test_the_shipped_model_has_the_graphs_of_all_its_parts():
    assert {file.stem for file in (TINY / FOLDER).iterdir()} == set(PARTS)
    student = Detector.from_pretrained().backend.student
    assert all(isinstance(getattr(student, name), OnnxPart) for name in PARTS)


def test_graphs_and_pytorch_find_the_same_objects(model):
    rig, images = example_rig(), example_images()
    shutil.rmtree(model / FOLDER)
    assert why_unavailable(model)
    plain = Detector.from_pretrained(model).detect(images, rig, 0.0)
    fast = Detector.from_pretrained().detect(images, rig, 0.0)
    np.testing.assert_allclose(fast.scores, plain.scores, atol=1e-4)
    best = plain.scores > plain.scores[20]
    np.testing.assert_allclose(fast.boxes[best], plain.boxes[best], atol=1e-3)
    np.testing.assert_array_equal(fast.labels[best], plain.labels[best])


def test_threads_that_encode_at_once_do_not_disturb_each_other():
    network = Detector.from_pretrained().backend
    size = network.student.config.image_size
    images = np.random.default_rng(0).integers(0, 256, (8, *size, 3), dtype=np.uint8)
    alone = [network.encode(image) for image in images]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            together = list(threads.map(network.encode, images))
            assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


def test_graphs_of_other_weights_are_refused(model):
    student = model_directory.load(model)
    with torch.no_grad():
        student.head.boxes.bias += 1
    model_directory.save(model.parent / "other", student, {})
    shutil.copy(model.parent / "other" / WEIGHTS, model / WEIGHTS)
    with pytest.raises(UserError, match="was not made of this model.safetensors; export"):
        Detector.from_pretrained(model)
    shutil.rmtree(model / FOLDER)
    Detector.from_pretrained(model)


@pytest.mark.parametrize("name", PARTS)
def test_a_missing_or_damaged_graph_is_named(model, name):
    file = model / FOLDER / f"{name}.onnx"
    whole = file.read_bytes()
    for damaged in (b"", whole[:1000], b"junk" * 100):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=f"{name}.onnx cannot be read") as caught:
            Detector.from_pretrained(model)
        assert "\n" not in str(caught.value)
    file.unlink()
    with pytest.raises(UserError, match=f"{name}.onnx is missing; export the model again"):
        Detector.from_pretrained(model)


def test_a_graph_of_another_part_is_refused(model):
    shutil.copy(model / FOLDER / "head.onnx", model / FOLDER / "image_encoder.onnx")
    with pytest.raises(UserError, match="image_encoder.onnx was not made of"):
        Detector.from_pretrained(model)


def test_a_graph_that_reads_other_files_is_refused(model):
    """ONNX may name a file that holds its weights: it must not reach out of the folder."""
    file = model / FOLDER / "head.onnx"
    graph = onnx.load(file)
    tensor = graph.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for path in ("/etc/passwd", "../../../../../../etc/passwd"):
        del tensor.external_data[:]
        tensor.external_data.add(key="location", value=path)
        file.write_bytes(graph.SerializeToString())
        with pytest.raises(UserError, match="head.onnx cannot be read"):
            Detector.from_pretrained(model)
