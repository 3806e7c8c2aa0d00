# SPDX-License-Identifier: Apache-2.0
"""Promise: a bag that is replayed over DDS and recorded again holds the same bytes, all of them."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from robot import PATIENCE
from rosbags.interfaces import QosDurability
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3D, Detection3DArray

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.errors import UserError
from asd_training.bags.bag_files import (
    create_bag,
    open_bag,
    qos,
    read_messages,
    read_topic,
)
from asd_training.bags.live.play import play
from asd_training.bags.live.record import record

ROOT = Path(__file__).resolve().parents[1]
FRAMES = 12
PERIOD_NS = 1_000_000_000 // 12
START_NS = 1_600_000_000_000_000_000
IMAGE_TOPICS = [f"/{camera}/image_raw/compressed" for camera in CAMERAS]
TOPICS = ["/tf_static", *IMAGE_TOPICS, "/detector/detections"]


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """One second of six 12 Hz cameras with images as large as nuScenes' JPEGs."""
    path = tmp_path_factory.mktemp("bags") / "drive"
    rng = np.random.default_rng(0)
    with create_bag(path) as writer:
        writer.add_topic("/tf_static", "tf2_msgs/msg/TFMessage", [qos(1, latched=True)])
        for topic in IMAGE_TOPICS:
            writer.add_topic(topic, "sensor_msgs/msg/CompressedImage")
        writer.add_topic("/detector/detections", "vision_msgs/msg/Detection3DArray")
        mounting = TransformStamped(child_frame_id="CAM_FRONT")
        mountings = serialize_message(TFMessage(transforms=[mounting]))
        writer.write("/tf_static", START_NS, mountings)
        for frame in range(FRAMES):
            stamp = START_NS + frame * PERIOD_NS
            for topic in IMAGE_TOPICS:
                image = CompressedImage(header=header(stamp), format="jpeg")
                image.data.frombytes(rng.bytes(150_000))
                writer.write(topic, stamp, serialize_message(image))
            detections = Detection3DArray(header=header(stamp), detections=[Detection3D(id="a")])
            writer.write("/detector/detections", stamp, serialize_message(detections))
    return path


def header(stamp_ns):
    result = Header(frame_id="base_link")
    result.stamp.sec, result.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
    return result


def messages_by_topic(path):
    result = {}
    with open_bag(path) as reader:
        for connection, _, data in read_messages(reader):
            result.setdefault(connection.topic, []).append(data)
    return result


def await_latched(topic, message_type):
    """Wait until a latched message is out, as a subscriber that leaves again."""
    heard, deadline = [], time.monotonic() + PATIENCE
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node("listener", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node.create_subscription(message_type, topic, heard.append, latched)
    while not heard and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)
    assert heard, f"nothing on {topic} within {PATIENCE:.0f} s"


@pytest.fixture
def recording(tmp_path):
    """Start recording topics in a thread; the function returned stops it and gives the bag."""
    stop, path, results = threading.Event(), tmp_path / "recorded", {}
    thread = None

    def start(topics, **options):
        nonlocal thread

        def run():
            results["counts"] = record(path, topics, stop=stop, **options)

        thread = threading.Thread(target=run)
        thread.start()
        return finish

    def finish():
        stop.set()
        thread.join(timeout=PATIENCE)
        assert not thread.is_alive()
        return path, results["counts"]

    yield start
    stop.set()
    if thread is not None:
        thread.join(timeout=PATIENCE)


def test_every_message_arrives_byte_for_byte_with_a_clock_that_leads(bag, recording):
    finish = recording([*TOPICS, "/clock"])
    before = time.time_ns()
    report = play(bag, clock=True, wait_for=TOPICS)
    after = time.time_ns()
    recorded, counts = finish()

    assert report.frames == FRAMES
    assert report.sent == {topic: counts[topic] for topic in TOPICS}
    original, copy = messages_by_topic(bag), messages_by_topic(recorded)
    for topic in TOPICS:
        assert copy[topic] == original[topic], topic

    clocks = [deserialize_message(data, Clock).clock for data in copy["/clock"]]
    stamps = [clock.sec * 1_000_000_000 + clock.nanosec for clock in clocks]
    assert stamps == sorted(stamps)
    assert stamps[-1] == START_NS + (FRAMES - 1) * PERIOD_NS
    assert max(np.diff(stamps)) < 50_000_000  # finer than one frame, on a busy machine too
    with open_bag(recorded) as reader:
        assert all(before < stamp < after for _, stamp, _ in read_messages(reader))
        latched = {
            item.topic
            for item in reader.connections
            if item.ext.offered_qos_profiles[0].durability == QosDurability.TRANSIENT_LOCAL
        }
    assert latched == {"/tf_static"}


