# SPDX-License-Identifier: Apache-2.0
"""Promise: every packet is decoded, each camera's in order, and a slow machine begins again."""

import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest
from video import Packet, encode, moving_street

from asd_perception.cameras.video_decoding import KeyFrameNeededError
from asd_perception.errors import UserError
from asd_perception.frames.video import MAX_WAIT, VideoStreams

CAMERAS = ("left", "right")
GOP = 4
PACKETS = {
    camera: encode(moving_street(24, 320, 180)[::step], gop=GOP)
    for camera, step in (("left", 1), ("right", -1))
}


@dataclass(frozen=True)
class Arrival:
    camera: str
    number: int
    message: Packet
    at: float


class Receiver:
    """What comes of the packets that are put. Threads that deliver an image wait for `go_on`."""

    def __init__(self):
        self.images = {camera: [] for camera in CAMERAS}
        self.errors = {camera: [] for camera in CAMERAS}
        self.go_on = threading.Event()
        self.go_on.set()
        self.delivers = threading.Event()
        self.streams = VideoStreams(CAMERAS, self.take, self.note)

    def take(self, arrival, image):
        self.delivers.set()
        self.go_on.wait(30)
        self.images[arrival.camera].append((arrival.number, image.to_rgb()))

    def note(self, arrival, error):
        self.errors[arrival.camera].append((arrival.number, error))

    def put(self, camera, number, packet=None, at=None):
        packet = packet or PACKETS[camera][number % len(PACKETS[camera])]
        packet = Packet(packet.encoding, number, packet.flags, packet.data)
        self.streams.put(Arrival(camera, number, packet, time.monotonic() if at is None else at))

    def wait(self):
        deadline = time.monotonic() + 30
        while self.streams.oldest() is not None:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.go_on.set()
    assert receiver.streams.close(10)


def test_all_packets_give_their_images_in_order(receiver):
    for number in range(24):
        for camera in CAMERAS:
            receiver.put(camera, number)
    receiver.wait()
    for camera in CAMERAS:
        assert [number for number, _ in receiver.images[camera]] == list(range(24))
        assert not receiver.errors[camera]
    both = zip(receiver.images["left"], receiver.images["right"][::-1], strict=True)
    for (_, left), (_, right) in both:
        assert np.abs(left.astype(int) - right).mean() < 4, "images of another camera"


def test_a_fault_of_one_camera_is_none_of_the_other(receiver):
    for number in range(8):
        receiver.put("left", number, Packet("h264", number, 1, b"junk") if number == 2 else None)
        receiver.put("right", number)
    receiver.wait()
    assert [number for number, _ in receiver.images["left"]] == [0, 1, 4, 5, 6, 7]
    assert [number for number, _ in receiver.errors["left"]] == [2, 3]
    assert all(isinstance(error, UserError) for _, error in receiver.errors["left"])
    assert len(receiver.images["right"]) == 8


def test_where_packets_come_too_fast_a_camera_begins_again_with_a_key_frame(receiver):
    receiver.put("left", 0)
    receiver.put("left", 1)
    receiver.wait()
    receiver.go_on.clear()
    receiver.delivers.clear()
    receiver.put("left", 2, at=0.0)
    assert receiver.delivers.wait(30)
    receiver.put("left", 3, at=0.0)
    for number in range(4, 9):
        receiver.put("left", number, at=0.9 * MAX_WAIT)
    assert receiver.streams.oldest().number == 2
    for number in range(9, 15):
        receiver.put("left", number, at=1.1 * MAX_WAIT)
    receiver.go_on.set()
    receiver.wait()
    assert [number for number, _ in receiver.images["left"]] == [0, 1, 2, 12, 13, 14]
    assert [number for number, _ in receiver.errors["left"]] == list(range(3, 12))
    for _, error in receiver.errors["left"]:
        assert isinstance(error, KeyFrameNeededError)
        assert "packets came faster than they can be decoded" in str(error)


def test_closing_forgets_the_packets_that_wait():
    receiver = Receiver()
    receiver.go_on.clear()
    for number in range(10):
        receiver.put("left", number)
    assert receiver.delivers.wait(30)
    assert not receiver.streams.close(0.2), "one is at work"
    receiver.go_on.set()
    assert receiver.streams.close(10)
    assert len(receiver.images["left"]) == 1
