# SPDX-License-Identifier: Apache-2.0
"""Promise: a camera's packets give its images, each with its own stamp, and faults cost no more."""

import builtins

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from video import Packet, encode, moving_street

from asd_perception.cameras.video_decoding import KeyFrameNeededError, VideoDecoder, check_video
from asd_perception.errors import UserError

WIDTH, HEIGHT = 320, 180
GOP = 4  # packets from one key frame to the next
IMAGES = moving_street(12, WIDTH, HEIGHT)


def decoded(packets):
    """What becomes of each packet: [(number of the image's packet, image), ...], or the error."""
    decoder, results = VideoDecoder(), []
    for number, packet in packets:
        try:
            results.append([(n, image.to_rgb()) for n, image in decoder.decode(packet, number)])
        except UserError as error:
            results.append(error)
    return results


def error_of(image, number):
    return np.abs(image.astype(int) - IMAGES[number]).mean()


CODECS = [
    ("libx264", "h264"),
    ("libx264", "h264;yuv420p;bgr8;bgr8"),
    ("libx264", "libx264"),
    ("libx264", "h264_nvenc"),
    ("libx265", "hevc"),
    ("libx265", "hevc_nvenc"),
    ("libsvtav1", "av1"),
    ("mjpeg", "mjpeg"),
]


@pytest.mark.parametrize(("encoder", "encoding"), CODECS)
def test_each_packet_gives_its_image_at_once(encoder, encoding):
    packets = encode(IMAGES, encoder, encoding, gop=GOP)
    for number, images in enumerate(decoded(enumerate(packets))):
        ((tag, image),) = images
        assert tag == number
        assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
        assert error_of(image, number) < 4
        assert error_of(image, number) < error_of(image, number - 1)


def test_images_that_a_stream_holds_back_keep_their_own_tags():
    """B-frames: packets come in another order than their images."""
    packets = encode(IMAGES, "libx264", "h264", gop=GOP, b_frames=2)
    order = [packet.pts for packet in packets]
    assert order != sorted(order), "the test shows nothing"
    decoder, found = VideoDecoder(), {}
    for packet in packets:
        for tag, image in decoder.decode(packet, packet.pts):
            assert image.delayed
            found[tag] = image.to_rgb()
    assert len(found) >= len(IMAGES) - 3
    assert all(error_of(image, number) < 4 for number, image in found.items())


@pytest.mark.parametrize("pts", [lambda number: 0, lambda number: 33_333 * number**2])
def test_pts_that_count_no_packets_are_no_loss(pts):
    packets = encode(IMAGES, "libx264", "h264", gop=GOP)
    for number, packet in enumerate(packets):
        packet.pts = pts(number)
    assert [images[0][0] for images in decoded(enumerate(packets))] == list(range(len(IMAGES)))


def test_colors_are_those_that_the_stream_says():
    """BT.709 and full range, where that is written in it; else BT.601 with limited range."""
    for said in ({}, {"colorspace": 1}, {"color_range": 2}, {"colorspace": 1, "color_range": 2}):
        packets = encode(IMAGES[:2], "libx264", "h264", gop=1, colors=said)
        assert all(
            error_of(images[0][1], n) < 4 for n, images in enumerate(decoded(enumerate(packets)))
        )


