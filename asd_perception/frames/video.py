# SPDX-License-Identifier: Apache-2.0
"""Threads that decode the cameras' video: every packet, each camera's in the order of arrival."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from asd_perception.cameras.video_decoding import VideoDecoder, VideoImage, VideoPacket

LATEST = 0.4  # s that a packet may wait to be decoded


class PacketArrival(Protocol):
    """What needs to be known of a packet: its camera, when it came, and the message."""

    @property
    def camera(self) -> str: ...
    @property
    def at(self) -> float: ...  # on time.monotonic()
    @property
    def message(self) -> VideoPacket: ...


T = TypeVar("T", bound=PacketArrival)


class VideoStreams(Generic[T]):
    """Decodes packets in one thread per camera.

    Unlike images, packets cannot be left out here and there, since the next ones need them. Where
    one has waited for LATEST, all of its camera that wait are left out, and it begins again with a
    key frame: latency does not grow.

    In a camera's thread, deliver(arrival, image) is called with each image and the arrival of the
    packet that it came in; failed(arrival, error), while the error is handled, with a packet that
    cannot be decoded. Neither may raise.
    """

    def __init__(
        self,
        cameras: Iterable[str],
        deliver: Callable[[T, VideoImage], None],
        failed: Callable[[T, Exception], None],
    ) -> None:
        self._deliver = deliver
        self._failed = failed
        self._lines: dict[str, deque[T]] = {camera: deque() for camera in cameras}
        self._at_work: dict[str, T] = {}
        self._overrun: set[str] = set()  # cameras whose packets were left out
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, args=(camera,), name=f"video {camera}", daemon=True)
            for camera in self._lines
        ]
        for thread in self._threads:
            thread.start()

    def put(self, arrival: T) -> None:
        with self._changed:
            line = self._lines[arrival.camera]
            if line and arrival.at - line[0].at > LATEST:
                line.clear()
                self._overrun.add(arrival.camera)
            line.append(arrival)
            self._changed.notify_all()

    def oldest(self) -> T | None:
        """The packet that has been here longest; None if all are decoded."""
        with self._changed:
            here = [*self._at_work.values(), *(line[0] for line in self._lines.values() if line)]
            return min(here, key=lambda arrival: arrival.at, default=None)

    def close(self, timeout: float) -> bool:
        """Forget the packets that wait, and end the threads; False if not within `timeout` s."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        end = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, camera: str) -> None:
        decoder: VideoDecoder[T] = VideoDecoder()
        line = self._lines[camera]
        while True:
            with self._changed:
                self._at_work.pop(camera, None)
                self._changed.wait_for(lambda: line or self._closed)
                if self._closed:
                    return
                self._at_work[camera] = arrival = line.popleft()
                if camera in self._overrun:
                    self._overrun.remove(camera)
                    decoder.restart("packets came faster than they can be decoded")
            try:
                images = decoder.decode(arrival.message, arrival)
            except Exception as error:
                self._failed(arrival, error)
                continue
            for of_packet, image in images:
                self._deliver(of_packet, image)
