# SPDX-License-Identifier: Apache-2.0
"""Typed configurations: dataclasses that pydantic checks, read from YAML values and back.

A value of a wrong type, out of range or not finite, and a key that nobody knows, is one UserError
that names the key by its full path. A string below a field is the field's description.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails, PydanticCustomError
from typing_extensions import dataclass_transform

from asd_perception.errors import UserError, describe_os_error, did_you_mean

T = TypeVar("T")

_CHECKS = ConfigDict(
    strict=True,
    extra="forbid",
    allow_inf_nan=False,
    use_attribute_docstrings=True,
    arbitrary_types_allowed=True,
)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def configuration(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass that raises UserError for values that do not fit.

    Its `__post_init__` raises `fault`s, whose keys are told by their full path.
    """
    checked: Any = dataclass(frozen=True, config=_CHECKS)(cls)
    initialise = checked.__init__

    @functools.wraps(initialise)
    def raise_user_error(self: Any, *args: Any, **values: Any) -> None:
        try:
            initialise(self, *args, **values)
        except ValidationError as error:
            raise UserError(_first_line(error, cls, "")) from error

    checked.__init__ = raise_user_error
    return checked


def fault(key: str, text: str) -> PydanticCustomError:
    """What a `__post_init__` or a validator raises, to be read as "KEY TEXT".

    key: of the configuration that is checked; "" in a validator, which checks one field's value.
    """
    return PydanticCustomError("fault", "{text}", {"key": key, "text": text})


def from_dict(cls: type[T], values: Any, where: str = "") -> T:
    """Build the configuration `cls` from plain YAML values; `where` goes before a key's name.

    Raises UserError that names the key at fault by its full path, and for an unknown key the
    nearest known one.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where or 'configuration'}: expected keys and values, found {values!r}")
    _check_keys(values, where)
    try:
        return validated(cls, values)
    except ValidationError as error:
        raise UserError(_first_line(error, cls, where)) from error


def validated(cls: type[T], values: Any) -> T:
    """`from_dict` for a validator of a field: the ValidationError that it raises, pydantic puts
    below the field's own path."""
    # JSON, since only there a list is a strict tuple, and a mapping a strict dataclass.
    return TypeAdapter(cls).validate_json(json.dumps(values, default=str))


def to_dict(config: Any) -> dict[str, Any]:
    """The plain values of a configuration, ready for YAML."""
    return _plain(dataclasses.asdict(config))


def descriptions(cls: type) -> dict[str, str]:
    """What each key of a configuration means, in one line."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):  # a class knows the descriptions of its own fields alone
        for name, field in getattr(base, "__pydantic_fields__", {}).items():
            found[name] = " ".join((field.description or found.get(name, "")).split())
    return found


def parse_yaml(text: str) -> Any:
    """Plain values from YAML, by the safe loader. Raises yaml.YAMLError."""
    return yaml.load(text, _Loader)


def read_yaml(path: Path) -> Any:
    """The plain values of a YAML file. Raises UserError."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(describe_os_error(error)) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error


class _Loader(yaml.SafeLoader):
    """Reads 1e-4 as a number, as people and YAML 1.2 do; YAML 1.1 wants 1.0e-4."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _check_keys(value: Any, path: str) -> None:
    """Raises UserError for a key that is no text, as YAML reads `1:` and `2026-11-29:`."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise UserError(f"unknown key {path}{key}: a key is text, and this is {key!r}")
            _check_keys(item, f"{path}{key}.")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _check_keys(item, f"{path.removesuffix('.')}[{i}].")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


# What pydantic calls a fault, and what a person is told. {found} is the value.
_LINES = {
    "greater_than_equal": "is {found}; it must be at least {ge}",
    "greater_than": "is {found}; it must be above {gt}",
    "less_than_equal": "is {found}; it must be at most {le}",
    "less_than": "is {found}; it must be below {lt}",
    "finite_number": "is {found}; it must be finite",
    "literal_error": "is {found}; it must be one of {expected}",
}


# The first word of pydantic's names for a wrong type, and what YAML has for it
_IN_YAML = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
    "dict": "keys and values",
    "dataclass": "keys and values",
}

_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")


def _first_line(error: ValidationError, cls: type, where: str) -> str:
    """One fault in one line; an unknown key first, since it may be why another one is missing."""
    faults = error.errors(include_url=False)
    found = next((item for item in faults if item["type"] in _UNKNOWN), faults[0])
    kind, path, value = found["type"], list(found["loc"]), repr(found["input"])
    if kind == "fault" and found["ctx"]["key"]:
        path.append(found["ctx"]["key"])
    key = where + "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in path
    ).removeprefix(".")
    if kind in _UNKNOWN:
        return _unknown_key(key, str(path[-1]), _known_keys(cls, path[:-1]))
    if kind in ("missing", "missing_argument"):
        return f"{key} is missing"
    if kind == "greater_than" and isinstance(found["ctx"]["gt"], int):  # a whole number's limit
        return f"{key} is {value}; it must be at least {found['ctx']['gt'] + 1}"
    if kind in _LINES:
        return f"{key} {_LINES[kind].format(found=value, **_limits(found))}"
    if kind == "fault":
        return f"{key} {found['msg']}"
    return f"{key}: expected {_expected(found)}, found {value}"


def _limits(error: ErrorDetails) -> dict[str, Any]:
    """What a value is compared with, in words."""
    limits = dict(error.get("ctx") or {})
    if "expected" in limits:
        limits["expected"] = limits["expected"].replace("'", "").replace(" or ", ", ")
    return limits


def _expected(error: ErrorDetails) -> str:
    """What was expected, in YAML's terms."""
    limits = error.get("ctx") or {}
    if error["type"] == "too_long":
        return f"a list of at most {limits['max_length']}"
    if error["type"] == "too_short":
        return f"a list of at least {limits['min_length']}"
    name = error["type"].split("_")[0]
    return _IN_YAML.get(name, name)


def _unknown_key(key: str, name: str, known: list[str]) -> str:
    question = did_you_mean(name, known)
    advice = f"; {question}" if question else ";"
    shown = key if key.split() == [key] else repr(key)  # one with a space, as of "steps = 3"
    return f"unknown key {shown}{advice} known keys are {', '.join(known)}"


def _known_keys(cls: Any, path: list[Any]) -> list[str]:
    """The keys of the dataclass that lies at `path` below `cls`."""
    for part in path:
        if isinstance(part, int):  # the list's own annotation names the class of its items
            continue
        field = getattr(cls, "__pydantic_fields__", {}).get(part)
        cls = next(
            (item for item in _alternatives(field and field.annotation) if _is_dataclass(item)),
            None,
        )
    return [] if cls is None else [item.name for item in dataclasses.fields(cls)]


def _alternatives(annotation: Any) -> list[Any]:
    """The types of a union, or the one type itself."""
    return [annotation, *getattr(annotation, "__args__", ())]


def _is_dataclass(item: Any) -> bool:
    return isinstance(item, type) and dataclasses.is_dataclass(item)
