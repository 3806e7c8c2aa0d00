# SPDX-License-Identifier: Apache-2.0
"""Promise: preprocessing moves every pixel exactly where its matrix says, at any image size."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asd_perception.cameras.image_decoding import decode_camera_image, decode_image
from asd_perception.cameras.preprocessing import (
    image_from_camera,
    input_from_image,
    is_bgr,
    preprocess,
    reduction_of,
)
from asd_perception.errors import UserError


@settings(max_examples=30, deadline=None)
@given(
    size=st.sampled_from([(1600, 900), (800, 450), (400, 225), (640, 480), (1000, 300)]),
    u=st.floats(0.15, 0.85),
    v=st.floats(0.6, 0.85),
)
def test_a_blob_lands_where_the_matrix_says(size, u, v):
    width, height = size
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    centre = np.array([u * width, v * height])
    sigma = min(width, height) / 40  # the blob keeps clear of the borders
    blob = 255 * np.exp(-((columns - centre[0]) ** 2 + (rows - centre[1]) ** 2) / (2 * sigma**2))
    image = np.repeat(blob.astype(np.uint8)[..., None], 3, axis=2)

    result = preprocess(image, (128, 352))[..., 0].astype(float)
    grid = np.stack(np.meshgrid(np.arange(352), np.arange(128)), axis=-1)
    found = (grid * result[..., None]).sum((0, 1)) / result.sum()
    expected = input_from_image(width, height, (128, 352)) @ [*centre, 1]
    assert np.abs(found - expected[:2]).max() < 0.25


def test_image_resolutions_agree_with_each_other():
    random = np.random.default_rng(0)
    small = random.integers(0, 255, (9, 16, 3), dtype=np.uint8)
    large = np.kron(small, np.ones((100, 100, 1))).astype(np.uint8)  # 1600x900 of the same scene
    medium = np.kron(small, np.ones((25, 25, 1))).astype(np.uint8)  # 400x225
    difference = preprocess(large, (128, 352)).astype(int) - preprocess(medium, (128, 352))
    assert np.abs(difference).mean() < 2


def test_a_wide_image_gets_black_sky():
    result = preprocess(np.full((100, 1000, 3), 200, np.uint8), (128, 352))
    assert result.shape == (128, 352, 3)
    assert result[0].max() == 0
    assert result[-1].min() == 200


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 3), np.float32),
    ],
)
def test_other_arrays_are_refused(image):
    with pytest.raises(UserError, match="expected uint8"):
        preprocess(image, (128, 352))


def jpeg(image):
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def street(width, height):
    """Soft blobs, of which no detail is lost at an eighth."""
    small = np.random.default_rng(0).integers(0, 256, (9, 16, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(
    ("size", "reduction"), [((1600, 900), 2), ((3200, 1800), 4), ((511, 300), 1), ((4800, 2704), 8)]
)
def test_a_reduced_jpeg_gives_the_same_input_as_the_full_one(size, reduction):
    data = jpeg(street(*size))
    full, reduced = decode_image(data), decode_camera_image(data, size, (96, 256))
    assert reduction_of(full, size) == 1
    assert reduction_of(reduced, size) == reduction
    difference = preprocess(full, (96, 256)).astype(int) - preprocess(reduced, (96, 256))
    assert np.abs(difference).mean() < 1


@pytest.mark.parametrize("size", [(1600, 900), (3333, 1801)])
def test_a_blob_lands_where_the_matrices_say_also_in_a_reduced_image(size):
    centre = 0.44 * size[0], 0.67 * size[1]
    columns, rows = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    squares = (columns - centre[0]) ** 2 + (rows - centre[1]) ** 2
    blob = (255 * np.exp(-squares / (2 * (size[0] / 50) ** 2))).astype(np.uint8)
    image = decode_camera_image(jpeg(np.dstack([blob] * 3)), size, (96, 256))
    assert image.shape[1] < size[0] / 1.9
    result = preprocess(image, (96, 256))[..., 0].astype(float)
    grid = np.stack(np.meshgrid(np.arange(256), np.arange(96)), axis=-1)
    found = (grid * result[..., None]).sum((0, 1)) / result.sum()
    to_input = input_from_image(image.shape[1], image.shape[0], (96, 256))
    expected = to_input @ image_from_camera(reduction_of(image, size)) @ [*centre, 1]
    assert np.abs(found - expected[:2]).max() < 0.1


def test_a_view_of_bgr_memory_gives_the_same_input():
    rgb = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    view = rgb[..., ::-1].copy()[..., ::-1]
    assert np.array_equal(view, rgb) and is_bgr(view) and not is_bgr(rgb)
    expected = preprocess(rgb, (32, 64))
    found = preprocess(view, (32, 64))
    np.testing.assert_array_equal(found, expected)
    assert not is_bgr(found)
