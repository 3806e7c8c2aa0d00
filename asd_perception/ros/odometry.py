# SPDX-License-Identifier: Apache-2.0
"""Ego motion: the robot's pose at any recent stamp, from its odometry."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping

import numpy as np

from asd_perception.cameras.rig import compensate
from asd_perception.errors import UserError
from asd_perception.frames.synchronizer import CLOCK_JUMP_NS
from asd_perception.geometry import Array, interpolate_pose, rotation_angle

LENGTH = 1000  # poses kept: 5 s at 200 Hz
LATE_RUN = 5  # this many poses in order, older than the newest: the clock jumped back a little
MAX_GAP_NS = 1_000_000_000  # poses further apart say nothing about the time between them
MAX_EXTRAPOLATION_NS = 100_000_000
AT_ONCE_NS = 50_000_000
"""Extrapolation by at most this is not worth waiting for the next pose.

The twist is the mean of the last B = 50 to 100 ms before the newest pose (`BASELINE_NS`, and a
period of odometry), so with an acceleration a the position is wrong by at most a t (t + B) / 2
after t: by 19 mm where the robot brakes with 5 m/s^2, and the heading by 0.2 degrees where it
begins to turn with 1 rad/s^2, 0.19 m at 50 m. Images before the newest pose are not affected.
"""
BASELINE_NS = 50_000_000  # extrapolation needs poses this far apart, or noise would be amplified
STILL_M = 1e-3
STILL_RAD = 1e-4
"""A camera that moves by less than both between its stamp and the reference stands still: 6 mm at
50 m, less than a hundredth of a cell. So the trembling odometry of a robot that stands costs no new
plan for the pooling."""
MAX_SPEED, MAX_TURN = 70.0, 10.0
"""In m/s and rad/s: no robot moves faster from one pose to the next. Poses that say so jump."""
JUMP_M, JUMP_RAD = 0.6, 0.05
"""And by so much they may differ between two stamps close together: a driver that stamps poses as
they arrive is 20 ms late now and then, and a car at 30 m/s drives 0.6 m in these."""

DRIVES = 0.5  # m/s of the twist at which ...
FOLLOWS_NS = 2_000_000_000  # ... the pose moves within this time, if it is filled in


class PoseWatch:
    """Whether odometry's pose goes with its twist: some drivers fill in the twist alone."""

    def __init__(self) -> None:
        self._position = np.full(3, np.nan)
        self._since = 0  # stamp since when it has not moved, while the twist says that it does

    def see(self, stamp_ns: int, pose: Array, speed: float) -> None:
        """Raise UserError for a pose (4, 4) that stands still while the robot drives (m/s)."""
        if (
            not speed >= DRIVES  # nor where it is not filled in, with nan
            or stamp_ns < self._since
            or not np.array_equal(pose[:3, 3], self._position)
        ):
            self._position, self._since = pose[:3, 3], stamp_ns
        elif stamp_ns - self._since > FOLLOWS_NS:
            raise UserError(
                f"its pose stands still while its twist says {speed:.1f} m/s; let it fill in the "
                "pose, or set use_odometry to false"
            )


