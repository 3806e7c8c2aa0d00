# SPDX-License-Identifier: Apache-2.0
"""The results file of every benchmark: its figures, and how they were taken."""

from __future__ import annotations

import dataclasses
import datetime
import json
import platform
from pathlib import Path
from typing import Any

import torch

from asd_perception.files import atomic_file
from asd_perception.provenance import commit, device_name, machine, without_folders


@dataclasses.dataclass(frozen=True)
class Results:
    """The content of a results file, key by key; None where an older benchmark did not say."""

    benchmark: str
    command: str
    commit: str | None  # None outside a git checkout, too
    machine: str | None  # processor and cores
    device: str  # on which the network ran: "cpu", or the GPU's name
    threads: int | None  # of torch, on the CPU
    torch: str | None
    python: str | None
    date: str
    figures: dict[str, Any]  # what the benchmark measured; "runs": `Detector.describe()`

    def heading(self) -> str:
        """What a terminal shows above the figures."""
        model = f" of {self.figures['model']}" if "model" in self.figures else ""
        return (
            f"{self.benchmark}{model} on {self.machine}, device {self.device}, "
            f"{self.threads} threads, torch {self.torch}"
        )

    def write(self, path: Path) -> None:
        """Write the file, atomically. Raises UserError."""
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")


def results_of(
    benchmark: str, command: str, device: torch.device, figures: dict[str, Any]
) -> Results:
    """The results of what this process has just measured, without the machine's folders."""
    return Results(
        benchmark=benchmark,
        command=command,
        commit=commit(),
        machine=machine(),
        device=device_name(device),
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
        python=platform.python_version(),
        date=datetime.date.today().isoformat(),
        figures=without_folders(figures),
    )
