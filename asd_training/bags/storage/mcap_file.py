# SPDX-License-Identifier: Apache-2.0
"""An mcap file of ROS 2, whole or not, read by its index or by its records.

rosbags' own reader gives up at a schema that is no ROS message, a chunk that is damaged, an index
that is not complete, and an end that is missing. Such files are common: those of Foxglove's tools
have topics of protobuf and JSON beside ROS's, and those of a robot that lost its power have no end.
The format: https://mcap.dev/spec.
"""

from __future__ import annotations

import heapq
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from lz4.frame import decompress as lz4_decompress
from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat

from asd_perception.errors import UserError
from asd_training.bags.storage.stored_qos import NO_DEFINITION, as_offered

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Message = tuple[Connection, int, bytes]

MAGIC = b"\x89MCAP0\r\n"

_HEADER, _FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = range(1, 7)
_CHUNK_INDEX, _STATISTICS, _DATA_END = 0x08, 0x0B, 0x0F
_END_SIZE = 37  # bytes of the footer and the magic number behind it
_LOOSE_BYTES = 1 << 22  # of messages outside of chunks that are read at once
_DEFINITIONS = {
    "ros2msg": MessageDefinitionFormat.MSG,
    "ros2idl": MessageDefinitionFormat.IDL,
    "omgidl": MessageDefinitionFormat.IDL,
}


class _Part(NamedTuple):
    """Messages that lie together: those of a chunk, or some that are in none.

    at, size: their bytes in the file. start, end: ns. counts: messages by channel.
    """

    at: int
    size: int
    is_chunk: bool
    start: int
    end: int
    counts: Counter[int]


