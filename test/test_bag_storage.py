# SPDX-License-Identifier: Apache-2.0
"""Promise: nothing odd about a bag's files costs a message that can be read, and a line says it."""

import os
import random
import sqlite3
import struct
import zlib
from contextlib import closing

import pytest
import yaml
from backports import zstd
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from asd_perception.errors import UserError
from asd_training.bags.bag_files import create_bag, is_latched, open_bag, read_messages

TEXT = "std_msgs/msg/String"
STORE = get_typestore(Stores.ROS2_KILTED)
DEFINITION = STORE.generate_msgdef(TEXT, ros_version=2)[0]
COUNT = 20


def text(content):
    return bytes(STORE.serialize_cdr(STORE.types[TEXT](content), TEXT))


def read(path):
    with open_bag(path) as bag:
        return [(item.topic, at, bytes(data)) for item, at, data in read_messages(bag)]


def stamps(path):
    return [at for _, at, _ in read(path)]


# -- mcap, record by record ------------------------------------------------------------------------

MAGIC = b"\x89MCAP0\r\n"


def string(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<I", len(data)) + data


def record(kind, body):
    return bytes([kind]) + struct.pack("<Q", len(body)) + body


def schema(number, name, encoding, data):
    return record(3, struct.pack("<H", number) + string(name) + string(encoding) + string(data))


def channel(number, of_schema, topic, encoding="cdr", about=()):
    pairs = b"".join(string(key) + string(value) for key, value in dict(about).items())
    head = struct.pack("<HH", number, of_schema)
    return record(4, head + string(topic) + string(encoding) + string(pairs))


def message(of_channel, stamp, data):
    return record(5, struct.pack("<HIQQ", of_channel, 0, stamp, stamp) + data)


def chunk(records, first, last):
    head = struct.pack("<QQQI", first, last, len(records), zlib.crc32(records))
    return record(6, head + string("") + struct.pack("<Q", len(records)) + records)


def texts(*times, of_channel=1):
    return b"".join(message(of_channel, at, text(str(at))) for at in times)


START = MAGIC + record(1, string("ros2") + string("a test"))
TOPIC = schema(1, TEXT, "ros2msg", DEFINITION) + channel(1, 1, "/topic")
END = record(15, bytes(4)) + record(2, bytes(20)) + MAGIC


def mcap(path, *parts):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(parts))
    return path


def test_records_without_an_index_come_in_the_order_of_time(tmp_path):
    late = texts(50, 20, 40), chunk(texts(30, 10), 10, 30)
    assert stamps(mcap(tmp_path / "x.mcap", START, TOPIC, *late, END)) == [10, 20, 30, 40, 50]


@pytest.mark.parametrize(
    ("encoding", "definition", "serialization"),
    [
        ("protobuf", b"\n\xe9\x01\xff\xfe\x80", "protobuf"),
        ("jsonschema", b"{}", "json"),
        ("flatbuffer", b"\xff\x00", "flatbuffer"),
        ("ros1msg", b"string data", "ros1"),
    ],
)
def test_topics_of_other_schemas_stand_beside_those_of_ros(
    tmp_path, capsys, encoding, definition, serialization
):
    """As in what Foxglove's tools make of nuScenes."""
    other = schema(2, "foxglove.Log", encoding, definition) + channel(2, 2, "/odd", serialization)
    path = mcap(tmp_path / "x.mcap", START, TOPIC, other, message(2, 1, b"?"), texts(2, 3), END)
    assert read(path) == [("/topic", 2, text("2")), ("/topic", 3, text("3"))]
    told = capsys.readouterr().err
    assert f"/odd is left out: its messages are serialized by '{serialization}'" in told


@pytest.mark.parametrize("fields", ["int32 data\n", "string data\nuint8 more\n"])
def test_a_type_that_was_another_when_it_was_recorded_is_told(tmp_path, capsys, fields):
    """As vision_msgs, of which Foxy's and Humble's have nothing in common."""
    topic = schema(1, TEXT, "ros2msg", fields) + channel(1, 1, "/topic")
    assert stamps(mcap(tmp_path / "x.mcap", START, topic, texts(1), END)) == [1]
    line = f"{TEXT} has another definition in it than here: its messages may be misread"
    assert line in capsys.readouterr().err
    assert stamps(mcap(tmp_path / "x.mcap", START, TOPIC, texts(1), END)) == [1]
    assert "another definition" not in capsys.readouterr().err


