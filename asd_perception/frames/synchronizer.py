# SPDX-License-Identifier: Apache-2.0
"""Groups the images of several cameras into frames, by their stamps.

A frame is one image per camera, all stamps within `tolerance` of one another. Where all cameras
give an image that is nearly enough: a complete set made of two sweeps spans at least the cameras'
period less the largest gap between two that fire one after the other. In nuScenes at 12 Hz that is
83 - 10 = 73 ms, and one sweep spans 43 ms; any tolerance between the two separates them.

Where a camera gave no image this argument fails: CAM_BACK_LEFT and the CAM_FRONT_LEFT that fires
next are 41 ms apart, those of one sweep 43 ms. So the synchronizer learns each camera's phase, how
long before its sweep's last image it fires (`phases`). Frames are put together by sweep time: the
stamp less the phase, equal for all images of a sweep but for jitter.

Nothing is assigned to a sweep when it arrives, and phases are those of the last few images: early,
late and lost images lead no later one astray, a camera with a wrong clock is left out whether it
was wrong from the start or not, and a rig that is triggered anew is learned anew. (Stamps that are
wrong by a period look right: no algorithm can tell.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from asd_perception.frames.phases import QUEUE_SIZE, Phases, spread

T = TypeVar("T")

CLOCK_JUMP_NS = 1_000_000_000
"""A frame this much older than the last one means that the clock jumped back (a bag loop)."""

SILENT = 1.0
"""Seconds without an image after which a camera is not waited for any more, at 2.5 Hz and more."""

STALE_RUN = 3
"""This many stale images of every live camera, each later than the one before, mean that the clock
jumped back a little."""


@dataclass(frozen=True)
class SyncedFrame(Generic[T]):
    """One image per camera that gave one; stamps (in ns) and items in the order of `cameras`."""

    cameras: tuple[str, ...]
    stamps: tuple[int, ...]
    items: tuple[T, ...]

    @property
    def stamp_of(self) -> dict[str, int]:
        """Each camera's stamp, by its name."""
        return dict(zip(self.cameras, self.stamps, strict=True))

    @property
    def reference(self) -> int:
        """The frame's reference time in ns: the stamp of its latest image."""
        return max(self.stamps)


@dataclass(frozen=True)
class _Image(Generic[T]):
    stamp: int
    item: T
    arrival: float
    comes_back: bool  # whether its camera was silent before