class OdometryBuffer:
    """Recent poses by stamp. Filled by one thread, asked by another.

    A clock that is set back is followed, at once if by more than CLOCK_JUMP_NS, else after LATE_RUN
    poses: those of the time that is over would be taken for motion.
    """

    def __init__(self) -> None:
        self._stamps: list[int] = []
        self._poses: list[Array] = []
        self._late_run = 0
        self._previous = 0  # stamp of the last pose that came
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._stamps)

    def add(self, stamp_ns: int, global_from_ego: Array) -> None:
        """Take in one pose (4, 4), in any order."""
        with self._changed:
            newest = self._stamps[-1] if self._stamps else stamp_ns
            late = self._previous < stamp_ns < newest
            self._late_run = self._late_run + 1 if late else 0
            self._previous = stamp_ns
            if self._late_run >= LATE_RUN or stamp_ns < newest - CLOCK_JUMP_NS:
                self._stamps.clear()
                self._poses.clear()
                self._late_run = 0
            i = bisect_left(self._stamps, stamp_ns)
            if i < len(self._stamps) and self._stamps[i] == stamp_ns:
                self._poses[i] = global_from_ego
            else:
                self._stamps.insert(i, stamp_ns)
                self._poses.insert(i, global_from_ego)
            del self._stamps[:-LENGTH], self._poses[:-LENGTH]
            self._changed.notify_all()

    def wait_for(self, stamp_ns: int, timeout: float) -> None:
        """Wait at most `timeout` s for a pose from which a stamp can be extrapolated at once.

        If there is odometry at all.
        """
        with self._changed:
            if self._stamps:
                self._changed.wait_for(lambda: self._stamps[-1] >= stamp_ns - AT_ONCE_NS, timeout)

    def compensate(
        self, mountings: Mapping[str, Array], stamps: Mapping[str, int], reference_ns: int
    ) -> dict[str, Array]:
        """Each camera's pose (4, 4) at its image's stamp, seen from the ego pose at the reference.

        mountings: ego_from_camera (4, 4) by camera, which are returned as they are where the robot
        stands. Raises UserError if the odometry does not cover the stamps, or jumps between them.
        """
        reference = self.pose_at(reference_ns)
        poses = [self.pose_at(stamps[camera]) for camera in mountings]
        known = [pose for pose in poses if pose is not None]
        if reference is None or len(known) < len(poses):
            raise UserError(
                "odometry does not cover the stamps of the images; check its rate, its delay and "
                "the clocks"
            )
        self._check_for_jumps(min(reference_ns, *(stamps[c] for c in mountings)), reference_ns)
        still = np.stack(list(mountings.values()))
        moved = compensate(still, np.stack(known), reference)
        if _stands(still, moved):
            return dict(mountings)
        return dict(zip(mountings, moved, strict=True))

    def pose_at(self, stamp_ns: int) -> Array | None:
        """The pose (4, 4) at a stamp, or None if the odometry says nothing about that time.

        Exact at the stamp of a message, interpolated between two, extrapolated with constant
        twist by at most MAX_EXTRAPOLATION_NS beyond the ends.
        """
        with self._changed:
            stamps, poses = self._stamps, self._poses
            i = bisect_left(stamps, stamp_ns)
            if i < len(stamps) and stamps[i] == stamp_ns:
                return poses[i]
            if len(stamps) < 2:
                return None
            if i == 0:
                before, after = 0, self._first_after(stamps[0] + BASELINE_NS)
                reach = stamps[0] - stamp_ns
            elif i == len(stamps):
                before, after = self._last_before(stamps[-1] - BASELINE_NS), len(stamps) - 1
                reach = stamp_ns - stamps[-1]
            else:
                before, after = i - 1, i
                reach = 0
            if reach > MAX_EXTRAPOLATION_NS or stamps[after] - stamps[before] > MAX_GAP_NS:
                return None
            # Times relative to the stamp: nanoseconds since 1970 do not fit a float.
            return interpolate_pose(
                0,
                stamps[before] - stamp_ns,
                poses[before],
                stamps[after] - stamp_ns,
                poses[after],
            )

    def _check_for_jumps(self, first_ns: int, last_ns: int) -> None:
        """Raise UserError where the poses used for these stamps are further apart than a robot
        gets: a pose that is set anew would put the cameras where they never were."""
        with self._changed:
            stamps = self._stamps
            begin, end = bisect_left(stamps, first_ns) - 1, bisect_left(stamps, last_ns) + 1
            if first_ns < stamps[0]:  # extrapolated
                end = max(end, self._first_after(stamps[0] + BASELINE_NS) + 1)
            if last_ns > stamps[-1]:
                begin = min(begin, self._last_before(stamps[-1] - BASELINE_NS))
            begin = max(0, begin)
            steps, poses = np.diff(stamps[begin:end]) * 1e-9, np.stack(self._poses[begin:end])
        if not len(steps):
            return
        shifts = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
        rotations = poses[:, :3, :3]
        angles = rotation_angle(rotations[:-1].swapaxes(-1, -2) @ rotations[1:])
        jumps = (shifts > JUMP_M + MAX_SPEED * steps) | (angles > JUMP_RAD + MAX_TURN * steps)
        if jumps.any():
            i = int(np.argmax(jumps))
            raise UserError(
                f"odometry jumps by {shifts[i]:.1f} m and {np.rad2deg(angles[i]):.0f} degrees in "
                f"{steps[i] * 1e3:.0f} ms; let it publish a pose that is never set anew (frame "
                "odom, not map), and from one node only"
            )

    def _first_after(self, stamp: int) -> int:
        return min(bisect_left(self._stamps, stamp), len(self._stamps) - 1)

    def _last_before(self, stamp: int) -> int:
        return max(bisect_left(self._stamps, stamp + 1) - 1, 0)


def _stands(still: Array, moved: Array) -> bool:
    """Whether poses (N, 4, 4) differ by less than STILL_M and STILL_RAD."""
    turned = still[:, :3, :3].swapaxes(1, 2) @ moved[:, :3, :3]
    skew = turned - turned.swapaxes(1, 2)  # its norm is 2 sqrt(2) sin(angle)
    angles = np.linalg.norm(skew, axis=(1, 2)) / 8**0.5
    shifts = np.linalg.norm(moved[:, :3, 3] - still[:, :3, 3], axis=1)
    is_small = np.trace(turned, axis1=1, axis2=2) > 2.0  # no half turn, whose sine is small, too
    return bool(np.all(is_small & (angles < STILL_RAD) & (shifts < STILL_M)))
