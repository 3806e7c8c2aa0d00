# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before any node is made: DDS traffic stays on this machine, and two test runs do not mix.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)

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
