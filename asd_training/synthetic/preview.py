# SPDX-License-Identifier: Apache-2.0
"""A contact sheet of random keyframes, before a whole data set is made of them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from asd_perception.errors import UserError
from asd_perception.files import atomic_file
from asd_perception.geometry import box_corners
from asd_perception.viewing.boxes import Image, draw_boxes
from asd_training.data.index import KeyframeIndex
from asd_training.data.nuscenes import read_images
from asd_training.evaluation.pictures import encode_picture
from asd_training.synthetic.generate import check_arguments, synthesize

MOST = 100  # keyframes of a sheet
BLOCK_WIDTH, SHEET_WIDTH = 1200, 4800  # pixels, of one keyframe and at most of all


def preview(
    path: Path, keyframes: int, seed: int, scale: float, workers: int | None, boxes: bool
) -> None:
    """Write a picture of keyframes of as many scenes, each as its cameras saw it.

    boxes: with the annotated objects that the evaluation counts, as wire frames. The result depends
    only on keyframes, seed and scale. Raises UserError for arguments out of range, for a path that
    is no picture's, or if it cannot be written.
    """
    if not 1 <= keyframes <= MOST:
        raise UserError(f"--preview {keyframes}: a sheet has 1 to {MOST} keyframes")
    if path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise UserError(f"{path}: a preview is a picture; name it .jpg or .png")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a picture")
    scenes = {"train": keyframes}
    check_arguments(scenes, 1, seed, scale, workers)
    # A path that cannot be written is found out before the work.
    with atomic_file(path) as temporary, tempfile.TemporaryDirectory() as folder:
        synthesize(Path(folder), scenes, 1, seed, scale, sweeps=False, workers=workers)
        index = KeyframeIndex.open(folder)
        blocks = [_block(index, i, boxes) for i in range(keyframes)]
        columns = max(1, min(round(keyframes**0.5), SHEET_WIDTH // BLOCK_WIDTH))
        sheet = _justified(blocks, columns, columns * BLOCK_WIDTH)
        temporary.write_bytes(encode_picture(sheet, path.suffix))
    print(f"{path}: {keyframes} keyframes")


def _block(index: KeyframeIndex, keyframe: int, boxes: bool) -> Image:
    """A keyframe's images in two rows, the front ones above."""
    frame, objects = index.frame(keyframe), index.objects(keyframe)
    images = read_images(frame)
    if boxes:
        corners = box_corners(objects.boxes[objects.observed], frame.up)
        labels = objects.labels[objects.observed]
        images = [
            draw_boxes(image, frame.rig.calibration(camera), pose, corners, labels)
            for camera, (image, pose) in enumerate(
                zip(images, frame.rig.ego_from_camera, strict=True)
            )
        ]
    return _justified(images, -(-len(images) // 2), BLOCK_WIDTH)


def _justified(images: Sequence[Image], columns: int, width: int) -> Image:
    """Images in rows of at most `columns`, each row as high as it takes to fill the width."""
    rows = []
    parts = np.array_split(np.arange(len(images)), -(-len(images) // columns))
    for part in parts:
        aspects = [images[i].shape[1] / images[i].shape[0] for i in part]
        edges = np.round(width * np.cumsum([0.0, *aspects]) / sum(aspects)).astype(int)
        height = round(width / sum(aspects))
        rows.append(
            np.concatenate(
                [
                    cv2.resize(images[i], (int(size), height), interpolation=cv2.INTER_AREA)
                    for i, size in zip(part, np.diff(edges), strict=True)
                ],
                axis=1,
            )
        )
    return np.concatenate(rows, axis=0)
