# SPDX-License-Identifier: Apache-2.0
"""`detector --check`: whether a running robot's cameras are what the detector needs."""

from __future__ import annotations

import signal
import sys
from typing import Any, NoReturn

from asd_perception.cameras.rig_check import Level
from asd_perception.commands.ros import node_of_parameters
from asd_perception.models import TINY
from asd_perception.network import model_directory
from asd_perception.ros.check.live import LiveRig
from asd_perception.ros.check.mismatches import QosMismatches
from asd_perception.ros.check.recording import RigRecording
from asd_perception.ros.check.report import report
from asd_perception.ros.parameters.declaration import unknown_parameters
from asd_perception.ros.parameters.settings import Settings
from asd_perception.ros.subscriptions import subscribe_to_latched, subscribe_to_rig


def check_live_rig(seconds: float) -> None:
    """Listen to the rig as the node would, and print what was found; exit with 1 for an error.

    Raises UserError for parameters that the node would refuse, KeyboardInterrupt after SIGINT,
    SystemExit after SIGTERM.
    """
    received: list[int] = []  # signals: noted, for an exception may come amid anything of rclpy
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: received.append(number))
    with node_of_parameters() as node:
        for line in unknown_parameters(node, of_qos=False):
            print(f"detector: {line}", file=sys.stderr)
        settings = Settings.read(node)
        config = model_directory.student_config(settings.model or TINY)
        topics = {name: source.topics for name, source in settings.cameras.items()}
        recording = RigRecording(
            topics, settings.base_frame, settings.sync_tolerance_ns, settings.sync_max_wait
        )
        mismatches = QosMismatches(node, warn=lambda kind, text: None)
        rig = LiveRig(node, recording, mismatches)
        subscriptions = list(subscribe_to_rig(node, settings, rig, mismatches))
        print(f"listening to {len(subscriptions)} topics for {seconds:g} s", file=sys.stderr)
        latched: dict[str, Any] = {}

        def listen_to_latched() -> None:
            known = {name for name, record in recording.cameras.items() if record.camera_infos}
            latched.update(subscribe_to_latched(node, settings, rig, known | latched.keys()))

        rig.listen(seconds, listen_to_latched, stopped=lambda: bool(received))
        if received:
            _end_after(received[0])
        for line in [*mismatches.rivals, *rig.lost_images(seconds, settings.image_transport)]:
            print(f"detector: {line}", file=sys.stderr)
        found = report(recording, config.trained_cameras, config.image_size, live=True)
        print(found.text)
    if found.count(Level.ERROR):
        raise SystemExit(1)


def _end_after(number: int) -> NoReturn:
    """End after SIGTERM as after Ctrl-C: one line, and the exit status that a shell knows."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    print("detector: terminated", file=sys.stderr)
    raise SystemExit(128 + number)