class FrameSynchronizer(Generic[T]):
    """`add` takes in images, `poll` gives frames: each as soon as no image of it can come any more.

    A frame is ready when every camera that is waited for has given its image or a newer one, or
    when the first of its images has waited `max_wait` s. A camera is waited for while it gives
    images (one that was silent for `silent` s is not live) and while their stamps fit the others';
    when one comes back, the first frame waits for all, since a link brings several.

    A frame has at least `min_cameras`, comes a period after the last one, and goes on with the
    clock of one of its cameras: its stamp is as far from its arrival, to half a period, as in that
    camera's last frame. So cameras that come and go cost those that stream nothing: while
    `min_cameras` that were in a frame stream steadily, no gap is wider than `max_wait` and two
    periods. Where no clock goes on (at the beginning, after a jump, with late images) or one
    camera is faster than others, a frame has more than half of the cameras that are live or, when
    one has just come back, may be so: a few with wrong clocks lead nobody. What a sweep is, is
    known from the first complete one, or from QUEUE_SIZE incomplete ones; before that there are no
    frames.

    A frame is emitted at most once, and reference stamps rise strictly, except when every camera
    goes back: by more than CLOCK_JUMP_NS at once, by less after STALE_RUN images. Images older
    than an emitted frame are dropped. Memory is bounded by QUEUE_SIZE images per camera, whatever
    arrives: a stamp that lies wildly in the past or in the future finds no partners, and is pushed
    out by the images that follow it or forgotten with a frame whose images came `silent` s later.

    `now`, here in seconds on any clock, is asked of the caller with each call: the same code runs
    in simulated time and in tests. A clock that is set back begins a new time.

    silent: seconds without an image after which a camera is not waited for any more.
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
        self._waiting: dict[str, deque[_Image[T]]] = {
            camera: deque(maxlen=QUEUE_SIZE) for camera in cameras
        }
        self._phases = Phases(self._waiting, tolerance_ns)
        self.silent = SILENT
        self._last: SyncedFrame[T] | None = None
        self._now: float | None = None
        self._began = 0.0  # when this time began
        self._since = 0.0  # since when cameras that are not live may be coming (back)
        self._arrivals: dict[str, float] = {}  # of each camera's latest image
        self._clocks: dict[str, float] = {}  # each camera's in its last frame
        self._stale_run = dict.fromkeys(self._waiting, 0)
        self._last_stale = dict.fromkeys(self._waiting, 0)
        self.stale = dict.fromkeys(self._waiting, 0)
        self.unmatched = dict.fromkeys(self._waiting, 0)

    @property
    def period(self) -> float | None:
        """Of the cameras in s, by the stamps of their last images; None before there are any."""
        return self._phases.period

    def add(self, camera: str, stamp_ns: int, item: T, now: float) -> None:
        """Take in one image."""
        now = self._advance(now)
        comes_back = camera not in self.live(now)
        if comes_back:
            self._since = now
            self._phases.forget(camera)
        self._arrivals[camera] = now
        images = self._waiting[camera]
        twice = any(image.stamp == stamp_ns for image in images)
        if not twice:
            late = self._ahead(camera, stamp_ns, now) < -(self.period or 0.0) / 2
            self._phases.see(camera, stamp_ns, now, late, self.live(now), self.max_wait)
            if self.period is not None:
                self.silent = min(max(SILENT, 2.5 * self.period), 5 * SILENT)
        if twice or self._is_stale(camera, stamp_ns):
            self.stale[camera] += 1
            # A driver that repeats its last image does not tell the time.
            self._stale_run[camera] += stamp_ns > self._last_stale[camera]
            self._last_stale[camera] = stamp_ns
            if all(self._stale_run[name] >= STALE_RUN for name in self.live(now)):
                self._forget()
            return
        self._stale_run[camera] = 0
        self.unmatched[camera] += len(images) == QUEUE_SIZE
        images.append(_Image(stamp_ns, item, now, comes_back))

    def poll(self, now: float) -> SyncedFrame[T] | None:
        """The oldest frame that is ready, if there is one; call again for the next."""
        now = self._advance(now)
        if not self._phases.known:
            return None
        ready = (images for images in self._sweeps() if self._is_ready(images, now))
        images = next(ready, None)
        return self._emit(images) if images is not None else None

    def live(self, now: float) -> list[str]:
        """The cameras that give images; at the beginning all of them."""
        return [
            camera
            for camera in self._waiting
            if now - self._arrivals.get(camera, self._began) < self.silent
        ]

    def _advance(self, now: float) -> float:
        """The time, which rises in spite of threads that call late; anew after a step back."""
        if self._now is None or now < self._now - SILENT:
            self._began = self._since = now
            self._arrivals.clear()
            self._clocks.clear()
            self._phases.reset()
            for waiting in self._waiting.values():
                waiting.clear()
        elif now < self._now:
            now = self._now
        self._now = now
        return now

    # -- frames ----------------------------------------------------------------------------------

    def _sweeps(self) -> Iterator[dict[str, _Image[T]]]:
        """The images that wait, by sweep, oldest first."""
        tolerance = self._phases.sweep_tolerance
        images = sorted(
            (
                (image.stamp - self._phases[camera], camera, image)
                for camera, waiting in self._waiting.items()
                if camera in self._phases
                for image in waiting
                if not self._is_stale(camera, image.stamp)  # as phases are known by now
            ),
            key=lambda entry: entry[0],
        )
        while images:
            # Beside them may lie images with wrong stamps: a sweep is the largest and tightest set.
            sweeps = []
            for start, *_ in images:
                if start > images[0][0] + tolerance:
                    break
                found: dict[str, _Image[T]] = {}
                end = start
                for time, camera, image in images:
                    if start <= time <= start + tolerance and camera not in found:
                        found[camera], end = image, time
                sweeps.append((found, start, end))
            found, _, end = min(sweeps, key=lambda sweep: (-len(sweep[0]), sweep[2] - sweep[1]))
            yield self._within_tolerance(self._in_time(found))
            images = [entry for entry in images if entry[0] > end]

    def _in_time(self, images: dict[str, _Image[T]]) -> dict[str, _Image[T]]:
        """A sweep without images that came so much earlier than most that their clock is wrong."""
        reach = max(self.max_wait, self._phases.tolerance * 1e-9)
        usual = sorted(image.arrival for image in images.values())[len(images) // 2]
        return {c: image for c, image in images.items() if image.arrival >= usual - reach}

    def _within_tolerance(self, images: dict[str, _Image[T]]) -> dict[str, _Image[T]]:
        """A sweep without the images that lie farthest from where their phases say."""
        while spread(stamps := _stamps(images)) > self._phases.tolerance:
            sweep = self._phases.sweep_time(stamps) or 0
            odd = max(stamps, key=lambda c: abs(stamps[c] - self._phases[c] - sweep))
            images = {c: image for c, image in images.items() if c != odd}
        return images

    def _is_ready(self, images: Mapping[str, _Image[T]], now: float) -> bool:
        arrivals = [image.arrival for image in images.values()]
        # One that came half a period before most of the others, and not by its usual clock, has
        # waited for nothing.
        early = sorted(arrivals)[len(arrivals) // 2] - (self.period or 2 * self.max_wait) / 2
        arrival = min(
            image.arrival
            for camera, image in images.items()
            if image.arrival >= early or self._goes_on(camera, image.stamp, image.arrival)
        )
        if len(images) < self.min_cameras or not self._has_the_time(images, arrival):
            return False
        if now - arrival >= self.max_wait:
            return True
        sweep = self._phases.sweep_time(_stamps(images))
        assert sweep is not None
        comes_back = any(image.comes_back for image in images.values())
        awaited = self._waiting if comes_back else self.live(now)
        return all(
            self._is_past(camera, sweep)
            for camera in awaited
            if camera in self._phases.followed and camera not in images
        )

    def _is_past(self, camera: str, sweep: int) -> bool:
        """Whether a camera has given an image of a later sweep."""
        newest = self._phases.newest(camera)
        if newest is None:
            return True
        ahead = newest - self._phases[camera] - sweep - self._phases.sweep_tolerance
        return 0 < ahead <= CLOCK_JUMP_NS

    def _has_the_time(self, images: Mapping[str, _Image[T]], arrival: float) -> bool:
        """Whether their stamps can be relied on: a clock goes on, or most cameras agree.

        Most of those of the time of `arrival`: a pause of all gives no wrong clock a majority.
        """
        if self._is_next(images) and any(
            self._goes_on(c, image.stamp, image.arrival) for c, image in images.items()
        ):
            return True
        may_all_come = arrival - self._since < self.silent
        return len(images) > len(self._waiting if may_all_come else self.live(arrival)) // 2

    def _is_next(self, images: Mapping[str, _Image[T]]) -> bool:
        """Whether they are a period, or more, after the last frame: no surplus of one camera's."""
        if self._last is None or self.period is None:
            return True
        last = self._phases.sweep_time(self._last.stamp_of)
        sweep = self._phases.sweep_time(_stamps(images))
        return last is None or sweep is None or sweep - last > 0.75e9 * self.period

    def _goes_on(self, camera: str, stamp: int, arrival: float) -> bool:
        """Whether a camera's clock is, by this image, what it was in its last frame."""
        if self.period is None or camera not in self._clocks:
            return False
        return abs(self._ahead(camera, stamp, arrival)) < self.period / 2

    def _ahead(self, camera: str, stamp: int, arrival: float) -> float:
        """By how much a camera's clock is, by this image, ahead of its last frame's, in s."""
        clock = _clock(stamp, arrival)
        return clock - self._clocks.get(camera, clock)

    def _emit(self, images: Mapping[str, _Image[T]]) -> SyncedFrame[T]:
        """The frame of a set; everything older is forgotten."""
        cameras = tuple(camera for camera in self._waiting if camera in images)
        frame = SyncedFrame(
            cameras,
            tuple(images[camera].stamp for camera in cameras),
            tuple(images[camera].item for camera in cameras),
        )
        clocks = {c: _clock(image.stamp, image.arrival) for c, image in images.items()}
        usual = sorted(clocks.values())[len(clocks) // 2]
        for camera, clock in clocks.items():
            if clock <= usual + (self.period or 1.0) / 2:  # else it came before it was taken
                self._clocks[camera] = clock
        jumped_back = self._last is not None and frame.reference < self._last.reference
        self._last = frame
        latest = max(image.arrival for image in images.values())
        for camera, waiting in self._waiting.items():
            newer = [
                image
                for image in waiting
                if not jumped_back
                and not self._is_stale(camera, image.stamp)
                and image.stamp > frame.reference - CLOCK_JUMP_NS
                and image.arrival > latest - self.silent  # else its stamp will be another's
            ]
            self.unmatched[camera] += len(waiting) - len(newer) - (camera in images)
            waiting.clear()
            waiting.extend(newer)
        return frame

    def _is_stale(self, camera: str, stamp: int) -> bool:
        """Whether the image's sweep is out already."""
        frame = self._last
        if frame is None:
            return False
        stamps = frame.stamp_of
        if camera in stamps:
            last = stamps[camera]
        elif camera in self._phases and (sweep := self._phases.sweep_time(stamps)) is not None:
            last = sweep + self._phases[camera] + self._phases.sweep_tolerance
        else:
            last = frame.reference
        return last - CLOCK_JUMP_NS <= stamp <= last

    def _forget(self) -> None:
        """Begin anew after a small jump back of the clock; phases stay true."""
        self._last = None
        for camera, images in self._waiting.items():
            self.unmatched[camera] += len(images)
            images.clear()
            self._stale_run[camera] = 0


def _stamps(images: Mapping[str, _Image[T]]) -> dict[str, int]:
    return {camera: image.stamp for camera, image in images.items()}


def _clock(stamp: int, arrival: float) -> float:
    """How far a stamp is ahead of its arrival, in s."""
    return stamp * 1e-9 - arrival