def test_messages_keep_their_distances_in_time(bag, recording):
    finish = recording(TOPICS)
    play(bag, rate=2.0, wait_for=TOPICS)
    recorded, _ = finish()
    with open_bag(recorded) as reader:
        images = read_topic(reader, IMAGE_TOPICS[0], "sensor_msgs/msg/CompressedImage")
        received = [at for at, _ in images]
    expected = np.arange(FRAMES) * PERIOD_NS / 2.0
    lag = np.array(received) - received[0] - expected
    assert np.median(np.abs(lag)) < 20e6  # ns


def test_a_latched_topic_reaches_a_late_subscriber(bag, recording):
    """The transforms are sent at once; the rest waits for a subscriber, who then gets them too."""
    image = IMAGE_TOPICS[0]
    player = threading.Thread(target=play, args=(bag,), kwargs={"wait_for": [image]})
    player.start()
    await_latched("/tf_static", TFMessage)
    finish = recording(["/tf_static", image])
    player.join()
    assert finish()[1] == {"/tf_static": 1, image: FRAMES}


def test_only_the_topics_asked_for_are_played(bag):
    report = play(bag, rate=20.0, topics=["/CAM_FRONT*"])
    assert sorted(report.sent) == sorted(t for t in IMAGE_TOPICS if t.startswith("/CAM_FRONT"))


def test_a_recording_ends_by_itself_when_nothing_more_comes(bag, tmp_path):
    player = threading.Thread(
        target=play, args=(bag,), kwargs={"rate": 4.0, "wait_for": ["/detector/detections"]}
    )
    player.start()
    counts = record(tmp_path / "recorded", ["/detector/detections"], until_idle=3.0)
    player.join()
    assert counts == {"/detector/detections": FRAMES}


def test_waiting_for_a_subscriber_is_bounded(bag):
    with pytest.raises(UserError, match="no subscriber on /CAM_BACK/image_raw/compressed after"):
        play(bag, wait_for=["/CAM_BACK/*"], wait_timeout=0.5)


@pytest.mark.parametrize("topic", ["/CAM_*/image_raw", "a b", "/odometry/", "/1st"])
def test_a_name_that_no_topic_can_have_is_told_in_one_line(tmp_path, topic):
    with pytest.raises(UserError, match="cannot be recorded. Invalid topic name: ") as caught:
        record(tmp_path / "recorded", [topic], duration=0.5)
    assert topic in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_recording_without_a_message_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="no message came on /nothing"):
        record(tmp_path / "recorded", ["nothing"], duration=0.5)
    assert list(tmp_path.iterdir()) == []


def test_a_recorder_that_is_stopped_or_killed_keeps_what_it_has(bag, tmp_path, capsys):
    topics = {
        signal.SIGINT: IMAGE_TOPICS[0],
        signal.SIGTERM: IMAGE_TOPICS[1],
        signal.SIGKILL: IMAGE_TOPICS[2],
    }
    program = "from asd_training.commands.asd_bag import main; main()"
    recorders = {
        number: subprocess.Popen(
            [sys.executable, "-c", program, "record", tmp_path / number.name, topic],
            cwd=ROOT,
        )
        for number, topic in topics.items()
    }
    try:
        play(
            bag,
            rate=4.0,
            topics=IMAGE_TOPICS,
            wait_for=list(topics.values()),
            wait_timeout=PATIENCE,
        )
        time.sleep(2.5)  # the killed one has put it on the disk
        for number, recorder in recorders.items():
            recorder.send_signal(number)
        status = {number: recorder.wait(timeout=PATIENCE) for number, recorder in recorders.items()}
    finally:
        for recorder in recorders.values():
            recorder.kill()
    assert status == {signal.SIGINT: 0, signal.SIGTERM: 0, signal.SIGKILL: -signal.SIGKILL}
    for number, topic in topics.items():
        recorded = messages_by_topic(tmp_path / number.name)
        assert len(recorded[topic]) == FRAMES
    told = [line for line in capsys.readouterr().err.splitlines() if "SIGKILL: " in line]
    assert [line.partition("SIGKILL: ")[2] for line in told] == [
        "there is no metadata.yaml: its recording did not end; read as it is",
        f"SIGKILL.mcap ends in the middle, after {FRAMES} messages, which are read",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.0}, "rate must be positive"),
        ({"topics": ["/nothing"]}, "has no topic /nothing; it has"),
        ({"topics": ["/tf_static"], "wait_for": ["/CAM_*"]}, "not among the topics to play"),
    ],
)
def test_a_play_that_makes_no_sense_is_refused(bag, options, message):
    with pytest.raises(UserError, match=message):
        play(bag, **options)
