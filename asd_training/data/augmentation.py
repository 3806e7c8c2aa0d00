# SPDX-License-Identifier: Apache-2.0
"""Augmentations that keep images, rig, boxes, points and depth exactly consistent.

A drawn `Augmentation` consists of exact matrices. `apply` is the only path from a keyframe to the
network's input, with or without augmentation:

- an affine map of each image's pixels (resize, crop, rotation, flip). Together with the intrinsics
  it is again a pinhole camera, rotated or mirrored about its optical axis. The rotation goes into
  the camera's pose, so the network needs to know nothing of augmentation, and its conditioning
  sees a tilted "up" in a tilted image;
- a similarity of the world in base_link (flip, rotation, scale), applied to points, boxes,
  velocities and camera positions alike. It moves no pixel, except for the left-right flip, which
  mirrors the images as well, so that every pose stays a rotation. Scaling by s scales depths by s,
  and with them the cameras' height above ground, from which the network can infer s;
- a turn of each camera about its own centre. With the pixels' rays it is a homography of the image,
  exact without knowing any depth, and goes into the camera's pose;
- changes of colour and light (`asd_training/photometric`);
- dropped cameras.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from asd_perception.cameras.calibration import TrainedCamera
from asd_perception.cameras.field_of_view import covered
from asd_perception.cameras.preprocessing import input_from_image, preprocess
from asd_perception.cameras.rig import ABSENT_CAMERA, CameraRig
from asd_perception.cameras.view import views_of
from asd_perception.errors import UserError
from asd_perception.geometry import (
    Array,
    box_corners,
    inverse,
    transform_points,
    wrap_angle,
)
from asd_training.config.augmentation import AugmentationConfig
from asd_training.data.nuscenes import Annotations
from asd_training.data.targets import NearestReturns
from asd_training.photometric.change import Photometric, jitter_colour


@dataclass(frozen=True)
class Augmentation:
    """A drawn augmentation of a frame of N cameras.

    turns: (N, 3, 3) rotations of each camera about its centre: from its old optical frame to the
    new one. image_warps: (N, 3, 3) affine maps of the pixels of the turned camera's input, before
    the flips. image_flips: (N,) bool, images mirrored without the world. bev_flip: world and images
    mirrored. bev_angle in rad, bev_scale: of the world, after the flip. colour_gain: (3,) per
    colour channel, colour_offset. dropped: (N,) bool, cameras removed. photometric: further changes
    of the images; None: none.
    """

    turns: Array
    image_warps: Array
    image_flips: NDArray[np.bool_]
    bev_flip: bool
    bev_angle: float
    bev_scale: float
    colour_gain: Array
    colour_offset: float
    dropped: NDArray[np.bool_]
    photometric: Photometric | None

    @property
    def warped(self) -> NDArray[np.bool_]:
        """Which images are resized, cropped, rotated or of a turned camera. (N,)."""
        still = np.eye(3)
        return ((self.image_warps != still) | (self.turns != still)).any(axis=(1, 2))

    @property
    def mirrored(self) -> NDArray[np.bool_]:
        """Which images are mirrored, in the end. (N,)."""
        return self.image_flips ^ self.bev_flip

    @classmethod
    def none(cls, cameras: int) -> Augmentation:
        """The augmentation that changes nothing."""
        nowhere = np.zeros(cameras, dtype=bool)
        unwarped = np.tile(np.eye(3), (cameras, 1, 1))
        ones = np.ones(3)
        return cls(unwarped, unwarped, nowhere, False, 0.0, 1.0, ones, 0.0, nowhere, None)

    @classmethod
    def draw(
        cls,
        config: AugmentationConfig,
        cameras: int,
        input_size: tuple[int, int],
        random: np.random.Generator,
    ) -> Augmentation:
        """A random one, for images of the network's input_size (rows, columns)."""
        bev_flip = config.bev_flip and random.random() < 0.5
        turn = np.deg2rad(config.bev_rotation)
        bev_angle = random.uniform(-turn, turn)
        brightness = 1 + random.uniform(-config.colour_gain, config.colour_gain)
        gain = brightness + random.normal(0, 0.2 * config.colour_gain, 3)
        offset = random.uniform(-config.colour_offset, config.colour_offset)
        bev_scale = random.uniform(*config.bev_scale)

        lowest = config.resize[0], 0.0, -config.rotation
        highest = config.resize[1], 1.0, config.rotation
        warps = np.tile(np.eye(3), (cameras, 1, 1))
        drawn = random.uniform(lowest, highest, (cameras, 3))
        if config.warps_images:
            for warp, (scale, shift, degrees) in zip(warps, drawn, strict=True):
                warp[:] = _warp(scale, shift, degrees, input_size)
        flips = random.random(cameras) < 0.5 if config.flip else np.zeros(cameras, dtype=bool)
        dropped = random.random(cameras) < config.camera_dropout
        if cameras and dropped.all():
            dropped[random.integers(cameras)] = False
        # Last, so that without them the numbers before are those of a run without them.
        turns, photometric = np.tile(np.eye(3), (cameras, 1, 1)), None
        if config.camera_rotation:
            most = np.deg2rad(config.camera_rotation)
            for turn, vector in zip(turns, random.uniform(-most, most, (cameras, 3)), strict=True):
                turn[:] = cv2.Rodrigues(vector)[0]
        if config.photometric:
            photometric = Photometric.draw(config.photometric, cameras, random)
        return cls(
            turns=turns,
            image_warps=warps,
            image_flips=flips,
            bev_flip=bev_flip,
            bev_angle=bev_angle,
            bev_scale=bev_scale,
            colour_gain=gain,
            colour_offset=offset,
            dropped=dropped,
            photometric=photometric,
        )


