# SPDX-License-Identifier: Apache-2.0
"""The package's commands as a user calls them, mostly as processes of their own."""

import gc
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import pytest


def run_module(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`python -m module arguments`, with what it printed."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def asd_train(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_module("asd_training.commands.asd_train", *arguments)


def asd_bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_module("asd_training.commands.asd_bench", *arguments)


def asd_train_here(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: object
) -> tuple[object, str, str]:
    """`asd-train arguments` in this process: its exit status, and what it said on both streams."""
    from asd_training.commands import asd_train

    monkeypatch.setattr(sys, "argv", ["asd-train", *map(str, arguments)])
    capfd.readouterr()
    with pytest.raises(SystemExit) as stop:
        asd_train.main()
    said = capfd.readouterr()
    return stop.value.code, said.out, said.err


def detector_here(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: object
) -> tuple[object, str]:
    """`detector arguments` in this process, where it ends by itself: its status, and what it said.

    Such a call is a start of ROS and not of a process, which takes seconds.
    """
    from asd_perception.commands import detector

    monkeypatch.setattr(sys, "argv", ["detector", *map(str, arguments)])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # or the command would set it
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    threads = cv2.getNumThreads()
    capfd.readouterr()
    gc.collect()  # nodes that other tests have left behind: rcl warns of a second one of a name
    try:
        status: object = detector.main()
    except SystemExit as end:
        status = end.code
    finally:
        cv2.setNumThreads(threads)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        gc.collect()  # what is left of the node
    return status, "".join(capfd.readouterr())


@contextmanager
def stopped_at(monkeypatch: pytest.MonkeyPatch, training: type, step: int) -> Iterator[None]:
    """Within it, trainings of this module end at the last batch of `step`, by an outside error."""
    from asd_perception.errors import UserError

    whole = training.training_step
    with monkeypatch.context() as broken:

        def stop(self, batch, number):
            if self.global_step == step and (number + 1) % self.config.accumulate == 0:
                raise UserError("stopped")
            return whole(self, batch, number)

        broken.setattr(training, "training_step", stop)
        yield
