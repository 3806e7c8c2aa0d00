# SPDX-License-Identifier: Apache-2.0
"""How many cores this process may use, and that its libraries use no more."""

from __future__ import annotations

import math
import os
from pathlib import Path


def available_cores() -> int:
    """Cores that this process may keep busy: by its affinity, and by its control group's quota.

    `os.cpu_count()` counts the machine's, of which a container may have a share only.
    """
    cores = len(os.sched_getaffinity(0))
    quota = _quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def limit_threads() -> None:
    """Let libraries use `available_cores` threads, unless the environment says otherwise.

    They respect an affinity, but no control group's quota: with more threads than that grants, all
    of them stand still until its next period. To be called before torch or numpy is imported.
    """
    if available_cores() < len(os.sched_getaffinity(0)):
        os.environ.setdefault("OMP_NUM_THREADS", str(available_cores()))


def _quota(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> float | None:
    """Cores' worth of time that the control groups above this process grant; None: no limit."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "cpu" if controllers else root
        group = base / path.lstrip("/")
        # A container sees its own group as the root, whatever its path is called outside.
        for folder in {group, *group.parents, base}:
            if folder == base or base in folder.parents:
                quotas.append(_quota_of(folder))
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_of(group: Path) -> float | None:
    """The limit that one control group sets, of version 2 (cpu.max) or 1 (cpu.cfs_quota_us)."""
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
