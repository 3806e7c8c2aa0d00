# SPDX-License-Identifier: Apache-2.0
"""Promise: of any bag every message is read, or a line says what is left out and why."""

import os
import resource
import shutil
import sqlite3
import sys
import threading
import time
from contextlib import closing

import pytest
import yaml
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from std_msgs.msg import String

from asd_perception.errors import UserError
from asd_training.bags.bag_files import create_bag, open_bag, qos, read_messages, record_bag
from asd_training.bags.live.play import play
from asd_training.bags.live.record import record

TEXT = "std_msgs/msg/String"


def text(content):
    return serialize_message(String(data=content))


def write(path, messages, profiles=()):
    """A bag of (topic, stamp in ns, text)."""
    with create_bag(path) as bag:
        for topic in dict.fromkeys(topic for topic, _, _ in messages):
            bag.add_topic(topic, TEXT, profiles)
        for topic, stamp, content in messages:
            bag.write(topic, stamp, text(content))
    return path


def read(path):
    with open_bag(path) as bag:
        return [(item.topic, at, bytes(data)) for item, at, data in read_messages(bag)]


def expected(messages):
    return [(topic, at, text(content)) for topic, at, content in messages]


def change_metadata(path, change):
    file = path / "metadata.yaml"
    about = yaml.safe_load(file.read_text())
    change(about["rosbag2_bagfile_information"])
    file.write_text(yaml.safe_dump(about))


MESSAGES = [(f"/topic{i % 3}", 1_000_000_000 + i * 10_000_000, f"message {i}") for i in range(30)]


# -- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda about: [
            item["topic_metadata"].update(offered_qos_profiles="")
            for item in about["topics_with_message_count"]
        ],
        lambda about: about["topics_with_message_count"].pop(),
        lambda about: about["topics_with_message_count"][0].update(message_count=0),
        lambda about: about.update(message_count=2, duration={"nanoseconds": 5}),
    ],
    ids=["another quality of service", "a topic is missing", "a wrong count", "a wrong time"],
)
def test_messages_are_read_whatever_the_metadata_say_of_them(tmp_path, change):
    path = write(tmp_path / "bag", MESSAGES, [qos(7)])
    change_metadata(path, change)
    assert read(path) == expected(MESSAGES)
    with open_bag(path) as bag:
        assert [item.msgcount for item in bag.connections] == [10, 10, 10]
        assert bag.duration_ns == 290_000_001


def test_the_parts_of_a_split_bag_are_read_in_the_order_of_time(tmp_path, capsys):
    path = write(tmp_path / "bag", MESSAGES[::2])
    other = write(tmp_path / "other", MESSAGES[1::2])
    (other / "other.mcap").rename(path / "other.mcap")
    capsys.readouterr()
    assert read(path) == expected(MESSAGES[::2])
    assert "other.mcap is not in metadata.yaml and is left out" in capsys.readouterr().err
    change_metadata(path, lambda about: about["relative_file_paths"].append("other.mcap"))
    assert read(path) == expected(MESSAGES)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"- 1", b"\0\0\0", b"rosbag2_bagfile_information:\n"])
def test_a_bag_is_read_without_usable_metadata(tmp_path, capsys, content):
    """As after a loss of power, when its file is there and empty."""
    path = write(tmp_path / "bag", MESSAGES)
    (path / "metadata.yaml").write_bytes(content)
    assert read(path) == expected(MESSAGES)
    assert "metadata.yaml is damaged: its recording did not end" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_what_a_crash_left_in_the_journal_of_a_database_is_read(tmp_path, capsys, mode):
    """Of WAL the messages that are not in the file yet, of DELETE without half a transaction."""
    store = get_typestore(Stores.ROS2_KILTED)
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        topic = writer.add_connection("/topic", TEXT, typestore=store)
        for number in range(300):
            writer.write(topic, number, text("x" * 1000))
    file = tmp_path / "bag" / "bag.db3"
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.execute("PRAGMA cache_size = 5")
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute("BEGIN")
        database.execute("UPDATE messages SET timestamp = timestamp + 1000")
        if mode == "WAL":
            database.execute("COMMIT")
        shutil.copytree(tmp_path / "bag", tmp_path / "crashed")
    assert any(
        path.name.endswith(("-wal", "-journal")) for path in (tmp_path / "crashed").iterdir()
    )
    before = {path.name: path.read_bytes() for path in (tmp_path / "crashed").iterdir()}
    assert before.keys() & {"bag.db3-wal", "bag.db3-journal"}
    first = 1000 if mode == "WAL" else 0
    assert [at for _, at, _ in read(tmp_path / "crashed")] == list(range(first, first + 300))
    assert "was left by a recording that did not end; read" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in (tmp_path / "crashed").iterdir()} == before


