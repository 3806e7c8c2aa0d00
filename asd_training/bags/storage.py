# SPDX-License-Identifier: Apache-2.0
"""Every message of a rosbag2's files, whatever its metadata say of them.

rosbags' own reader of a folder goes by metadata.yaml: what it does not list there, or with another
quality of service, is passed over without a word, and the parts of a split bag follow each other
even where their times overlap. Here metadata.yaml only names the files and how they are compressed.
"""

from __future__ import annotations

import heapq
import shutil
import sqlite3
import sys
from collections.abc import Collection, Generator, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from rosbags.interfaces import Connection, ConnectionExtRosbag2
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from asd_perception.errors import UserError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Message = tuple[Connection, int, bytes]

METADATA = "metadata.yaml"
_STORAGES = {".mcap", ".db3"}
_MCAP_MAGIC = b"\x89MCAP0\r\n"


class Bag:
    """The files of a bag, open for reading; a context manager.

    path: as it was given. connections: one for each topic, type and serialization, with the
    quality of service of all its publishers and the number of its messages. warnings: what is odd
    about the bag, a line each.
    """

    def __init__(self, path: Path) -> None:
        """Raises UserError where there is no bag, and whatever a parser trips over."""
        self.path = path
        self.warnings: list[str] = []
        self._decompress = False
        self._hashes: dict[tuple[str, str], str] = {}  # of the types, which mcap files do not have
        self._stack = ExitStack()
        with ExitStack() as stack:
            files = self._files(stack)
            self._storages = [self._opened(file, stack) for file in files]
            self._stack = stack.pop_all()
        self.connections, self._known = self._joined()
        times = [s.metadata for s in self._storages if s.metadata.message_count]
        self.start_ns = min((item.start_time for item in times), default=0)
        self.duration_ns = max((item.end_time for item in times), default=0) - self.start_ns

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def messages(self, connections: Collection[Connection]) -> Iterator[Message]:
        """(connection, bag time in ns, serialized message) in time order; of these connections.

        Raises whatever a parser trips over.
        """
        wanted = {item.id for item in connections}
        parts = [
            self._messages_of(storage, number, wanted)
            for number, storage in enumerate(self._storages)
        ]
        yield from heapq.merge(*parts, key=lambda message: message[1])

    def _messages_of(self, storage: Any, number: int, wanted: set[int]) -> Iterator[Message]:
        chosen = [item for item in storage.connections if self._known[number, item.id].id in wanted]
        if not chosen:  # which the storage would take for "all"
            return
        for item, stamp, data in storage.messages(chosen):
            content = zstd.decompress(data) if self._decompress else data
            yield self._known[number, item.id], stamp, content

    def _files(self, stack: ExitStack) -> list[Path]:
        """The storage files, in the order of the metadata; unpacked where they are compressed."""
        if self.path.is_file():
            if self.path.suffix not in _STORAGES:
                raise UserError(
                    f"{self.path} is no rosbag2: give its folder, or a .mcap or .db3 file"
                )
            return [self.path]
        there = sorted(f for f in self.path.iterdir() if f.suffixes and _suffix(f) in _STORAGES)
        about = self._metadata()
        if about is None:
            if not there:
                raise UserError(f"{self.path} is no rosbag2: it holds no {METADATA}")
            return there
        named = [self.path / Path(name).name for name in about["relative_file_paths"]]
        if missing := [file.name for file in named if not file.is_file()]:
            raise UserError(
                f"{self.path} is incomplete: it lacks {', '.join(missing)}; copy it, too, or read "
                "the other files one by one"
            )
        if beside := [file.name for file in there if file not in named]:
            self.warnings.append(f"{', '.join(beside)} is not in {METADATA} and is left out")
        for item in about.get("topics_with_message_count") or ():
            topic = item["topic_metadata"]
            type_hash = str(topic.get("type_description_hash") or "")
            self._hashes[str(topic["name"]), str(topic["type"])] = type_hash
        mode = str(about.get("compression_mode") or "").lower()
        if mode in ("file", "message") and about.get("compression_format") != "zstd":
            raise UserError(
                f"{self.path} is compressed by {about.get('compression_format')}, which is not "
                "read here; `ros2 bag convert` writes it without"
            )
        self._decompress = mode == "message"
        if mode != "file":
            return named
        folder = Path(stack.enter_context(TemporaryDirectory()))
        for file in named:
            with zstd.open(file, "rb") as packed, (folder / file.stem).open("wb") as whole:
                shutil.copyfileobj(packed, whole)
        return [folder / file.stem for file in named]

    def _metadata(self) -> dict[str, Any] | None:
        """What metadata.yaml says, if it is one; without it, as after a loss of power, the files
        themselves say enough, unless they are compressed as a whole."""
        try:
            about = yaml.safe_load((self.path / METADATA).read_text(errors="replace"))
            about = about["rosbag2_bagfile_information"]
            if not all(isinstance(name, str) for name in about["relative_file_paths"]):
                raise TypeError
        except FileNotFoundError:
            fault = f"there is no {METADATA}"
        except (yaml.YAMLError, TypeError, KeyError):
            fault = f"{METADATA} is damaged"
        else:
            return dict(about)
        self.warnings.append(f"{fault}: its recording did not end; read as it is")
        return None

    def _opened(self, file: Path, stack: ExitStack) -> Any:
        """A storage, with what it holds in its `connections`, counted."""
        if file.suffix == ".db3":
            storage: Any = Sqlite3Reader(self._with_journal(file, stack))
        else:
            storage = _WholeMcapReader(file)
        storage.open()
        stack.callback(storage.close)
        if isinstance(storage, _WholeMcapReader) and storage.cut_at is not None:
            self.warnings.append(
                f"{file.name} ends in the middle, after {storage.metadata.message_count} messages, "
                "which are read"
            )
        lost = storage.metadata.message_count - sum(c.msgcount for c in storage.connections)
        if lost:
            self.warnings.append(
                f"{file.name}: {lost} messages belong to no topic and are left out"
            )
        return storage

    def _with_journal(self, file: Path, stack: ExitStack) -> Path:
        """A .db3 file with what a crash left in the journal beside it, which rosbags passes over:
        a copy, since SQLite works the one into the other."""
        beside = [file.with_name(f"{file.name}{end}") for end in ("-wal", "-journal")]
        journals = [journal for journal in beside if journal.is_file() and journal.stat().st_size]
        if not journals:
            return file
        self.warnings.append(f"{journals[0].name} was left by a recording that did not end; read")
        folder = Path(stack.enter_context(TemporaryDirectory()))
        for part in (file, *journals):
            shutil.copyfile(part, folder / part.name)
        with closing(sqlite3.connect(folder / file.name)) as database:
            database.execute("PRAGMA journal_mode = DELETE")
            database.execute("SELECT count(*) FROM sqlite_master")
        return folder / file.name

    def _joined(self) -> tuple[list[Connection], dict[tuple[int, int], Connection]]:
        """The files' connections as the bag's, and which belongs to which."""
        joined: dict[tuple[str, str, str], Connection] = {}
        keys = {}
        for number, storage in enumerate(self._storages):
            for item in storage.connections:
                key = keys[number, item.id] = (item.topic, item.msgtype, serialization(item))
                if key not in joined:
                    type_hash = item.digest or self._hashes.get(key[:2], "")
                    joined[key] = item._replace(id=len(joined), owner=self, digest=type_hash)
                    continue
                before = joined[key]
                profiles = [*_profiles(before), *_profiles(item)]
                joined[key] = before._replace(
                    msgcount=before.msgcount + item.msgcount,
                    ext=ConnectionExtRosbag2(serialization(item), list(dict.fromkeys(profiles))),
                )
        return list(joined.values()), {place: joined[key] for place, key in keys.items()}


