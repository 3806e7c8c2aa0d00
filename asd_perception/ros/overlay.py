# SPDX-License-Identifier: Apache-2.0
"""`~/CAMERA/overlay`: the cameras' images with the detected boxes in them, for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import cv2
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from asd_perception.cameras.calibration import CameraCalibration
from asd_perception.cameras.preprocessing import REDUCTIONS, is_bgr, reduced_size, reduction_of
from asd_perception.geometry import Array, box_corners
from asd_perception.ros.messages.geometry import time_from_ns
from asd_perception.ros.messages.images import image_to_compressed, image_to_msg
from asd_perception.runtime.detections import Detections
from asd_perception.viewing.boxes import Image as Pixels
from asd_perception.viewing.boxes import draw_boxes

WIDEST = 1024  # pixels of an overlay: what it costs has a bound, whatever the camera sends


@dataclass(frozen=True)
class OverlayImage:
    """One camera's image of a frame, full or reduced, with what it takes to draw boxes in it."""

    camera: str
    pixels: Pixels
    calibration: CameraCalibration
    ego_from_camera: Array  # (4, 4) seen from base_frame at the reference time
    frame_id: str
    stamp: int  # in ns


class Overlays:
    """Two publishers for each camera, as image_transport has them: raw, and JPEG.

    create(message_type, topic, qos) makes a publisher.
    """

    def __init__(
        self, cameras: Iterable[str], create: Callable[[type, str, QoSProfile], Any]
    ) -> None:
        self._raw, self._compressed = {}, {}
        for camera in cameras:
            topic = overlay_topic(camera)
            self._raw[camera] = create(Image, topic, qos_profile_sensor_data)
            self._compressed[camera] = create(
                CompressedImage, f"{topic}/compressed", qos_profile_sensor_data
            )

    def watched(self, camera: str) -> bool:
        """Whether somebody looks at this camera's overlay."""
        publishers = self._raw[camera], self._compressed[camera]
        return any(publisher.get_subscription_count() for publisher in publishers)

    def publish(self, image: OverlayImage, detections: Detections) -> None:
        """Draw the boxes, and publish the image in the ways in which somebody looks at it."""
        drawn = draw_boxes(
            _at_most(WIDEST, image.pixels, image.calibration),
            image.calibration,
            image.ego_from_camera,
            box_corners(detections.boxes),
            detections.labels,
            detections.scores,
        )
        header = Header(stamp=time_from_ns(image.stamp), frame_id=image.frame_id)
        raw, compressed = self._raw[image.camera], self._compressed[image.camera]
        if raw.get_subscription_count():
            raw.publish(image_to_msg(drawn, header))
        if compressed.get_subscription_count():
            compressed.publish(image_to_compressed(drawn, header))


def overlay_topic(camera: str) -> str:
    """The topic of a camera's overlay, below the node's own name."""
    return f"~/{camera.lstrip('~/')}/overlay"


def _at_most(width: int, image: Pixels, calibration: CameraCalibration) -> Pixels:
    """The image, reduced until it is no wider than this, or by the largest of REDUCTIONS."""
    reduction = reduction_of(image, calibration.size)
    narrow = [r for r in REDUCTIONS if reduced_size(calibration.size, r)[1] <= width]
    wanted = max(reduction, min(narrow, default=REDUCTIONS[-1]))
    if wanted == reduction:
        return image
    if bgr := is_bgr(image):
        image = image[..., ::-1]
    size = reduced_size(calibration.size, wanted)[::-1]
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image[..., ::-1] if bgr else image