@pytest.mark.parametrize("share", [0.9, 0.6, 0.3])
def test_a_bag_that_was_cut_is_read_up_to_there(tmp_path, capsys, share):
    path = tmp_path / "bag"
    with record_bag(path) as bag:
        bag.add_topic("/topic", TEXT)
        for number in range(50):
            bag.write("/topic", 1000 + number, text(f"message {number}"))
            bag.flush()
        whole = (path / "bag.mcap").stat().st_size
    os.truncate(path / "bag.mcap", int(share * whole))
    (path / "metadata.yaml").unlink()
    found = read(path)
    count = len(found)
    assert 50 * share - 2 < count < 50 * share + 1
    assert found == expected([("/topic", 1000 + i, f"message {i}") for i in range(count)])
    told = capsys.readouterr().err
    assert "there is no metadata.yaml: its recording did not end; read as it is" in told
    assert f"bag.mcap ends in the middle, after {count} messages, which are read" in told


def test_what_is_not_serialized_by_ros_2_is_named(tmp_path, capsys):
    store = get_typestore(Stores.ROS2_KILTED)
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        good = writer.add_connection("/good", TEXT, typestore=store)
        odd = writer.add_connection("/odd", TEXT, typestore=store, serialization_format="protobuf")
        writer.write(good, 1, text("x"))
        writer.write(odd, 2, b"\x0a\x01x")
    assert read(tmp_path / "bag") == [("/good", 1, text("x"))]
    assert "/odd is left out: its messages are serialized by 'protobuf'" in capsys.readouterr().err


def test_a_file_of_another_kind_is_called_what_it_is(tmp_path):
    path = write(tmp_path / "bag", MESSAGES) / "bag.mcap"
    path.write_bytes(path.read_bytes().replace(b"\x04\x00\x00\x00ros2", b"\x04\x00\x00\x00ros1", 1))
    with pytest.raises(UserError, match="is no recording of ROS 2 \\(its profile is 'ros1'\\)"):
        read(path)
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(UserError, match="old.bag is no rosbag2: give its folder, or a .mcap"):
        read(tmp_path / "old.bag")
    with pytest.raises(UserError, match="is no rosbag2: it holds no metadata.yaml"):
        read(tmp_path)


def test_what_is_written_is_read_by_humble_and_later(tmp_path):
    """Humble reads the quality of service as a text of numbers."""
    path = write(tmp_path / "bag", MESSAGES, [qos(3, latched=True)])
    about = yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert about["version"] == 8
    for item in about["topics_with_message_count"]:
        profiles = item["topic_metadata"]["offered_qos_profiles"]
        assert isinstance(profiles, str)
        assert yaml.safe_load(profiles)[0]["durability"] == 1  # transient local
        assert yaml.safe_load(profiles)[0]["depth"] == 3


# -- recording -------------------------------------------------------------------------------------


def test_a_recording_keeps_what_it_has_when_an_error_ends_it(tmp_path):
    with pytest.raises(KeyError, match="anything"), record_bag(tmp_path / "bag") as bag:
        bag.add_topic("/topic", TEXT)
        bag.write("/topic", 1, text("kept"))
        raise KeyError("anything")
    assert read(tmp_path / "bag") == [("/topic", 1, text("kept"))]
    assert (tmp_path / "bag" / "metadata.yaml").is_file()


def test_a_recording_keeps_what_it_has_on_a_full_disk(tmp_path, capsys):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        full = pytest.raises(OSError, match="File too large")
        with full as raised, record_bag(tmp_path / "bag") as bag:
            bag.add_topic("/topic", TEXT)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
            for number in range(100):
                bag.write("/topic", number, text("x" * 1000))
                bag.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert raised.value.filename == str(tmp_path / "bag")
    found = read(tmp_path / "bag")
    assert 10 < len(found) < 20
    assert found == [("/topic", i, text("x" * 1000)) for i in range(len(found))]
    assert "ends in the middle" in capsys.readouterr().err


