# SPDX-License-Identifier: Apache-2.0
"""Promise: the Triton kernels compute what their references do: on a GPU where there is one, else
in Triton's interpreter, where Triton is installed."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is first imported
pytest.importorskip(
    "triton", reason="triton is not installed; the CUDA builds of torch bring it along"
)

from test_bev_pool import random_entries, with_gradients  # noqa: E402

from asd_perception.cameras.calibration import (  # noqa: E402
    NUSCENES_CAMERAS,
    CameraCalibration,
)
from asd_perception.cameras.preprocessing import preprocess  # noqa: E402
from asd_perception.cameras.view import view_of  # noqa: E402
from asd_perception.geometry import level_camera  # noqa: E402
from asd_perception.ops.bev_pool import plan_splat, splat, splat_reference  # noqa: E402
from asd_perception.ops.bev_pool_triton import TritonSplat  # noqa: E402
from asd_perception.ops.image_input_triton import image_input, view_input  # noqa: E402

needs_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA GPU, and none is here")

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def to_device(weights, features, plan):
    plan = plan._replace(**{k: getattr(plan, k).to(DEVICE) for k in plan._fields[:-1]})
    return weights.to(DEVICE), features.to(DEVICE), plan


def triton_splat(weights, features, plan):
    """`splat` as it is on a GPU, on whatever device the tensors are."""
    pooled = TritonSplat.apply(weights.flatten(0, 1), features.flatten(0, 1), plan)
    return pooled.unflatten(0, (len(weights), *plan.size)).permute(0, 3, 1, 2)


@settings(max_examples=12, deadline=None)
@given(
    batch=st.integers(1, 2),
    sources=st.integers(1, 12),
    per_source=st.sampled_from([1, 3, 40]),
    channels=st.sampled_from([1, 5, 16]),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    dropped=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_pooling_and_its_gradients_equal_the_reference(
    batch, sources, per_source, channels, rows, columns, dropped, seed
):
    entries = to_device(
        *random_entries(batch, sources, per_source, channels, (rows, columns), dropped, seed)
    )
    actual = with_gradients(triton_splat, *entries)
    expected = with_gradients(splat_reference, *entries)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-4, atol=1e-5)


def test_pooling_gives_the_same_bits_every_time():
    entries = to_device(*random_entries(1, 20, 30, 7, (2, 2), 0.3, seed=5))
    first, second = (with_gradients(triton_splat, *entries) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single_precision(dtype):
    plan = plan_splat(torch.zeros(1, 4096, 1, dtype=torch.int64), (1, 1))
    ones = torch.ones(1, 4096, 1, dtype=dtype)
    assert triton_splat(*to_device(ones, ones, plan)).item() == 4096


def test_entries_behind_the_grids_last_one_are_not_read():
    """On a GPU the plan keeps entries outside the grid at its end, since cutting would wait."""
    weights, features, plan = random_entries(1, 9, 4, 3, (2, 2), 0.5, seed=2)
    longer = plan._replace(
        order=torch.cat([plan.order, plan.order]), sources=torch.cat([plan.sources, plan.sources])
    )
    found = triton_splat(*to_device(weights, features, longer)).cpu()
    torch.testing.assert_close(found, splat_reference(weights, features, plan))


@pytest.mark.parametrize(
    ("image", "network"),
    [  # few rows: the interpreter is slow
        ((12, 40), (4, 16)),  # 2.5 times smaller: fractions of pixels
        ((5, 16), (4, 16)),  # a crop alone
        ((8, 32), (4, 16)),  # exactly half
        ((7, 40), (4, 16)),  # wide: black rows stand for the missing sky
        ((31, 101), (4, 16)),  # 6.3 times, and sides that divide by nothing
    ],
)
def test_image_input_is_preprocessing_and_normalisation(image, network):
    images = np.random.default_rng(0).integers(0, 256, (2, *image, 3), dtype=np.uint8)
    expected = np.stack([preprocess(each, network) for each in images]).astype(np.float32)
    on_device = torch.from_numpy(images).to(DEVICE)
    found = image_input(on_device, network, MEAN, STD, dtype=torch.float32)
    assert found.is_contiguous(memory_format=torch.channels_last)
    levels = found.permute(0, 2, 3, 1).cpu().numpy() * np.float32(STD) + np.float32(MEAN)
    assert np.abs(levels - levels.round()).max() < 1e-3  # whole levels, as training sees them
    difference = np.abs(levels - expected)
    assert difference.max() < 1.01 and (difference > 0.5).mean() < 0.05  # OpenCV rounds ties else
    written = torch.empty_like(found)
    image_input(on_device, network, MEAN, STD, out=written)
    assert torch.equal(written, found)
    swapped = image_input(on_device.flip(-1), network, MEAN, STD, bgr=True, dtype=torch.float32)
    assert torch.equal(swapped, found)


LENSES = {
    "barrel": ((60, 80), dict(distortion=[-0.25, 0.08, 0.001, -0.0005, 0, 0, 0, 0])),
    "fisheye": ((60, 80), dict(equidistant=True)),
    "large": ((151, 203), dict(zoom=0.9)),  # averaged; sides that divide by nothing
    "tall pixels": ((401, 80), dict(aspect=4.0)),  # averaged along one side more than the other
    "small": ((21, 29), dict(zoom=1.4)),  # enlarged, and the lens sees the middle only
}


@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("lens", LENSES)
def test_view_input_is_the_view_and_normalisation(lens, bgr):
    (height, width), camera = LENSES[lens]
    network = (8, 24)
    focal = 0.79 * width * camera.get("zoom", 0.85)
    matrix = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    matrix[1, 1] *= camera.get("aspect", 1.0)
    distortion = np.array(camera.get("distortion", np.zeros(8)))
    calibration = CameraCalibration(
        matrix, (width, height), distortion, camera.get("equidistant", False)
    )
    pose = np.eye(4)
    pose[:3, :3] = level_camera(0.2, 0.1, 0.0)
    view = view_of(calibration, pose, NUSCENES_CAMERAS, network)
    assert not view.is_plain
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    expected = view.apply(image).astype(np.float32)
    stored = np.ascontiguousarray(image[..., ::-1]) if bgr else image
    source = view.source_map(1)
    u, v = (torch.from_numpy(x).to(DEVICE) for x in (source.u, source.v))
    found = view_input(
        *(torch.from_numpy(stored).to(DEVICE), u, v, source.size, MEAN, STD),
        bgr=bgr,
        dtype=torch.float32,
    )
    assert found.shape == (1, 3, *network)
    levels = found[0].permute(1, 2, 0).cpu().numpy() * np.float32(STD) + np.float32(MEAN)
    difference = np.abs(levels - expected)
    # OpenCV looks up 1/32 of a pixel, and rounds the averages, too.
    assert difference.max() <= 0.04 * np.ptp(image) and difference.mean() < 1
    written = torch.empty_like(found)
    view_input(
        *(torch.from_numpy(stored).to(DEVICE), u, v, source.size, MEAN, STD), bgr=bgr, out=written
    )
    assert torch.equal(written, found)


def test_image_input_refuses_what_it_cannot_shrink():
    images = torch.zeros(1, 40, 60, 3, dtype=torch.uint8, device=DEVICE)
    with pytest.raises(ValueError, match="60 wide"):
        image_input(images, (32, 64), MEAN, STD)


@needs_gpu
def test_on_a_gpu_splat_takes_the_kernels():
    weights, features, plan = random_entries(2, 50, 7, 20, (8, 8), 0.3, seed=3)
    expected = splat(weights, features, plan)
    found = splat(*to_device(weights, features, plan))
    assert found.is_cuda and found.grad_fn is None
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-5)
