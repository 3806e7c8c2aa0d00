# SPDX-License-Identifier: Apache-2.0
"""Promise: images are prepared beside one another; when they are too many, whole sweeps go."""

import dataclasses
import threading
import time
from dataclasses import dataclass

import pytest

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.frames.intake import Intake

MS = 1_000_000


@dataclass(frozen=True)
class Image:
    camera: str
    stamp: int


def sweep(number):
    return [Image(camera, number * 83 * MS + i * 8 * MS) for i, camera in enumerate(CAMERAS)]


@pytest.fixture
def gated():
    """An intake whose threads wait at a gate, what has come to it, and what has passed it."""
    gate, begun, done = threading.Event(), [], []

    def prepare(image):
        begun.append(image)
        gate.wait()
        done.append(image)

    intake = Intake(CAMERAS, 60 * MS, prepare)
    yield intake, gate, begun, done
    gate.set()
    intake.close(10.0)


def wait_until(condition, intake):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"oldest: {intake.oldest()}, dropped: {intake.dropped}"
        time.sleep(0.005)


def test_every_image_is_prepared_when_there_is_time(gated):
    intake, gate, _, done = gated
    gate.set()
    for number in range(5):
        for image in sweep(number):
            intake.put(image)
        wait_until(lambda number=number: len(done) == 6 * (number + 1), intake)
    assert set(done) == {image for number in range(5) for image in sweep(number)}
    assert sum(intake.dropped.values()) == 0


def test_an_overrun_leaves_out_whole_sweeps_and_keeps_the_newest(gated):
    intake, gate, _, done = gated
    for number in range(20):
        for image in sweep(number):
            intake.put(image)
    gate.set()
    wait_until(lambda: len(done) + sum(intake.dropped.values()) == 120, intake)
    assert set(sweep(19)) <= set(done)
    by_sweep = [sum(image in done for image in sweep(number)) for number in range(20)]
    assert by_sweep == [6, *[0] * 18, 6]  # what was at work when it began, and the newest


def test_a_camera_that_is_faster_than_the_others_costs_them_nothing(gated):
    intake, gate, _, done = gated
    first = sweep(0)
    for image in first:
        intake.put(image)
    fast = first[0].camera
    for extra in range(1, 20):
        intake.put(dataclasses.replace(first[0], stamp=first[0].stamp + extra * 4 * MS))
    gate.set()
    wait_until(lambda: intake.oldest() is None, intake)
    assert {image.camera for image in done} == set(CAMERAS)
    assert all(count == 0 for camera, count in intake.dropped.items() if camera != fast)
    assert intake.dropped[fast] > 10


def test_a_sweep_that_begins_while_a_frame_waits_is_left_out_as_a_whole():
    done, taken, busy = [], [], False
    intake = Intake(CAMERAS, 60 * MS, done.append, lambda: busy)

    def all_taken():
        return len(done) == len(taken)

    try:
        for number in range(6):
            first, second, *others = sweep(number)
            busy = number in (1, 2, 4)
            taken += [] if busy else sweep(number)
            intake.put(first)
            busy = not busy  # which changes nothing any more
            for image in others:
                intake.put(image)
            if number == 3:  # a straggler is taken, and decides nothing
                taken.append(sweep(1)[1])
                intake.put(taken[-1])
            intake.put(second)
            wait_until(all_taken, intake)
        assert set(done) == set(taken)
        assert sum(intake.dropped.values()) == 18
        busy = True
        intake.put(sweep(-100)[0])  # a clock that was set back begins a new one
        assert sum(intake.dropped.values()) == 19
    finally:
        intake.close(10.0)


def test_a_camera_with_a_clock_of_its_own_costs_the_others_nothing(gated):
    intake, gate, _, done = gated
    for number in range(20):
        for i, image in enumerate(sweep(number)):
            wrong = 3600_000 * MS * (i == 3)
            intake.put(dataclasses.replace(image, stamp=image.stamp - wrong))
    gate.set()
    wait_until(lambda: intake.oldest() is None, intake)
    for camera in CAMERAS:  # at work when it began, and the newest
        assert intake.dropped[camera] == 18
        assert sum(image.camera == camera for image in done) == 2


def test_close_waits_for_the_image_at_work_and_ends_the_threads(gated):
    intake, gate, begun, done = gated
    before = threading.active_count()
    for image in sweep(0):
        intake.put(image)
    wait_until(lambda: begun, intake)  # what no thread has begun is forgotten
    threading.Timer(0.1, gate.set).start()
    assert intake.close(10.0)
    assert begun and sorted(done, key=id) == sorted(begun, key=id)
    assert threading.active_count() < before