def test_a_damaged_chunk_costs_its_own_messages_alone(tmp_path, capsys):
    bad = bytearray(chunk(texts(3, 4), 3, 4))
    bad[-2] ^= 0xFF
    parts = START, TOPIC, chunk(texts(1, 2), 1, 2), bytes(bad), chunk(texts(5), 5, 5), END
    assert stamps(mcap(tmp_path / "x.mcap", *parts)) == [1, 2, 5]
    told = capsys.readouterr().err
    assert f"a damaged chunk of {len(bad) - 9} bytes is left out (its checksum is wrong)" in told


def test_a_damaged_chunk_of_an_indexed_file_is_counted(tmp_path, capsys):
    with create_bag(tmp_path / "bag") as bag:
        bag.add_topic("/topic", TEXT)
        for number in range(COUNT):
            bag.write("/topic", number, text(f"message {number}"))
            if number % 5 == 4:
                bag._writer.storage.close_chunk()
    file = tmp_path / "bag" / "bag.mcap"
    content = file.read_bytes()
    size = content.index(struct.pack("<QQ", 5, 9)) + 16  # of the second chunk, behind its times
    file.write_bytes(content[:size] + b"\1" + content[size + 1 :])
    assert stamps(tmp_path / "bag") == [n for n in range(COUNT) if not 5 <= n < 10]
    assert f"is damaged: {COUNT - 5} of {COUNT} messages were read" in capsys.readouterr().err


def test_zeros_behind_a_recording_that_did_not_end_are_no_records(tmp_path, capsys):
    assert stamps(mcap(tmp_path / "x.mcap", START, TOPIC, texts(1, 2), bytes(5000))) == [1, 2]
    assert "ends in the middle, after 2 messages, which are read" in capsys.readouterr().err


def test_a_record_of_a_wrong_length_is_told(tmp_path, capsys):
    bad = b"\x05" + struct.pack("<Q", 10**9) + bytes(100)
    path = mcap(tmp_path / "x.mcap", START, TOPIC, texts(1, 2), bad, texts(3), END)
    assert stamps(path) == [1, 2]
    assert "x.mcap is damaged at byte" in capsys.readouterr().err


def test_a_file_that_is_damaged_from_the_start_is_no_empty_bag(tmp_path):
    file = mcap(tmp_path / "x.mcap", START, TOPIC, texts(1), END)
    content = bytearray(file.read_bytes())
    content[9] ^= 0xFF  # the length of the header
    file.write_bytes(content)
    with pytest.raises(UserError, match="x.mcap .* before its first message"):
        read(file)
    bad = bytearray(chunk(TOPIC + texts(1), 1, 1))
    bad[-2] ^= 0xFF
    with pytest.raises(UserError, match="x.mcap .* before its first message"):
        read(mcap(file, START, bytes(bad), END))


def test_a_time_that_ros_does_not_have_is_counted(tmp_path, capsys):
    path = mcap(tmp_path / "x.mcap", START, TOPIC, texts(1, 2**63 + 5, 2**62), END)
    assert stamps(path) == [1]
    assert "is damaged: 1 of 3 messages were read" in capsys.readouterr().err


# -- what publishers offered -----------------------------------------------------------------------

LATCHED = "- {history: 1, depth: 1, reliability: 1, durability: 1"
NEVER = "{sec: 0, nsec: 0}"
REST = f"liveliness: 1, deadline: {NEVER}, lifespan: {NEVER}, liveliness_lease_duration: {NEVER}"


