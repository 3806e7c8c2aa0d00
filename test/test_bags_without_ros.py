# SPDX-License-Identifier: Apache-2.0
"""Promise: scenes become bags, and bags are scored, without ROS just as with it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from asd_training.bags.bag_files import open_bag, read_messages
from asd_training.bags.convert import convert_scene
from asd_training.bags.evaluate import evaluate_bag
from asd_training.data.nuscenes import open_dataset

WITHOUT_ROS = """
import sys

class NoRos:
    def find_spec(self, name, path=None, target=None):
        package = name.partition(".")[0]
        if package == "rclpy" or package.endswith(("_msgs", "_interfaces")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoRos())
sys.prefix = "/nowhere"  # nor definitions of messages in its share/

from asd_training.commands.asd_bag import main
main()
"""
TOPICS = {"topic": "/annotations", "objects_topic": "/annotation_objects"}


def asd_bag(*arguments):
    """asd-bag, in a process that finds neither rclpy nor a message package."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_ROS, *map(str, arguments)],
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
        check=False,
    )


def content(path):
    """Everything in a bag but the time when it was made."""
    with open_bag(path) as reader:
        topics = [(item.topic, item.msgtype, item.digest, item.ext) for item in reader.connections]
        return topics, [(item.topic, at, bytes(data)) for item, at, data in read_messages(reader)]


@pytest.mark.parametrize("root", ["synthetic_root", "keyframe_root"])
def test_a_scene_is_converted_and_scored_as_with_ros(root, request, tmp_path):
    root = request.getfixturevalue(root)
    nusc = open_dataset(root)
    scene = nusc.scene[0]["name"]
    convert_scene(nusc, scene, tmp_path / "with")
    expected, _ = evaluate_bag(tmp_path / "with", nusc, **TOPICS)

    done = asd_bag("convert", root, tmp_path / "without", "--scene", scene)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "without") == content(tmp_path / "with")
    options = ["--topic", TOPICS["topic"], "--objects-topic", TOPICS["objects_topic"]]
    done = asd_bag(
        "evaluate", tmp_path / "without", root, *options, "--output", tmp_path / "results"
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results" / "metrics.json").read_text())
    assert results["mean_ap"] == expected.mean_ap > 0
    assert results["class_ap"] == expected.class_ap


def test_a_bag_is_checked_without_ros(synthetic_root, tmp_path):
    nusc = open_dataset(synthetic_root)
    convert_scene(nusc, nusc.scene[0]["name"], tmp_path / "bag")
    done = asd_bag("check", tmp_path / "bag", "--output", tmp_path / "pictures")
    assert done.returncode == 0, done.stderr
    assert "\n0 errors, " in done.stdout  # but warnings: the scene has a rig of its own
    assert (tmp_path / "pictures" / "cameras" / "CAM_BACK.png").is_file()


@pytest.mark.parametrize(
    "command", [[], ["check"], ["convert"], ["play"], ["record"], ["evaluate"]]
)
def test_help_needs_no_ros(command):
    done = asd_bag(*command, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {' '.join(['asd-bag', *command])} ")


@pytest.mark.parametrize("arguments", [["play", "bag"], ["record", "bag", "/topic"]])
def test_what_needs_ros_says_so_in_one_line(arguments, tmp_path):
    done = asd_bag(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"asd-bag {arguments[0]}: error: ")
    assert done.stderr.count("\n") == 1
    assert "No module named 'rclpy'" in done.stderr
    assert "source a ROS install" in done.stderr and "make setup" in done.stderr
