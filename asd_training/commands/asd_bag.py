# SPDX-License-Identifier: Apache-2.0
"""`asd-bag`: rosbag2 conversion, import, replay, recording and scoring."""

from __future__ import annotations

from asd_training.commands.command_line import run_program

_EPILOG = """\
to score what the node publishes, with three terminals:
  asd-bag convert data bags/scene --scene synthetic_val-0-0000
  detector --ros-args -p image_transport:=compressed -p score_threshold:=0.02   # terminal 1
  asd-bag record bags/detections /detector/detections /detector/objects         # terminal 2
  asd-bag play bags/scene --wait-for '/CAM_*/image_raw/compressed'              # terminal 3
  asd-bag evaluate bags/detections data                 # after Ctrl-C in terminals 2 and 1
"""

_COMMANDS = {
    "check": "say whether a bag of any robot is what the detector needs",
    "convert": "write a nuScenes scene as a rosbag2 (mcap)",
    "import": "make a data set in nuScenes format of a robot's bags",
    "play": "publish a bag's messages at their times",
    "record": "record topics into a rosbag2 (mcap) until Ctrl-C",
    "evaluate": "score recorded detections with the official nuScenes evaluator",
}


def main() -> None:
    """Entry point of `asd-bag`."""
    run_program(
        "asd-bag",
        "Turn nuScenes scenes into rosbag2 files and back, replay them, record what the detector "
        "publishes, and score it.",
        _EPILOG,
        {name: (f"asd_training.commands.bag.{name}", text) for name, text in _COMMANDS.items()},
    )


if __name__ == "__main__":
    main()
