# SPDX-License-Identifier: Apache-2.0
"""Faults of a rig that both the node's diagnostics and the check name, each with its remedy."""

from __future__ import annotations

from collections.abc import Sequence

SHARED_MEMORY = 512 * 1024  # bytes that Fast DDS has for messages unless it is told otherwise
LOSS = 0.05  # share of a camera's images lost on the way beyond which that is a fault
OLD = 1.0  # s of age at which detections are of no use to a robot that moves


def nothing_heard(fault: str, unheard: Sequence[str], remedy: str) -> str:
    """Nothing comes on a topic: with the usual remedy, or why its publishers are not heard.

    unheard: a line for each of these.
    """
    return f"{fault}: {'; '.join(unheard)}" if unheard else f"{fault}; {remedy}"


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


def lost_images(lost: int, seconds: float, transport: str, size: int, sizes: Sequence[int]) -> str:
    """Images of one camera lost on the way in the last seconds, with the remedy; empty for none.

    size: of its last image in bytes; sizes: of each camera's. 0: none has come.
    """
    if lost == 0:
        return ""
    text = f"{lost} images were lost on the way in the last {seconds:.0f} s"
    if transport == "raw" and (size == 0 or size > SHARED_MEMORY):
        large = f"{size / 1e6:.1f} MB each, " if size else "large ones "
        return (
            f"{text}: {large}do not fit Fast DDS's default shared memory; start the camera's "
            "driver with config/fastdds.xml of this package, or use image_transport compressed"
        )
    known = [size for size in sizes if size]
    sweep = len(sizes) * sum(known) / max(1, len(known))
    if sweep > SHARED_MEMORY:
        return (
            f"{text}: one of each camera is {sweep / 1e6:.1f} MB, more than the shared memory that "
            "Fast DDS has for all that one process sends; start it with config/fastdds.xml of this "
            "package, or lower the cameras' rate or size"
        )
    return f"{text}; the link or this machine is overloaded: lower the camera's rate or size"
