# SPDX-License-Identifier: Apache-2.0
"""ROS message types by name, on a machine without ROS as well: what a bag stores of them, and CDR.

A bag carries the definition and the hash of each type in it, so that Foxglove and `ros2 bag play`
understand it anywhere. rosbags knows the common packages. Any other is read from `.msg` files:
this project's own (interfaces/), or those in the `share/` folder of a ROS message package.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat, Nodetype
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from asd_perception.errors import UserError

_INTERFACES = Path(__file__).parent / "interfaces"


@cache
def definition_and_hash(type_name: str) -> tuple[str, str]:
    """A type's definition with all types inside it, as one text, and its RIHS01 type hash.

    type_name: such as "sensor_msgs/msg/Image". Raises UserError if its package is not installed.
    """
    store = _store_with(type_name)
    try:
        return store.generate_msgdef(type_name, ros_version=2)[0], store.hash_rihs01(type_name)
    except TypesysError as error:
        raise _unreadable(type_name, error) from error


def serialize(message: Any) -> bytes:
    """A message of rosbags' classes as CDR, the bytes that rclpy publishes and a bag stores."""
    return bytes(_store_with(message.__msgtype__).serialize_cdr(message, message.__msgtype__))


def deserialize(data: bytes, type_name: str) -> Any:
    """The message of rosbags' classes in CDR bytes.

    Raises UserError if the type is not installed, rosbags' SerdeError if the bytes are no message.
    """
    store = _store_with(type_name)
    try:
        return store.deserialize_cdr(data, type_name)
    except SerdeError:
        raise
    except Exception as error:  # a text that is no text, a length beyond all memory
        raise SerdeError(str(error)) from error


def is_known_otherwise(type_name: str, definition: MessageDefinition, type_hash: str) -> bool:
    """Whether a bag's definition of a type, or its hash, is another than that which is read here.

    Then its messages are misread. False where one of the two is unknown.
    """
    try:
        _, ours = definition_and_hash(type_name)
        if not type_hash:
            if definition.format != MessageDefinitionFormat.MSG:
                return False
            store = get_typestore(Stores.EMPTY)
            store.register(get_types_from_msg(definition.data, type_name))
            type_hash = store.hash_rihs01(type_name)
    except Exception:  # of a type that is not installed, or a definition that is none
        return False
    return type_hash.startswith("RIHS01_") and type_hash != ours


@cache
def _typestore() -> Typestore:
    return get_typestore(Stores.ROS2_KILTED)


def _store_with(type_name: str) -> Typestore:
    store = _typestore()
    try:
        _register(store, type_name)
    except TypesysError as error:
        raise _unreadable(type_name, error) from error
    return store


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


def package_and_name(type_name: str) -> tuple[str, str]:
    """Of "sensor_msgs/msg/Image" sensor_msgs and Image. Raises UserError for another kind of name,
    such as ROS 1 has."""
    match type_name.split("/"):
        case [package, "msg", name] if package.isidentifier() and name.isidentifier():
            return package, name
    raise UserError(f"{type_name!r} is no message type of ROS 2, such as sensor_msgs/msg/Image")


def _definition_file(name: str) -> Path:
    package, short_name = package_and_name(name)
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    # Ours first: what this project writes and reads is then the same on every machine.
    roots = [_INTERFACES, *(Path(prefix) / "share" for prefix in prefixes if prefix)]
    for root in roots:
        path = root / package / "msg" / f"{short_name}.msg"
        if path.is_file():
            return path
    raise UserError(f"message type {name} is not installed: {path} does not exist")


def _unreadable(type_name: str, error: TypesysError) -> UserError:
    return UserError(f"the definition of message type {type_name} cannot be read ({error})")
