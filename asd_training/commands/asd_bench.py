# SPDX-License-Identifier: Apache-2.0
"""`asd-bench`: what frames, the node, training and their parts cost on this machine."""

from __future__ import annotations

from asd_training.commands.command_line import run_program

_EPILOG = """\
each takes --json FILE, which is written in one format: the figures, and how they were taken
  asd-bench frame --against reference
  asd-bench node --transport raw --json node.json
"""

_COMMANDS = {
    "frame": "time a model stage by stage on synthetic 1600x900 images",
    "node": "play six 1600x900 cameras to the detector node; time it, count lost frames",
    "training": "measure what a training costs per sample, or two of them in turns",
    "pooling": "time BEV pooling against index_add_ and the cumulative-sum trick",
    "index": "measure building, loading and reading the keyframe index of a dataset",
    "cameras": "score a model with none to five cameras missing",
}


def main() -> None:
    """Entry point of `asd-bench`."""
    run_program(
        "asd-bench",
        "Measure what frames, the node, training and their parts cost on this machine.",
        _EPILOG,
        {name: (f"asd_training.commands.bench.{name}", text) for name, text in _COMMANDS.items()},
    )


if __name__ == "__main__":
    main()
