# SPDX-License-Identifier: Apache-2.0
"""A .db3 file of rosbag2, of any of its schemas, whole or not."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat

from asd_training.bags.storage.mcap_file import Message
from asd_training.bags.storage.stored_qos import NO_DEFINITION, as_offered

MAGIC = b"SQLite format 3\0"

_DEFINITIONS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}


class SqliteFile:
    """One file, open for reading.

    connections: one for each topic, with the number of its messages. message_count, start_ns,
    end_ns: of all messages. warnings: what is odd about it, a line each.
    """

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error where it has no tables of rosbag2, or not even a first message."""
        self.path = path
        self.warnings: list[str] = []
        # Quoted, for # and ? mean something else in it.
        uri = f"file:{quote(str(path.absolute()))}?immutable=1"
        self._database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        self._rescued: list[tuple[int, int, int]] | None = None  # ns, id, topic
        try:
            try:
                topics, counts = self._topics(), self._counted()
            except sqlite3.DatabaseError as error:
                # Without it SQLite reads nothing of a file that is shorter than its header says.
                self._database.execute("PRAGMA writable_schema = ON")
                topics, counts = self._topics(), self._rescued_counts(error)
        except BaseException:
            self._database.close()
            raise
        self.connections = [item._replace(msgcount=counts[item.id]) for item in topics]
        self.message_count = counts.total()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def messages(self, connections: Collection[Connection]) -> Iterator[Message]:
        """(connection, bag time in ns, serialized message) in time order; of these connections."""
        wanted = {item.id: item for item in connections}
        if self._rescued is not None:
            yield from self._rescued_messages(wanted)
            return
        places = ", ".join("?" * len(wanted))
        last = -(2**63), 0
        try:
            rows = self._database.execute(
                "SELECT topic_id, timestamp, id, data FROM messages "
                f"WHERE topic_id IN ({places}) ORDER BY timestamp, id",
                list(wanted),
            )
            for topic, stamp, number, data in rows:
                yield wanted[topic], stamp, _bytes(data)
                last = stamp, number
        except sqlite3.DatabaseError as error:  # the index of times is damaged
            self._rescued_counts(error)
            yield from self._rescued_messages(wanted, last)

    def _topics(self) -> list[Connection]:
        has = {row[1] for row in self._database.execute("PRAGMA table_info(topics)")}
        optional = [
            name if name in has else "''"
            for name in ("offered_qos_profiles", "type_description_hash")
        ]
        rows = self._database.execute(
            f"SELECT id, name, type, serialization_format, {', '.join(optional)} FROM topics "
            "ORDER BY id"
        ).fetchall()
        definitions = self._definitions()
        topics = []
        for number, topic, kind, serialization, offered, digest in rows:
            definition = definitions.get(kind, NO_DEFINITION)
            extension = as_offered(topic, serialization, offered, self.warnings)
            topics.append(
                Connection(number, topic, kind, definition, digest or "", 0, extension, self)
            )
        return topics

    def _definitions(self) -> dict[str, MessageDefinition]:
        """By type; older schemas have none."""
        try:
            rows = self._database.execute(
                "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            ).fetchall()
        except sqlite3.Error:
            return {}
        return {
            kind: MessageDefinition(_DEFINITIONS[encoding], text)
            for kind, encoding, text in rows
            if encoding in _DEFINITIONS
        }

    def _counted(self) -> Counter[int]:
        """Messages by topic; also takes the times of the first and the last one."""
        rows = self._database.execute(
            "SELECT topic_id, count(*), min(timestamp), max(timestamp) FROM messages "
            "GROUP BY topic_id"
        ).fetchall()
        self.start_ns = min((start for _, _, start, _ in rows), default=0)
        self.end_ns = max((end for _, _, _, end in rows), default=0)
        return Counter({topic: count for topic, count, _, _ in rows})

    def _rescued_counts(self, fault: sqlite3.DatabaseError) -> Counter[int]:
        """As `_counted`, of the messages before and behind what is damaged.

        Raises the fault where there is none.
        """
        found: dict[int, tuple[int, int]] = {}  # by id
        for order in ("ASC", "DESC"):
            try:
                rows = self._database.execute(
                    f"SELECT id, timestamp, topic_id, data FROM messages ORDER BY id {order}"
                )
                for number, stamp, topic, _ in rows:
                    if number in found:
                        break
                    found[number] = stamp, topic
            except sqlite3.DatabaseError:
                continue
        if not found:
            raise fault
        self.warnings.append(
            f"{self.path.name} is damaged ({fault}): {len(found)} messages of it are read"
        )
        self._rescued = sorted((stamp, number, topic) for number, (stamp, topic) in found.items())
        self.start_ns, self.end_ns = self._rescued[0][0], self._rescued[-1][0]
        return Counter(topic for _, _, topic in self._rescued)

    def _rescued_messages(
        self, wanted: dict[int, Connection], after: tuple[int, int] = (-(2**63), 0)
    ) -> Iterator[Message]:
        """after: time and id of the last one that came already."""
        for stamp, number, topic in self._rescued or ():
            if topic in wanted and (stamp, number) > after:
                row = self._database.execute("SELECT data FROM messages WHERE id = ?", [number])
                yield wanted[topic], stamp, _bytes(row.fetchone()[0])


def _bytes(value: Any) -> bytes:
    """A message's bytes; of what is none, such that no message is read of them."""
    return value if isinstance(value, bytes) else b""
