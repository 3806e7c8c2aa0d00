# SPDX-License-Identifier: Apache-2.0
"""The model directories that ship with the package."""

from pathlib import Path

TINY = Path(__file__).parent / "tiny"
"""The default model of the node and of every command."""