@pytest.mark.parametrize(
    ("profiles", "latched"),
    [
        (f"{LATCHED}, {REST}, avoid_ros_namespace_conventions: false}}", True),
        (f"{LATCHED}}}", True),
        ("- {durability: transient_local}", True),
        ("{durability: transient_local, depth: 1.0, liveliness: 1.0}", True),
        (f"{LATCHED}, deadline: {{seconds: 0, nanoseconds: 0}}}}", True),
        (f"{LATCHED}, deadline: infinite, liveliness: [1]}}", None),
        ("- {durability: best_available, depth: -1, history: 99}", False),
        ("null", False),
        ("[]", False),
        ("[keep_last, reliable]", None),
        ("{[", None),
    ],
)
@pytest.mark.parametrize("storage", ["mcap", "db3"])
def test_no_quality_of_service_costs_a_message(tmp_path, capsys, profiles, latched, storage):
    """latched: None where it cannot be read."""
    if storage == "mcap":
        topic = channel(1, 1, "/topic", about={"offered_qos_profiles": profiles})
        definition = schema(1, TEXT, "ros2msg", DEFINITION)
        path = mcap(tmp_path / "x.mcap", START, definition, topic, texts(1), END)
    else:
        path = database(tmp_path / "bag", count=1)
        change(path, "UPDATE topics SET offered_qos_profiles = ?", profiles)
    with open_bag(path) as bag:
        assert len(list(read_messages(bag))) == 1
        assert [is_latched(item) for item in bag.connections] == [bool(latched)]
    told = capsys.readouterr().err
    assert ("/topic: the quality of service that was offered cannot be read" in told) == (
        latched is None
    )


# -- sqlite3 ---------------------------------------------------------------------------------------


def database(path, count=COUNT, size=10):
    with Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        topic = writer.add_connection("/topic", TEXT, typestore=STORE)
        for number in range(count):
            writer.write(topic, number, text("x" * size))
    return path


def change(path, statement, *values):
    with closing(sqlite3.connect(path / f"{path.name}.db3")) as connection:
        connection.execute(statement, values)
        connection.commit()


def test_the_first_schema_of_rosbag2_is_read(tmp_path):
    """That of Dashing, without any quality of service."""
    with closing(sqlite3.connect(tmp_path / "old.db3")) as connection:
        connection.executescript(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT,"
            " serialization_format TEXT);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER,"
            " data BLOB);"
            f"INSERT INTO topics VALUES(1, '/topic', '{TEXT}', 'cdr')"
        )
        connection.execute("INSERT INTO messages VALUES(1, 1, 5, ?)", [text("a")])
        connection.commit()
    assert read(tmp_path / "old.db3") == [("/topic", 5, text("a"))]


@pytest.mark.parametrize("name", ["run #3", "a%20b", "who?x=1", "läuft nach"])
def test_a_folder_may_have_any_name(tmp_path, name):
    database(tmp_path / "bag").rename(tmp_path / name)
    assert stamps(tmp_path / name) == list(range(COUNT))


def test_a_database_that_was_cut_is_read_up_to_there(tmp_path, capsys):
    """As one that a full disk or an interrupted copy left."""
    path = database(tmp_path / "bag", count=500, size=3000)
    file = path / "bag.db3"
    os.truncate(file, file.stat().st_size // 2)
    found = stamps(path)
    assert 200 < len(found) < 260
    assert found == list(range(len(found)))
    assert f"is damaged (database disk image is malformed): {len(found)} messages of it are" in (
        capsys.readouterr().err
    )


def test_what_lies_behind_a_damaged_page_is_read_too(tmp_path, capsys):
    path = database(tmp_path / "bag", count=500, size=3000)
    content = bytearray((path / "bag.db3").read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8192] = b"\xaa" * 8192
    (path / "bag.db3").write_bytes(content)
    found = stamps(path)
    assert 480 < len(found) < 500
    assert found[0] == 0 and found[-1] == 499
    assert f"{len(found)} messages of it are read" in capsys.readouterr().err


# -- files and what metadata.yaml says of them -----------------------------------------------------


def change_metadata(path, **values):
    file = path / "metadata.yaml"
    about = yaml.safe_load(file.read_text())
    about["rosbag2_bagfile_information"] |= values
    file.write_text(yaml.safe_dump(about))


def pack(file):
    packed = file.with_name(f"{file.name}.zstd")
    packed.write_bytes(zstd.compress(file.read_bytes()))
    file.unlink()
    return packed


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (MAGIC[:5], "it is no mcap file"),
        (bytes(4096), "it is no mcap file"),
        (START, "it ends before its first message"),
    ],
)
def test_a_part_that_was_just_begun_costs_no_other(tmp_path, capsys, content, reason):
    """A disk becomes full, or the power goes, when a recording has just split."""
    mcap(tmp_path / "bag" / "x_0.mcap", START, TOPIC, texts(1, 2), END)
    mcap(tmp_path / "bag" / "x_1.mcap", content)
    assert stamps(tmp_path / "bag") == [1, 2]
    assert f"x_1.mcap is left out: {reason}" in capsys.readouterr().err
    (tmp_path / "bag" / "x_0.mcap").unlink()
    with pytest.raises(UserError, match="x_1.mcap"):
        read(tmp_path / "bag")


