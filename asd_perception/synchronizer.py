# SPDX-License-Identifier: Apache-2.0
"""Groups the images of several cameras into frames, by their stamps alone.

A frame is one image a camera, all stamps within `tolerance` of one another. Nothing is assigned
to a sweep when it arrives, so early, late and lost images cannot lead a later one astray: each
camera keeps its latest few images, and every new image looks for the tightest complete set that
contains it.

Why two sweeps are never mixed: in a rig that fires every `period`, a complete set made of two
sweeps spans at least the period less the largest gap between two cameras that fire one after the
other. In nuScenes at 12 Hz that is 83 - 10 = 73 ms, and one sweep spans 43 ms; any tolerance
between the two separates them.

Where a camera gave no image this argument fails: CAM_BACK_LEFT and the CAM_FRONT_LEFT that fires
next are 41 ms apart, those of one sweep 43 ms. So each complete frame also teaches every camera's
`phase`, how long before the frame's last image it fires, and a frame that lacks cameras is put
together by sweep time: the stamp less the phase, equal for all images of a sweep but for jitter.
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

SILENT = 1.0
"""Seconds without an image after which a camera is not waited for any more."""

STALE_RUN = 3
"""So many stale images in a row of every live camera mean that the clock jumped back a little."""


@dataclass(frozen=True)
class SyncedFrame(Generic[T]):
    """One image a camera that gave one; stamps (in ns) and items are in the order of `cameras`."""

    cameras: tuple[str, ...]
    stamps: tuple[int, ...]
    items: tuple[T, ...]

    @property
    def reference(self) -> int:
        """The frame's reference time in ns: the stamp of its latest image."""
        return max(self.stamps)


@dataclass(frozen=True)
class _Image(Generic[T]):
    stamp: int
    item: T
    arrival: float


