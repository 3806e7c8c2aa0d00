# SPDX-License-Identifier: Apache-2.0
"""Groups the images of several cameras into frames, by their stamps.

A frame is one image per camera, all stamps within `tolerance` of one another. Where all cameras
give an image that is nearly enough: a complete set made of two sweeps spans at least the cameras'
period less the largest gap between two that fire one after the other. In nuScenes at 12 Hz that is
83 - 10 = 73 ms, and one sweep spans 43 ms; any tolerance between the two separates them.

Where a camera gave no image this argument fails: CAM_BACK_LEFT and the CAM_FRONT_LEFT that fires
next are 41 ms apart, those of one sweep 43 ms. So the synchronizer learns each camera's `phase`,
how long before its sweep's last image it fires, from the largest and tightest sets of images that
came together lately. Frames are put together by sweep time: the stamp less the phase, equal for
all images of a sweep but for jitter.

Nothing is assigned to a sweep when it arrives, and phases are those of the last few images: early,
late and lost images lead no later one astray, a camera with a wrong clock is left out whether it
was wrong from the start or not, and a rig that is triggered anew is learned anew. (Stamps that are
wrong by a period look right: no algorithm can tell.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

T = TypeVar("T")

CLOCK_JUMP_NS = 1_000_000_000
"""A frame this much older than the last one means that the clock jumped back (a bag loop)."""

QUEUE_SIZE = 4
"""Images kept per camera: one waits at most as many periods for those of other cameras."""

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
    def reference(self) -> int:
        """The frame's reference time in ns: the stamp of its latest image."""
        return max(self.stamps)


@dataclass(frozen=True)
class _Image(Generic[T]):
    stamp: int
    item: T
    arrival: float


@dataclass
class _Sighting:
    """That a camera gave an image, and with which stamps of other cameras it came together."""

    stamp: int
    arrival: float
    together: dict[str, int]  # the best set of one stamp per camera, its own among them


