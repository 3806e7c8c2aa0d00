# SPDX-License-Identifier: Apache-2.0
"""Detections as markers, for RViz and Foxglove."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from asd_perception.constants import CLASSES
from asd_perception.palette import CLASS_COLOURS
from asd_perception.runtime.detections import Detections

_SLOWEST_ARROW = 0.3  # m/s; slower objects are drawn without an arrow

LIFETIME = 2  # s after which a viewer removes what no newer frame has replaced


def markers_from_detections(detections: Detections, header: Header) -> MarkerArray:
    """A box, a caption, and a velocity arrow (one second of motion) for each object.

    Namespaces: the class for boxes, `caption`, `velocity` and `heading`, so that each can be
    switched off. The first marker deletes those of the frame before. An object is the more
    transparent the lower its score. Without a newer frame all are gone after LIFETIME.
    """
    markers = no_markers(header).markers
    heading = Marker(header=header, ns="heading", type=Marker.LINE_LIST)
    heading.scale.x = 0.08
    heading.pose.orientation.w = 1.0
    yaws = detections.boxes[:, 6].astype(np.float64)
    for i, box in enumerate(detections.boxes.tolist()):
        x, y, z, length, width, height, yaw = box
        name = CLASSES[detections.labels[i]]
        score = float(detections.scores[i])
        red, green, blue = (level / 255 for level in CLASS_COLOURS[detections.labels[i]])

        cube = Marker(header=header, ns=name, id=i, type=Marker.CUBE)
        cube.pose.position = Point(x=x, y=y, z=z)
        cube.pose.orientation.z = float(np.sin(yaws[i] / 2))
        cube.pose.orientation.w = float(np.cos(yaws[i] / 2))
        cube.scale.x, cube.scale.y, cube.scale.z = length, width, height
        cube.color = ColorRGBA(r=red, g=green, b=blue, a=0.1 + 0.5 * score)
        markers.append(cube)

        caption = Marker(header=header, ns="caption", id=i, type=Marker.TEXT_VIEW_FACING)
        caption.pose.position = Point(x=x, y=y, z=z + height / 2 + 0.4)
        caption.scale.z = 0.6
        caption.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=0.2 + 0.8 * score)
        caption.text = f"{name} {score:.2f}"
        markers.append(caption)

        reach = length / 2 + 0.5
        heading.points.append(Point(x=x, y=y, z=z))
        heading.points.append(Point(x=x + reach * np.cos(yaw), y=y + reach * np.sin(yaw), z=z))
        heading.colors.extend([ColorRGBA(r=red, g=green, b=blue, a=0.2 + 0.8 * score)] * 2)

        vx, vy = detections.velocities[i].tolist()
        if np.hypot(vx, vy) > _SLOWEST_ARROW:  # False for unknown (NaN) velocities
            arrow = Marker(header=header, ns="velocity", id=i, type=Marker.ARROW)
            arrow.points = [Point(x=x, y=y, z=z), Point(x=x + vx, y=y + vy, z=z)]
            arrow.pose.orientation.w = 1.0
            arrow.scale.x, arrow.scale.y, arrow.scale.z = 0.15, 0.3, 0.4
            arrow.color = ColorRGBA(r=red, g=green, b=blue, a=0.2 + 0.8 * score)
            markers.append(arrow)
    if heading.points:
        markers.append(heading)
    for marker in markers[1:]:
        marker.lifetime = Duration(sec=LIFETIME)
    return MarkerArray(markers=markers)


def no_markers(header: Header) -> MarkerArray:
    """What takes all markers off a viewer."""
    return MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])
