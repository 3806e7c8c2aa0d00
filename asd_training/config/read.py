# SPDX-License-Identifier: Apache-2.0
"""Configurations of training runs, from YAML and the command line, and back to commented YAML."""

from __future__ import annotations

import dataclasses
import textwrap
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic_core import PydanticCustomError

from asd_perception.configuration import descriptions, from_dict, parse_yaml, read_yaml, to_dict
from asd_perception.errors import UserError
from asd_perception.network.config import as_backbone
from asd_training.config.run import StudentRun, TeacherRun

Run = TypeVar("Run", StudentRun, TeacherRun)

_WIDTH = 100


def read_config(cls: type[Run], path: Path | None, changes: list[str] | None = None) -> Run:
    """A run's configuration from YAML (None: the defaults), with `key=value` changes applied.

    A change's key is a path with dots ("student.image_size"), its value is read as YAML.
    Raises UserError that names the key at fault.
    """
    values = {} if path is None else read_yaml(path)
    values = {} if values is None else values  # an empty file: the defaults
    for change in changes or []:
        _apply(values, change)
    try:
        return from_dict(cls, values)
    except UserError as error:
        raise UserError(f"{path}: {error}" if path else str(error)) from error


def commented_yaml(config: Any, indent: str = "") -> str:
    """A configuration as YAML with all its keys, each below a comment that explains it."""
    lines = []
    for name, text in descriptions(type(config)).items():
        comment = f"{indent}# "
        lines += textwrap.wrap(text, _WIDTH, initial_indent=comment, subsequent_indent=comment)
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            lines += [f"{indent}{name}:", commented_yaml(value, indent + "  ")]
        else:
            plain = {name: to_dict(config)[name]}
            # Lists in one line, keys in one line each
            in_line = None if isinstance(value, (tuple, dict)) else False
            dumped = yaml.safe_dump(plain, default_flow_style=in_line, sort_keys=False)
            lines.append(textwrap.indent(dumped, indent).rstrip())
    return "\n".join(lines)


def _backbone(value: Any, change: str) -> Any:
    """The backbone that is to be changed. Raises UserError."""
    try:
        return as_backbone(value)
    except PydanticCustomError as error:
        raise UserError(f"--set {change}: the backbone {error.message()}") from error


def _apply(values: Any, change: str) -> None:
    """Set one `a.b.c=value` in nested dictionaries, in place."""
    key, equals, text = change.partition("=")
    try:
        value = parse_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {change}: the value is not valid YAML") from error
    if not equals or not key:
        raise UserError(f"--set {change}: expected key=value")
    *parents, last = key.split(".")
    for parent in parents:
        if isinstance(values, dict):
            child = values.setdefault(parent, {})
            if parent == "backbone":  # in full, before a part of it is changed
                child = values[parent] = to_dict(_backbone(child, change))
            values = child
    if not isinstance(values, dict):
        raise UserError(f"--set {change}: there is no key {key}")
    values[last] = value
