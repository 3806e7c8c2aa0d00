# SPDX-License-Identifier: Apache-2.0
"""The package's commands as processes of their own, for the tests of what a user sees of them."""

import subprocess
import sys

FAST_DDS_PROFILE = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""Which of them names Fast DDS's settings depends on the ROS distribution: Kilted, Jazzy."""


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
