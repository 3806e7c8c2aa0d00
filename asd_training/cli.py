# SPDX-License-Identifier: Apache-2.0
"""`asd-train`: the offline training command line."""

from __future__ import annotations

import argparse
import importlib
import sys

from asd_perception.errors import run_cli

_EPILOG = """\
from nothing to a trained student:
  asd-train synthesize data --train 100 --val 10
  asd-train student data runs/first
  asd-train evaluate runs/first/model data --split synthetic_val
  asd-train export runs/first student.onnx
"""


# Each command: its module, with configure(parser) and run(args), and one line of help.
_COMMANDS = {
    "synthesize": ("asd_training.synthetic.command", "ray trace driving scenes in nuScenes format"),
    "teacher": ("asd_training.teacher.training", "train the LiDAR (+ camera) teacher"),
    "student": (
        "asd_training.student",
        "train the camera-only student, on ground truth or by a teacher",
    ),
    "evaluate": (
        "asd_training.evaluate_command",
        "score a model with the official nuScenes evaluator",
    ),
    "benchmark": ("asd_training.throughput", "time a training's loader and its step"),
    "explain": (
        "asd_training.explain",
        "draw for one keyframe what teacher and student see, and what distillation asks for",
    ),
    "ablate": ("asd_training.ablation.runs", "train and compare many students over several seeds"),
    "robustness": (
        "asd_training.ablation.robustness",
        "score an ablation's students with corrupted simulated points",
    ),
    "ablation-report": (
        "asd_training.ablation.report",
        "write an ablation's tables and plots from its JSON results",
    ),
    "export": ("asd_training.export", "write a run's student as a model directory or as ONNX"),
}


def main() -> None:
    """Entry point of `asd-train`."""
    parser = argparse.ArgumentParser(
        prog="asd-train",
        description="Make data, train the student, score and export it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    called = sys.argv[1] if len(sys.argv) > 1 else ""
    for name, (module_name, summary) in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
        if name == called:  # import only what this call needs: torch alone takes seconds
            module = importlib.import_module(module_name)
            module.configure(command)
            command.set_defaults(execute=module.run)
    args = parser.parse_args()
    sys.exit(run_cli(f"asd-train {called}", lambda: args.execute(args)))


if __name__ == "__main__":
    main()
