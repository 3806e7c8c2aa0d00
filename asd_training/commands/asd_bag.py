# SPDX-License-Identifier: Apache-2.0
"""`asd-bag`: rosbag2 conversion, replay, recording and scoring."""

from __future__ import annotations

from asd_training.commands.command_line import run_program

_EPILOG = """\
the whole round, in three terminals and with the detector running:
  asd-bag convert data bags/scene --scene scene-0103
  asd-bag record bags/detections /detector/detections /detector/objects
  asd-bag play bags/scene --clock --wait-for '/CAM_*/image_raw/compressed'
  asd-bag evaluate bags/detections data
"""

_COMMANDS = {
    "check": "say whether a bag of any robot is what the detector needs",
    "convert": "write a nuScenes scene as a rosbag2 (mcap)",
    "play": "publish a bag's messages at their times",
    "record": "record topics into a rosbag2 (mcap) until Ctrl-C",
    "evaluate": "score recorded detections with the official nuScenes evaluator",
}


def main() -> None:
    """Entry point of `asd-bag`."""
    run_program(
        "asd-bag",
        "Turn nuScenes scenes into rosbag2 files, replay them, record what the detector publishes, "
        "and score it.",
        _EPILOG,
        {name: (f"asd_training.commands.bag.{name}", text) for name, text in _COMMANDS.items()},
    )


if __name__ == "__main__":
    main()
