# SPDX-License-Identifier: Apache-2.0
"""Threads that prepare each image while the others of its sweep are still on their way."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from asd_perception.cores import available_cores
from asd_perception.frames.synchronizer import CLOCK_JUMP_NS
from asd_perception.frames.threads import join_all

WAITING = 2  # images per camera that may wait for a thread


class Arrival(Protocol):
    """What the intake needs to know of an image: its camera, and its stamp in ns."""

    @property
    def camera(self) -> str: ...
    @property
    def stamp(self) -> int: ...


T = TypeVar("T", bound=Arrival)


class Intake(Generic[T]):
    """Runs `prepare` on images in threads of its own, in the order in which they came.

    When images come faster than they can be prepared, whole sweeps are left out rather than
    images here and there. A sweep is all that was taken up to `sweep_ns` after its first image. As
    it begins, those in the queue of which no thread has begun an image make room. It is itself left
    out if busy() holds then: that is, if its work would likely be in vain, and is better spent on
    the frame that waits already. A camera that sends several images per sweep makes room on its
    own, where WAITING are in the queue. `prepare` must not raise.

    dropped: images by camera that were left out so far.
    """

    def __init__(
        self,
        cameras: Iterable[str],
        sweep_ns: int,
        prepare: Callable[[T], None],
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._prepare = prepare
        self._busy = busy
        self._sweep = sweep_ns
        self._number = 0  # of the sweep that is coming in
        self._first: dict[str, int] = {}  # stamps of its cameras' first images
        self._begun = 0  # the first one's
        self._left_out = False  # whether the sweep is
        self._at_work_on = 0  # number of the newest sweep of which a thread has begun an image
        self._queue: deque[tuple[int, T]] = deque()  # images, and the numbers of their sweeps
        self._at_work: list[T] = []
        self._closed = False
        self._changed = threading.Condition()
        self.dropped = dict.fromkeys(cameras, 0)
        threads = min(len(self.dropped), available_cores())
        self._threads = [
            threading.Thread(target=self._run, name=f"intake {i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, image: T) -> None:
        with self._changed:
            if self._begins_sweep(image):
                self._begun, self._first = image.stamp, {}
                self._number += 1
                self._left_out = self._busy()
                if not self._left_out:
                    self._drop([item for item in self._queue if item[0] > self._at_work_on])
            self._first.setdefault(image.camera, image.stamp)
            straggler = self._begun - CLOCK_JUMP_NS < image.stamp < self._begun
            if self._left_out and not straggler:
                self.dropped[image.camera] += 1
                return
            own = [item for item in self._queue if item[1].camera == image.camera]
            if len(own) >= WAITING:
                self._drop(own[:1])
            self._queue.append((self._number, image))
            self._changed.notify()

    def _begins_sweep(self, image: T) -> bool:
        if abs(image.stamp - self._begun) < CLOCK_JUMP_NS:
            return image.stamp > self._begun + self._sweep
        # All clocks have been set, or this camera's is another one: that begins no sweep of its own
        # between the others' images, but only when the camera itself comes round again.
        own = self._first.get(image.camera)
        return not self._first or (own is not None and abs(image.stamp - own) > self._sweep)

    def _drop(self, items: list[tuple[int, T]]) -> None:
        for item in items:
            self.dropped[item[1].camera] += 1
        gone = set(map(id, items))  # to compare images would be to compare their pixels
        self._queue = deque(item for item in self._queue if id(item) not in gone)

    def oldest(self) -> T | None:
        """The image that has been here longest, queued or at work; None if all are prepared."""
        with self._changed:
            return next(iter([*self._at_work, *(image for _, image in self._queue)]), None)

    def close(self, timeout: float) -> bool:
        """Finish the images at work, forget those that wait, and end the threads.

        False if some image took longer than `timeout` s: its thread is then left behind.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        return join_all(self._threads, timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed)
                if self._closed:
                    return
                number, image = self._queue.popleft()
                self._at_work_on = max(self._at_work_on, number)
                self._at_work.append(image)
            self._prepare(image)
            with self._changed:
                self._at_work.remove(image)
