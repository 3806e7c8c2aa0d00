# SPDX-License-Identifier: Apache-2.0
"""Threads that prepare each image while the others of its sweep are still on their way."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from asd_perception.synchronizer import CLOCK_JUMP_NS

WAITING = 2  # images a camera that may wait for a thread


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
    images here and there: where a camera has WAITING images in line, its oldest one makes room,
    and with it all that were taken up to `sweep_ns` after it. (A camera that sends several in that
    time makes room on its own.) A sweep is left out as well if
    busy() holds when its first image comes: that is, if its work would likely be in vain, and is
    better spent on the frame that waits already. `prepare` must not raise.

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
        self._begun = 0  # stamp of the first image of the sweep that is coming in
        self._left_out = False  # whether that sweep is
        self._line: deque[T] = deque()
        self._at_work: list[T] = []
        self._closed = False
        self._changed = threading.Condition()
        self.dropped = dict.fromkeys(cameras, 0)
        threads = min(len(self.dropped), os.cpu_count() or 1)
        self._threads = [
            threading.Thread(target=self._run, name=f"intake {i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, image: T) -> None:
        with self._changed:
            # One that is older than the sweep is a straggler, unless the clock has been set back.
            if not self._begun - CLOCK_JUMP_NS < image.stamp <= self._begun + self._sweep:
                self._begun, self._left_out = image.stamp, self._busy()
            if self._left_out and image.stamp >= self._begun:
                self.dropped[image.camera] += 1
                return
            own = [other.stamp for other in self._line if other.camera == image.camera]
            if len(own) >= WAITING:
                end = min(own) + self._sweep
                alone = max(own) <= end  # faster than the others: their images do not pay for it
                kept: deque[T] = deque()
                for other in self._line:
                    if other.camera == image.camera and other.stamp == min(own):
                        self.dropped[other.camera] += 1
                    elif alone or other.stamp > end:
                        kept.append(other)
                    else:
                        self.dropped[other.camera] += 1
                self._line = kept
            self._line.append(image)
            self._changed.notify()

    def oldest(self) -> T | None:
        """The image that has been here longest, in line or at work; None if all are prepared."""
        with self._changed:
            return next(iter([*self._at_work, *self._line]), None)

    def close(self, timeout: float) -> bool:
        """Finish the images at work, forget those that wait, and end the threads.

        False if some image took longer than `timeout` s: its thread is then left behind.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        end = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._line or self._closed)
                if self._closed:
                    return
                image = self._line.popleft()
                self._at_work.append(image)
            self._prepare(image)
            with self._changed:
                self._at_work.remove(image)