class CameraImages(NamedTuple):
    """The images of a keyframe's N cameras, of which `preprocess` makes the network's input.

    images: one (height, width, 3) uint8 RGB per camera, of any size. seen (N, rows, columns) bool,
    which pixels of the input the lenses see (`View.seen`); intrinsics (N, 3, 3) of the input;
    ego_from_camera (N, 4, 4), the poses of the input's cameras.
    """

    images: Sequence[NDArray[np.uint8]]
    seen: NDArray[np.bool_]
    intrinsics: Array
    ego_from_camera: Array


def camera_images(
    images: Sequence[NDArray[np.uint8]],
    rig: CameraRig,
    input_size: tuple[int, int],
    trained_cameras: tuple[TrainedCamera, ...] = (),
) -> CameraImages:
    """A rig's images as those of the cameras that the network is trained with.

    images: one (height, width, 3) uint8 RGB per camera, full size or reduced; one that has to be
    undistorted or turned becomes the network's input at once. input_size: (rows, columns).
    trained_cameras: as for `view_of`. Raises UserError if an image does not have its
    calibration's size.
    """
    pixels = []
    seen = np.ones((len(rig), *input_size), bool)
    intrinsics = np.empty((len(rig), 3, 3))
    poses = rig.ego_from_camera.copy()
    views = views_of(rig, trained_cameras, input_size)
    for i, (image, view) in enumerate(zip(images, views, strict=True)):
        try:
            view.check(image)
        except UserError as error:
            raise UserError(f"{rig.names[i]}: {error}") from error
        pixels.append(image if view.is_plain else view.apply(image))
        if view.seen is not None:
            seen[i] = view.seen
        intrinsics[i] = view.intrinsics_for(image)
        poses[i] = view.pose(rig.ego_from_camera[i])
    return CameraImages(pixels, seen, intrinsics, poses)


class NetworkFrame(NamedTuple):
    """One keyframe as the network sees it, with its objects and points.

    images (N, rows, columns, 3) uint8 RGB; seen (N, rows, columns) bool, which of their pixels the
    lenses see (`View.seen`); intrinsics (N, 3, 3) of these images, upper triangular
    with positive focal lengths; ego_from_camera (N, 4, 4), orthogonal, with determinant -1 where an
    image was mirrored without the world; objects; points (P, 3) in base_link.
    """

    images: NDArray[np.uint8]
    seen: NDArray[np.bool_]
    intrinsics: Array
    ego_from_camera: Array
    objects: Annotations
    points: NDArray[np.floating]