def test_compressed_files_are_read_with_and_without_metadata(tmp_path, capsys):
    path = database(tmp_path / "bag")
    packed = pack(path / "bag.db3")
    change_metadata(
        path, compression_mode="FILE", compression_format="zstd", relative_file_paths=[packed.name]
    )
    assert stamps(path) == stamps(packed) == list(range(COUNT))
    (path / "metadata.yaml").unlink()
    assert stamps(path) == list(range(COUNT))


def test_a_compressed_file_that_was_cut_is_read_up_to_there(tmp_path, capsys):
    path = tmp_path / "bag"
    with Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        topic = writer.add_connection("/topic", TEXT, typestore=STORE)
        for number in range(500):
            writer.write(topic, number, text(random.Random(number).randbytes(1500).hex()))
    packed = pack(path / "bag.db3")
    os.truncate(packed, packed.stat().st_size // 2)
    found = stamps(packed)
    assert 150 < len(found) < 300
    assert found == list(range(len(found)))
    assert "bag.db3.zstd is damaged (its end is missing): read up to there" in (
        capsys.readouterr().err
    )


def test_a_file_that_was_unpacked_since_is_found(tmp_path):
    path = database(tmp_path / "bag")
    change_metadata(
        path,
        compression_mode="FILE",
        compression_format="zstd",
        relative_file_paths=["bag.db3.zstd"],
    )
    assert stamps(path) == list(range(COUNT))


def test_compressed_messages_are_known_by_themselves(tmp_path):
    """Whether metadata.yaml was lost, or says it of messages that are not."""
    path = tmp_path / "bag"
    with Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        topic = writer.add_connection("/topic", TEXT, typestore=STORE)
        for number in range(4):
            data = text("x" * 50)
            writer.write(topic, number, zstd.compress(data) if number % 2 else data)
    assert {data for _, _, data in read(path)} == {text("x" * 50)}
    change_metadata(path, compression_mode="MESSAGE", compression_format="zstd")
    assert {data for _, _, data in read(path)} == {text("x" * 50)}
    (path / "metadata.yaml").unlink()
    assert {data for _, _, data in read(path)} == {text("x" * 50)}


def test_a_file_that_was_renamed_is_read_with_a_line(tmp_path, capsys):
    path = database(tmp_path / "bag")
    (path / "bag.db3").rename(path / "drive.db3")
    assert stamps(path) == list(range(COUNT))
    assert "metadata.yaml names bag.db3, of which there is none; read: drive.db3" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "odd",
    [
        {"relative_file_paths": []},
        {"relative_file_paths": [""]},
        {"relative_file_paths": ["bag.db3", "./bag.db3"]},
        {"topics_with_message_count": [{"topic_metadata": None}]},
        {"topics_with_message_count": {"/topic": 1}},
    ],
)
def test_odd_metadata_cost_no_message_and_double_none(tmp_path, odd):
    path = database(tmp_path / "bag")
    change_metadata(path, **odd)
    assert stamps(path) == stamps(path / "metadata.yaml") == list(range(COUNT))


def test_files_go_by_what_they_are(tmp_path, capsys):
    path = mcap(tmp_path / "bag" / "X.MCAP", START, TOPIC, texts(1), END).parent
    (path / "._X.mcap").write_bytes(b"\0\5\x16\7")  # what macOS copies beside it
    assert stamps(path) == [1]
    (path / "X.MCAP").rename(path / "x.db3")
    assert stamps(path) == [1]
    (path / "x.db3").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(UserError, match="is a pointer of Git LFS; `git lfs pull` fetches"):
        read(path)


def test_a_folder_that_is_none_says_what_it_holds(tmp_path):
    database(tmp_path / "bag")
    with pytest.raises(UserError, match="it holds no metadata.yaml; .*/bag does"):
        read(tmp_path)
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(UserError, match="; rosbags-convert makes one of a ROS 1 bag"):
        read(tmp_path)
