# SPDX-License-Identifier: Apache-2.0
"""A benchmark's figures as a JSON file that says how they were taken: those in docs/results/."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

from asd_perception.files import atomic_file


def write_results(path: Path, command: str, **figures: Any) -> None:
    """Write the command, the machine, the date and the figures, atomically. Raises UserError."""
    report = {
        "command": command,
        "machine": machine(),
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
        **figures,
    }
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n")


def machine() -> str:
    """The processor, in words."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    name = found.group(1) if found else platform.machine()
    return f"{name}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores"
