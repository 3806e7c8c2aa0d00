# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

_KEYFRAME = Path(__file__).resolve().parents[2] / "shared" / "nuscenes_keyframe"


@pytest.fixture(scope="session")
def keyframe_root() -> Path:
    """Root of the real nuScenes keyframe (version v1.0-mini, split `keyframe`)."""
    if not _KEYFRAME.is_dir():
        pytest.skip(f"the real nuScenes keyframe is not at {_KEYFRAME}")
    return _KEYFRAME
