# SPDX-License-Identifier: Apache-2.0
"""Faults of a rig that both the node's diagnostics and the check name, each with its remedy."""

from __future__ import annotations

OLD = 1.0  # s of age at which detections are of no use to a robot that moves


def duplicate_frame(frame_id: str, other: str) -> str:
    """Two cameras, this and the `other`, whose camera_info names one frame."""
    return (
        f"its camera_info has the same frame_id {frame_id!r} as that of {other}; give each camera "
        "an optical frame of its own"
    )


def contradicting_frames(of_image: str, of_camera_info: str) -> str | None:
    """Images that name another frame than their camera_info; None if they agree, or name none."""
    if of_image in ("", of_camera_info):
        return None
    return (
        f"its images are in frame {of_image!r}, its camera_info in {of_camera_info!r}, which is "
        "used; let the driver publish both with the camera's optical frame"
    )


def long_tolerance(tolerance_ns: int, period: float | None) -> str | None:
    """A sync.tolerance beyond the cameras' period in s; None if it is not, or there is none yet."""
    if period is None or tolerance_ns * 1e-9 < period:
        return None
    return (
        f"sync.tolerance is {tolerance_ns * 1e-6:g} ms, the cameras' period {period * 1e3:.1f} ms; "
        "lower it below the period less the largest gap between cameras that fire one after the "
        "other"
    )
