# SPDX-License-Identifier: Apache-2.0
"""`detector --warm-up`: what the first start on a machine takes long for, done at deployment."""

from __future__ import annotations

import os
import time
from pathlib import Path

from asd_perception.commands.ros import node_of_parameters
from asd_perception.models import TINY
from asd_perception.requirements import check_requirements
from asd_perception.runtime.cuda_graphs import compile_caches
from asd_perception.runtime.detector import Detector


def warm_up(model: str) -> None:
    """Load a model and detect once, as the node's configure does, and tell what it left behind.

    model: a directory; empty: the one that the node's parameters name. Device and number of cameras
    are as these say. Raises UserError for parameters, a model or a device that cannot be.
    """
    check_requirements()
    with node_of_parameters() as node:
        model = os.path.expanduser(model or node.get_parameter("model").value) or str(TINY)
        device = node.get_parameter("device").value
        cameras = len(node.get_parameter("cameras").value)
    begin = time.monotonic()
    detector = Detector.from_pretrained(model, device, cameras=cameras)
    detector.warm_up()
    took = time.monotonic() - begin
    print(f"{model}\n  cameras: {cameras}")
    for name, value in detector.describe().items():
        print(f"  {name}: {value}")
    print(f"loaded, warmed up and detected once in {took:.1f} s")
    if detector.device.type == "cpu":
        print("nothing is compiled on a CPU: no cache was filled, and each start takes as long")
        return
    print("compiled code, which the node of this user and environment finds again:")
    for variable, folder in compile_caches().items():
        files, size = _content(folder)
        print(f"  {folder} ({files} files, {size / 1e6:.0f} MB; {variable} names another)")


def _content(folder: Path) -> tuple[int, int]:
    """How many files a folder has below it, and their bytes; of none there are none."""
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    return len(sizes), sum(sizes)
