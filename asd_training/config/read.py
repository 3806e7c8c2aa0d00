# SPDX-License-Identifier: Apache-2.0
"""Configurations of training runs, from YAML and the command line, and back to commented YAML."""

from __future__ import annotations

import copy
import dataclasses
import math
import textwrap
from pathlib import Path
from typing import Any

import yaml

from asd_perception.configuration import descriptions, from_dict, parse_yaml, read_yaml, to_dict
from asd_perception.errors import UserError
from asd_perception.network.config import StudentConfig
from asd_training.config.run import Run

_WIDTH = 100


def read_config(cls: type[Run], path: Path | None, changes: list[str] | None = None) -> Run:
    """A run's configuration from YAML (None: the defaults), with `key=value` changes applied.

    A change's key is a path with dots ("student.image_size"), its value is read as YAML.
    Raises UserError that names the key at fault, and the file or the change that it comes from.
    """
    values = {} if path is None else read_yaml(path)
    documents = [{} if values is None else values]  # an empty file: the defaults
    for change in changes or []:
        documents.append(_changed(documents[-1], change))
    try:
        return from_dict(cls, documents[-1])
    except UserError as error:
        sources = [str(path), *(f"--set {change}" for change in changes or [])]
        first = [_error_of(cls, document) for document in documents].index(str(error))
        raise UserError(f"{sources[first]}: {error}") from error


def _error_of(cls: type[Run], values: Any) -> str | None:
    """What is wrong with the values of a configuration."""
    try:
        from_dict(cls, values)
    except UserError as error:
        return str(error)
    return None


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
            dumped = yaml.safe_dump(
                plain, default_flow_style=in_line, sort_keys=False, width=math.inf
            )
            lines.append(textwrap.indent(dumped, indent).rstrip())
    return "\n".join(lines)


def _changed(values: Any, change: str) -> Any:
    """Nested dictionaries with one `a.b.c=value` set."""
    key, equals, text = change.partition("=")
    try:
        value = parse_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {change}: the value is not valid YAML") from error
    if not equals or not key:
        raise UserError(f"--set {change}: expected key=value")
    *parents, last = key.split(".")
    changed = inner = copy.deepcopy(values)
    for depth, parent in enumerate(parents):
        if isinstance(inner, dict):
            child = inner.setdefault(parent, {})
            if parent == "backbone":  # in full, before a part of it is changed
                where = "".join(f"{name}." for name in parents[:depth])
                child = inner[parent] = _full_backbone(child, where, change)
            inner = child
    if not isinstance(inner, dict):
        raise UserError(f"--set {change}: there is no key {key}")
    inner[last] = value
    return changed


def _full_backbone(value: Any, where: str, change: str) -> dict[str, Any]:
    """All keys of the backbone that is to be changed. Raises UserError."""
    try:
        return to_dict(from_dict(StudentConfig, {"backbone": value}, where).backbone)
    except UserError as error:
        raise UserError(f"--set {change}: {error}") from error