def test_a_topic_of_a_type_that_is_not_installed_disturbs_no_other(tmp_path, monkeypatch, capsys):
    import rclpy

    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node("publishers", context=context)
    from vision_msgs.msg import BoundingBox2D

    good, odd = node.create_publisher(String, "/good", 10), None
    node.destroy_publisher(node.create_publisher(BoundingBox2D, "/loads_the_type", 10))
    stop, counts = threading.Event(), {}
    # To this process vision_msgs is no longer installed.
    monkeypatch.setitem(sys.modules, "vision_msgs.msg", None)
    recorder = threading.Thread(
        target=lambda: counts.update(record(tmp_path / "bag", ["/good", "/odd"], stop=stop))
    )
    recorder.start()
    try:
        deadline = time.monotonic() + 60
        while not good.get_subscription_count() and time.monotonic() < deadline:
            time.sleep(0.05)
        for number in range(20):
            good.publish(String(data=str(number)))
            odd = odd or node.create_publisher(BoundingBox2D, "/odd", 10)
            time.sleep(0.05)
        while "is left out" not in capsys.readouterr().err and time.monotonic() < deadline:
            time.sleep(0.05)
        assert time.monotonic() < deadline
    finally:
        time.sleep(0.3)
        stop.set()
        recorder.join()
        node.destroy_node()
        rclpy.shutdown(context=context)
    assert counts == {"/good": 20}
    assert [topic for topic, _, _ in read(tmp_path / "bag")] == ["/good"] * 20


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_recording_of_no_time_is_refused(tmp_path, seconds):
    for options in ({"duration": seconds}, {"until_idle": seconds}):
        with pytest.raises(UserError, match="must be some seconds above 0"):
            record(tmp_path / "bag", ["/topic"], **options)
    assert not (tmp_path / "bag").exists()


def test_a_recording_with_the_rclpy_of_humble(tmp_path, monkeypatch):
    """It calls back without a time of receipt."""
    import rclpy

    from asd_training.bags.live import record as recording

    monkeypatch.setattr(recording, "_TELLS_RECEIPT", False)
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node("publisher", context=context)
    publisher = node.create_publisher(String, "/topic", 10)
    counts, ready, stop = {}, threading.Event(), threading.Event()
    recorder = threading.Thread(
        target=lambda: counts.update(
            record(tmp_path / "bag", ["/topic"] * 2, stop=stop, ready=ready)
        )
    )
    begin = time.time_ns()
    recorder.start()
    try:
        assert ready.wait(60)
        for number in range(5):
            publisher.publish(String(data=str(number)))
    finally:
        time.sleep(0.3)
        stop.set()
        recorder.join()
        node.destroy_node()
        rclpy.shutdown(context=context)
    assert counts == {"/topic": 5}
    assert all(begin < at < time.time_ns() for _, at, _ in read(tmp_path / "bag"))


# -- playing ---------------------------------------------------------------------------------------


def odd_bag(path):
    """A topic that can be played, and one each with a type, a name and a ROS 1 name that cannot."""
    store = get_typestore(Stores.ROS2_KILTED)
    store.register(get_types_from_msg("uint8 a\n", "robot_msgs/msg/Wheel"))
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = [
            writer.add_connection("/good", TEXT, typestore=store),
            writer.add_connection(
                "/wheel", "robot_msgs/msg/Wheel", msgdef="uint8 a\n", rihs01="RIHS01_0"
            ),
            writer.add_connection("/3d-cam/info", TEXT, typestore=store),
            writer.add_connection("/old", "std_msgs/String", msgdef="string data\n", rihs01="-"),
        ]
        for number, connection in enumerate(connections):
            writer.write(connection, 1000 + number, text("x"))
    return path


def test_topics_that_cannot_be_published_are_left_out_with_a_line_each(tmp_path, capsys):
    report = play(odd_bag(tmp_path / "bag"), remap={"/3d-cam/info": "/cam/info"})
    assert report.sent == {"/good": 1, "/3d-cam/info": 1}
    report = play(tmp_path / "bag")
    assert report.sent == {"/good": 1}
    told = [line for line in capsys.readouterr().err.splitlines() if "is left out" in line]
    assert [line.split(": ")[0] for line in told] == [
        *("/wheel is left out", "/old is left out"),
        *("/wheel is left out", "/3d-cam/info is left out", "/old is left out"),
    ]
    assert "robot_msgs/msg/Wheel is not installed" in told[0]
    assert "'std_msgs/String' is no message type of ROS 2" in told[1]
    assert "Invalid topic name" in told[3]
    with pytest.raises(UserError, match="has no message to play"):
        play(tmp_path / "bag", topics=["/wheel"])
    with pytest.raises(UserError, match="/wheel is left out and cannot be waited for"):
        play(tmp_path / "bag", wait_for=["/wheel"])


