# SPDX-License-Identifier: Apache-2.0
"""`asd-train`: make data, train, score, export and compare."""

from __future__ import annotations

from asd_training.commands.command_line import run_program

_EPILOG = """\
from nothing to a trained student:
  asd-train synthesize data --train 300 --val 30 --keyframes 4
  asd-train student data runs/mine
  asd-train evaluate runs/mine/model data --report report.html
  asd-train export runs/mine my_model
"""

_COMMANDS = {
    "synthesize": "ray-trace driving scenes in nuScenes format",
    "check": "look a data set through, and draw its boxes into its images",
    "teacher": "train the LiDAR (+ camera) teacher",
    "student": "train the camera-only student, with or without a teacher",
    "evaluate": "score a model with the official nuScenes evaluator",
    "export": "write a run's student as a model directory or as ONNX",
    "curves": "draw the learning curves of runs, over samples and over core-hours",
    "explain": "draw for one keyframe what teacher and student see, and what distillation asks for",
}

_ABLATION_COMMANDS = {
    "ablate": "train and compare many students over several seeds",
    "robustness": "score an ablation's students with corrupted simulated points",
    "ablation-report": "write an ablation's tables and plots from its JSON results",
}


def main() -> None:
    """Entry point of `asd-train`."""
    run_program(
        "asd-train",
        "Make data, train the student, score and export it.",
        _EPILOG,
        {
            name: (f"asd_training.commands.{room}.{name.replace('-', '_')}", summary)
            for room, commands in (("train", _COMMANDS), ("train.ablation", _ABLATION_COMMANDS))
            for name, summary in commands.items()
        },
    )


if __name__ == "__main__":  # for `torchrun -m`
    main()
