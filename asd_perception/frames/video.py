# SPDX-License-Identifier: Apache-2.0
"""Threads that decode the cameras' video: every packet, each camera's in the order of arrival."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from asd_perception.cameras.video_decoding import (
    KeyFrameNeededError,
    VideoDecoder,
    VideoImage,
    VideoPacket,
)
from asd_perception.frames.threads import join_all

MAX_WAIT = 0.4  # s that a packet may wait to be decoded
OVERRUN = "packets came faster than they can be decoded"


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
    one has waited for MAX_WAIT, all of its camera that wait are left out, and that begins again
    with a key frame: latency does not grow.

    In a camera's thread, deliver(arrival, image) is called with each image and the arrival of the
    packet that it came in; failed(arrival, error), while the error is handled, with a packet that
    cannot be decoded, and in the thread that puts, with one that is left out. Neither may raise.
    """

    def __init__(
        self,
        cameras: Iterable[str],
        deliver: Callable[[T, VideoImage], None],
        failed: Callable[[T, Exception], None],
    ) -> None:
        self._deliver = deliver
        self._failed = failed
        self._queues: dict[str, deque[T]] = {camera: deque() for camera in cameras}
        self._at_work: dict[str, T] = {}
        self._overrun: set[str] = set()  # cameras whose packets were left out
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, args=(camera,), name=f"video {camera}", daemon=True)
            for camera in self._queues
        ]
        for thread in self._threads:
            thread.start()

    def put(self, arrival: T) -> None:
        left_out: list[T] = []
        with self._changed:
            queue = self._queues[arrival.camera]
            if queue and arrival.at - queue[0].at > MAX_WAIT:
                left_out += queue
                queue.clear()
                self._overrun.add(arrival.camera)
            queue.append(arrival)
            self._changed.notify_all()
        for packet in left_out:
            self._failed(packet, KeyFrameNeededError(OVERRUN))

    def oldest(self) -> T | None:
        """The packet that has been here longest; None if all are decoded."""
        with self._changed:
            queued = (queue[0] for queue in self._queues.values() if queue)
            here = [*self._at_work.values(), *queued]
            return min(here, key=lambda arrival: arrival.at, default=None)

    def close(self, timeout: float) -> bool:
        """Forget the packets that wait, and end the threads; False if not within `timeout` s."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        return join_all(self._threads, timeout)

    def _run(self, camera: str) -> None:
        decoder: VideoDecoder[T] = VideoDecoder()
        queue = self._queues[camera]
        while True:
            with self._changed:
                self._at_work.pop(camera, None)
                self._changed.wait_for(lambda: queue or self._closed)
                if self._closed:
                    return
                self._at_work[camera] = arrival = queue.popleft()
                if camera in self._overrun:
                    self._overrun.remove(camera)
                    decoder.restart(OVERRUN)
            try:
                images = decoder.decode(arrival.message, arrival)
            except Exception as error:
                self._failed(arrival, error)
                continue
            for of_packet, image in images:
                self._deliver(of_packet, image)
