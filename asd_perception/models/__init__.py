# SPDX-License-Identifier: Apache-2.0
"""The model directories that ship with the package."""

from pathlib import Path

from asd_perception.errors import UserError

TINY = Path(__file__).parent / "tiny"
"""The default model of the node and of every command."""


def config_file(folder: Path) -> Path:
    """The file in a model directory that describes it. Raises UserError where there is none.

    Nothing slow is imported for it: a wrong path is told before torch is loaded.
    """
    file = folder / "config.yaml"
    if not file.exists():
        raise UserError(f"{folder} has no config.yaml; is it a model directory?")
    return file