def test_it_starts_later_and_begins_again(tmp_path):
    messages = [("/tf_static", 0, "before"), *(("/a", i * 100_000_000, str(i)) for i in range(5))]
    path = write(tmp_path / "bag", messages)
    assert play(path, start=0.25).sent == {"/tf_static": 1, "/a": 2}
    with pytest.raises(UserError, match="start must lie within the bag's 0.4 s, not at 3 s"):
        play(path, start=3)
    stop = threading.Event()
    timer = threading.Timer(2.0, stop.set)
    timer.start()
    sent = play(path, loop=True, rate=4.0, stop=stop).sent
    assert sent["/a"] > 10
    assert sent["/tf_static"] > 2


def test_nobody_waits_for_a_clock_that_was_set(tmp_path, capsys):
    """A robot boots in 1970, until it hears the time."""
    messages = [("/a", at * 1_000_000_000, "x") for at in (5, 6, 1_800_000_000, 1_800_000_001)]
    path = write(tmp_path / "bag", messages)
    begin = time.monotonic()
    assert play(path, rate=10.0, clock=True).sent == {"/a": 4}
    assert time.monotonic() - begin < 60
    told = capsys.readouterr().err
    assert told.count("its time jumps by") == 1 and "jumps by 1799999994 s" in told
    write(tmp_path / "now", messages[2:])
    assert play(tmp_path / "now", rate=10.0).sent == {"/a": 2}
    assert "its time jumps" not in capsys.readouterr().err


def test_a_bag_without_a_topic_is_told(tmp_path):
    with create_bag(tmp_path / "bag"):
        pass
    with pytest.raises(UserError, match="bag has no topic to play"):
        play(tmp_path / "bag")


def test_a_queue_is_not_as_long_as_a_bag_says(tmp_path):
    """Keep-all is stored as the largest number by some."""
    path = write(tmp_path / "bag", [("/a", 0, "x")], [qos(2**31 - 1, latched=True)])
    assert play(path).sent == {"/a": 1}


@pytest.mark.parametrize("wait_for", [["/a"], []], ids=["a subscriber", "the next message"])
def test_it_ends_when_it_is_told_whatever_it_waits_for(tmp_path, wait_for):
    path = write(tmp_path / "bag", [("/a", 0, "now"), ("/a", 60_000_000_000, "in a minute")])
    stop = threading.Event()
    threading.Timer(4.0, stop.set).start()
    begin = time.monotonic()
    report = play(path, loop=True, wait_for=wait_for, stop=stop)
    assert time.monotonic() - begin < 25
    assert report.sent.get("/a", 0) == (0 if wait_for else 1)


def test_static_transforms_are_latched_whatever_the_bag_says(tmp_path):
    """As every consumer of tf2 asks; a late one gets them all the same."""
    import rclpy
    from rclpy.qos import DurabilityPolicy, QoSProfile

    path = write(
        tmp_path / "bag",
        [("/robot/tf_static", 0, "mountings"), *(("/a", i * 500_000_000, "x") for i in range(7))],
        [qos(1, latched=False)],
    )
    heard, context = [], rclpy.Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node("late", context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    player = threading.Thread(target=play, args=(path,))
    player.start()
    try:
        time.sleep(2.5)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(String, "/robot/tf_static", heard.append, latched)
        while player.is_alive() and not heard:
            executor.spin_once(timeout_sec=0.1)
    finally:
        player.join()
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)
    assert [message.data for message in heard] == ["mountings"]


def test_the_command_takes_names_and_a_start(tmp_path, capsys, monkeypatch):
    from asd_training.commands import asd_bag

    path = write(tmp_path / "bag", [("/a", 0, "x"), ("/a", 100_000_000, "y")])
    arguments = ["asd-bag", "play", str(path), "--start", "0.05", "--remap", "/a:=/b"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stopped:
        asd_bag.main()
    assert stopped.value.code == 0
    assert "sent 1 messages" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*arguments[:-1], "/a=/b"])
    with pytest.raises(SystemExit) as stopped:
        asd_bag.main()
    assert stopped.value.code == 2
    assert "'/a=/b' is not OLD:=NEW" in capsys.readouterr().err
