# SPDX-License-Identifier: Apache-2.0
"""rosbag2 files: opening and checking, reading lazily, writing atomically."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter
from rosbags.serde import SerdeError

from asd_perception.errors import UserError
from asd_perception.files import atomic_directory, check_output_folder
from asd_training.bags.message_types import (
    definition_and_hash,
    deserialize,
    is_known_otherwise,
)
from asd_training.bags.storage.bag import Bag, serialization


def qos(depth: int, latched: bool = False) -> Qos:
    """Reliable, keep-last quality of service; latched: late subscribers get the last messages."""
    unlimited = QosTime(9_223_372_036, 854_775_807)  # ROS's infinite duration, 2^63 - 1 ns
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=depth,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=unlimited,
        lifespan=unlimited,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=unlimited,
        avoid_ros_namespace_conventions=False,
    )


def offered_qos(connection: Connection) -> list[Qos]:
    """What the publishers of a topic offered when the bag was made."""
    extension = connection.ext
    return extension.offered_qos_profiles if isinstance(extension, ConnectionExtRosbag2) else []


def is_latched(connection: Connection) -> bool:
    """Whether late subscribers of a topic must get its last messages.

    Where its publishers offered that, and always on tf_static: all of tf2 asks for it there, and
    many recorders do not store what was offered.
    """
    return connection.topic.rpartition("/")[2] == "tf_static" or any(
        profile.durability == QosDurability.TRANSIENT_LOCAL for profile in offered_qos(connection)
    )


@contextmanager
def open_bag(path: str | Path, tell: bool = True) -> Iterator[Bag]:
    """Open a bag folder, or a bare .mcap or .db3 file, for reading.

    tell: say on stderr what is odd about it, and which topics are left out because they are not
    serialized as ROS 2 does. Raises UserError if there is no bag, or a damaged one.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} does not exist; give the folder of a rosbag2")
    try:
        bag = Bag(path)
    except (OSError, UserError):
        raise
    except Exception as error:  # whatever a parser trips over in a stranger's bytes
        raise _damaged(path, error) from error
    with bag:
        warnings = list(bag.warnings)
        for item in [item for item in bag.connections if serialization(item) != "cdr"]:
            bag.connections.remove(item)
            warnings.append(
                f"{item.topic} is left out: its messages are serialized by "
                f"{serialization(item)!r}, not as ROS 2 does"
            )
        others = {
            item.msgtype
            for item in (bag.connections if tell else ())
            if is_known_otherwise(item.msgtype, item.msgdef, item.digest)
        }
        warnings += [
            f"{name} has another definition in it than here: its messages may be misread"
            for name in sorted(others)
        ]
        for line in warnings if tell else ():
            print(f"{path}: {line}", file=sys.stderr)
        yield bag


def read_messages(
    bag: Bag, connections: Collection[Connection] | None = None
) -> Iterator[tuple[Connection, int, bytes]]:
    """(connection, bag time in ns, serialized message) in time order.

    Of all connections if none are given. One chunk of each file is in memory at a time. Raises
    UserError where the file is damaged, and says on stderr if messages are missing at its end.
    """
    connections = bag.connections if connections is None else connections
    messages = bag.messages(connections)
    count, expected = 0, sum(item.msgcount for item in connections)
    while True:
        try:
            item = next(messages, None)
        except OSError:
            raise
        except Exception as error:
            raise _damaged(bag.path, error) from error
        if item is None:
            break
        count += 1
        yield item
    if count != expected:
        print(f"{bag.path} is damaged: {count} of {expected} messages were read", file=sys.stderr)


def read_topic(bag: Bag, topic: str, type_name: str) -> Iterator[tuple[int, Any]]:
    """(bag time in ns, message) of one topic in time order. A topic that is absent has none.

    type_name: such as "sensor_msgs/msg/Image"; the messages are of rosbags' classes. Raises
    UserError if the topic carries another type or the file is damaged.
    """
    connections = [item for item in bag.connections if item.topic == topic]
    for connection in connections:
        if connection.msgtype != type_name:
            raise UserError(f"{bag.path}: {topic} carries {connection.msgtype}, not {type_name}")
    for _, stamp, data in read_messages(bag, connections):
        try:
            message = deserialize(data, type_name)
        except SerdeError as error:
            raise UserError(f"{bag.path}: a message on {topic} is damaged") from error
        yield stamp, message


class BagWriter:
    """A bag that is being written; `create_bag` makes one."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._connections: dict[str, Connection] = {}

    def add_topic(self, topic: str, type_name: str, profiles: Sequence[Qos] = ()) -> None:
        """Declare a topic with the quality of service that its publishers offer.

        Without a profile, players use ROS's default: reliable, volatile, depth 10.
        """
        definition, type_hash = definition_and_hash(type_name)
        self._connections[topic] = self._writer.add_connection(
            topic,
            type_name,
            msgdef=definition,
            rihs01=type_hash,
            offered_qos_profiles=profiles,
        )

    def write(self, topic: str, stamp_ns: int, data: bytes) -> None:
        """Append a serialized message to a declared topic."""
        self._writer.write(self._connections[topic], stamp_ns, data)

    def flush(self) -> None:
        """Put on the disk what was written, so that it is there whatever ends the process."""
        storage = self._writer.storage
        assert isinstance(storage, McapWriter)
        if storage.chunk.msgs:
            storage.close_chunk()
            storage.bio.flush()

    @property
    def counts(self) -> dict[str, int]:
        """Messages written so far by topic."""
        return {topic: self._writer.counts[item.id] for topic, item in self._connections.items()}


# Of the versions that can be written the one that every ROS 2 since Humble reads: in 9 the quality
# of service is a list of names, for which Humble and Iron expect a text.
_VERSION: Literal[8] = 8


@contextmanager
def create_bag(path: str | Path) -> Iterator[BagWriter]:
    """Write a rosbag2 in mcap storage; it appears under `path` complete, or not at all.

    Raises UserError if `path` exists or its parent cannot be written.
    """
    path = Path(path).absolute()
    with atomic_directory(path) as temporary:
        bag = temporary / path.name  # rosbags names the .mcap file after its folder
        with Writer(bag, version=_VERSION, storage_plugin=StoragePlugin.MCAP) as writer:
            yield BagWriter(writer)
        for file in bag.iterdir():
            file.rename(temporary / file.name)
        bag.rmdir()


@contextmanager
def record_bag(path: str | Path) -> Iterator[BagWriter]:
    """Write a rosbag2 in mcap storage under `path` from the first message on.

    Whatever ends it, what was written until then stays: as a whole bag, or, where not even its end
    can be written, as one that `open_bag` reads all the same. Without any message there is none.
    Raises UserError if `path` exists or its parent cannot be written.
    """
    path = Path(path).absolute()
    check_output_folder(path)
    with suppress(FileNotFoundError):
        path.rmdir()  # it is empty
    writer = Writer(path, version=_VERSION, storage_plugin=StoragePlugin.MCAP)
    writer.open()
    bag = BagWriter(writer)
    try:
        yield bag
    finally:
        try:
            writer.close()
        except OSError as error:  # a full disk has no room for the end either
            with suppress(OSError):
                writer.abort()
            error.filename = error.filename or str(path)
            raise
        finally:
            if not sum(bag.counts.values()):
                shutil.rmtree(path, ignore_errors=True)


def _damaged(path: Any, error: Exception) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{path} is damaged or truncated: {reason}")
