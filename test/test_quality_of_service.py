# SPDX-License-Identifier: Apache-2.0
"""Promise: a topic on which nothing comes through for its quality of service is named, with the
remedy, and a quality that is given for one topic is that of no other."""

import time
from types import SimpleNamespace

import pytest
import rclpy
from nav_msgs.msg import Odometry
from rclpy.qos import (
    DurabilityPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
)
from robot import PATIENCE
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from asd_perception.commands.node import Executor
from asd_perception.ros.check.mismatches import QosMismatches
from asd_perception.ros.overlay import Overlays
from asd_perception.ros.subscriptions import (
    OVERRIDABLE,
    subscribe_overridable,
    subscribe_to_latched,
)

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Graph:
    """The detector's node and another one, in one process."""

    def __init__(self, *arguments):
        self.context = rclpy.Context()
        self.context.init(args=["--ros-args", *arguments])
        self.executor = Executor(context=self.context)
        self.node, self.other = (
            rclpy.create_node(name, context=self.context, use_global_arguments=name == "detector")
            for name in ("detector", "driver")
        )
        for node in (self.node, self.other):
            self.executor.add_node(node)
        self.warned = []
        self.mismatches = QosMismatches(self.node, lambda kind, text: self.warned.append(text))

    def until(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not (value := condition()):
            assert time.monotonic() < deadline
            self.executor.spin_once(timeout_sec=0.05)
        return value

    def close(self):
        self.node.destroy_node()
        self.other.destroy_node()
        self.context.shutdown()


@pytest.fixture
def graph():
    graphs = []

    def graph(*arguments):
        graphs.append(Graph(*arguments))
        return graphs[-1]

    yield graph
    for one in graphs:
        one.close()


def test_a_publisher_that_does_not_fit_is_named_after_remapping_as_long_as_it_is_there(graph):
    graph = graph("-r", "odometry:=/base/odom")
    subscribe_overridable(
        *(graph.node, graph.mismatches, Odometry, "odometry", print), QoSProfile(depth=10)
    )
    assert graph.mismatches.look() == {}
    publisher = graph.other.create_publisher(Odometry, "/base/odom", qos_profile_sensor_data)
    graph.other.create_publisher(Odometry, "/base/odom", 10)  # this one fits
    ((line,),) = graph.until(graph.mismatches.look).values()
    assert line == (
        "/driver publishes /base/odom best effort, and reliable is asked for: nothing of it "
        "arrives; let it publish reliable, or set "
        "qos_overrides./base/odom.subscription.reliability to best_effort"
    )
    graph.mismatches.look()
    assert graph.warned == [line]
    graph.other.destroy_publisher(publisher)
    graph.until(lambda: not graph.mismatches.look())


@pytest.mark.parametrize(
    ("topic", "kind", "remedy"),
    [
        ("a/compressed", CompressedImage, "set image_transport to compressed, and the topic to /a"),
        ("a", CompressedImage, "set image_transport to compressed, and remap /a/compressed to /a"),
        ("a", Odometry, "give a topic of that type"),
    ],
)
def test_messages_of_another_type_are_named(graph, topic, kind, remedy):
    graph, elsewhere = graph(), graph()  # one process may not have both in one
    subscribe_overridable(graph.node, graph.mismatches, Image, topic, print, LATCHED)
    elsewhere.other.create_publisher(kind, topic, LATCHED)
    graph.until(lambda: "/driver publishes" in str(graph.mismatches.look()))  # it has its name
    ((line,),) = graph.mismatches.look().values()
    assert line.startswith(f"/driver publishes /{topic} as ")
    assert line.endswith(f"sensor_msgs/msg/Image is asked for: nothing of it arrives; {remedy}")


@pytest.mark.parametrize(
    ("asked", "topic", "kind", "there", "transport"),
    [
        (Image, "a", CompressedImage, "/a/compressed", "compressed"),
        (CompressedImage, "a/compressed", Image, "/a", "raw"),
    ],
)
def test_images_that_come_another_way_are_named(graph, asked, topic, kind, there, transport):
    graph = graph()
    subscribe_overridable(graph.node, graph.mismatches, asked, topic, print, LATCHED)
    graph.other.create_publisher(kind, there, LATCHED)
    ((line,),) = graph.until(graph.mismatches.look).values()
    assert line == (
        f"nobody publishes /{topic}, but {there} is there; set image_transport to {transport}"
    )
    graph.other.create_publisher(asked, topic, LATCHED)
    graph.until(lambda: not graph.mismatches.look())


def test_best_effort_is_not_latched_whatever_its_durability(graph):
    """Who comes later gets nothing, and would be a subscription of incompatible quality."""
    graph = graph()
    rig = SimpleNamespace(cameras={name: SimpleNamespace(info_topic=name) for name in ("a", "b")})
    lossy = QoSProfile(
        depth=1,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
        reliability=ReliabilityPolicy.BEST_EFFORT,
    )
    for topic, qos in (("a", lossy), ("b", LATCHED)):
        graph.other.create_publisher(CameraInfo, topic, qos)
    graph.until(lambda: all(map(graph.node.count_publishers, ("a", "b"))))
    found = subscribe_to_latched(graph.node, rig, SimpleNamespace(on_camera_info=print), set())
    assert found.keys() == {"b"}


def test_two_nodes_that_publish_the_images_of_one_camera_are_named(graph):
    """Their images would be taken in turns."""
    graph = graph()
    for kind, topic in ((Image, "a"), (TFMessage, "/tf"), (TFMessage, "/robot/tf_static")):
        subscribe_overridable(graph.node, graph.mismatches, kind, topic, print, LATCHED)
        for node in (graph.node, graph.other, graph.other):
            node.create_publisher(kind, topic, LATCHED)
    graph.until(lambda: graph.mismatches.look() or graph.mismatches.rivals)
    assert graph.mismatches.rivals == [
        "/a is published by /detector and /driver, and what they send is mixed; stop all but one"
    ]
    assert graph.warned == graph.mismatches.rivals


def test_static_transforms_that_are_not_latched_are_named(graph):
    graph = graph()
    subscribe_overridable(graph.node, graph.mismatches, TFMessage, "/tf_static", print, LATCHED)
    graph.other.create_publisher(TFMessage, "/tf_static", 10)
    ((line,),) = graph.until(graph.mismatches.look).values()
    assert "publishes /tf_static volatile, and transient local is asked for" in line
    assert line.endswith("let it publish transient local")


def test_a_parameter_that_is_not_there_is_no_remedy_and_an_ended_subscription_no_fault(graph):
    graph, qos = graph(), QoSProfile(depth=100)
    events = graph.mismatches.of_subscription(TFMessage, "/tf", qos)
    subscription = graph.node.create_subscription(
        TFMessage, "/tf", print, qos, event_callbacks=events
    )
    graph.other.create_publisher(TFMessage, "/tf", qos_profile_sensor_data)
    ((line,),) = graph.until(graph.mismatches.look).values()
    assert line.endswith("nothing of it arrives; let it publish reliable")
    graph.node.destroy_subscription(subscription)
    graph.mismatches.forget_subscription("/tf")
    assert graph.mismatches.look() == {}


def test_who_asks_for_a_reliable_overlay_is_named(graph):
    graph = graph()

    def create(message_type, topic, qos):
        return graph.node.create_publisher(
            *(message_type, topic, qos),
            event_callbacks=graph.mismatches.of_publisher(topic, qos),
            qos_overriding_options=OVERRIDABLE,
        )

    Overlays(["front"], create)
    graph.other.create_subscription(Image, "/detector/front/overlay", print, 10)
    ((line,),) = graph.until(graph.mismatches.look).values()
    assert line.startswith("/detector/front/overlay is published best effort, and /driver asks")
    assert "set qos_overrides./detector/front/overlay.publisher.reliability to reliable" in line


def test_a_quality_given_for_one_topic_is_that_of_no_other(graph):
    graph = graph("-p", "qos_overrides./a.subscription.reliability:=reliable")
    shared = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    for topic in ("a", "b"):
        subscribe_overridable(graph.node, graph.mismatches, Image, topic, print, shared)
    given = {
        topic: graph.node.get_parameter(f"qos_overrides./{topic}.subscription.reliability").value
        for topic in ("a", "b")
    }
    assert given == {"a": "reliable", "b": "best_effort"}
    assert shared.reliability == ReliabilityPolicy.BEST_EFFORT


def test_lost_messages_are_counted_once(graph):
    graph, counts = graph(), []
    events = graph.mismatches.of_subscription(Image, "a", QoSProfile(depth=1), counts.append)
    for total in (2, 2, 5):
        events.message_lost(SimpleNamespace(total_count=total))
    assert counts == [2, 3]
