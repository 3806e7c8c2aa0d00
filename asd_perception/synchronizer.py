# SPDX-License-Identifier: Apache-2.0
"""Groups the images of several cameras into frames, by their stamps alone.

A frame is one image a camera, all stamps within `tolerance` of one another. Nothing is assigned
to a sweep when it arrives, so early, late and lost images cannot lead a later one astray: each
camera keeps its latest few images, and every new image looks for the tightest complete set that
contains it.

Why two sweeps are never mixed: in a rig that fires every `period`, a set made of two sweeps spans
at least the period less the largest gap between two cameras that fire one after the other. In
nuScenes at 12 Hz that is 83 - 10 = 73 ms, and one sweep spans 43 ms; any tolerance between the
two separates them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

CLOCK_JUMP_NS = 1_000_000_000
"""A frame this much older than the last one means that the clock jumped back (a bag loop)."""

DEPTH = 4
"""Images kept a camera: as many of its periods may an image wait for those of other cameras."""


@dataclass(frozen=True)
class SyncedFrame(Generic[T]):
    """One image a camera; stamps (in ns) and items are in the order of `cameras`."""

    cameras: tuple[str, ...]
    stamps: tuple[int, ...]
    items: tuple[T, ...]

    @property
    def reference(self) -> int:
        """The frame's reference time in ns: the stamp of its latest image."""
        return max(self.stamps)


class FrameSynchronizer(Generic[T]):
    """Emits each complete frame as soon as its last image arrives.

    A frame is emitted at most once, and reference stamps rise strictly, except when every camera
    goes back by more than CLOCK_JUMP_NS. Images older than an emitted frame are dropped. Memory is
    bounded by DEPTH images a camera, whatever arrives: a stamp that lies wildly in the past or in
    the future finds no partners and is pushed out by the images that follow it.

    stale: images dropped because their frame was out already, or seen twice, so far.
    """

    def __init__(self, cameras: Iterable[str], tolerance_ns: int) -> None:
        if not 0 < tolerance_ns <= CLOCK_JUMP_NS // 2:
            raise ValueError(f"tolerance of {tolerance_ns} ns is not in (0, {CLOCK_JUMP_NS // 2}]")
        self._tolerance = tolerance_ns
        self._waiting: dict[str, deque[tuple[int, T]]] = {
            camera: deque(maxlen=DEPTH) for camera in cameras
        }
        self._last: SyncedFrame[T] | None = None
        self.stale = 0

    def add(self, camera: str, stamp_ns: int, item: T) -> SyncedFrame[T] | None:
        """Take in one image; return the frame that it completes, if it completes one."""
        images = self._waiting[camera]
        if self._is_stale(camera, stamp_ns) or any(stamp == stamp_ns for stamp, _ in images):
            self.stale += 1
            return None
        images.append((stamp_ns, item))
        frame = self._tightest_frame(camera, stamp_ns, item)
        if frame is not None:
            self._forget_older_than(frame)
            self._last = frame
        return frame

    def _is_stale(self, camera: str, stamp: int) -> bool:
        if self._last is None:
            return False
        last = self._last.stamps[self._last.cameras.index(camera)]
        return last - CLOCK_JUMP_NS <= stamp <= last

    def _tightest_frame(self, camera: str, stamp: int, item: T) -> SyncedFrame[T] | None:
        """The complete set of least spread, at most the tolerance, that contains this image."""
        best: dict[str, tuple[int, T]] = {}
        best_spread = self._tolerance + 1
        starts = {s for images in self._waiting.values() for s, _ in images}
        for start in sorted(start for start in starts if stamp - self._tolerance <= start <= stamp):
            chosen = {camera: (stamp, item)}
            for other, images in self._waiting.items():
                later = [image for image in images if image[0] >= start]
                if other != camera and later:
                    chosen[other] = min(later, key=lambda image: image[0])
            if len(chosen) < len(self._waiting):
                continue
            spread = max(s for s, _ in chosen.values()) - start
            if spread < best_spread:
                best, best_spread = chosen, spread
        if not best:
            return None
        cameras = tuple(self._waiting)
        stamps, items = zip(*(best[name] for name in cameras), strict=True)
        return SyncedFrame(cameras, stamps, items)

    def _forget_older_than(self, frame: SyncedFrame[T]) -> None:
        jumped_back = self._last is not None and frame.reference < self._last.reference
        for camera, stamp in zip(frame.cameras, frame.stamps, strict=True):
            images = self._waiting[camera]
            newer = [] if jumped_back else [image for image in images if image[0] > stamp]
            images.clear()
            images.extend(newer)