def serialization(connection: Connection) -> str:
    """How the messages of a connection are serialized: cdr by ROS 2."""
    extension = connection.ext
    return extension.serialization_format if isinstance(extension, ConnectionExtRosbag2) else ""


def _profiles(connection: Connection) -> list[Any]:
    extension = connection.ext
    return extension.offered_qos_profiles if isinstance(extension, ConnectionExtRosbag2) else []


def _suffix(file: Path) -> str:
    """.mcap of x.mcap and of x.mcap.zstd."""
    return file.suffixes[-2] if file.suffix == ".zstd" and file.suffixes[1:] else file.suffix


class _WholeMcapReader(McapReader):
    """An mcap file of which the index is not believed, and the end need not be there.

    cut_at: the byte at which a file that was not finished ends, or None.
    """

    cut_at: int | None = None

    def _open(self) -> None:
        assert self.bio
        self.bio.seek(0)
        magic = self.bio.read(8)
        if not magic:
            raise ValueError(f"{self.path} is empty")
        if magic != _MCAP_MAGIC:
            raise UserError(f"{self.path} is no mcap file")
        profile = _profile_of(self.bio)
        if profile not in ("ros2", ""):
            raise UserError(
                f"{self.path} is no recording of ROS 2 (its profile is {profile!r}); "
                "rosbags-convert makes one of a ROS 1 bag"
            )
        data_start = self.bio.tell()
        self.bio.seek(-8, 2)
        finished = self.bio.tell() >= data_start + 29 and self.bio.read() == _MCAP_MAGIC
        if finished and profile == "ros2":
            self.bio.seek(0)
            super()._open()
            if self._index_is_complete():
                return
            self._forget()
        # Scanned from its start to its last whole record.
        self.data_start = data_start
        self.data_end = _end_of_records(self.bio, data_start)
        self.meta_scan()
        assert self.statistics
        if not finished:
            if not self.statistics.message_count:
                raise ValueError(f"{self.path} ends before its first message")
            self.cut_at = self.data_end
        counts = self.statistics.channel_message_counts
        self.connections = [c._replace(msgcount=counts.get(c.id, 0)) for c in self.connections]
        count, start, end = (
            self.statistics.message_count,
            self.statistics.start_time,
            self.statistics.end_time,
        )
        self.metadata = self.metadata._replace(
            duration=end - start + 1 if count else 0,
            start_time=start if count else 2**63 - 1,
            end_time=end + 1 if count else 0,
            message_count=count,
        )

    def _index_is_complete(self) -> bool:
        """Whether the index leads to every message that the statistics count."""
        assert self.statistics
        counts: dict[int, int] = {}
        for chunk in self.chunks:
            for channel, count in chunk.channel_count.items():
                counts[channel] = counts.get(channel, 0) + count
        stated = {k: n for k, n in self.statistics.channel_message_counts.items() if n}
        known = {item.id for item in self.connections}
        return (
            counts == stated
            and sum(counts.values()) == self.statistics.message_count
            and counts.keys() <= known
        )

    def _forget(self) -> None:
        for found in (self.schemas, self.channels, self.chunks, self.connections):
            found.clear()
        self.statistics = None
        with suppress(AttributeError):
            self.metadata = self.metadata._replace(message_count=0)

    def messages(
        self, connections: Any, start: Any = None, stop: Any = None
    ) -> Generator[Message, None, None]:
        if self.chunks:
            yield from super().messages(connections, start, stop)
        else:
            yield from self._scanned(connections)

    def _scanned(self, connections: Collection[Connection]) -> Iterator[Message]:
        """Without an index, in time order: file by file there may be a few out of it."""
        pending: list[tuple[int, int, Message]] = []
        for number, message in enumerate(self.messages_scan(connections)):
            heapq.heappush(pending, (message[1], number, message))
            if len(pending) > _OUT_OF_ORDER:
                yield heapq.heappop(pending)[2]
        while pending:
            yield heapq.heappop(pending)[2]


_OUT_OF_ORDER = 100  # messages that one without an index may be late by


def _profile_of(file: Any) -> str:
    """The profile in the header record, which comes first."""
    if file.read(1) != b"\x01":
        raise ValueError("it does not begin with a header")
    end = int.from_bytes(file.read(8), "little")
    end += file.tell()
    length = int.from_bytes(file.read(4), "little")
    profile = file.read(min(length, 1000)).decode(errors="replace")
    file.seek(end)
    return profile


def _end_of_records(file: Any, start: int) -> int:
    """Where the last whole record of the data section ends, from its first at `start`."""
    size = file.seek(0, 2)
    at = start
    while at + 9 <= size:
        file.seek(at)
        operation = file.read(1)[0]
        end = at + 9 + int.from_bytes(file.read(8), "little")
        if end > size or operation in (0x02, 0x0F):  # cut, the footer, the end of the data
            break
        at = end
    file.seek(start)
    return int(at)
