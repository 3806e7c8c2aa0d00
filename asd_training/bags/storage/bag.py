# SPDX-License-Identifier: Apache-2.0
"""Every message of a rosbag2's files, whatever its metadata say of them.

rosbags' own reader of a folder goes by metadata.yaml: what it does not list there, or with another
quality of service, is passed over without a word, and the parts of a split bag follow each other
even where their times overlap. Here metadata.yaml only names the files; what they are, and whether
they or their messages are compressed, their own first bytes say.
"""

from __future__ import annotations

import heapq
import shutil
import sqlite3
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from rosbags.interfaces import Connection, ConnectionExtRosbag2

from asd_perception.errors import UserError
from asd_perception.files import check_fetched
from asd_training.bags.storage import mcap_file, sqlite_file
from asd_training.bags.storage.mcap_file import McapFile, Message
from asd_training.bags.storage.sqlite_file import SqliteFile

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

METADATA = "metadata.yaml"
_STORAGES = {".mcap", ".db3"}
_PACKED = (".zstd", ".zst")
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # a message in CDR begins with 0
_BEYOND = 2**31 * 10**9  # ns; no time of ROS 2 is beyond (the year 2038)


class Bag:
    """The files of a bag, open for reading; a context manager.

    path: as it was given. connections: one for each topic, type and serialization, with the
    quality of service of all its publishers and the number of its messages. warnings: what is odd
    about the bag, a line each.
    """

    def __init__(self, path: Path) -> None:
        """Raises UserError where there is no bag, and whatever a parser trips over."""
        self.path = path.parent if path.name == METADATA else path
        self.warnings: list[str] = []
        self._hashes: dict[tuple[str, str], str] = {}  # of the types, which mcap files do not have
        self._stack = ExitStack()
        with ExitStack() as stack:
            self._storages = self._opened_all(self._files(), stack)
            self._stack = stack.pop_all()
        self.connections, self._known = self._joined()
        filled = [storage for storage in self._storages if storage.message_count]
        self.start_ns = min((storage.start_ns for storage in filled), default=0)
        ends = [storage.end_ns + 1 for storage in filled]  # behind the last message
        self.duration_ns = max(ends, default=0) - self.start_ns

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

    def _messages_of(
        self, storage: McapFile | SqliteFile, number: int, wanted: set[int]
    ) -> Iterator[Message]:
        chosen = [item for item in storage.connections if self._known[number, item.id].id in wanted]
        for item, stamp, data in storage.messages(chosen):
            if not -_BEYOND <= stamp < _BEYOND:
                continue  # it lacks in the count
            is_packed = data.startswith(_ZSTD_MAGIC)
            yield self._known[number, item.id], stamp, zstd.decompress(data) if is_packed else data

    def _files(self) -> list[Path]:
        """The storage files, in the order of the metadata."""
        if self.path.is_file():
            if _storage(self.path) is None:
                raise UserError(
                    f"{self.path} is no rosbag2: give its folder, or a .mcap or .db3 file"
                )
            return [self.path]
        there = sorted(f for f in self.path.iterdir() if _storage(f) and f.name[0] != ".")
        about = self._metadata()
        if about is None:
            if not there:
                raise UserError(f"{self.path} is no rosbag2: it holds no {METADATA}{self._else()}")
            return there
        mode = str(about.get("compression_mode") or "").lower()
        if mode in ("file", "message") and about.get("compression_format") != "zstd":
            raise UserError(
                f"{self.path} is compressed by {about.get('compression_format')}, which is not "
                "read here; `ros2 bag convert` writes it without"
            )
        self._take_hashes(about.get("topics_with_message_count"))
        names = dict.fromkeys(Path(name).name for name in about["relative_file_paths"])
        named = [self._file_called(name) for name in names]
        missing = [file.name for file in named if not file.is_file()]
        if missing and there and len(missing) == len(named):
            self.warnings.append(
                f"{METADATA} names {', '.join(missing)}, of which there is none; read: "
                f"{', '.join(file.name for file in there)}"
            )
            return there
        if missing:
            raise UserError(
                f"{self.path} is incomplete: it lacks {', '.join(missing)}; copy it, too, or read "
                "the other files one by one"
            )
        if beside := [file.name for file in there if file not in named]:
            self.warnings.append(f"{', '.join(beside)} is not in {METADATA} and is left out")
        return named

    def _metadata(self) -> dict[str, Any] | None:
        """What metadata.yaml says, if it is one that names files; without it, as after a loss of
        power, the files themselves say enough."""
        try:
            about = yaml.safe_load((self.path / METADATA).read_text("utf-8", errors="replace"))
            about = about["rosbag2_bagfile_information"]
            names = about["relative_file_paths"]
            if not (names and all(isinstance(name, str) and Path(name).name for name in names)):
                raise TypeError
        except FileNotFoundError:
            fault = f"there is no {METADATA}"
        except (yaml.YAMLError, TypeError, KeyError):
            fault = f"{METADATA} is damaged"
        else:
            return dict(about)
        self.warnings.append(f"{fault}: its recording did not end; read as it is")
        return None

    def _take_hashes(self, topics: Any) -> None:
        for item in topics if isinstance(topics, list) else ():
            topic = item.get("topic_metadata") if isinstance(item, dict) else None
            if isinstance(topic, dict):
                key = str(topic.get("name")), str(topic.get("type"))
                self._hashes[key] = str(topic.get("type_description_hash") or "")

    def _file_called(self, name: str) -> Path:
        """A file that the metadata name; packed or unpacked since, it has another ending."""
        file = self.path / name
        plain = file.with_suffix("") if file.suffix in _PACKED else file
        others = [plain, *(plain.with_name(plain.name + ending) for ending in _PACKED)]
        return next((other for other in (file, *others) if other.is_file()), file)

    def _else(self) -> str:
        """What a folder without a bag holds instead, with the remedy."""
        if any(self.path.glob("*.bag")):
            return "; rosbags-convert makes one of a ROS 1 bag"
        bags = sorted(file.parent for file in self.path.glob(f"*/{METADATA}"))
        return f"; {bags[0]} does" if bags else ""

    def _opened_all(self, files: list[Path], stack: ExitStack) -> list[McapFile | SqliteFile]:
        """The files' storages. Of several, those that are of no use are left out: a recording that
        is split begins a new file shortly before a disk is full."""
        storages, faults = [], []
        for file in files:
            try:
                storages.append(self._opened(file, stack))
            except OSError:
                raise
            except Exception as error:  # whatever a parser trips over
                faults.append(error)
                reason = " ".join(str(error).replace(str(file), "it").split())
                self.warnings.append(f"{file.name} is left out: {reason or type(error).__name__}")
        if faults and not storages:
            raise faults[0]
        return storages

    def _opened(self, file: Path, stack: ExitStack) -> McapFile | SqliteFile:
        """A storage, with what it holds in its `connections`, counted."""
        with file.open("rb") as content:
            begin = content.read(40)
        if begin.startswith(_ZSTD_MAGIC):
            return self._opened(self._unpacked(file, stack), stack)
        if not begin:
            raise ValueError(f"{file} is empty")
        check_fetched(file, begin)
        storage: McapFile | SqliteFile
        if begin.startswith(sqlite_file.MAGIC):
            storage = SqliteFile(self._with_journal(file, stack))
        elif begin.startswith(mcap_file.MAGIC) or _storage(file) == ".mcap":
            storage = McapFile(file)
        else:
            raise ValueError(f"{file} is no SQLite database")
        stack.callback(storage.close)
        self.warnings += storage.warnings
        lost = storage.message_count - sum(c.msgcount for c in storage.connections)
        if lost:
            self.warnings.append(
                f"{file.name}: {lost} messages belong to no topic and are left out"
            )
        return storage

    def _unpacked(self, file: Path, stack: ExitStack) -> Path:
        """An unpacked copy of a compressed file; of one that is cut, its beginning."""
        folder = Path(stack.enter_context(TemporaryDirectory()))
        target = folder / (file.stem if file.suffix in _PACKED else file.name)
        with file.open("rb") as packed, target.open("wb") as whole:
            frame, fault = zstd.ZstdDecompressor(), "its end is missing"
            try:
                while content := frame.unused_data or packed.read(1 << 20):
                    frame = zstd.ZstdDecompressor() if frame.eof else frame
                    whole.write(frame.decompress(content))
            except zstd.ZstdError as error:
                fault = str(error)
            else:
                fault = fault if not frame.eof else ""
        if fault:
            if not target.stat().st_size:
                raise ValueError(f"{file} cannot be unpacked ({fault})")
            self.warnings.append(f"{file.name} is damaged ({fault}): read up to there")
        return target

    def _with_journal(self, file: Path, stack: ExitStack) -> Path:
        """A .db3 file with what a crash left in the journal beside it, which a database that is
        opened only to be read passes over: a copy, since SQLite works the one into the other."""
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


def _storage(file: Path) -> str | None:
    """.mcap of x.mcap, x.MCAP and x.mcap.zstd; None of what is no storage."""
    endings = [ending.lower() for ending in file.suffixes]
    if endings and endings[-1] in _PACKED:
        endings.pop()
    return endings[-1] if endings and endings[-1] in _STORAGES else None
