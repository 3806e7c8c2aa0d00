# SPDX-License-Identifier: Apache-2.0
"""How long before its sweep's last image each camera fires, learned from their stamps.

In nuScenes CAM_BACK_LEFT and the CAM_FRONT_LEFT that fires next are 41 ms apart, those of one sweep
43 ms: from two images alone nobody can tell which belong together. A complete set of images can
(see `synchronizer`), and so can, less surely, the largest and tightest ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

QUEUE_SIZE = 4
"""Images by which a camera is known. As many are kept of each while it waits for others."""


@dataclass
class _Sighting:
    """That a camera gave an image, and with which stamps of other cameras it came together."""

    stamp: int
    arrival: float
    late: bool
    together: dict[str, int]  # the best set of one stamp per camera, its own among them


class Phases:
    """Each camera's phase: its stamp less the time of its sweep, equal for all images of a sweep
    but for jitter; the largest and tightest sets of images that came together lately say it.

    What a complete set has taught holds, also for cameras that are away, until it is contradicted:
    by QUEUE_SIZE images of a camera in turn, none of them late, each in a set of most cameras in
    which it is of another sweep. Fewer may be what losses and delays have left together.

    known: whether the phases are good enough for frames: from the first complete set on, or when
        QUEUE_SIZE images of each camera of the best set were seen.
    followed: cameras that have a phase, without those whose last images were in no set of most.
    period: of the cameras in s, by the stamps of their last images; None before there are any.
    tolerance: greatest difference of two stamps of one sweep, in ns; sweep_tolerance: of two
        of its images' sweep times.
    """

    def __init__(self, cameras: Collection[str], tolerance_ns: int) -> None:
        self._cameras = frozenset(cameras)
        self._tolerance_limit = tolerance_ns
        self._phases: dict[str, int] = {}
        self._seen: dict[str, deque[_Sighting]] = {
            camera: deque(maxlen=QUEUE_SIZE) for camera in cameras
        }
        self._taught: dict[str, int] | None = None  # the last complete set
        self.known = False
        self.followed: frozenset[str] = frozenset()
        self.period: float | None = None
        self.tolerance = tolerance_ns
        self.sweep_tolerance = tolerance_ns // 2

    def __contains__(self, camera: str) -> bool:
        return camera in self._phases

    def __getitem__(self, camera: str) -> int:
        return self._phases[camera]

    def sweep_time(self, stamps: Mapping[str, int]) -> int | None:
        """When the sweep of these stamps was: what most of them say. None if no phase is known."""
        times = sorted(stamp - self._phases[c] for c, stamp in stamps.items() if c in self._phases)
        return times[len(times) // 2] if times else None

    def newest(self, camera: str) -> int | None:
        """Stamp of the camera's last image; None before there is any."""
        seen = self._seen[camera]
        return seen[-1].stamp if seen else None

    def forget(self, camera: str) -> None:
        """Forget a camera's images: it comes back, and may have been started anew."""
        self._seen[camera].clear()

    def reset(self) -> None:
        """Begin a new time. Phases stay as a guess."""
        self._taught, self.known = None, False
        for seen in self._seen.values():
            seen.clear()

    def see(
        self, camera: str, stamp: int, arrival: float, late: bool, live: list[str], reach: float
    ) -> None:
        """Learn from an image.

        late: whether its camera's images have come sooner. live: the cameras that give images.
        Images of one sweep arrive within `reach` s: stamps that fit, although they came much
        earlier, are of a wrong clock or of another sweep.
        """
        near = sorted(
            (seen.stamp, other)
            for other, sightings in self._seen.items()
            for seen in sightings
            if other != camera
            and abs(seen.stamp - stamp) <= self.tolerance
            and arrival - seen.arrival <= max(reach, self.tolerance * 1e-9)
        )
        sets = []
        for start in {stamp, *(other for other, _ in near if other < stamp)}:
            chosen = {camera: stamp}
            for other, name in near:
                if start <= other <= start + self.tolerance:
                    chosen.setdefault(name, other)
            sets.append(chosen)
        together = min(sets, key=self._rank)
        self._seen[camera].append(_Sighting(stamp, arrival, late, together))
        for name, other in together.items():
            for seen in self._seen[name]:
                if seen.stamp == other:
                    seen.together = min(seen.together, together, key=self._rank)
        self._learn(live)

    def _learn(self, live: list[str]) -> None:
        """Take the phases from the best of the sets that live cameras' last images came in."""
        sets = list(
            {
                id(seen.together): seen.together
                for camera in live
                for seen in self._seen[camera]
                if self._is_of_most(seen.together, live)
            }.values()
        )
        if not sets:
            return
        sets.sort(key=self._rank)
        best = sets[0]
        fits = self._fits(best)
        if self._is_complete(best):
            self._taught = best
        elif self.known and not fits:
            if not all(self._contradicts(camera, live) for camera in best):
                return
            self._taught = None
        elif self._taught is not None:
            self._taught = {
                camera: stamp
                for camera, stamp in self._taught.items()
                if not self._contradicts(camera, live)
            }
        full = {camera for camera in live if len(self._seen[camera]) == QUEUE_SIZE}
        self.known = self._taught is not None or (self.known and fits) or best.keys() <= full
        if self._taught is not None:
            sets = [stamps for stamps in sets if stamps is best or self._fits(stamps)]
        self._phases = self._aligned([*sets, self._taught or {}])
        fitting = {camera for stamps in sets for camera in stamps}
        first = min(max(stamps.values()) for stamps in sets) + self.tolerance
        self.followed = frozenset(
            camera
            for camera in self._phases
            if camera in fitting or camera not in full or self._seen[camera][-1].stamp <= first
        )
        self._measure_period()

    def _aligned(self, sets: Iterable[Mapping[str, int]]) -> dict[str, int]:
        """Phases by the first of these sets; each other adds the cameras that those before lack."""
        phases: dict[str, int] = {}
        for stamps in sets:
            shared = sorted(stamp - phases[c] for c, stamp in stamps.items() if c in phases)
            if not shared and phases:
                continue
            sweep = shared[len(shared) // 2] if shared else max(stamps.values())
            for camera in stamps.keys() - phases.keys():
                wider = phases | {camera: stamps[camera] - sweep}
                if spread(wider) <= self.tolerance:
                    phases = wider
        return phases

    def _measure_period(self) -> None:
        gaps = sorted(
            after.stamp - before.stamp
            for seen in self._seen.values()
            for before, after in pairwise(seen)
            if after.stamp > before.stamp
        )
        if not gaps:
            return
        period = gaps[len(gaps) // 2]
        agree = sum(abs(gap - period) < period // 5 for gap in gaps)
        # Losses make gaps longer, and mostly unlike: that is no longer period.
        if self.period is None or period * 1e-9 < self.period or agree > 2 * len(gaps) // 3:
            self.period = period * 1e-9
            self.tolerance = min(self._tolerance_limit, period * 9 // 10)  # it may be too large
            self.sweep_tolerance = min(self._tolerance_limit, period // 2)

    def _rank(self, stamps: Mapping[str, int]) -> tuple[bool, bool, int, int]:
        """The lower, the better a set: complete ones first, then what fits phases that one taught.

        Then the largest, of those the tightest; what is known goes on where another is about as
        tight. Of complete ones the tightest, whatever one taught: too large a tolerance lets the
        first be a mixed one.
        """
        fits, complete = self._fits(stamps), self._is_complete(stamps)
        width = spread(stamps)
        if self.known and fits:
            width -= self.sweep_tolerance // 4 if complete else self.sweep_tolerance
        contradicts = self._taught is not None and not fits and not complete
        return not complete, contradicts, -len(stamps), width

    def _is_complete(self, stamps: Mapping[str, int]) -> bool:
        return len(stamps) == len(self._cameras)

    def _is_of_most(self, stamps: Mapping[str, int], live: list[str]) -> bool:
        return len(stamps) > len(live) // 2

    def _fits(self, stamps: Mapping[str, int]) -> bool:
        """Whether a set is of one sweep, by the phases that are known."""
        times = [stamp - self._phases[c] for c, stamp in stamps.items() if c in self._phases]
        return bool(times) and max(times) - min(times) <= self.sweep_tolerance

    def _contradicts(self, camera: str, live: list[str]) -> bool:
        """Whether a camera's last images say that it fires at other times than it is known to."""
        seen = self._seen[camera]
        return len(seen) == QUEUE_SIZE and not any(
            image.late or self._fits(image.together) or not self._is_of_most(image.together, live)
            for image in seen
        )


def spread(stamps: Mapping[str, int]) -> int:
    """The difference of the latest and the earliest stamp."""
    return max(stamps.values()) - min(stamps.values())