def apply(
    augmentation: Augmentation,
    cameras: CameraImages,
    objects: Annotations,
    points: NDArray[np.floating],
    input_size: tuple[int, int],
    sees_lidar: bool = False,
) -> NetworkFrame:
    """The network's input from a keyframe, augmented.

    points (P, 3), float32 or float64, and objects in base_link; input_size: (rows, columns). A
    dropped camera keeps its image, so that batch statistics stay those of real images, but gets a
    pose from which it sees nothing of the world (ABSENT_CAMERA). Objects that no other camera sees
    are removed, unless the network sees the points on them (sees_lidar). Those that no camera saw
    in the first place are removed as well, unless the cameras look all round: there they are few,
    and close to the robot.
    """
    warped, mirrored = augmentation.warped, augmentation.mirrored
    pixels = np.empty((len(warped), *input_size, 3), np.uint8)
    seen, matrices = cameras.seen.copy(), augmentation.image_warps @ cameras.intrinsics
    for i, image in enumerate(cameras.images):
        if warped[i]:
            height, width = image.shape[:2]
            warp = augmentation.image_warps[i] @ _turned_pixels(
                augmentation.turns[i], cameras.intrinsics[i]
            )
            to_input = warp @ input_from_image(width, height, input_size)
            image = warp_image(image, to_input, input_size)
            seen[i] = _warped_mask(seen[i], warp)
        else:
            image = preprocess(image, input_size)
        pixels[i] = cv2.flip(image, 1) if mirrored[i] else image
    seen[mirrored] = seen[mirrored, :, ::-1]
    mirror_x = np.array([[-1.0, 0, input_size[1] - 1], [0, 1, 0], [0, 0, 1]])
    matrices[mirrored] = mirror_x @ matrices[mirrored]

    intrinsics, turns = pinhole_and_turn(matrices)
    orthogonal = np.eye(4)
    cos, sin = np.cos(augmentation.bev_angle), np.sin(augmentation.bev_angle)
    orthogonal[:2, :2] = [[cos, -sin], [sin, cos]]
    if augmentation.bev_flip:
        orthogonal[:2, 1] *= -1
    turns[:, :3, :3] = turns[:, :3, :3] @ augmentation.turns
    ego_from_camera = orthogonal @ cameras.ego_from_camera @ inverse(turns)
    ego_from_camera[:, :3, 3] *= augmentation.bev_scale
    similarity = orthogonal @ np.diag([*[augmentation.bev_scale] * 3, 1.0])

    objects = _transform_objects(objects, similarity, augmentation)
    dropped = augmentation.dropped
    if len(dropped) and not sees_lidar:
        all_round = look_all_round(cameras, input_size[1])
        if dropped.any() or not all_round:
            visible = _in_view(objects.boxes, intrinsics, ego_from_camera, input_size)
            kept = visible[~dropped].any(axis=0)
            objects = _select(objects, kept | ~visible.any(axis=0) if all_round else kept)
    ego_from_camera[dropped] = ABSENT_CAMERA
    pixels = jitter_colour(pixels, augmentation.colour_gain, augmentation.colour_offset)
    if augmentation.photometric is not None:
        pixels = augmentation.photometric.apply(pixels)
    return NetworkFrame(
        pixels,
        seen,
        intrinsics,
        ego_from_camera,
        objects,
        points @ similarity[:3, :3].T.astype(points.dtype),
    )


def moved_returns(augmentation: Augmentation, returns: NearestReturns) -> NearestReturns:
    """A keyframe's nearest returns in the images of an augmented frame, none of them warped.

    The world's scale may bring one nearer than the first depth bin; what lies behind it stays
    unknown.
    """
    mirrored = augmentation.mirrored
    depths, classes = returns.depths * np.float32(augmentation.bev_scale), returns.classes.copy()
    depths[mirrored], classes[mirrored] = depths[mirrored, :, ::-1], classes[mirrored, :, ::-1]
    depths[augmentation.dropped] = np.inf
    return NearestReturns(depths, classes)


