# SPDX-License-Identifier: Apache-2.0
"""Promise: the node's benchmark plays real cameras to the real node and counts what comes back."""

import json

import pytest
from commands import asd_bench


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["compressed", "raw"])
def test_what_the_node_detects_is_counted_and_timed(small_model, tmp_path, transport):
    file = tmp_path / "figures.json"
    options = ("--transport", transport, "--rate", 2, "--seconds", 6, "--odometry", 20)
    options += ("--json", file)
    done = asd_bench("node", "--model", small_model, *options)
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())["figures"]
    assert figures["runs"]["device"].startswith("cpu")
    assert figures["sweeps"] == 6  # of 12, half are the warm-up
    assert figures["odometry_hz"] == 20
    # At 20 Hz a pose that comes a little late costs its frame the ego motion.
    assert int(figures["odometry"]["frames without ego motion"]) <= 1
    assert 1 <= figures["detected"] <= 6
    assert 0 < figures["received_ms"]["p50"] <= figures["received_ms"]["p99"]
    assert "ms" in figures["node"]["total (last image's arrival to published detections)"]
    assert f"{figures['detected']} of 6 sweeps detected" in done.stdout


def test_a_wrong_argument_is_one_line(tmp_path):
    done = asd_bench("node", "--rate", 0)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--rate 0 must be in (0, 100]" in done.stderr
