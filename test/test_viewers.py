# SPDX-License-Identifier: Apache-2.0
"""Promise: RViz and Foxglove show what a node of these parameters publishes, and leave no files."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import yaml
from robot import PATIENCE

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.palette import BACKGROUND, RINGS, hex_colour
from asd_perception.viewing.layouts import ShownTopics, foxglove_layout, rviz_view


def shown_of(cameras):
    overlays = {camera: f"/rover/eyes/{camera}/overlay" for camera in cameras}
    return ShownTopics("/rover/eyes/markers", "/rover/eyes/points", "/rover/diagnostics", overlays)


def panels_in(layout):
    """The panels of a Foxglove layout from left to right and top to bottom."""
    if isinstance(layout, str):
        return [layout]
    return panels_in(layout["first"]) + panels_in(layout["second"])


RIGS = [CAMERAS, ("front", "rear/left", "rear/right"), ("only",)]


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("cameras", RIGS, ids=len)
def test_rviz_shows_the_objects_and_every_cameras_overlay(cameras, compressed):
    shown = shown_of(cameras)
    manager = yaml.safe_load(rviz_view(shown, "rover_base", compressed))["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == "rover_base"
    assert manager["Global Options"]["Background Color"] == "{}; {}; {}".format(*BACKGROUND)
    grid, *displays = manager["Displays"]
    assert grid["Color"] == "{}; {}; {}".format(*RINGS)
    end = "/compressed" if compressed else ""
    images = [topic + end for topic in shown.overlays.values()]
    seen = [display["Topic"]["Value"] for display in displays]
    assert seen == [shown.markers, shown.simulated_points, *images]
    assert [display["Name"] for display in displays[2:]] == list(cameras)
    for display in displays[2:]:  # as they are published
        assert display["Topic"]["Reliability Policy"] == "Best Effort"


@pytest.mark.parametrize("cameras", RIGS, ids=len)
def test_foxglove_shows_the_objects_the_diagnostics_and_every_cameras_overlay(cameras):
    shown = shown_of(cameras)
    layout = json.loads(foxglove_layout(shown, "rover_base"))
    panels, placed = layout["configById"], panels_in(layout["layout"])
    assert sorted(placed) == sorted(panels)
    assert panels["3D!scene"]["followTf"] == "rover_base"
    assert set(panels["3D!scene"]["topics"]) == {shown.markers, shown.simulated_points}
    assert panels["3D!scene"]["layers"]["grid"]["color"] == hex_colour(RINGS) + "ff"
    assert panels["DiagnosticSummary!summary"]["topicToRender"] == "/rover/diagnostics"
    images = [panels[name]["imageMode"]["imageTopic"] for name in placed if "Image" in name]
    assert images == [f"{topic}/compressed" for topic in shown.overlays.values()]


def test_nothing_of_the_templates_is_left():
    for text in (rviz_view(shown_of(["a"]), "b", True), foxglove_layout(shown_of(["a"]), "b")):
        assert not re.search(r"MARKERS|POINTS|BASE_FRAME|OVERLAY|CAMERA|DIAGNOSTICS", text)


PARAMETERS = """
/rover/eyes:
  ros__parameters:
    cameras: [front, /rear/cam]
    base_frame: rover_base
    image_transport: compressed
    use_sim_time: true
"""


def detector(option, folder, *arguments):
    """`detector OPTION` as a process, whose rviz2 is a script that tells how it was called."""
    (folder / "bin").mkdir()
    (folder / "tmp").mkdir()
    script = folder / "bin" / "rviz2"
    script.write_text(f'#!/bin/sh\necho "$@"\ncp "$2" {folder}/seen\nexec sleep 600\n')
    script.chmod(0o755)
    (folder / "mine.yaml").write_text(PARAMETERS)
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "TMPDIR": str(folder / "tmp"),
    }
    command = [sys.executable, "-m", "asd_perception.commands.detector", option, "--ros-args"]
    command += ["--params-file", str(folder / "mine.yaml"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


NAMED = ("-r", "__ns:=/rover", "-r", "__node:=eyes", "-r", "~/markers:=/boxes")


def test_rviz_runs_with_the_view_of_the_parameters_and_its_file_goes_with_it(tmp_path):
    process = detector("--rviz", tmp_path, *NAMED)
    line = process.stdout.readline()
    assert "use_sim_time:=true" in line
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "seen").exists() or not (tmp_path / "seen").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 128 + signal.SIGINT
    assert not list((tmp_path / "tmp").iterdir())
    overlays = {camera: f"/rover/eyes/{camera}/overlay" for camera in ("front", "rear/cam")}
    view = (tmp_path / "seen").read_text()
    assert "Fixed Frame: rover_base" in view and "Value: /boxes" in view
    assert all(f"Value: {topic}/compressed" in view for topic in overlays.values())


def test_foxglove_gets_the_layout_of_the_parameters(tmp_path):
    process = detector("--foxglove", tmp_path, *NAMED)
    text, _ = process.communicate(timeout=PATIENCE)
    topics = ShownTopics(
        "/boxes",
        "/rover/eyes/simulated_points",
        "/diagnostics",
        {"front": "/rover/eyes/front/overlay", "/rear/cam": "/rover/eyes/rear/cam/overlay"},
    )
    assert json.loads(text) == json.loads(foxglove_layout(topics, "rover_base"))
