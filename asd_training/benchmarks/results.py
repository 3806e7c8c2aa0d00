# SPDX-License-Identifier: Apache-2.0
"""A benchmark's figures as a JSON file that says how they were taken: those in docs/results/."""

from __future__ import annotations

import datetime
import json
import platform
from pathlib import Path
from typing import Any

from asd_perception.files import atomic_file
from asd_perception.machine import machine


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