class FrameSynchronizer(Generic[T]):
    """`add` takes in images, `poll` gives frames: each as soon as no image of it can come any more.

    A frame is ready when every camera that is waited for has given its image or a newer one, or
    when the first of its images has waited `max_wait` s. A camera is waited for while it gives
    images (one that was silent for `silent` s is not live) and while their stamps fit the others'.
    A frame has at least `min_cameras`, and more than half of the live ones, so that a few cameras
    with wrong clocks lead nobody. What a sweep is, is known from the first complete one, or from
    QUEUE_SIZE incomplete ones; before that there are no frames.

    A frame is emitted at most once, and reference stamps rise strictly, except when every camera
    goes back: by more than CLOCK_JUMP_NS at once, by less after STALE_RUN images. Images older
    than an emitted frame are dropped. Memory is bounded by QUEUE_SIZE images per camera, whatever
    arrives: a stamp that lies wildly in the past or in the future finds no partners and is pushed
    out by the images that follow it.

    `now`, here in seconds on any clock, is asked of the caller with each call: the same code runs
    in simulated time and in tests. A clock that is set back begins a new time.

    period: of the cameras in s, by the stamps of their last images; None before there are any.
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
        self._tolerance_limit = tolerance_ns
        self._waiting: dict[str, deque[_Image[T]]] = {
            camera: deque(maxlen=QUEUE_SIZE) for camera in cameras
        }
        self._seen: dict[str, deque[_Sighting]] = {
            camera: deque(maxlen=QUEUE_SIZE) for camera in self._waiting
        }
        self._phases: dict[str, int] = {}  # stamp less that of the sweep's last image
        self._settled = False  # whether a complete set has taught the phases
        self._known = False  # whether they are good enough for frames
        self._tolerance = tolerance_ns  # greatest difference of two stamps in one frame
        self._sweep_tolerance = tolerance_ns // 2  # ... of two sweep times in one frame
        self.period: float | None = None
        self.silent = SILENT
        self._last: SyncedFrame[T] | None = None
        self._now: float | None = None
        self._since = 0.0  # since when all cameras may be coming
        self._arrivals: dict[str, float] = {}  # of each camera's latest image
        self._stale_run = dict.fromkeys(self._waiting, 0)
        self._last_stale = dict.fromkeys(self._waiting, 0)
        self.stale = dict.fromkeys(self._waiting, 0)
        self.unmatched = dict.fromkeys(self._waiting, 0)

    def add(self, camera: str, stamp_ns: int, item: T, now: float) -> None:
        """Take in one image."""
        now = self._advance(now)
        if camera not in self.live(now):
            self._since = now  # one comes back: so may the others, and get their time
        self._arrivals[camera] = now
        images = self._waiting[camera]
        twice = any(image.stamp == stamp_ns for image in images)
        if not twice:
            self._see(camera, stamp_ns, now)
            self._learn(now)
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
        images.append(_Image(stamp_ns, item, now))

    def poll(self, now: float) -> SyncedFrame[T] | None:
        """The oldest frame that is ready, if there is one; call again for the next."""
        now = self._advance(now)
        if not self._known:
            return None
        ready = (images for images in self._sweeps() if self._is_ready(images, now))
        images = next(ready, None)
        return self._emit(images) if images is not None else None

    def live(self, now: float) -> list[str]:
        """The cameras that give images."""
        return [
            camera
            for camera in self._waiting
            if now - max(self._arrivals.get(camera, self._since), self._since) < self.silent
        ]

    def _advance(self, now: float) -> float:
        """The time, which rises in spite of threads that call late; anew after a step back."""
        if self._now is None or now < self._now - SILENT:
            self._since = now
            self._settled = self._known = False
            self._arrivals.clear()
            for camera in self._waiting:
                self._waiting[camera].clear()
                self._seen[camera].clear()
        elif now < self._now:
            now = self._now
        self._now = now
        return now

    # -- phases ----------------------------------------------------------------------------------

    def _see(self, camera: str, stamp: int, arrival: float) -> None:
        """Note an image, and the largest set of stamps with its own within the tolerance.

        Of the largest ones the tightest. Stamps that fit, although they came much earlier, are of
        a wrong clock or of another sweep.
        """
        reach = max(self.max_wait, self._tolerance * 1e-9)
        near = sorted(
            (seen.stamp, other)
            for other, sightings in self._seen.items()
            for seen in sightings
            if other != camera
            and abs(seen.stamp - stamp) <= self._tolerance
            and arrival - seen.arrival <= reach
        )
        sets = []
        for start in {stamp, *(other for other, _ in near if other < stamp)}:
            chosen = {camera: stamp}
            for other, name in near:
                if start <= other <= start + self._tolerance:
                    chosen.setdefault(name, other)
            sets.append(chosen)
        together = min(sets, key=self._rank)
        self._seen[camera].append(_Sighting(stamp, arrival, together))
        for name, other in together.items():
            for seen in self._seen[name]:
                if seen.stamp == other:
                    seen.together = min(seen.together, together, key=self._rank)

    def _learn(self, now: float) -> None:
        """Take the phases from the best of the sets that live cameras' last images came in."""
        live = self.live(now)
        sets = list(
            {
                id(seen.together): seen.together
                for camera in live
                for seen in self._seen[camera]
                if len(seen.together) > len(live) // 2
            }.values()
        )
        if not sets:
            return
        sets.sort(key=self._rank)
        self._settled = len(sets[0]) == len(self._waiting) or (
            self._settled and self._fits(sets[0])
        )
        self._known = self._settled or all(len(self._seen[c]) == QUEUE_SIZE for c in sets[0])
        phases: dict[str, int] = {}
        for stamps in sets:  # each adds the cameras that the better ones lack
            shared = sorted(stamp - phases[c] for c, stamp in stamps.items() if c in phases)
            if not shared and phases:
                continue
            sweep = shared[len(shared) // 2] if shared else max(stamps.values())
            for camera in stamps.keys() - phases.keys():
                wider = phases | {camera: stamps[camera] - sweep}
                if _spread(wider) <= self._tolerance:
                    phases = wider
        self._phases = phases
        gaps = sorted(
            after.stamp - before.stamp
            for seen in self._seen.values()
            for before, after in pairwise(seen)
            if after.stamp > before.stamp
        )
        if gaps:
            period = gaps[len(gaps) // 2]
            self.period = period * 1e-9
            self.silent = min(max(SILENT, 2.5 * self.period), 5 * SILENT)
            self._tolerance = min(self._tolerance_limit, period * 9 // 10)  # it may be too large
            self._sweep_tolerance = min(self._tolerance_limit, period // 2)

    def _rank(self, stamps: Mapping[str, int]) -> tuple[bool, bool, int, int]:
        """The lower, the better a set: complete ones first, then what fits phases that one taught.

        Then the largest, of those the tightest; what is known goes on where another is about as
        tight.
        """
        fits = self._fits(stamps)
        whole = len(stamps) == len(self._waiting)
        spread = _spread(stamps) - self._sweep_tolerance * (self._settled and fits)
        return not whole, self._settled and not fits, -len(stamps), spread

    def _fits(self, stamps: Mapping[str, int]) -> bool:
        """Whether a set is of one sweep, by the phases that are known."""
        times = [stamp - self._phases[c] for c, stamp in stamps.items() if c in self._phases]
        return bool(times) and max(times) - min(times) <= self._sweep_tolerance

    def _sweep_time(self, stamps: Mapping[str, int]) -> int | None:
        """The stamp of the sweep's last image: what most of these stamps say."""
        times = sorted(
            stamp - self._phases[camera]
            for camera, stamp in stamps.items()
            if camera in self._phases
        )
        return times[len(times) // 2] if times else None

    # -- frames ----------------------------------------------------------------------------------

    def _sweeps(self) -> Iterator[dict[str, _Image[T]]]:
        """The images that wait, by sweep, oldest first."""
        images = sorted(
            (
                (image.stamp - self._phases[camera], camera, image)
                for camera, waiting in self._waiting.items()
                if camera in self._phases
                for image in waiting
            ),
            key=lambda entry: entry[0],
        )
        while images:
            # Beside them may lie images with wrong stamps: a sweep is the largest and tightest set.
            sweeps = []
            for start, *_ in images:
                if start > images[0][0] + self._sweep_tolerance:
                    break
                found: dict[str, _Image[T]] = {}
                end = start
                for time, camera, image in images:
                    if start <= time <= start + self._sweep_tolerance and camera not in found:
                        found[camera], end = image, time
                sweeps.append((found, start, end))
            found, _, end = min(sweeps, key=lambda sweep: (-len(sweep[0]), sweep[2] - sweep[1]))
            yield self._within_tolerance(found)
            images = [entry for entry in images if entry[0] > end]

    def _within_tolerance(self, images: dict[str, _Image[T]]) -> dict[str, _Image[T]]:
        """A sweep without the images that lie farthest from where their phases say."""
        while _spread(stamps := {c: image.stamp for c, image in images.items()}) > self._tolerance:
            sweep = self._sweep_time(stamps) or 0
            odd = max(stamps, key=lambda c: abs(stamps[c] - self._phases[c] - sweep))
            images = {c: image for c, image in images.items() if c != odd}
        return images

    def _is_ready(self, images: dict[str, _Image[T]], now: float) -> bool:
        stamps = {camera: image.stamp for camera, image in images.items()}
        arrivals = [image.arrival for image in images.values()]
        # One that came half a period before most of the others has waited for nothing.
        early = sorted(arrivals)[len(arrivals) // 2] - (self.period or 2 * self.max_wait) / 2
        arrival = min(a for a in arrivals if a >= early)
        # Of those that were live then: a pause of all of them gives no wrong clock a majority.
        fewest = max(self.min_cameras, len(self.live(arrival)) // 2 + 1)
        if len(images) < fewest:
            return False
        if now - arrival >= self.max_wait:
            return True
        sweep = self._sweep_time(stamps)
        assert sweep is not None
        missing = [c for c in self.live(now) if c in self._phases and c not in images]
        return all(
            0
            < self._seen[c][-1].stamp - self._phases[c] - sweep - self._sweep_tolerance
            <= CLOCK_JUMP_NS
            for c in missing
            if self._seen[c]
        )

    def _emit(self, images: dict[str, _Image[T]]) -> SyncedFrame[T]:
        """The frame of a set; everything older is forgotten."""
        cameras = tuple(camera for camera in self._waiting if camera in images)
        frame = SyncedFrame(
            cameras,
            tuple(images[camera].stamp for camera in cameras),
            tuple(images[camera].item for camera in cameras),
        )
        jumped_back = self._last is not None and frame.reference < self._last.reference
        self._last = frame
        for camera, waiting in self._waiting.items():
            newer = [
                image
                for image in waiting
                if not jumped_back
                and not self._is_stale(camera, image.stamp)
                and image.stamp > frame.reference - CLOCK_JUMP_NS
            ]
            self.unmatched[camera] += len(waiting) - len(newer) - (camera in images)
            waiting.clear()
            waiting.extend(newer)
        return frame

    def _is_stale(self, camera: str, stamp: int) -> bool:
        """Whether the image's sweep is out already."""
        if self._last is None:
            return False
        stamps = dict(zip(self._last.cameras, self._last.stamps, strict=True))
        sweep = self._sweep_time(stamps)
        if camera in stamps:
            last = stamps[camera]
        elif camera in self._phases and sweep is not None:
            last = sweep + self._phases[camera] + self._sweep_tolerance
        else:
            last = self._last.reference
        return last - CLOCK_JUMP_NS <= stamp <= last

    def _forget(self) -> None:
        """Begin anew after a small jump back of the clock; phases stay true."""
        self._last = None
        for camera, images in self._waiting.items():
            self.unmatched[camera] += len(images)
            images.clear()
            self._stale_run[camera] = 0


def _spread(stamps: Mapping[str, int]) -> int:
    return max(stamps.values()) - min(stamps.values())
