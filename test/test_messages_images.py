# SPDX-License-Identifier: Apache-2.0
"""Promise: images turn into arrays; a bad message says why."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image

from asd_perception.errors import UserError
from asd_perception.ros.messages.images import (
    image_from_compressed,
    image_from_msg,
)


def raw_image(pixels, encoding, padding=0):
    rows = pixels.reshape(pixels.shape[0], -1)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    message = Image(
        height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=rows.shape[1]
    )
    message.data.frombytes(rows.tobytes())
    return message


def compressed_image(pixels, suffix=".jpg"):
    message = CompressedImage(format="jpeg")
    message.data.frombytes(cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1])
    return message


@pytest.fixture(scope="module")
def rgb():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("padding", [0, 3])
def test_plain_encodings_give_rgb(rgb, padding):
    for encoding, convert in (
        ("rgb8", None),
        ("bgr8", cv2.COLOR_RGB2BGR),
        ("rgba8", cv2.COLOR_RGB2RGBA),
        ("bgra8", cv2.COLOR_RGB2BGRA),
    ):
        pixels = rgb if convert is None else cv2.cvtColor(rgb, convert)
        np.testing.assert_array_equal(image_from_msg(raw_image(pixels, encoding, padding)), rgb)
    gray = rgb[..., :1]
    seen = image_from_msg(raw_image(gray, "mono8", padding))
    np.testing.assert_array_equal(seen, np.repeat(gray, 3, axis=2))


def test_rgb8_is_not_copied(rgb):
    message = raw_image(rgb, "rgb8")
    image = image_from_msg(message)
    message.data[0] ^= 0xFF
    assert image[0, 0, 0] != rgb[0, 0, 0]


def test_unusual_encodings_give_rgb():
    bayer = np.full((4, 4, 1), 77, np.uint8)
    np.testing.assert_array_equal(image_from_msg(raw_image(bayer, "bayer_grbg8")), 77)
    pixels = np.full((4, 6, 3), (240, 0, 16), np.uint16) * 256
    big_endian = raw_image(pixels.astype(">u2").view(np.uint8), "bgr16")
    big_endian.width, big_endian.is_bigendian = 6, 1
    np.testing.assert_array_equal(image_from_msg(big_endian)[0, 0], [16, 0, 240])


def test_a_bayer_mosaic_is_debayered_where_the_format_says_so():
    message = CompressedImage(format="bayer_rggb8; png compressed ")
    red = np.zeros((32, 48), np.uint8)
    red[::2, ::2] = 200
    message.data.frombytes(cv2.imencode(".png", red)[1])
    np.testing.assert_array_equal(decompress(message)[8, 8], [200, 0, 0])


def decompress(message, size=(48, 32)):
    return image_from_compressed(message, size, size[::-1])


def test_compressed_images_give_rgb():
    color = np.zeros((32, 48, 3), np.uint8)
    color[..., 0] = 200
    for suffix in (".jpg", ".png", ".webp"):
        image = decompress(compressed_image(color, suffix))
        assert image.shape == (32, 48, 3)
        np.testing.assert_allclose(image[16, 24], [200, 0, 0], atol=3)


def without_end(message, count):
    del message.data[-count:]
    return message


def zero_padded(message):
    message.data.frombytes(bytes(16))
    return message


def test_a_zero_padded_jpeg_is_whole(rgb):
    image = decompress(zero_padded(compressed_image(rgb)), rgb.shape[1::-1])
    assert image.shape == rgb.shape


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda rgb: Image(encoding="rgb8"), "zero size"),
        (lambda rgb: raw_image(rgb, "spam8"), "spam8"),
        (lambda rgb: raw_image(rgb, "rgba8"), "step"),
        (lambda rgb: without_end(raw_image(rgb, "rgb8"), 1), "bytes"),
        (lambda rgb: CompressedImage(), "no JPEG, PNG or WebP"),
        (lambda rgb: without_end(compressed_image(rgb), 30), "truncated"),
        (lambda rgb: without_end(compressed_image(rgb), 1), "truncated"),
        (lambda rgb: without_end(compressed_image(rgb, ".png"), 30), "truncated"),
    ],
)
def test_bad_images_are_refused(rgb, make, reason):
    message = make(rgb)
    convert = image_from_msg if isinstance(message, Image) else decompress
    with pytest.raises(UserError, match=reason) as caught:
        convert(message)
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=64), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]))
def test_junk_bytes_are_refused(junk, magic):
    message = CompressedImage()
    message.data.frombytes(magic + junk)
    with pytest.raises(UserError):
        decompress(message)
