# SPDX-License-Identifier: Apache-2.0
"""Promise: the message packages that we generate are, on the wire, the upstream types.

Two ROS 2 nodes talk only if their type hashes agree: the hash that DDS discovery hands out is the
proof. A hash covers the names, types and order of a message's fields and of all messages inside
it: these nine cover all definitions but the two BoundingBox arrays.
"""

import importlib
import time

import pytest
import rclpy

UPSTREAM_TYPE_HASH = {
    "autoware_perception_msgs/msg/DetectedObjects": (
        "RIHS01_2facd6b15786cbd1f720cdd23d22e6d60d2e7e83b8dff8fd401330e24edb187b"
    ),
    "vision_msgs/msg/Detection3DArray": (
        "RIHS01_793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018"
    ),
    "vision_msgs/msg/Detection2DArray": (
        "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968"
    ),
    "vision_msgs/msg/Classification": (
        "RIHS01_f74db28d0eaef3afb78f48bf2161cd709a1383a0309d3454383b25be11345143"
    ),
    "vision_msgs/msg/LabelInfo": (
        "RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783"
    ),
    "vision_msgs/msg/VisionInfo": (
        "RIHS01_95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284"
    ),
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket": (
        "RIHS01_648d84e0d33cbf76daf54b094d8f06154b8a24800a19c14371754df799fbaf79"
    ),
    "tf2_msgs/msg/TFMessage": (
        "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"
    ),
    "tf2_msgs/msg/TF2Error": (
        "RIHS01_db2485e7d6a0ec75bf087e058ee45df682acc3a621ca7780503d10aac141809a"
    ),
}


@pytest.fixture(scope="module")
def node():
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("interface_check", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.parametrize("type_name", UPSTREAM_TYPE_HASH)
def test_published_type_hash_is_upstreams(node, type_name):
    package, _, name = type_name.split("/")
    message_type = getattr(importlib.import_module(f"{package}.msg"), name)
    topic = f"/interface_check/{name}"
    publisher = node.create_publisher(message_type, topic, 1)
    deadline = time.monotonic() + 60.0
    while not (endpoints := node.get_publishers_info_by_topic(topic)):
        assert time.monotonic() < deadline, "DDS discovery did not report the publisher"
        time.sleep(0.02)
    node.destroy_publisher(publisher)
    assert endpoints[0].topic_type == type_name
    assert str(endpoints[0].topic_type_hash) == UPSTREAM_TYPE_HASH[type_name]