class FrameSynchronizer(Generic[T]):
    """Emits each complete frame as soon as its last image arrives, an incomplete one when due.

    A frame is due when the first of its images has waited `max_wait` s. It is emitted with the
    cameras that it has, if they are at least `min_cameras`, and more than half of the live ones,
    so that one camera with a wrong clock leads nobody. A camera that was silent for SILENT s is
    not live; the others' frames do not wait for it.

    A frame is emitted at most once, and reference stamps rise strictly, except when every camera
    goes back: by more than CLOCK_JUMP_NS at once, by less after STALE_RUN images. Images older
    than an emitted frame are dropped. Memory is bounded by DEPTH images a camera, whatever
    arrives: a stamp that lies wildly in the past or in the future finds no partners and is pushed
    out by the images that follow it.

    `now`, here in seconds on any clock, is asked of the caller with each call: the same code runs
    in simulated time and in tests. A clock that is set back begins a new time.

    stale: images by camera, so far, that came after their frame, or twice.
    unmatched: images by camera, so far, that were left behind without a frame.
    """

    def __init__(
        self,
        cameras: Iterable[str],
        tolerance_ns: int,
        max_wait: float = 0.1,
        min_cameras: int = 1,
    ) -> None:
        if not 0 < tolerance_ns <= CLOCK_JUMP_NS // 2:
            raise ValueError(f"tolerance of {tolerance_ns} ns is not in (0, {CLOCK_JUMP_NS // 2}]")
        self.max_wait = max_wait
        self.min_cameras = min_cameras
        self._tolerance = tolerance_ns
        self._waiting: dict[str, deque[_Image[T]]] = {
            camera: deque(maxlen=DEPTH) for camera in cameras
        }
        self._phases: dict[str, int] = {}  # stamp less that of the sweep's last image
        self._last: SyncedFrame[T] | None = None
        self._last_sweep = 0  # the last frame's sweep time
        self._last_emitted = 0.0
        self._now: float | None = None
        self._since = 0.0  # since when images have been coming
        self._arrivals: dict[str, float] = {}  # of each camera's latest image
        self._stale_run = dict.fromkeys(self._waiting, 0)
        self.stale = dict.fromkeys(self._waiting, 0)
        self.unmatched = dict.fromkeys(self._waiting, 0)

    def add(self, camera: str, stamp_ns: int, item: T, now: float) -> SyncedFrame[T] | None:
        """Take in one image; return the frame that it completes, if it completes one."""
        now = self._advance(now)
        if now - max(self._arrivals.values(), default=-SILENT) >= SILENT:
            self._since = now  # after a pause of all cameras, each gets its time to come back
        if now - max(self._last_emitted, self._since) > SILENT:
            self._phases.clear()  # nothing fits them any more
        self._arrivals[camera] = now
        images = self._waiting[camera]
        if self._is_stale(camera, stamp_ns) or any(image.stamp == stamp_ns for image in images):
            self.stale[camera] += 1
            self._stale_run[camera] += 1
            if all(self._stale_run[name] >= STALE_RUN for name in self.live(now)):
                self._forget()
            return None
        self._stale_run[camera] = 0
        self.unmatched[camera] += len(images) == DEPTH
        image = _Image(stamp_ns, item, now)
        images.append(image)
        return self._emit(self._tightest_set(camera, image, self.live(now)), now)

    def poll(self, now: float) -> SyncedFrame[T] | None:
        """The oldest incomplete frame that is due, if there is one; call again for the next."""
        now = self._advance(now)
        arrivals = [waiting[0].arrival for waiting in self._waiting.values() if waiting]
        if now - min(arrivals, default=now) < self.max_wait:
            return None
        images = sorted(
            (
                (image.stamp - self._phases[camera], camera, image)
                for camera, waiting in self._waiting.items()
                if camera in self._phases
                for image in waiting
            ),
            key=lambda entry: entry[0],
        )
        for i, (sweep, *_) in enumerate(images):
            found: dict[str, _Image[T]] = {}
            for time, camera, image in images[i:]:
                if time <= sweep + self._tolerance // 2:
                    found.setdefault(camera, image)
            stamps = [image.stamp for image in found.values()]
            arrival = min(image.arrival for image in found.values())
            # Of those that were live then: a pause of all of them gives no wrong clock a majority.
            if (
                len(found) > len(self.live(arrival)) // 2
                and len(found) >= self.min_cameras
                and max(stamps) - min(stamps) <= self._tolerance
                and now - arrival >= self.max_wait
            ):
                return self._emit(found, now)
        return None

    def live(self, now: float) -> list[str]:
        """The cameras that are waited for."""
        return [
            camera
            for camera in self._waiting
            if now - max(self._arrivals.get(camera, self._since), self._since) < SILENT
        ]

    def _advance(self, now: float) -> float:
        """The time, which rises in spite of threads that call late; anew after a step back."""
        if self._now is None or now < self._now - SILENT:
            self._since = self._last_emitted = now
            self._arrivals.clear()
            for images in self._waiting.values():
                images.clear()
        elif now < self._now:
            now = self._now
        self._now = now
        return now

    def _is_stale(self, camera: str, stamp: int) -> bool:
        """Whether the image's sweep is out already."""
        if self._last is None:
            return False
        if camera in self._last.cameras:
            last = self._last.stamps[self._last.cameras.index(camera)]
        elif camera in self._phases:
            last = self._last_sweep + self._phases[camera] + self._tolerance // 2
        else:
            last = self._last.reference
        return last - CLOCK_JUMP_NS <= stamp <= last

    def _tightest_set(
        self, camera: str, image: _Image[T], wanted: list[str]
    ) -> dict[str, _Image[T]]:
        """The set of all wanted cameras of least spread, within the tolerance, with this image."""
        best: dict[str, _Image[T]] = {}
        best_spread = self._tolerance + 1
        starts = {other.stamp for name in wanted for other in self._waiting[name]}
        for start in sorted(starts):
            if not image.stamp - self._tolerance <= start <= image.stamp:
                continue
            chosen = {camera: image}
            for name in wanted:
                later = [other for other in self._waiting[name] if other.stamp >= start]
                if name != camera and later:
                    chosen[name] = min(later, key=lambda other: other.stamp)
            spread = max(other.stamp for other in chosen.values()) - start
            if len(chosen) == len(wanted) and spread < best_spread and self._in_phase(chosen):
                best, best_spread = chosen, spread
        return best

    def _in_phase(self, images: dict[str, _Image[T]]) -> bool:
        """Whether an incomplete set is of one sweep, as far as that is known."""
        if len(images) == len(self._waiting):
            return True
        known = [image.stamp - self._phases[c] for c, image in images.items() if c in self._phases]
        return not known or max(known) - min(known) <= self._tolerance // 2

    def _emit(self, images: dict[str, _Image[T]], now: float) -> SyncedFrame[T] | None:
        """The frame of a set that is large enough; everything older is forgotten."""
        if len(images) < max(1, self.min_cameras):
            return None
        cameras = tuple(camera for camera in self._waiting if camera in images)
        frame = SyncedFrame(
            cameras,
            tuple(images[camera].stamp for camera in cameras),
            tuple(images[camera].item for camera in cameras),
        )
        if len(images) == len(self._waiting) or not all(c in self._phases for c in cameras):
            self._phases = {c: images[c].stamp - frame.reference for c in cameras}
        jumped_back = self._last is not None and frame.reference < self._last.reference
        self._last = frame
        self._last_emitted = now
        sweeps = sorted(images[camera].stamp - self._phases[camera] for camera in cameras)
        self._last_sweep = sweeps[len(sweeps) // 2]
        for camera, waiting in self._waiting.items():
            newer = [
                image
                for image in waiting
                if not jumped_back and not self._is_older(camera, image.stamp)
            ]
            self.unmatched[camera] += len(waiting) - len(newer) - (camera in images)
            waiting.clear()
            waiting.extend(newer)
        return frame

    def _is_older(self, camera: str, stamp: int) -> bool:
        """Whether an image that waits belongs to the last frame's sweep, or to one before it."""
        return self._is_stale(camera, stamp) or stamp < self._last_sweep - CLOCK_JUMP_NS

    def _forget(self) -> None:
        """Begin anew after a small jump back of the clock; phases stay true."""
        self._last = None
        for camera, images in self._waiting.items():
            self.unmatched[camera] += len(images)
            images.clear()
            self._stale_run[camera] = 0
