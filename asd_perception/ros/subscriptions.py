# SPDX-License-Identifier: Apache-2.0
"""A rig's topics as the detector hears them: message types, quality of service, callbacks."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from copy import copy
from functools import partial
from typing import Any, Protocol, TypeAlias

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from asd_perception.cameras.video_decoding import check_video
from asd_perception.errors import UserError
from asd_perception.ros.check.mismatches import QosMismatches
from asd_perception.ros.parameters.settings import Settings

Guard: TypeAlias = Callable[..., None]  # runs a callback, which comes first, with its arguments

OVERRIDABLE = QoSOverridingOptions.with_default_policies()


class RigListener(Protocol):
    """What takes in the messages of a rig; cameras by their names."""

    def on_static_transforms(self, msg: TFMessage, /) -> None: ...
    def on_camera_info(self, camera: str, msg: CameraInfo, /) -> None: ...
    def on_image(self, camera: str, msg: Any, /) -> None: ...
    def on_lost_images(self, camera: str, count: int, /) -> None: ...


def _unguarded(callback: Callable[..., None], *arguments: Any) -> None:
    callback(*arguments)


def image_type(transport: str) -> type:
    """The message in which images come. Raises UserError for one that is not installed."""
    if transport != "ffmpeg":
        return Image if transport == "raw" else CompressedImage
    check_video()
    try:
        from ffmpeg_image_transport_msgs.msg import FFMPEGPacket
    except ImportError as error:
        raise UserError(
            "image_transport ffmpeg needs the package ffmpeg_image_transport_msgs: "
            "sudo apt install ros-$ROS_DISTRO-ffmpeg-image-transport-msgs"
        ) from error
    return FFMPEGPacket


def subscribe_to_rig(
    node: Node,
    settings: Settings,
    listener: RigListener,
    mismatches: QosMismatches,
    guarded: Guard = _unguarded,
) -> Iterator[Subscription]:
    """Subscribe to one topic after the other; each callback runs as guarded(callback, message).

    Raises UserError where a message type is not installed.
    """

    subscribe = partial(subscribe_overridable, node, mismatches)
    images = image_type(settings.image_transport)
    image_qos = _video_qos() if settings.image_transport == "ffmpeg" else _sensor_qos()
    # In this order an executor takes those that it finds at once: calibration before images.
    on_static = partial(guarded, listener.on_static_transforms)
    yield subscribe(TFMessage, "/tf_static", on_static, _latched_qos(100))
    for camera, source in settings.cameras.items():
        on_camera_info = partial(guarded, partial(listener.on_camera_info, camera))
        yield subscribe(CameraInfo, source.info_topic, on_camera_info, _sensor_qos())
        on_image = partial(guarded, partial(listener.on_image, camera))
        on_lost = partial(listener.on_lost_images, camera)
        yield subscribe(images, source.image_topic, on_image, image_qos, on_lost)


def subscribe_overridable(
    node: Node,
    mismatches: QosMismatches,
    message_type: type,
    topic: str,
    callback: Callable[[Any], None],
    qos: QoSProfile,
    lost: Callable[[int], None] | None = None,
) -> Subscription:
    """A subscription whose quality of service parameters may override, and is watched."""
    own = copy(qos)  # rclpy writes the parameters' values into it
    return node.create_subscription(
        *(message_type, topic, callback, own),
        event_callbacks=mismatches.of_subscription(message_type, topic, own, lost),
        qos_overriding_options=OVERRIDABLE,
    )


def subscribe_to_latched(
    node: Node,
    settings: Settings,
    listener: RigListener,
    known: Container[str],
    guarded: Guard = _unguarded,
) -> dict[str, Subscription]:
    """Subscribe, by camera, to camera_info that was published once, before the node was there.

    Not of the cameras that are `known`, and only where a publisher offers it: to all others it
    would be a subscription of incompatible QoS, which each would warn of.
    """
    subscriptions = {}
    for camera, source in settings.cameras.items():
        publishers = [] if camera in known else node.get_publishers_info_by_topic(source.info_topic)
        if any(_is_latched(publisher.qos_profile) for publisher in publishers):
            callback = partial(guarded, partial(listener.on_camera_info, camera))
            subscriptions[camera] = node.create_subscription(
                CameraInfo, source.info_topic, callback, _latched_qos(1)
            )
    return subscriptions


def _is_latched(qos: QoSProfile) -> bool:
    """Whether who comes later gets what was published; best effort, nobody does."""
    return (
        qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
        and qos.reliability != ReliabilityPolicy.BEST_EFFORT
    )


def _sensor_qos() -> QoSProfile:
    return QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


def _latched_qos(depth: int) -> QoSProfile:
    return QoSProfile(depth=depth, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def _video_qos() -> QoSProfile:
    return QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)  # each one counts
