# SPDX-License-Identifier: Apache-2.0
"""Bags in, a bag of detections out: the real node, in its own process, over real DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from asd_perception.errors import UserError
from asd_training.bags.bag_files import open_bag
from asd_training.bags.convert import cameras_of_topics, image_topic

RECORDED = ("/detector/detections", "/detector/objects", "/diagnostics")
START_TIMEOUT = 120  # s until detector and recorder are up: torch alone takes seconds to import
LAST_FRAME = 2.0  # s for the last frame to be detected and recorded


def replay_to_detector(
    bags: Sequence[Path], published: Path, model: Path, score_threshold: float, log: Path
) -> None:
    """Play bags, one after the other, to a detector process, and record what it publishes.

    published: folder of the new bag. log: file for what detector and recorder print. Everything
    stays on this machine, on the ROS domain of the environment or else one of this process's own.
    The detector's cameras are those of the bags. Raises UserError if a process fails, or the bags
    hold no camera's images.
    """
    cameras = cameras_of_bags(bags)
    environment = local_ros_environment()
    scripts = Path(sysconfig.get_path("scripts"))
    detector_command = [scripts / "detector", "--ros-args"]
    for name, value in (
        ("model", model.resolve()),
        ("score_threshold", score_threshold),
        ("image_transport", "compressed"),
        ("cameras", f"[{', '.join(cameras)}]"),
        ("sync.max_wait", 0.2),  # on a busy machine the images of one sweep come far apart
    ):
        detector_command += ["-p", f"{name}:={value}"]
    for camera in cameras:  # every frame counts here: lost ones are sent again
        reliability = f"qos_overrides.{image_topic(camera)}.subscription.reliability"
        detector_command += ["-p", f"{reliability}:=reliable"]
    recorder_command = [scripts / "asd-bag", "record", published, *RECORDED]
    with (
        log.open("w") as output,
        running(detector_command, environment, output) as detector,
        running(recorder_command, environment, output) as recorder,
    ):
        for process, sign in (
            (detector, "active: waiting for images"),
            (recorder, f"recording {RECORDED[0]}"),
            (recorder, f"recording {RECORDED[1]}"),
        ):
            wait_for_line(sign, log, process)
        for bag in bags:
            awaited = map(image_topic, cameras_of_bags([bag]))
            play = [scripts / "asd-bag", "play", bag, "--wait-for", *awaited]
            played = subprocess.run(list(map(str, play)), env=environment, check=False)
            for process, name in ((detector, "detector"), (recorder, "recorder")):
                if process.poll() is not None:
                    raise UserError(f"the {name} stopped by itself; the end of {log} says why")
            if played.returncode:
                raise UserError(f"{bag} could not be played; the node's log is {log}")
        time.sleep(LAST_FRAME)
    if recorder.returncode:
        raise UserError(f"nothing was recorded; see {log}")


def cameras_of_bags(bags: Sequence[Path]) -> tuple[str, ...]:
    """The cameras of which any of the bags has images, in rig order. Raises UserError for none."""
    topics: set[str] = set()
    for bag in bags:
        with open_bag(bag) as reader:
            topics.update(item.topic for item in reader.connections)
    cameras = cameras_of_topics(topics)
    if not cameras:
        raise UserError(f"{bags[0]} has no topic {image_topic('CAMERA')}")
    return cameras


def local_ros_environment() -> dict[str, str]:
    """Variables for processes whose traffic stays here, on a domain that others do not use."""
    return {
        **os.environ,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_DOMAIN_ID": os.environ.get("ROS_DOMAIN_ID") or str(1 + os.getpid() % 100),
    }


def wait_for_line(sign: str, log: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has logged what shows that it is ready. Raises UserError."""
    deadline = time.monotonic() + START_TIMEOUT
    while sign not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise UserError(f"the line {sign!r} did not come in {log}; the end of it says why")
        time.sleep(0.1)


@contextmanager
def running(
    command: Sequence[object], environment: dict[str, str], output: IO[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is asked to stop (SIGINT) at the end, and killed if it does not listen."""
    process = subprocess.Popen(
        list(map(str, command)), env=environment, stdout=output, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