def _warped_mask(seen: NDArray[np.bool_], warp: Array) -> NDArray[np.bool_]:
    """Which pixels the lens sees, after a homography (3, 3) of the input's pixels.

    What the warp brings in from outside of the input is black in every camera, and no lens's fault.
    """
    size = seen.shape[::-1]
    how = {"flags": cv2.INTER_NEAREST, "borderMode": cv2.BORDER_CONSTANT, "borderValue": 1}
    if _is_affine(warp):
        return cv2.warpAffine(seen.astype(np.uint8), warp[:2], size, **how).astype(bool)
    return cv2.warpPerspective(seen.astype(np.uint8), warp, size, **how).astype(bool)


def warp_image(
    image: NDArray[np.uint8], input_from_image: Array, input_size: tuple[int, int]
) -> NDArray[np.uint8]:
    """An image (height, width, 3) under a homography of its pixels, black outside.

    input_from_image (3, 3), pixel centres at integers; input_size: (rows, columns) of the result.
    A large image is first area-averaged over blocks of whole pixels, for which OpenCV is ten times
    as fast as for other ratios, to no less than the result's resolution. The bilinear warp after
    it then averages nearly the same area as `preprocess`.
    """
    height, width = image.shape[:2]
    block = int(1 / np.sqrt(abs(np.linalg.det(input_from_image))))
    if block > 1:
        columns, rows = max(1, width // block), max(1, height // block)
        image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        step_x, step_y = width / columns, height / rows
        input_from_image = input_from_image @ np.array(
            [[step_x, 0, 0.5 * step_x - 0.5], [0, step_y, 0.5 * step_y - 0.5], [0, 0, 1]]
        )
    size, how = input_size[::-1], cv2.INTER_LINEAR
    if _is_affine(input_from_image):
        return cv2.warpAffine(image, input_from_image[:2], size, flags=how)
    return cv2.warpPerspective(image, input_from_image, size, flags=how)


def _is_affine(matrix: Array) -> bool:
    return bool((matrix[2] == [0, 0, 1]).all())


def _turned_pixels(turn: Array, intrinsics: Array) -> Array:
    """The homography of a camera's pixels when it turns about its centre; all (3, 3)."""
    if (turn == np.eye(3)).all():
        return turn
    return intrinsics @ turn @ np.linalg.inv(intrinsics)


def pinhole_and_turn(matrices: Array) -> tuple[Array, Array]:
    """Split affinely mapped intrinsics into pinhole cameras rotated about their optical axes.

    matrices (N, 3, 3) = affine map @ intrinsics. Returns intrinsics (N, 3, 3), upper triangular
    with positive focal lengths, and turns (N, 4, 4) from the old to the new optical frames:
    matrices = intrinsics @ turns[:, :3, :3]. A turn is orthogonal and preserves depth; its
    determinant is -1 where the map mirrors. (The RQ decomposition of the upper left 2x2 block.)
    """
    row_x, row_y = matrices[:, 0, :2], matrices[:, 1, :2]
    focal_y = np.linalg.norm(row_y, axis=1)
    axis_y = row_y / focal_y[:, None]
    axis_x = np.stack([axis_y[:, 1], -axis_y[:, 0]], axis=1)
    axis_x *= np.where((row_x * axis_x).sum(1) < 0, -1.0, 1.0)[:, None]

    intrinsics, turns = matrices.copy(), np.tile(np.eye(4), (len(matrices), 1, 1))
    intrinsics[:, 0, 0] = (row_x * axis_x).sum(1)
    intrinsics[:, 0, 1] = (row_x * axis_y).sum(1)
    intrinsics[:, 1, 0] = 0.0
    intrinsics[:, 1, 1] = focal_y
    turns[:, 0, :2], turns[:, 1, :2] = axis_x, axis_y
    return intrinsics, turns


def rows_above(config: AugmentationConfig | None, input_size: tuple[int, int]) -> int:
    """Rows of the images above the network's input that a warp or turn can bring into view.

    A turned camera's focal length is taken as at most the image's width (a view of 53 degrees);
    what a longer lens would need from further above is black.
    """
    if config is None or (
        config.resize[0] >= 1 and not (config.rotation or config.camera_rotation)
    ):
        return 0
    rows, columns = input_size
    corners = np.array([[x, y, 1.0] for x in (0, columns - 1) for y in (0, rows - 1)]).T
    middle = np.array([[columns, 0, columns / 2], [0, columns, rows / 2], [0, 0, 1]])
    most = np.deg2rad(config.camera_rotation)
    turns = [
        _turned_pixels(cv2.Rodrigues(most * np.array(signs, float))[0], middle)
        for signs in itertools.product((-1, 0, 1), repeat=3)
    ]
    highest = 0.0
    for degrees in np.linspace(-config.rotation, config.rotation, 31):
        warp = _warp(config.resize[0], 0.5, degrees, input_size)
        for turn in turns if most else turns[:1]:
            u_v_w = np.linalg.inv(warp @ turn) @ corners
            highest = min(highest, (u_v_w[1] / u_v_w[2]).min())
    return int(np.ceil(-highest)) + 1  # one more, for the interpolation


def _warp(scale: float, shift: float, degrees: float, input_size: tuple[int, int]) -> Array:
    """A resize by `scale`, a crop from left (shift 0) to right (1), and a rotation, as such a map.

    A smaller image has black at its sides instead of a crop.
    """
    rows, columns = input_size
    left = shift * (scale - 1) * columns  # negative: a black side
    resize = np.array(
        [
            [scale, 0, 0.5 * scale - 0.5 - left],
            [0, scale, 0.5 * scale - 0.5 - (scale - 1) * rows],
            [0, 0, 1],
        ]
    )
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    centre = np.array([(columns - 1) / 2, (rows - 1) / 2])
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    turn[:2, 2] = centre - turn[:2, :2] @ centre
    return turn @ resize


def _transform_objects(
    objects: Annotations, similarity: Array, augmentation: Augmentation
) -> Annotations:
    """Objects moved by the world's similarity (4, 4)."""
    boxes = objects.boxes.copy()
    boxes[:, :3] = transform_points(similarity, boxes[:, :3])
    boxes[:, 3:6] *= augmentation.bev_scale
    yaw = -boxes[:, 6] if augmentation.bev_flip else boxes[:, 6]
    boxes[:, 6] = wrap_angle(yaw + augmentation.bev_angle)
    return dataclasses.replace(
        objects, boxes=boxes, velocities=objects.velocities @ similarity[:2, :2].T
    )


def _in_view(
    boxes: Array, intrinsics: Array, ego_from_camera: Array, input_size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Which cameras have a box's centre or one of its corners in their image. Shape (N, M)."""
    spots = np.concatenate([box_corners(boxes), boxes[:, None, :3]], axis=1)  # (M, 9, 3)
    image_from_ego = intrinsics @ inverse(ego_from_camera)[:, :3]  # (N, 3, 4)
    places = np.einsum("nij,msj->inms", image_from_ego[..., :3], spots)
    x, y, depth = places + image_from_ego[..., 3].T[..., None, None]  # each (N, M, 9)
    # Pixels times depths, so that nothing is divided by a depth of 0
    inside = (depth > 0) & (x >= -0.5 * depth) & (x < (input_size[1] - 0.5) * depth)
    inside &= (y >= -0.5 * depth) & (y < (input_size[0] - 0.5) * depth)
    return inside.any(axis=-1)


def look_all_round(cameras: CameraImages, columns: int) -> bool:
    """Whether every direction around the robot lies in the field of view of a camera.

    columns: of the network's input.
    """
    axes = cameras.ego_from_camera[:, :2, 2]
    headings = np.arctan2(axes[:, 1], axes[:, 0])
    halves = np.arctan(columns / (2 * cameras.intrinsics[:, 0, 0]))
    sectors = [(at - half, at + half) for at, half in zip(headings, halves, strict=True)]
    return covered(sectors) == 2 * np.pi


def _select(objects: Annotations, keep: NDArray[np.bool_]) -> Annotations:
    return Annotations(
        boxes=objects.boxes[keep],
        velocities=objects.velocities[keep],
        labels=objects.labels[keep],
        attributes=objects.attributes[keep],
        tokens=tuple(np.array(objects.tokens, dtype=object)[keep]),
        num_lidar_points=objects.num_lidar_points[keep],
        num_radar_points=objects.num_radar_points[keep],
    )
