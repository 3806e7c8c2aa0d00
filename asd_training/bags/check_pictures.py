# SPDX-License-Identifier: Apache-2.0
"""Pictures of a rig: from above with its fields of view, and what the network is shown of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from asd_perception.cameras.rig_check import MountedCamera, ShownCamera
from asd_perception.errors import UserError
from asd_perception.geometry import Array, inverse, project, transform_points
from asd_perception.palette import BACKGROUND, LIDAR, RINGS, SERIES
from asd_perception.ros.check.recording import RigRecording
from asd_perception.ros.check.report import RigReport
from asd_perception.ros.messages.images import image_from_compressed, image_from_msg
from asd_perception.viewing.boxes import Image, draw_text
from asd_training.evaluation.pictures import encode_picture

SIDE, EXTENT = 900, 15.0  # pixels and m of the scene from above
REACH = 12.0  # m that a field of view is drawn long
VIEW_WIDTH = 768  # pixels of a camera's picture
NEAR, FAR = 1.0, 50.0  # m of the LiDAR points that are drawn into a view
UNSEEN = 0.3  # brightness of what the lens does not see

# Of sensor_msgs/PointField
_FLOATS = {7: "f4", 8: "f8"}


def write_pictures(recording: RigRecording, report: RigReport, folder: Path) -> None:
    """rig.png, and cameras/NAME.png of each whose calibration and images are there; not of video.

    A name's slashes are dots there, which no topic has: no two cameras have one file.
    """
    points = lidar_points(recording)
    (folder / "rig.png").write_bytes(encode_picture(rig_picture(report, points), ".png"))
    (folder / "cameras").mkdir()
    for name, camera in report.mounted.items():
        try:
            picture = view_picture(recording.images[name], camera, report.shown[name], points)
        except (KeyError, UserError):  # the report says why; video's packets are no pictures alone
            continue
        verdict = next(section.verdict for section in report.cameras if section.name == name)
        draw_text(picture, f"{name}: {verdict}", (8, 18))
        file = folder / "cameras" / f"{name.strip('/').replace('/', '.')}.png"
        file.write_bytes(encode_picture(picture, ".png"))


def rig_picture(report: RigReport, points: Array) -> Image:
    """The rig from above, forward up: what each lens sees (line) and the network of it (area).

    points (P, 3) in the base frame. Returns (SIDE, SIDE, 3) uint8 RGB.
    """
    scale = SIDE / (2 * EXTENT)
    canvas = np.full((SIDE, SIDE, 3), BACKGROUND, dtype=np.uint8)

    def to_pixels(at: Array) -> NDArray[np.int32]:
        pixels = SIDE / 2 - at[..., [1, 0]] * scale
        return pixels.round().astype(np.int32)

    for ring in (5, 10):
        cv2.circle(canvas, (SIDE // 2, SIDE // 2), round(ring * scale), RINGS, 1)
    pixels = to_pixels(points[:, :2])
    inside = np.all((pixels >= 0) & (pixels < SIDE), axis=1)
    canvas[pixels[inside, 1], pixels[inside, 0]] = LIDAR
    colours = [SERIES[i % len(SERIES)] for i in range(len(report.mounted))]
    for (name, camera), colour in zip(report.mounted.items(), colours, strict=True):
        fan = to_pixels(_fan(camera, *report.shown[name].sector, REACH))
        shaded = canvas.copy()
        cv2.fillPoly(shaded, [fan], colour, cv2.LINE_AA)
        cv2.addWeighted(shaded, 0.45, canvas, 0.55, 0.0, dst=canvas)
    for (name, camera), colour in zip(report.mounted.items(), colours, strict=True):
        heading, field = np.deg2rad(camera.angles[0]), camera.field
        sector = heading - field.right, heading + field.left
        fan = to_pixels(_fan(camera, *sector, 0.8 * REACH))
        cv2.polylines(canvas, [fan], True, colour, 1, cv2.LINE_AA)
        left, right = report.shown[name].sector
        label = to_pixels(_fan(camera, (left + right) / 2, (left + right) / 2, 0.9 * REACH))[1]
        draw_text(canvas, name, (int(np.clip(label[0] - 50, 4, SIDE - 130)), int(label[1])))
    tail, tip = to_pixels(np.array([[-1.0, 0.0], [2.0, 0.0]])).tolist()
    cv2.arrowedLine(canvas, tail, tip, (255, 255, 255), 2, cv2.LINE_AA, tipLength=0.3)
    draw_text(canvas, "area: shown to the network, line: the lens, rings: 5 m", (8, 18))
    return canvas


def view_picture(
    message: Any, camera: MountedCamera, of_network: ShownCamera, points: Array
) -> Image:
    """The network's input, with what the lens does not see dimmed and LiDAR points by distance.

    message: of the image; points (P, 3) in the base frame. Returns (H, VIEW_WIDTH, 3) uint8 RGB.
    Raises UserError for an image that cannot be used.
    """
    view = of_network.view
    size = view.calibration.size
    if hasattr(message, "format"):
        image = image_from_compressed(message, size, view.scaled_size)
    elif hasattr(message, "pts"):
        raise UserError("a packet of video is no image by itself")
    else:
        image = image_from_msg(message)
    pixels = view.apply(image)
    if view.seen is not None:
        pixels = np.where(view.seen[..., None], pixels, (pixels * UNSEEN).astype(np.uint8))
    rows, columns = view.input_size
    zoom = VIEW_WIDTH / columns
    picture = cv2.resize(pixels, (VIEW_WIDTH, round(rows * zoom)), interpolation=cv2.INTER_LINEAR)
    camera_from_base = inverse(view.pose(camera.ego_from_camera))
    at, depth = project(transform_points(camera_from_base, points), view.intrinsics_for(image))
    _draw_points(picture, (at + 0.5) * zoom - 0.5, depth)
    return picture


def _draw_points(picture: Image, at: Array, depth: Array) -> None:
    """Draw points, coloured by their depth (P,) in m, at the pixels (P, 2) that they fall on."""
    height, width = picture.shape[:2]
    drawn = (depth > NEAR) & np.all((at > 0) & (at < (width - 1, height - 1)), axis=1)
    if not drawn.any():  # OpenCV colours no empty array
        return
    shade = 255 * (1 - np.log(depth[drawn] / NEAR) / np.log(FAR / NEAR))
    colours = cv2.applyColorMap(np.clip(shade, 0, 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    for (u, v), colour in zip(at[drawn].round().astype(int), colours[:, 0, ::-1], strict=True):
        cv2.circle(picture, (int(u), int(v)), 1, colour.tolist(), -1)


def lidar_points(recording: RigRecording) -> Array:
    """The points (P, 3) of all clouds whose frame is connected to the base frame, in the latter."""
    clouds = [np.zeros((0, 3))]
    for message in recording.clouds.values():
        try:
            pose = recording.base_from(message.header.frame_id.lstrip("/"))
            clouds.append(transform_points(pose, cloud_points(message)))
        except UserError:  # the report says why
            continue
    return np.concatenate(clouds)


def cloud_points(message: Any) -> Array:
    """The finite points (P, 3) of a PointCloud2. Raises UserError for one that has none."""
    fields = {field.name: field for field in message.fields}
    if not all(name in fields and fields[name].datatype in _FLOATS for name in "xyz"):
        raise UserError("cloud has no fields x, y and z of floats")
    order = ">" if message.is_bigendian else "<"
    data = np.frombuffer(message.data, np.uint8)
    try:
        layout = np.dtype(
            {
                "names": list("xyz"),
                "formats": [order + _FLOATS[fields[name].datatype] for name in "xyz"],
                "offsets": [fields[name].offset for name in "xyz"],
                "itemsize": message.point_step,
            }
        )
        strides = message.row_step, message.point_step
        size = message.height, message.width
        structured: NDArray[np.void] = np.ndarray(size, layout, data, strides=strides).ravel()
    except (TypeError, ValueError) as error:
        raise UserError(f"cloud's size, steps and bytes do not fit together: {error}") from error
    points = np.stack([structured[name] for name in "xyz"], axis=1).astype(np.float64)
    return points[np.isfinite(points).all(axis=1)]


def _fan(camera: MountedCamera, start: float, end: float, reach: float) -> Array:
    """Outline (K, 2) of what lies between two headings in rad, from a camera on."""
    headings = np.linspace(start, end, 24)
    centre = camera.ego_from_camera[:2, 3]
    arc = centre + reach * np.stack([np.cos(headings), np.sin(headings)], axis=1)
    return np.concatenate([centre[None], arc])
