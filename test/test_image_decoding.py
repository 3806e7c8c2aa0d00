# SPDX-License-Identifier: Apache-2.0
"""Promise: a camera's bytes give its colours, whatever its encoding; wrong ones say why."""

import contextlib
import struct
import tracemalloc
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from asd_perception.cameras.image_decoding import (
    check_encoded,
    decode_camera_image,
    decode_image,
    decode_raw,
    encoded_size,
    format_warning,
    raw_warning,
)
from asd_perception.cameras.preprocessing import REDUCTIONS
from asd_perception.errors import UserError

WIDTH, HEIGHT = 80, 60


# -- raw images ------------------------------------------------------------------------------------


@dataclass
class Raw:
    """The fields of a sensor_msgs/Image."""

    encoding: str
    data: bytes
    step: int
    width: int = WIDTH
    height: int = HEIGHT
    is_bigendian: int = 0


def packed(encoding, samples, padding=0, big_endian=False):
    """An image whose pixels lie behind each other; samples: (rows, ...) of 8 or 16 bit."""
    if samples.dtype == np.uint16:
        samples = samples.astype(">u2" if big_endian else "<u2")
    rows = np.frombuffer(samples.tobytes(), np.uint8).reshape(len(samples), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    return Raw(encoding, rows.tobytes(), rows.shape[1], is_bigendian=int(big_endian))


def patches():
    """Random colours, each of 4x4 pixels."""
    colors = np.random.default_rng(0).integers(0, 256, (HEIGHT // 4, WIDTH // 4, 3), np.uint8)
    return colors.repeat(4, 0).repeat(4, 1)


def yuv_from_rgb(rgb, kr=0.299, kb=0.114, limited=True):
    """(rows, columns, 3) uint8 Y, Cb, Cr as ITU-R BT.601 (kr 0.2126, kb 0.0722: BT.709) has it."""
    r, g, b = np.moveaxis(rgb / 255.0, -1, 0)
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    scale_y, black, scale_c = (219, 16, 224) if limited else (255, 0, 255)
    yuv = np.stack([scale_y * y + black, scale_c * cb + 128, scale_c * cr + 128], -1)
    return yuv.round().clip(0, 255).astype(np.uint8)


def in_yuv(encoding, yuv, padding=0):
    """A raw image of Y, Cb, Cr whose chroma is that of each 4x4 pixels; padding: bytes per row."""
    y, u, v = np.moveaxis(yuv, -1, 0)

    def plane(samples, padding):
        return np.pad(samples, ((0, 0), (0, padding)), constant_values=99).tobytes()

    if encoding in ("yuyv", "yuv422_yuy2", "uyvy", "yuv422"):
        chroma = np.where(np.arange(WIDTH) % 2, v, u)
        pairs = [y, chroma] if encoding.startswith(("yuyv", "yuv422_")) else [chroma, y]
        return packed(encoding, np.stack(pairs, -1), padding)
    half_u, half_v = u[::2, ::2], v[::2, ::2]
    if encoding == "i420":
        planes = [plane(half_u, padding // 2), plane(half_v, padding // 2)]
    elif encoding == "nv24":
        planes = [plane(np.stack([u, v], -1).reshape(HEIGHT, -1), 2 * padding)]
    else:
        pairs = [half_u, half_v] if encoding == "nv12" else [half_v, half_u]
        planes = [plane(np.stack(pairs, -1).reshape(HEIGHT // 2, -1), padding)]
    return Raw(encoding, plane(y, padding) + b"".join(planes), WIDTH + padding)


YUV = ["yuyv", "yuv422_yuy2", "uyvy", "yuv422", "nv12", "nv21", "nv24", "i420"]


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", YUV)
def test_yuv_is_bt601_of_limited_range(encoding, padding):
    rgb = patches()
    found = decode_raw(in_yuv(encoding, yuv_from_rgb(rgb), padding))
    assert found.shape == rgb.shape and found.dtype == np.uint8
    assert np.abs(found.astype(int) - rgb).max() <= 2


@pytest.mark.parametrize("encoding", ["yuyv", "nv12", "nv24"])
def test_luma_and_chroma_out_of_their_range_are_clipped(encoding):
    yuv = np.random.default_rng(1).integers(0, 256, (HEIGHT // 4, WIDTH // 4, 3), np.uint8)
    yuv = yuv.repeat(4, 0).repeat(4, 1)
    y, cb, cr = (np.moveaxis(yuv, -1, 0) - np.array([16, 128, 128])[:, None, None]) / 224
    y = y.clip(0) * 224 / 219
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1)
    found = decode_raw(in_yuv(encoding, yuv))
    assert np.abs(found - (255 * rgb).clip(0, 255)).max() <= 2


@pytest.mark.parametrize(
    ("standard", "mean", "largest"),
    [
        ({"limited": False}, 9, 22),
        ({"kr": 0.2126, "kb": 0.0722}, 8, 36),
        ({"kr": 0.2126, "kb": 0.0722, "limited": False}, 11, 51),
    ],
)
def test_other_yuv_than_bt601_of_limited_range_is_off_by_what_the_docs_say(standard, mean, largest):
    rgb = patches()
    error = np.abs(decode_raw(in_yuv("nv12", yuv_from_rgb(rgb, **standard))).astype(int) - rgb)
    assert error.mean() < mean and error.max() < largest
    assert error.mean() > 5  # or the docs warn for nothing


@pytest.mark.parametrize("step", [WIDTH, WIDTH * 3 // 2, WIDTH * 2])
def test_planes_without_padding_are_read_whatever_their_step_says(step):
    rgb = patches()
    image = in_yuv("nv12", yuv_from_rgb(rgb))
    image.step = step
    assert np.abs(decode_raw(image).astype(int) - rgb).max() <= 2


def wide(samples):
    """16 bit of which the lower 8 are anything."""
    lower = np.random.default_rng(2).integers(0, 256, samples.shape, np.uint16)
    return samples.astype(np.uint16) * 256 + lower


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("depth", ["8", "16 little", "16 big"])
def test_colors_with_and_without_alpha_and_grey(depth, padding):
    rgb = patches()
    rgba = np.dstack([rgb, np.full((HEIGHT, WIDTH), 7, np.uint8)])
    for name, samples, expected in (
        ("rgb", rgb, rgb),
        ("bgr", rgb[..., ::-1], rgb),
        ("rgba", rgba, rgb),
        ("bgra", rgba[..., [2, 1, 0, 3]], rgb),
        ("mono", rgb[..., :1], rgb[..., [0, 0, 0]]),
    ):
        bits, _, order = depth.partition(" ")
        samples = wide(samples) if bits == "16" else samples
        found = decode_raw(packed(name + bits, samples, padding, order == "big"))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("encoding", ["8UC1", "8UC3", "8UC4"])
def test_encodings_that_name_no_colors_are_read_as_opencv_orders_them(encoding):
    rgb = patches()
    bgra = np.dstack([rgb[..., ::-1], np.zeros((HEIGHT, WIDTH), np.uint8)])
    samples = bgra[..., : int(encoding[-1])]
    expected = rgb if encoding != "8UC1" else rgb[..., [2, 2, 2]]
    np.testing.assert_array_equal(decode_raw(packed(encoding, samples)), expected)
    warning = raw_warning(packed(encoding, samples))
    assert warning is None if encoding == "8UC1" else "let the driver publish bgr" in warning


def test_named_colors_are_not_warned_of():
    for name, channels in (("rgb8", 3), ("mono8", 1), ("yuyv", 2), ("nv12", 1)):
        assert raw_warning(packed(name, np.zeros((HEIGHT, WIDTH, channels), np.uint8))) is None


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(
    ("encoding", "channels"), [("bayer_rggb16", 1), ("mono16", 1), ("bgr16", 3)]
)
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_values_that_do_not_fill_16_bits_are_warned_of(encoding, channels, big_endian, bits):
    """A camera of 12 bits that puts them into the lower ones is seen as almost black."""
    samples = np.random.default_rng(0).integers(0, 2**bits, (HEIGHT, WIDTH, channels), np.uint16)
    samples[0, 0] = 2**bits - 1
    image = packed(encoding, samples, 6, big_endian)
    if bits < 16:
        assert f"its {encoding} image has no value above {2**bits - 1} of" in raw_warning(image)
        assert decode_raw(image).max() < 16
    else:
        assert raw_warning(image) is None
    assert raw_warning(packed(encoding, np.zeros_like(samples))) is None, "with the cap on"


@pytest.mark.parametrize(
    ("name", "usual", "channels", "kind"),
    [
        ("RGB8", "rgb8", 3, np.uint8),
        ("Bgr8", "bgr8", 3, np.uint8),
        ("YUYV", "yuyv", 2, np.uint8),
        ("Bayer_RGGB8", "bayer_rggb8", 1, np.uint8),
        ("8uc1", "8UC1", 1, np.uint8),
        ("MONO16", "mono16", 1, np.uint16),
    ],
)
def test_the_case_of_an_encoding_does_not_matter(name, usual, channels, kind):
    samples = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, channels), kind)
    expected = decode_raw(packed(usual, samples))
    np.testing.assert_array_equal(decode_raw(packed(name, samples)), expected)


def test_a_bayer_mosaic_is_known_by_its_format_whatever_its_case():
    encoded = cv2.imencode(".png", mosaic("rggb", areas()))[1].tobytes()
    assert_areas(decode_image(encoded, source="BAYER_RGGB8; png compressed "))


def mosaic(order, rgb):
    """What a sensor behind a Bayer filter sees: the colours of its first two rows in `order`."""
    out = np.zeros(rgb.shape[:2], np.uint8)
    for i, color in enumerate(order):
        rows, columns = slice(i // 2, None, 2), slice(i % 2, None, 2)
        out[rows, columns] = rgb[rows, columns, "rgb".index(color)]
    return out


def areas():
    """Three colours: a Bayer mosaic has them everywhere but along their borders."""
    rgb = np.full((HEIGHT, WIDTH, 3), (200, 30, 60), np.uint8)
    rgb[HEIGHT // 2 :, : WIDTH // 2] = 20, 160, 40
    rgb[HEIGHT // 2 :, WIDTH // 2 :] = 30, 90, 210
    return rgb


def assert_areas(image, tolerance=0):
    """The colours of `areas`, without the four pixels along their borders."""
    error = np.abs(image.astype(int) - areas())
    error[HEIGHT // 2 - 2 : HEIGHT // 2 + 2] = 0
    error[:, WIDTH // 2 - 2 : WIDTH // 2 + 2] = 0
    assert error.max() <= tolerance


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("order", ["rggb", "bggr", "gbrg", "grbg"])
def test_all_bayer_orders(order, padding):
    samples = mosaic(order, areas())
    assert_areas(decode_raw(packed(f"bayer_{order}8", samples, padding)))
    for big_endian in (False, True):
        assert_areas(decode_raw(packed(f"bayer_{order}16", wide(samples), padding, big_endian)))


def test_rgb8_and_bgr8_are_viewed_without_a_copy():
    data = bytearray(packed("rgb8", patches()).data)
    for encoding in ("rgb8", "bgr8"):
        image = decode_raw(Raw(encoding, data, 3 * WIDTH))
        assert np.shares_memory(image, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Raw("rgb8", b"", 0, width=0), "image has zero size (0x60)"),
        (Raw("spam8", bytes(4800), 80), "image encoding 'spam8' is none of a colour camera's"),
        (Raw("32FC1", bytes(19200), 320), "let the driver publish rgb8 or bgr8"),
        (Raw("rgba8", bytes(14400), 240), "image step 240 is less than 80 rgba8 pixels"),
        (Raw("rgb16", bytes(14400), 240), "image step 240 is less than 80 rgb16 pixels"),
        (Raw("rgb8", bytes(14399), 240), "14399 bytes; step 240 x height 60 needs 14400"),
        (Raw("yuyv", bytes(9720), 162, width=81), "81x60, but yuyv has one colour for two columns"),
        (Raw("nv12", bytes(7290), 81, width=81), "81x60, but nv12 has one colour for 2x2 pixels"),
        (Raw("nv21", bytes(7080), 80, height=59), "width and height must be even"),
        (Raw("nv12", bytes(7199), 80), "7199 bytes; nv12 of 80x60 with step 80 needs 7200"),
        (Raw("nv24", bytes(7200), 80), "7200 bytes; nv24 of 80x60 with step 80 needs 14400"),
        (Raw("i420", bytes(4800), 80), "4800 bytes; i420 of 80x60 with step 80 needs 7200"),
        (Raw("i420", bytes(7290), 81), "image step 81 of i420 must be even"),
    ],
)
def test_sizes_that_do_not_fit_are_one_line(image, reason):
    with pytest.raises(UserError) as caught:
        decode_raw(image)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


ENCODINGS = [
    *(f"{colors}{bits}" for colors in ("rgb", "bgr", "rgba", "bgra", "mono") for bits in (8, 16)),
    *(f"bayer_{order}{bits}" for order in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)),
    *("8UC1", "8UC3", "8UC4", *YUV),
]


@settings(deadline=None, max_examples=500)
@given(
    st.sampled_from([*ENCODINGS, "", "16UC1"]),
    *[st.integers(0, 7)] * 2,
    st.integers(0, 40),
    st.sampled_from([1, 1.5, 3]),
    st.booleans(),
)
def test_any_raw_image_is_decoded_or_refused(encoding, width, height, step, share, big_endian):
    image = Raw(encoding, bytes(int(share * step * height)), step, width, height, big_endian)
    with contextlib.suppress(UserError):
        assert decode_raw(image).shape == (height, width, 3)


# -- encoded images --------------------------------------------------------------------------------


def jpeg(image):
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def street(width, height):
    """Soft blobs, of which no detail is lost at an eighth."""
    small = np.random.default_rng(0).integers(0, 256, (9, 16, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def turned(kind, data, orientation):
    """An encoded image whose metadata ask that it be turned or mirrored."""
    tag = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"II*\0" + struct.pack("<IH", 8, 1) + tag + bytes(4)
    if kind == ".jpg":
        exif = b"Exif\0\0" + exif
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    if kind == ".png":
        crc = struct.pack(">I", zlib.crc32(b"eXIf" + exif))
        return data[:33] + struct.pack(">I", len(exif)) + b"eXIf" + exif + crc + data[33:]
    canvas = b"".join((side - 1).to_bytes(3, "little") for side in encoded_size(data))
    body = b"WEBPVP8X" + struct.pack("<II", 10, 0x08) + canvas + data[12:]
    body += b"EXIF" + struct.pack("<I", len(exif)) + exif
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.skipif(
    not hasattr(simplejpeg, "encode_jpeg_yuv_planes"), reason="simplejpeg before 1.8 has no YUV"
)
def test_jpeg_is_bt601_of_full_range():
    rgb = patches()
    yuv = yuv_from_rgb(rgb, limited=False)
    planes = [np.ascontiguousarray(plane) for plane in np.moveaxis(yuv, -1, 0)]
    found = decode_image(simplejpeg.encode_jpeg_yuv_planes(*planes, quality=100))
    assert np.abs(found.astype(int) - rgb).mean() < 1.5


def test_a_png_image_is_decoded_in_full():
    data = cv2.imencode(".png", street(1600, 900))[1].tobytes()
    assert decode_camera_image(data, (1600, 900), (96, 256)).shape == (900, 1600, 3)


@pytest.mark.parametrize("wrong", [(400, 225), (800, 450), (1600, 896), (3200, 1800)])
def test_an_image_of_another_size_is_refused_also_where_it_is_a_reduced_one(wrong):
    message = f"image is {wrong[0]}x{wrong[1]}, its calibration says 1600x900"
    with pytest.raises(UserError, match=message):
        decode_camera_image(jpeg(street(*wrong)), (1600, 900), (96, 256))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("size", [(1600, 900), (333, 201)])
def test_pixels_are_those_of_opencv(size, reduction):
    data = jpeg(street(*size))
    flag = cv2.IMREAD_COLOR if reduction == 1 else getattr(cv2, f"IMREAD_REDUCED_COLOR_{reduction}")
    expected = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), flag), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(decode_image(data, reduction), expected)


@pytest.mark.parametrize(
    ("claim", "reason"),
    [((8000, 8000), "its calibration says"), ((65500, 65500), "claims to be 65500x65500")],
)
def test_an_image_that_claims_to_be_large_is_refused_before_it_is_decoded(claim, reason):
    data = bytearray(jpeg(street(64, 48)))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = claim[1].to_bytes(2, "big") + claim[0].to_bytes(2, "big")
    tracemalloc.start()
    with pytest.raises(UserError, match=reason):
        decode_camera_image(bytes(data), (64, 48), (24, 32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def damaged(how):
    data = bytearray(jpeg(street(1600, 900)))
    middle = len(data) // 2
    if how == "zeros":
        data[middle : middle + 2000] = bytes(2000)
    elif how == "cut":
        del data[middle:-2]
    elif how == "bytes":
        data[-2:-2] = b"\x12\x34"
    return bytes(data)


@pytest.mark.parametrize("how", ["zeros", "cut"])
def test_a_jpeg_with_a_hole_is_refused(how):
    with pytest.raises(UserError, match="is truncated or damaged: Corrupt JPEG data"):
        decode_camera_image(damaged(how), (1600, 900), (96, 256))


def test_a_few_bytes_too_many_as_cheap_cameras_send_them_do_no_harm():
    expected = decode_image(damaged("nothing"))
    np.testing.assert_array_equal(decode_image(damaged("bytes")), expected)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_an_image_or_a_user_error(data):
    png = b"\x89PNG\r\n\x1a\n" + data + b"IEND\xae\x42\x60\x82"
    riff = b"RIFF" + (len(data) + 4).to_bytes(4, "little") + b"WEBP"
    whole = b"\xff\xd8\xff\xc0" + data + b"\xff\xd9"
    webp = [riff + data, riff + b"VP8X" + data, riff + b"VP8L" + data, riff + b"VP8 " + data]
    for encoded in (data, b"\xff\xd8" + data, whole, png, *webp):
        with contextlib.suppress(UserError):
            decode_image(encoded)


STALE = jpeg(street(64, 48))[-300:-2]  # the end of an earlier picture
BEHIND = {
    "line feed": b"\n",
    "zeros": bytes(50),
    "0xFF padding": b"\xff" * 50,
    "stale buffer": STALE,
    "stale buffer with an end": STALE + b"\xff\xd9",
    "multipart boundary": b"\r\n--frame\r\n",
    "maker's trailer": np.random.default_rng(0).bytes(5000),
    "a second picture": jpeg(street(64, 48)),
}


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp"])
def test_bytes_behind_an_image_do_no_harm(kind, behind):
    data = cv2.imencode(kind, street(800, 450))[1].tobytes()
    size, input_size = (800, 450), (48, 128)  # JPEG: at half its size
    found = decode_camera_image(data + BEHIND[behind], size, input_size)
    np.testing.assert_array_equal(found, decode_camera_image(data, size, input_size))


@pytest.mark.parametrize("behind", ["", *(key for key in BEHIND if "stale" not in key)])
@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_an_image_that_is_cut_is_refused_whatever_follows(kind, behind, share):
    data = cv2.imencode(kind, street(800, 450))[1].tobytes()
    cut = data[: int(share * len(data))] + BEHIND.get(behind, b"")
    with pytest.raises(UserError, match="is truncated or damaged"):
        decode_camera_image(cut, (800, 450), (48, 128))


def test_a_cut_jpeg_with_a_whole_thumbnail_is_refused():
    thumbnail = jpeg(street(16, 9))
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    data = jpeg(street(1600, 900))
    data = data[:2] + segment + data[2:]
    assert decode_image(data).shape == (900, 1600, 3)
    with pytest.raises(UserError, match="is truncated or damaged: Premature end of JPEG file"):
        decode_camera_image(data[:-500], (1600, 900), (96, 256))


def test_checking_an_image_takes_no_decoding():
    """It runs in the thread that takes all messages: damage inside is for the decoder to find."""
    check_encoded(damaged("zeros") + b"\n")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [".png", ".jpg", ".webp"])
def test_an_orientation_is_ignored(kind, orientation):
    data = cv2.imencode(kind, street(160, 90))[1].tobytes()
    found = decode_camera_image(turned(kind, data, orientation), (160, 90), (96, 256))
    np.testing.assert_array_equal(found, decode_image(data))


@pytest.mark.parametrize(("quality", "tolerance"), [(90, 4), (101, 0)])  # 101: lossless
@pytest.mark.parametrize("size", [(160, 90), (333, 201)])
@pytest.mark.parametrize("alpha", [False, True])
def test_webp(size, alpha, quality, tolerance):
    image = street(*size)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGRA if alpha else cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
    assert encoded_size(data) == size
    found = decode_camera_image(data, size, (96, 256))
    assert np.abs(found.astype(int) - image).mean() <= tolerance


@pytest.mark.parametrize("order", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("kind", [".png", ".jpg"])
@pytest.mark.parametrize("rest", ["compressed ", "compressed", "compressed bayer_{order}8"])
def test_a_bayer_mosaic_in_one_channel_gets_its_colors(order, kind, rest):
    encoded = cv2.imencode(kind, mosaic(order, areas()), [cv2.IMWRITE_JPEG_QUALITY, 100])[1]
    said = f"bayer_{order}8; jpeg {rest.format(order=order)}"
    # At a network so small that another JPEG image would be decoded at an eighth.
    found = decode_camera_image(encoded.tobytes(), (WIDTH, HEIGHT), (4, 5), said)
    assert_areas(found, tolerance=0 if kind == ".png" else 4)
    assert format_warning(said) is None


def test_a_bayer_mosaic_of_16_bit():
    encoded = cv2.imencode(".png", wide(mosaic("grbg", areas())))[1].tobytes()
    assert_areas(decode_image(encoded, source="bayer_grbg16; png compressed "))


@pytest.mark.parametrize(
    "said", ["jpeg", "", "bayer_rggb8; jpeg compressed mono8", "mono8; jpeg compressed "]
)
def test_one_channel_that_is_no_mosaic_stays_grey(said):
    encoded = cv2.imencode(".png", mosaic("rggb", areas()))[1].tobytes()
    found = decode_image(encoded, source=said)
    np.testing.assert_array_equal(found, mosaic("rggb", areas())[..., None].repeat(3, 2))


def test_colors_that_the_sender_has_made_of_a_mosaic_stay():
    image = street(160, 90)
    found = decode_image(jpeg(image), source="bayer_rggb8; jpeg compressed bgr8")
    assert np.abs(found.astype(int) - image).mean() < 2


@pytest.mark.parametrize(
    ("said", "kind", "channels", "depth"),
    [
        ("rgb8; jpeg compressed bgr8", ".jpg", "bgr", 8),
        ("bgr8; png compressed bgr8", ".png", "bgr", 8),
        ("rgba8; png compressed bgra8", ".png", "bgra", 8),
        ("rgba8; png compressed ", ".png", "bgra", 8),
        ("rgb16; png compressed bgr16", ".png", "bgr", 16),
        ("mono8; jpeg compressed mono8", ".jpg", "m", 8),
        ("mono8; png compressed ", ".png", "m", 8),
        ("mono16; png compressed mono16", ".png", "m", 16),
        ("jpeg", ".jpg", "bgr", 8),
        ("jpg", ".jpg", "bgr", 8),
        ("png", ".png", "bgra", 8),
        ("png", ".jpg", "bgr", 8),
        ("", ".png", "bgr", 16),
    ],
)
def test_colors_grey_alpha_and_16_bit_are_those_of_the_file_itself(said, kind, channels, depth):
    image = street(160, 90)
    planes = dict(zip("rgb", np.moveaxis(image, -1, 0), strict=True))
    planes |= {"a": np.zeros((90, 160), np.uint8), "m": image[..., 1]}
    samples = np.stack([planes[name] for name in channels], -1)
    samples = wide(samples) if depth == 16 else samples
    data = cv2.imencode(kind, samples, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    check_encoded(data, said)
    found = decode_image(data, source=said)
    expected = image if channels != "m" else image[..., [1, 1, 1]]
    if kind == ".png":
        np.testing.assert_array_equal(found, expected)
    assert np.abs(found.astype(int) - expected).mean() < 2
    assert format_warning(said) is None


@pytest.mark.parametrize(
    "said", ["16UC1; compressedDepth png", "32FC1; compressedDepth", "16UC1; png compressed "]
)
def test_a_depth_image_is_refused_by_what_its_format_says(said):
    data = cv2.imencode(".png", np.ones((90, 160), np.uint16))[1].tobytes()
    with pytest.raises(UserError, match=f"format '{said}' is that of a depth image; give the"):
        check_encoded(data, said)


def test_bytes_of_another_format_are_refused_with_what_they_are_said_to_be():
    with pytest.raises(
        UserError, match=r"no JPEG, PNG or WebP image \(format 'h264'\); let the dr"
    ):
        check_encoded(b"\0\0\0\1\x67" + bytes(500), "h264")


@pytest.mark.parametrize(
    ("said", "warned"),
    [
        ("yuv422_yuy2; jpeg compressed mono8", True),
        ("bayer_rggb8; jpeg compressed mono8", True),
        ("rgb8; jpeg compressed bgr8", False),
        ("bayer_rggb8; jpeg compressed ", False),
        ("mono8; jpeg compressed mono8", False),
        ("mono16; png compressed mono8", False),
        ("jpeg", False),
        ("", False),
        (";;;", False),
    ],
)
def test_a_sender_that_drops_the_colors_is_warned_of(said, warned):
    warning = format_warning(said)
    assert warning is None if not warned else f"format {said!r}" in warning and "rgb8" in warning
