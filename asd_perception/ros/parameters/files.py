# SPDX-License-Identifier: Apache-2.0
"""Parameter files that say nothing to a node: ROS takes them silently, and leaves the defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml


def files_for_others(arguments: Sequence[str], node: str) -> dict[str, list[str]]:
    """The parameter files among a command's arguments that have nothing for a node, and for which
    nodes they have. node: its name with its namespace, from the root. What cannot be read is not
    told: rcl refuses it.
    """
    found = {}
    files = [file for option, file in pairwise(arguments) if option == "--params-file"]
    for file in files:
        try:
            names = list(_nodes(yaml.safe_load(Path(file).read_text())))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if names and not any(re.fullmatch(_pattern(name), node) for name in names):
            found[file] = names
    return found


def _nodes(tree: Any, path: str = "") -> Iterator[str]:
    """The names of nodes in a parameter file, from the root."""
    for key, below in tree.items() if isinstance(tree, dict) else ():
        name = f"{path}/{str(key).strip('/')}".rstrip("/")
        if isinstance(below, dict) and "ros__parameters" in below:
            yield name
        else:
            yield from _nodes(below, name)


def _pattern(name: str) -> str:
    """The regular expression of a name in which * is one part and ** is any number of them."""
    any_parts = re.escape("/**")
    pattern = re.escape(name).replace(any_parts, "(/[^/]+)*")
    return pattern.replace(re.escape("*"), "[^/]+")
