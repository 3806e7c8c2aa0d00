# SPDX-License-Identifier: Apache-2.0
"""rosbag2 files: opening and checking, reading lazily, writing atomically."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.serde import SerdeError

from asd_perception.errors import UserError
from asd_perception.files import atomic_directory
from asd_training.bags.message_types import definition_and_hash, deserialize


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
    """Whether a topic was offered as transient local."""
    return any(
        profile.durability == QosDurability.TRANSIENT_LOCAL for profile in offered_qos(connection)
    )


@contextmanager
def open_bag(path: str | Path) -> Iterator[Reader]:
    """Open a bag folder, or a bare .mcap or .db3 file, for reading.

    Raises UserError if there is no bag, or a damaged or truncated one.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} does not exist; give the folder of a rosbag2")
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        raise UserError(f"{path} is no rosbag2: it holds no metadata.yaml")
    try:
        reader = Reader(path)
        reader.open()
    except OSError:
        raise
    except Exception as error:  # whatever a parser trips over in a stranger's bytes
        raise _damaged(path, error) from error
    try:
        yield reader
    finally:
        reader.close()


def read_messages(
    reader: Reader, connections: Collection[Connection] = ()
) -> Iterator[tuple[Connection, int, bytes]]:
    """(connection, bag time in ns, serialized message) in time order.

    Of all connections if none is given. One chunk of the file is in memory at a time. Raises
    UserError where the file is damaged.
    """
    messages = iter(reader.messages(connections))
    while True:
        try:
            item = next(messages, None)
        except OSError:
            raise
        except Exception as error:
            raise _damaged(reader.path, error) from error
        if item is None:
            return
        yield item


def read_topic(reader: Reader, topic: str, type_name: str) -> Iterator[tuple[int, Any]]:
    """(bag time in ns, message) of one topic in time order. A topic that is absent has none.

    type_name: such as "sensor_msgs/msg/Image"; the messages are of rosbags' classes. Raises
    UserError if the topic carries another type or the file is damaged.
    """
    connections = [item for item in reader.connections if item.topic == topic]
    for connection in connections:
        if connection.msgtype != type_name:
            raise UserError(f"{reader.path}: {topic} carries {connection.msgtype}, not {type_name}")
    if not connections:  # rosbags would read "none" as "all"
        return
    for _, stamp, data in read_messages(reader, connections):
        try:
            message = deserialize(data, type_name)
        except SerdeError as error:
            raise UserError(f"{reader.path}: a message on {topic} is damaged") from error
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

    @property
    def counts(self) -> dict[str, int]:
        """Messages written so far by topic."""
        return {topic: self._writer.counts[item.id] for topic, item in self._connections.items()}


@contextmanager
def create_bag(path: str | Path) -> Iterator[BagWriter]:
    """Write a rosbag2 in mcap storage; it appears under `path` complete, or not at all.

    Raises UserError if `path` exists or its parent cannot be written.
    """
    path = Path(path).absolute()
    with atomic_directory(path) as temporary:
        bag = temporary / path.name  # rosbags names the .mcap file after its folder
        with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            yield BagWriter(writer)
        for file in bag.iterdir():
            file.rename(temporary / file.name)
        bag.rmdir()


def _damaged(path: Any, error: Exception) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{path} is damaged or truncated: {reason}")
