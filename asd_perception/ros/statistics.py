# SPDX-License-Identifier: Apache-2.0
"""Counts and times of the node at work; `diagnostics` puts them into words."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from asd_perception.ros.check.faults import LOSS
from asd_perception.ros.parameters.settings import LatencyBudget

RECENT = 10.0  # s for which a fault is reported after it happened

STAGES = {
    "prepare": "one image decoded, resized and encoded, on arrival",
    "wait": "last image's arrival to the frame, with its preparation and with missing cameras",
    "queue": "frame waiting for the detector",
    "odometry": "waiting for ego motion, and for mountings that move",
    "detect": "network and decoding of its boxes",
    "publish": "detections and objects",
    "total": "last image's arrival to published detections",
    "stamp": "reference stamp to published detections, on the node's clock",
    "show": "markers and simulated points, while someone looks",
    "overlay": "boxes drawn in a frame's images, in a thread of its own, while someone looks",
}


BUDGET_FRAMES = 100  # of the last frames,
BUDGET_EXCEPTIONS = 5  # may take longer than a budget: one slow frame is no slow machine


@dataclass
class Faults:
    """How often something went wrong, and the last time's reason."""

    count: int = 0
    reason: str = ""
    last: float = -RECENT

    def add(self, reason: str) -> None:
        self.count += 1
        self.reason = reason
        self.last = time.monotonic()

    @property
    def recent(self) -> bool:
        return time.monotonic() - self.last < RECENT


@dataclass
class CameraStatistics:
    received: int = 0
    missed: int = 0  # frames without this camera
    missed_run: int = 0  # how many of the last frames in a row were without it
    bad: Faults = field(default_factory=Faults)
    ahead: Faults = field(default_factory=Faults)  # stamps in the future
    undecodable: Faults = field(default_factory=Faults)  # packets of video without a key frame
    contradiction: Faults = field(default_factory=Faults)  # image or camera_info against it
    doubt: Faults = field(default_factory=Faults)  # colours that may be others than read
    last_arrival: float | None = None
    last_stamp: int = 0  # in ns
    repeated: int = 0  # how many images in a row had the stamp of the one before
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=50))
    lost_count: int = 0
    losses: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=200))
    size: int = 0  # bytes of its last image

    def lost(self, count: int) -> None:
        """Images that were lost on the way, as the middleware counts them."""
        self.lost_count += count
        self.losses.append((time.monotonic(), count))

    @property
    def lost_lately(self) -> int:
        """How many images were lost in the last RECENT s; 0 if it is less than LOSS of them."""
        since = time.monotonic() - RECENT
        lost = sum(count for at, count in list(self.losses) if at > since)
        return lost if lost > LOSS * (lost + self.rate * RECENT) else 0

    def arrived(self, stamp_ns: int, size: int) -> None:
        self.received += 1
        self.size = size
        self.repeated = self.repeated + 1 if stamp_ns == self.last_stamp else 0
        self.last_stamp = stamp_ns
        self.last_arrival = time.monotonic()
        self.arrivals.append(self.last_arrival)

    @property
    def rate(self) -> float:
        """Images per second lately."""
        span = self.arrivals[-1] - self.arrivals[0] if len(self.arrivals) > 1 else 0.0
        return (len(self.arrivals) - 1) / span if span > 0 else 0.0


class Statistics:
    """Counts and times since activation. A count may miss one where two threads meet.

    measured(stage, seconds) is called with each time, in the thread that took it.
    """

    def __init__(self, cameras: Iterable[str], measured: Callable[[str, float], None]) -> None:
        self.since = time.monotonic()
        self.cameras = {camera: CameraStatistics() for camera in cameras}
        self.frames = 0
        self.last_frame = self.since
        self.incomplete = Faults()  # frames that lack cameras, which are the reason
        self.uncalibrated = Faults()  # frames in which a camera, or all, had no calibration
        self.detected = 0
        # Frames, those dropped, images, those left out; noted once per second.
        self.totals: deque[tuple[int, int, int, int]] = deque(maxlen=int(RECENT))
        self.failed = Faults()  # frames on which the detector failed
        self.without_motion = Faults()  # frames that found no odometry, though there is some
        self.undrawn = Faults()  # images in which boxes could not be drawn
        self.bad_odometry = Faults()
        self.bad_transforms = Faults()
        self.slow = {stage: Faults() for stage in STAGES}  # beyond its budget's `warn`
        self.too_slow = {stage: Faults() for stage in STAGES}  # beyond `error`
        self._stages: dict[str, deque[float]] = {stage: deque(maxlen=300) for stage in STAGES}
        self._measured = measured
        self._lock = threading.Lock()

    def took(self, stage: str, seconds: float) -> None:
        with self._lock:
            self._stages[stage].append(seconds)
        self._measured(stage, seconds)

    def compare(self, budgets: Mapping[str, LatencyBudget]) -> None:
        """Note the stages of which too many of the last frames took longer than their budget."""
        for stage, budget in budgets.items():
            with self._lock:
                times = list(self._stages[stage])[-BUDGET_FRAMES:]
            for seconds, faults in ((budget.warn, self.slow), (budget.error, self.too_slow)):
                longer = sum(time > seconds for time in times)
                if seconds > 0 and longer > BUDGET_EXCEPTIONS:
                    faults[stage].add(
                        f"{longer} of the last {len(times)} frames took more than "
                        f"{seconds * 1e3:.0f} ms"
                    )

    def latencies(self) -> dict[str, tuple[float, float]]:
        """p50 and p99 in s of each stage that has run, over its last 300 times."""
        with self._lock:
            times = {stage: list(values) for stage, values in self._stages.items() if values}
        return {
            stage: (float(np.percentile(values, 50)), float(np.percentile(values, 99)))
            for stage, values in times.items()
        }
