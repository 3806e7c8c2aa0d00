# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from robot import Robot

    from asd_perception.runtime.detector import Detector

# Before any node is made: DDS traffic stays on this machine, and two test runs do not mix.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
# A raw sweep does not fit Fast DDS's default memory. A process reads its settings only once; the
# variable that names them is the first one on Kilted, the other one on Jazzy.
_FAST_DDS = dict.fromkeys(
    ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"),
    str(Path(__file__).resolve().parents[1] / "config/fastdds.xml"),
)
os.environ.update(_FAST_DDS)

# A busy machine makes no property wrong.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

_KEYFRAME = Path(__file__).resolve().parents[2] / "shared" / "nuscenes_keyframe"


@pytest.fixture(scope="session")
def keyframe_root() -> Path:
    """Root of the real nuScenes keyframe (version v1.0-mini, split `keyframe`)."""
    if not _KEYFRAME.is_dir():
        pytest.skip(f"the real nuScenes keyframe is not at {_KEYFRAME}")
    return _KEYFRAME


@pytest.fixture(scope="session")
def synthetic_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small synthetic dataset: a train and a val scene of three keyframes."""
    from asd_training.synthetic.generate import synthesize

    root = tmp_path_factory.mktemp("synthetic") / "data"
    synthesize(root, {"train": 1, "val": 1}, 3, seed=77, scale=0.2, sweeps=False, workers=2)
    return root


@pytest.fixture
def asd_train(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`asd-train arguments`, with what it printed; here, since a process first imports torch."""
    from commands import asd_train_here

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        status, out, err = asd_train_here(monkeypatch, capfd, *arguments)
        return subprocess.CompletedProcess(arguments, status, out, err)

    return call


# -- the node, for the tests that run it as a process (test/robot.py) ------------------------------


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student with random weights, small and quick."""
    import torch

    from asd_perception.bev_grid import BevGrid
    from asd_perception.network import model_directory
    from asd_perception.network.config import StudentConfig
    from asd_perception.network.student import Student

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("node") / "model"
    config = StudentConfig(image_size=(64, 96), bev=BevGrid(cell=3.2), max_objects=50)
    student = Student(config)
    with torch.no_grad():  # the head starts out the same everywhere; here, cells must differ
        for parameter in student.parameters():
            parameter += 0.04 * torch.randn_like(parameter)
    model_directory.save(path, student, {})
    return path


@pytest.fixture(scope="session")
def offline_detector(small_model: Path) -> Detector:
    """The small model, offline."""
    import torch

    from asd_perception.runtime.detector import Detector

    torch.set_num_threads(1)
    return Detector.from_pretrained(small_model)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start node processes with parameters; ends them after the module's tests."""
    processes = []

    def start(**parameters: object) -> subprocess.Popen:
        arguments = []
        # On a busy machine the images of one sweep come far apart.
        for name, value in {"sync.max_wait": 1.0, **parameters}.items():
            arguments += ["-p", f"{name}:={value}"]
        log = (tmp_path_factory.mktemp("log") / "node.log").open("w+")
        process = subprocess.Popen(
            [sys.executable, "-m", "asd_perception.commands.detector", "--ros-args", *arguments],
            stderr=log,
            stdout=log,
            cwd=Path(__file__).resolve().parents[1],
            env={
                **{name: value for name, value in os.environ.items() if name not in _FAST_DDS},
                "OMP_NUM_THREADS": "1",  # beside this process, a core to itself
            },
        )
        process.log = Path(log.name)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def run_detector(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[object, list[str]]]:
    """A node with parameters that it cannot start with, here: its exit status and its lines."""
    from commands import detector_here

    def call(**parameters: object) -> tuple[object, list[str]]:
        given = [word for item in parameters.items() for word in ("-p", "{}:={}".format(*item))]
        status, said = detector_here(monkeypatch, capfd, "--ros-args", *given)
        return status, said.splitlines()

    return call


@pytest.fixture(scope="module")
def robot() -> Iterator[Robot]:
    """What the node hears, and hears of it."""
    import rclpy
    from robot import Robot

    context = rclpy.Context()
    context.init()
    robot = Robot(context)
    yield robot
    robot.close()
    context.shutdown()