class McapFile:
    """One file, open for reading.

    connections: one for each channel, with the number of its messages. message_count, start_ns,
    end_ns: of all messages. warnings: what is odd about it, a line each.
    """

    def __init__(self, path: Path) -> None:
        """Raises UserError for a file of another kind, ValueError for one without a message."""
        self.path = path
        self.warnings: list[str] = []
        self._schemas: dict[int, tuple[str, MessageDefinition]] = {}
        self._connections: dict[int, Connection] = {}
        self._parts: list[_Part] = []
        self._file = path.open("rb")
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise
        counts: Counter[int] = sum((part.counts for part in self._parts), Counter())
        self.connections = [
            item._replace(msgcount=counts[item.id]) for item in self._connections.values()
        ]
        self.message_count = counts.total()
        self.start_ns = min((part.start for part in self._parts), default=0)
        self.end_ns = max((part.end for part in self._parts), default=0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def messages(self, connections: Collection[Connection]) -> Iterator[Message]:
        """(connection, bag time in ns, serialized message) in time order; of these connections.

        A chunk that is damaged is passed over: it lacks in the count.
        """
        wanted = {item.id: item for item in connections}
        parts = [part for part in self._parts if part.counts.keys() & wanted.keys()]
        waiting: list[tuple[int, int, Message]] = []
        number = 0  # of messages at the same time the one that was written first
        for part in sorted(parts, key=lambda part: part.start):
            while waiting and waiting[0][0] < part.start:
                yield heapq.heappop(waiting)[2]
            try:
                content = self._content(part)
                for kind, begin, end in _records(content):
                    if kind != _MESSAGE:
                        continue
                    channel, _, stamp = struct.unpack_from("<HIQ", content, begin)
                    if channel in wanted:
                        message = wanted[channel], stamp, content[begin + 22 : end]
                        heapq.heappush(waiting, (stamp, number, message))
                        number += 1
            except _FAULTS:
                continue
        while waiting:
            yield heapq.heappop(waiting)[2]

    def _open(self) -> None:
        magic = self._file.read(8)
        if not magic:
            raise ValueError(f"{self.path} is empty")
        if magic != MAGIC:
            raise UserError(f"{self.path} is no mcap file")
        profile = self._profile()
        if profile not in ("ros2", ""):
            raise UserError(
                f"{self.path} is no recording of ROS 2 (its profile is {profile!r}); "
                "rosbags-convert makes one of a ROS 1 bag"
            )
        start = self._file.tell()
        size = self._file.seek(0, 2)
        self._file.seek(max(size - 8, start))
        is_finished = size >= start + _END_SIZE and self._file.read() == MAGIC
        if is_finished and self._read_index(start, size):
            return
        for found in (self._schemas, self._connections, self._parts, self.warnings):
            found.clear()
        end = self._scan(start, size)
        count = sum(part.counts.total() for part in self._parts)
        if not self._connections or (not count and (end is not None or self.warnings)):
            what = "is damaged" if is_finished else "ends"
            raise ValueError(f"{self.path} {what} before its first message")
        if not is_finished:
            self.warnings.append(
                f"{self.path.name} ends in the middle, after {count} messages, which are read"
            )
        elif end is not None:
            self.warnings.append(
                f"{self.path.name} is damaged at byte {end}: {count} messages before it are read"
            )

    def _profile(self) -> str:
        """The profile in the header record, which comes first."""
        if self._file.read(1)[:1] != bytes([_HEADER]):
            raise ValueError("it does not begin with a header")
        end = int.from_bytes(self._file.read(8), "little")
        end += self._file.tell()
        length = int.from_bytes(self._file.read(4), "little")
        profile = self._file.read(min(length, 1000)).decode(errors="replace")
        self._file.seek(end)
        return profile

    def _read_index(self, start: int, size: int) -> bool:
        """Take what the summary says; whether it leads to every message that it counts."""
        self._file.seek(size - _END_SIZE + 9)
        begin = int.from_bytes(self._file.read(8), "little")
        if not start <= begin < size - _END_SIZE:
            return False
        self._file.seek(begin)
        summary = self._file.read(size - _END_SIZE - begin)
        stated: Counter[int] | None = None
        total = 0
        try:
            for kind, at, end in _records(summary):
                body = summary[at:end]
                if kind in (_SCHEMA, _CHANNEL):
                    self._take(kind, body)
                elif kind == _CHUNK_INDEX:
                    self._parts.append(_indexed(body))
                elif kind == _STATISTICS:
                    (total,) = struct.unpack_from("<Q", body)
                    pairs = body[46 : 46 + struct.unpack_from("<I", body, 42)[0]]
                    stated = Counter(dict(struct.iter_unpack("<HQ", pairs)))
        except _FAULTS:
            return False
        counts: Counter[int] = sum((part.counts for part in self._parts), Counter())
        is_known = counts.keys() <= self._connections.keys()
        return counts == stated and counts.total() == total and is_known

    def _scan(self, start: int, size: int) -> int | None:
        """Take every whole record; the byte where that ends too early, or None.

        Behind the data lies a summary with schemas and channels again, which a damaged chunk may
        have held.
        """
        loose: list[tuple[int, int, int, int]] = []  # begin, end, channel, ns

        def keep_loose() -> None:
            if loose:
                stamps = [stamp for _, _, _, stamp in loose]
                counts = Counter(channel for _, _, channel, _ in loose)
                at = loose[0][0]
                part = _Part(at, loose[-1][1] - at, False, min(stamps), max(stamps), counts)
                self._parts.append(part)
                loose.clear()

        at, fault = start, True
        while at + 9 <= size:
            self._file.seek(at)
            head = self._file.read(9)
            kind, end = head[0], at + 9 + int.from_bytes(head[1:], "little")
            fault = fault and kind not in (_FOOTER, _DATA_END)
            if kind == _FOOTER:
                break
            if end > size or not kind:  # a crash leaves zeros behind what was written
                break
            if kind == _MESSAGE:
                if end - at < 31:
                    break
                channel, _, stamp = struct.unpack("<HIQ", self._file.read(14))
                loose.append((at, end, channel, stamp))
                if end - loose[0][0] > _LOOSE_BYTES:
                    keep_loose()
            elif kind == _CHUNK:
                keep_loose()
                self._scan_chunk(at + 9, end)
            elif kind in (_SCHEMA, _CHANNEL):
                keep_loose()
                try:
                    self._take(kind, self._file.read(end - at - 9))
                except _FAULTS:
                    break
            else:
                keep_loose()
            at = end
        keep_loose()
        return at if fault else None

    def _scan_chunk(self, begin: int, end: int) -> None:
        whole = _Part(begin, end - begin, True, 0, 0, Counter())
        counts: Counter[int] = Counter()
        stamps = []
        try:
            content = self._content(whole)
            for kind, at, stop in _records(content):
                if kind in (_SCHEMA, _CHANNEL):
                    self._take(kind, content[at:stop])
                elif kind == _MESSAGE:
                    channel, _, stamp = struct.unpack_from("<HIQ", content, at)
                    counts[channel] += 1
                    stamps.append(stamp)
        except _FAULTS as error:
            reason = " ".join(str(error).split())
            self.warnings.append(
                f"{self.path.name}: a damaged chunk of {end - begin} bytes is left out ({reason})"
            )
            return
        if stamps:
            self._parts.append(whole._replace(start=min(stamps), end=max(stamps), counts=counts))

    def _content(self, part: _Part) -> bytes:
        """The records of a part. Raises one of _FAULTS."""
        self._file.seek(part.at)
        body = self._file.read(part.size)
        if len(body) < part.size:
            raise ValueError("the file ends within it")
        if not part.is_chunk:
            return body
        size, crc = struct.unpack_from("<QI", body, 16)
        compression, at = _text(body, 28)
        (packed_size,) = struct.unpack_from("<Q", body, at)
        packed = body[at + 8 : at + 8 + packed_size]
        match compression:
            case "":
                content = packed
            case "zstd":
                content = zstd.decompress(packed)
            case "lz4":
                content = lz4_decompress(packed)
            case _:
                raise ValueError(f"its compression {compression!r} is unknown")
        if len(content) != size or (crc and zlib.crc32(content) != crc):
            raise ValueError("its checksum is wrong")
        return content

    def _take(self, kind: int, body: bytes) -> None:
        """Keep a schema or a channel. The first one with a number counts."""
        (number,) = struct.unpack_from("<H", body)
        if kind == _SCHEMA:
            name, at = _text(body, 2)
            encoding, at = _text(body, at)
            (size,) = struct.unpack_from("<I", body, at)
            form = _DEFINITIONS.get(encoding, MessageDefinitionFormat.NONE)
            text = body[at + 4 : at + 4 + size].decode(errors="replace") if form.value else ""
            self._schemas.setdefault(number, (name, MessageDefinition(form, text)))
            return
        if number in self._connections:
            return
        (schema,) = struct.unpack_from("<H", body, 2)
        topic, at = _text(body, 4)
        encoding, at = _text(body, at)
        (size,) = struct.unpack_from("<I", body, at)
        about, at, stop = {}, at + 4, at + 4 + size
        while at < stop:
            key, at = _text(body, at)
            about[key], at = _text(body, at)
        name, definition = self._schemas.get(schema, ("__schemaless__", NO_DEFINITION))
        extension = as_offered(topic, encoding, about.get("offered_qos_profiles"), self.warnings)
        self._connections[number] = Connection(
            number, topic, name, definition, "", 0, extension, self
        )


_FAULTS = (ValueError, struct.error, EOFError, OverflowError, RuntimeError, zstd.ZstdError)
"""What reading damaged bytes raises."""


def _records(content: bytes) -> Iterator[tuple[int, int, int]]:
    """The kind of each record, and where its body begins and ends. Raises ValueError."""
    at = 0
    while at < len(content):
        begin = at + 9
        end = begin + int.from_bytes(content[at + 1 : begin], "little")
        if end > len(content) or (content[at] == _MESSAGE and end - begin < 22):
            raise ValueError("its records are damaged")
        yield content[at], begin, end
        at = end


def _text(body: bytes, at: int) -> tuple[str, int]:
    """A text with its length before it, and where it ends."""
    (size,) = struct.unpack_from("<I", body, at)
    end = at + 4 + size
    if end > len(body):
        raise ValueError("a text is longer than its record")
    return body[at + 4 : end].decode(errors="replace"), end


def _indexed(body: bytes) -> _Part:
    """The part that a record of the index leads to."""
    start, end, at, size, length = struct.unpack_from("<QQQQI", body)
    offsets = sorted(
        (offset, channel) for channel, offset in struct.iter_unpack("<HQ", body[36 : 36 + length])
    )
    (index_size,) = struct.unpack_from("<Q", body, 36 + length)
    stops = [offset for offset, _ in offsets[1:]] + [at + size + index_size]
    # Of each channel a record of 15 bytes, and 16 for each message.
    counts = {
        channel: (stop - offset - 15) // 16
        for (offset, channel), stop in zip(offsets, stops, strict=True)
        if stop - offset > 15
    }
    return _Part(at + 9, size - 9, True, start, end, Counter(counts))
