# SPDX-License-Identifier: Apache-2.0
"""Pictures of one frame: its cameras with projected boxes, and a BEV plot; and videos of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from asd_perception.cameras.rig import CameraRig
from asd_perception.constants import CLASSES
from asd_perception.errors import UserError
from asd_perception.files import atomic_file
from asd_perception.geometry import Array, box_corners
from asd_perception.palette import BACKGROUND, CLASS_COLOURS, LIDAR, RINGS, TRUTH
from asd_perception.runtime.detections import Detections
from asd_perception.viewing.boxes import Image, draw_boxes, draw_text


def frame_picture(
    images: Sequence[Image],
    rig: CameraRig,
    detections: Detections,
    truth: Array,
    lidar: Array,
    up: Array,
    score_threshold: float = 0.25,
    camera_width: int = 480,
) -> Image:
    """The cameras with the detected boxes, and on the right the scene from above.

    truth (M, 7) annotated boxes and lidar (P, 3 or more) points, both in base_link; up (3,): the
    vertical there, along which objects stand (`CameraFrame.up`).
    Returns (height, width, 3) uint8 RGB.
    """
    shown = detections.scores >= score_threshold
    boxes, labels = detections.boxes[shown], detections.labels[shown]
    cameras = cameras_picture(images, rig, boxes, labels, up, camera_width)
    bev = bev_picture(boxes, labels, truth, lidar, cameras.shape[0])
    return np.concatenate([cameras, bev], axis=1)


def cameras_picture(
    images: Sequence[Image],
    rig: CameraRig,
    boxes: NDArray[np.floating],
    labels: NDArray[np.int64],
    up: Array,
    camera_width: int = 480,
) -> Image:
    """The rig's cameras in two rows, with base_link boxes (M, 7) as wire frames in class colours.

    camera_width: of one of them, in pixels; a single one fills both rows.
    """
    corners = box_corners(boxes, up)
    columns = -(-len(rig) // 2)
    rows = -(-len(rig) // columns)
    width = 2 * camera_width // rows
    heights = [round(width * image.shape[0] / image.shape[1]) for image in images]
    tiles = np.zeros((rows * columns, max(heights), width, 3), np.uint8)
    for index, (name, height) in enumerate(zip(rig.names, heights, strict=True)):
        pose = rig.ego_from_camera[index]
        tile = draw_boxes(images[index], rig.calibration(index), pose, corners, labels)
        resized = cv2.resize(tile, (width, height), interpolation=cv2.INTER_AREA)
        tiles[index, :height] = resized
        draw_text(tiles[index], name, (8, 18))
    grid = tiles.reshape(rows, columns, *tiles.shape[1:]).swapaxes(1, 2)
    return grid.reshape(rows * tiles.shape[1], columns * width, 3)


def bev_picture(
    boxes: NDArray[np.floating],
    labels: NDArray[np.int64],
    truth: Array | None,
    lidar: Array,
    side: int,
    extent: float = 50.0,
) -> Image:
    """The scene from above, forward up: LiDAR, truth (green) and detections (class colours).

    boxes (M, 7), labels (M,) and truth (T, 7) in base_link; without truth the boxes are annotated
    ones, not detections; lidar (P, 3 or more).
    side: of the square picture in pixels; extent: half of it in m.
    Returns (side, side, 3) uint8 RGB.
    """
    scale = side / (2 * extent)
    canvas = np.full((side, side, 3), BACKGROUND, dtype=np.uint8)

    def to_pixels(points: NDArray[np.floating]) -> NDArray[np.int32]:
        u = side / 2 - points[..., 1] * scale
        v = side / 2 - points[..., 0] * scale
        return np.stack([u, v], axis=-1).round().astype(np.int32, order="C")

    for ring in (10, 20, 30, 40, 50):
        cv2.circle(canvas, (side // 2, side // 2), round(ring * scale), RINGS, 1)
    pixels = to_pixels(lidar[:, :2])
    inside = np.all((pixels >= 0) & (pixels < side), axis=1)
    canvas[pixels[inside, 1], pixels[inside, 0]] = LIDAR

    if truth is not None:
        for corners in to_pixels(box_corners(truth)[:, [0, 1, 5, 4], :2]):
            cv2.polylines(canvas, [corners], True, TRUTH, 1, cv2.LINE_AA)
    for box, label, corners in zip(
        boxes, labels, to_pixels(box_corners(boxes)[:, [0, 1, 5, 4], :2]), strict=True
    ):
        cv2.polylines(canvas, [corners], True, CLASS_COLOURS[label], 2, cv2.LINE_AA)
        nose = box[:2] + 0.5 * box[3] * np.array([np.cos(box[6]), np.sin(box[6])])
        start, end = to_pixels(np.stack([box[:2], nose]))
        cv2.line(canvas, start.tolist(), end.tolist(), CLASS_COLOURS[label], 1, cv2.LINE_AA)
    cv2.arrowedLine(
        canvas,
        to_pixels(np.array([-1.0, 0.0])).tolist(),
        to_pixels(np.array([4.0, 0.0])).tolist(),
        (255, 255, 255),
        2,
        cv2.LINE_AA,
        tipLength=0.4,
    )
    shown = "annotated boxes" if truth is None else "green: truth, colours: detections"
    draw_text(canvas, f"{shown}, rings: 10 m", (8, 18))
    for row, label in enumerate(np.unique(labels)):
        draw_text(canvas, CLASSES[label], (8, 38 + 16 * row), CLASS_COLOURS[label])
    return canvas


def save_picture(image: Image, path: Path) -> None:
    """Write an RGB image atomically, as PNG or JPEG by the suffix of the path."""
    data = encode_picture(image, path.suffix)
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def encode_picture(image: Image, suffix: str) -> bytes:
    """An RGB image as the bytes of a PNG or JPEG file, by suffix (".png", ".jpg")."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 85]
    encoded, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    if not encoded:
        raise UserError(f"a picture could not be encoded as {suffix}")
    return data.tobytes()


def save_video(images: Iterable[Image], path: Path, rate: float) -> None:
    """Write RGB images of one size as a WebM (VP8) video, `rate` frames per second, atomically."""
    writer = None
    with atomic_file(path) as temporary:
        try:
            for image in images:
                if writer is None:
                    size = (image.shape[1], image.shape[0])
                    fourcc = cv2.VideoWriter.fourcc(*"VP80")
                    with _without_stderr():  # OpenCV's remark that WebM has no such tags
                        writer = cv2.VideoWriter(str(temporary), fourcc, rate, size)
                    if not writer.isOpened():
                        raise UserError(f"{path}: this OpenCV build cannot write WebM videos")
                writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        finally:
            if writer is not None:
                writer.release()


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Drop what C code writes to stderr."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
