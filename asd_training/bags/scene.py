# SPDX-License-Identifier: Apache-2.0
"""A nuScenes scene as a stream: its sensor records in time order and its ego motion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from asd_perception.geometry import Array, interpolate_pose, inverse
from asd_training.data.nuscenes import all_scene_samples, global_from_ego
from asd_training.tables.reading import Tables

LIDAR = "LIDAR_TOP"


def sensor_records(nusc: Tables, scene_name: str) -> list[dict[str, Any]]:
    """The scene's sample_data of its cameras and the LiDAR, keyframes and sweeps, by stamp.

    Raises UserError for an unknown scene.
    """
    samples = {sample["token"] for sample in all_scene_samples(nusc, scene_name)}
    records = [
        record
        for record in nusc.sample_data
        if record["sample_token"] in samples
        and (record["sensor_modality"] == "camera" or record["channel"] == LIDAR)
    ]
    return sorted(records, key=lambda record: (record["timestamp"], record["channel"]))


@dataclass(frozen=True)
class EgoTrack:
    """Ego poses (T, 4, 4) over time; stamps_us (T,) in microseconds, strictly rising."""

    stamps_us: NDArray[np.int64]
    global_from_ego: Array

    @classmethod
    def of_records(cls, nusc: Tables, records: Iterable[dict[str, Any]]) -> EgoTrack:
        """The poses of sample_data records, one for each distinct stamp."""
        by_stamp = {record["timestamp"]: record for record in records}
        stamps = sorted(by_stamp)
        poses = [global_from_ego(nusc, by_stamp[stamp]) for stamp in stamps]
        return cls(np.array(stamps, dtype=np.int64), np.stack(poses))

    def pose_at(self, stamp_us: float) -> Array:
        """The pose (4, 4) at a time, interpolated; outside the track its nearest end."""
        stamp_us = float(np.clip(stamp_us, self.stamps_us[0], self.stamps_us[-1]))
        after = int(np.searchsorted(self.stamps_us, stamp_us))
        if self.stamps_us[after] == stamp_us:
            return self.global_from_ego[after]
        before = after - 1
        return interpolate_pose(
            stamp_us,
            self.stamps_us[before],
            self.global_from_ego[before],
            self.stamps_us[after],
            self.global_from_ego[after],
        )

    def twist_at(self, stamp_us: int, half_window_us: int = 50_000) -> tuple[Array, Array]:
        """Linear (3,) m/s and angular (3,) rad/s velocity in the ego frame, by central difference.

        The window bridges the few milliseconds between neighbouring sensors, over which the
        rounding of the poses would drown the motion.
        """
        start = max(stamp_us - half_window_us, int(self.stamps_us[0]))
        end = min(stamp_us + half_window_us, int(self.stamps_us[-1]))
        if start >= end:
            return np.zeros(3), np.zeros(3)
        seconds = (end - start) * 1e-6
        first, last = self.pose_at(start), self.pose_at(end)
        ego_from_global = inverse(self.pose_at(stamp_us))
        turn = Rotation.from_matrix((inverse(first) @ last)[:3, :3]).as_rotvec()
        return ego_from_global[:3, :3] @ (last - first)[:3, 3] / seconds, turn / seconds
