# SPDX-License-Identifier: Apache-2.0
"""ROS message types by name: the Python class, and the definition that a bag stores.

A bag carries the definition and the hash of each type in it, so that Foxglove and `ros2 bag play`
understand it anywhere. rosbags knows the common packages; any other is read from the `.msg` files
that every ROS message package installs in its `share/` folder.
"""

from __future__ import annotations

import importlib
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from asd_perception.errors import UserError


def message_class(type_name: str) -> type:
    """The Python class of a type such as "sensor_msgs/msg/Image". Raises UserError."""
    package, _, name = type_name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"message type {type_name} is not installed ({error})") from error


def type_name(message_type: type) -> str:
    """The name of a message class, such as "sensor_msgs/msg/Image"."""
    return f"{message_type.__module__.split('.')[0]}/msg/{message_type.__name__}"


@cache
def definition_and_hash(name: str) -> tuple[str, str]:
    """A type's definition with all types inside it, as one text, and its RIHS01 type hash.

    Raises UserError if its package is not installed.
    """
    store = _typestore()
    try:
        _register(store, name)
        return store.generate_msgdef(name, ros_version=2)[0], store.hash_rihs01(name)
    except TypesysError as error:
        raise UserError(
            f"the definition of message type {name} cannot be read ({error})"
        ) from error


@cache
def _typestore() -> Typestore:
    return get_typestore(Stores.ROS2_KILTED)


def _register(store: Typestore, name: str) -> None:
    """Teach the store a type and the types of its fields, unless it knows them."""
    if name in store.fielddefs:
        return
    types = get_types_from_msg(_definition_file(name).read_text(), name)
    for _, (_, fields) in types.items():
        for _, field in fields:
            for inner in _names_in(field):
                _register(store, inner)
    store.register(types)


def _names_in(field: Any) -> list[str]:
    """The message types that a field's description refers to."""
    kind, content = field
    if kind == Nodetype.NAME:
        return [content]
    if kind == Nodetype.BASE:
        return []
    return _names_in(content[0])  # an array or a sequence: (element, length)


def _definition_file(name: str) -> Path:
    package, _, short_name = name.split("/")
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    for prefix in filter(None, prefixes):
        path = Path(prefix) / "share" / package / "msg" / f"{short_name}.msg"
        if path.is_file():
            return path
    raise UserError(f"message type {name} is not installed: {path} does not exist")