@pytest.mark.parametrize(("encoder", "encoding"), [("libx264", "h264"), ("libx265", "hevc")])
class TestFaults:
    def outcome(self, encoder, encoding, change):
        """By packet: "image", or the error, of a stream that `change` was applied to."""
        packets = list(enumerate(encode(IMAGES, encoder, encoding, gop=GOP)))
        change(packets)
        result = {}
        for (number, _), images in zip(packets, decoded(packets), strict=True):
            if isinstance(images, UserError):
                result[number] = images
                continue
            ((tag, image),) = images
            assert tag == number and error_of(image, number) < 4, "a wrong image"
            result[number] = "image"
        return result

    def test_before_the_first_key_frame_there_is_no_image(self, encoder, encoding):
        def change(packets):
            del packets[0]

        found = self.outcome(encoder, encoding, change)
        for number in (1, 2, 3):
            assert isinstance(found[number], KeyFrameNeededError)
            assert "a video begins with a key frame" in str(found[number])
        assert all(found[number] == "image" for number in range(4, 12))

    def test_after_a_lost_packet_the_next_key_frame_is_waited_for(self, encoder, encoding):
        def change(packets):
            del packets[5]

        found = self.outcome(encoder, encoding, change)
        assert all("packets were lost" in str(found[number]) for number in (6, 7))
        assert all(found[number] == "image" for number in (*range(5), *range(8, 12)))

    def test_a_lost_key_frame_costs_its_group(self, encoder, encoding):
        def change(packets):
            del packets[4]

        found = self.outcome(encoder, encoding, change)
        assert all(isinstance(found[number], KeyFrameNeededError) for number in (5, 6, 7))
        assert all(found[number] == "image" for number in (*range(4), *range(8, 12)))

    @pytest.mark.parametrize("how", ["cut", "empty", "junk"])
    def test_a_broken_packet_costs_what_needs_it(self, encoder, encoding, how):
        def change(packets):
            data = packets[5][1].data
            junk = np.random.default_rng(0).bytes(500)
            packets[5][1].data = {"cut": data[: len(data) // 2], "empty": b"", "junk": junk}[how]

        found = self.outcome(encoder, encoding, change)
        assert "packet" in str(found[5]) and not isinstance(found[5], KeyFrameNeededError)
        assert all("could not be decoded" in str(found[number]) for number in (6, 7))
        assert all(found[number] == "image" for number in (*range(5), *range(8, 12)))

    def test_a_sender_that_begins_anew_is_followed(self, encoder, encoding):
        def change(packets):
            for number, packet in packets[4:]:
                packet.pts = number - 4

        assert set(self.outcome(encoder, encoding, change).values()) == {"image"}


def test_packets_that_are_left_out_after_an_overrun_are_not_called_lost():
    packets = encode(IMAGES, gop=GOP)
    decoder = VideoDecoder()
    for number in range(3):
        assert decoder.decode(packets[number], number)
    decoder.restart("packets came faster than they can be decoded")
    for number in (6, 7):
        with pytest.raises(KeyFrameNeededError, match="packets came faster"):
            decoder.decode(packets[number], number)
    assert decoder.decode(packets[8], 8)
    with pytest.raises(KeyFrameNeededError, match="packets were lost"):
        decoder.decode(packets[10], 10)


def test_another_encoding_or_size_begins_with_its_key_frame():
    small = moving_street(4, 160, 90)
    packets = [
        *encode(IMAGES[:3], "libx264", "h264", gop=GOP),
        *encode(IMAGES[:4], "libx265", "hevc", gop=GOP)[1:],
        *encode(IMAGES[:2], "libx265", "hevc", gop=GOP),
        *encode(small, "libx265", "hevc", gop=GOP),
    ]
    found = decoded(enumerate(packets))
    assert all("its encoding has changed" in str(error) for error in found[3:6])
    shapes = [images[0][1].shape for images in found[:3] + found[6:]]
    assert shapes == [(HEIGHT, WIDTH, 3)] * 5 + [(90, 160, 3)] * 4


@pytest.mark.parametrize(
    ("encoding", "reason"),
    [
        ("", "encoding '' has no decoder here; let the sender encode h264 or hevc"),
        ("smoke", "encoding 'smoke' has no decoder here"),
        ("aac", "encoding 'aac' has no decoder here"),
        ("h264;gray8;bayer_rggb8;bayer_rggb8", "video of a Bayer mosaic.* publish rgb8"),
    ],
)
def test_what_cannot_be_decoded_is_one_line(encoding, reason):
    packet = encode(IMAGES[:1], "libx264", encoding, gop=GOP)[0]
    with pytest.raises(UserError, match=reason) as caught:
        VideoDecoder().decode(packet, 0)
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(["h264", "hevc", "av1", "mjpeg", "vp9"]),
    st.lists(st.tuples(st.binary(max_size=200), st.integers(0, 3)), max_size=5),
    st.sampled_from([b"", b"\0\0\0\1\x67", b"\0\0\0\1\x40\1", b"\xff\xd8"]),
)
def test_any_bytes_are_images_or_a_user_error(encoding, packets, start):
    decoder = VideoDecoder()
    for number, (data, flags) in enumerate(packets):
        try:
            decoder.decode(Packet(encoding, number, flags, start + data), number)
        except UserError as error:
            assert "\n" not in str(error)


def test_a_machine_without_pyav_is_told_which_extra_it_lacks(monkeypatch):
    real = builtins.__import__

    def without_av(name, *arguments):
        if name == "av":
            raise ImportError(name)
        return real(name, *arguments)

    check_video()
    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(UserError, match=r"pip install 'asd_perception\[video\]'"):
        check_video()
