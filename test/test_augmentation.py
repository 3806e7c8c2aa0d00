# SPDX-License-Identifier: Apache-2.0
"""Promise: after any augmentation every box stands on the same pixels of its object."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from asd_perception.cameras.calibration import NUSCENES_CAMERAS, TrainedCamera
from asd_perception.cameras.preprocessing import input_from_image, preprocess
from asd_perception.cameras.rig import ABSENT_CAMERA, CameraRig
from asd_perception.configuration import from_dict
from asd_perception.errors import UserError
from asd_perception.geometry import (
    box_corners,
    inverse,
    points_in_box,
    project,
    transform_from,
    transform_points,
)
from asd_perception.network.config import StudentConfig
from asd_perception.network.view_transform import camera_rays, depth_bin_index
from asd_perception.runtime.detector import Detector
from asd_training.config.augmentation import AugmentationConfig
from asd_training.data import augmentation as augmentation_module
from asd_training.data.augmentation import (
    Augmentation,
    camera_images,
    moved_returns,
    pinhole_and_turn,
)
from asd_training.data.example import example_rig
from asd_training.data.index import KeyframeIndex
from asd_training.data.nuscenes import (
    Annotations,
    annotated_objects,
    camera_frame,
    lidar_points,
    open_dataset,
    read_images,
    scene_samples,
    split_scenes,
)
from asd_training.data.samples import KeyframeDataset, SampleContents
from asd_training.data.targets import UNKNOWN, nearest_returns, pixel_targets
from asd_training.photometric.change import jitter_colour

INPUT = (96, 256)
NOTHING = AugmentationConfig(bev_flip=False, bev_rotation=0, colour_gain=0, colour_offset=0)
STRONG = AugmentationConfig(
    resize=(0.7, 1.5),
    rotation=20,
    flip=True,
    bev_rotation=180,
    bev_scale=(0.8, 1.25),
    colour_gain=0,
    colour_offset=0,
)
TURNED = dataclasses.replace(STRONG, camera_rotation=8)
SWAPPED = [1, 0, 3, 2, 5, 4, 7, 6]  # a box's corners where left and right changed places
seeds = st.integers(0, 2**32 - 1)


def apply(augmentation, images, rig, objects, points, size, sees_lidar=False, trained=()):
    """The network's input from a rig's images."""
    cameras = camera_images(images, rig, size, trained)
    return augmentation_module.apply(augmentation, cameras, objects, points, size, sees_lidar)


def draw(config, seed, cameras=6, size=INPUT):
    return Augmentation.draw(config, cameras, size, np.random.default_rng(seed))


def a_rig(width=400, height=225):
    """Two cameras: one looks forward; one forward and left, a little tilted."""
    focal = 0.8 * width
    intrinsics = np.array([[focal, 0.3, 0.52 * width], [0, 1.01 * focal, 0.54 * height], [0, 0, 1]])
    poses = np.stack(
        [
            transform_from([0.5, -0.5, 0.5, -0.5], [1.7, 0.0, 1.5]),
            transform_from([0.6757, -0.6736, 0.2121, -0.2112], [1.52, 0.49, 1.5]),
        ]
    )
    return CameraRig(
        ("A", "B"),
        np.stack([intrinsics] * 2),
        poses,
        np.array([[width, height]] * 2),
        np.zeros((2, 8)),
    )


def some_objects(seed, count=4):
    random = np.random.default_rng(seed)
    boxes = np.zeros((count, 7))
    boxes[:, 0], boxes[:, 1] = random.uniform(8, 45, count), random.uniform(-10, 40, count)
    boxes[:, 2], boxes[:, 3:6] = 0.8, random.uniform(0.5, 6, (count, 3))
    boxes[:, 6] = random.uniform(-np.pi, np.pi, count)
    ones = np.ones(count, np.int64)
    names = tuple(map(str, range(count)))
    return Annotations(boxes, random.normal(0, 5, (count, 2)), ones, ones, names, ones, ones)


def black(rig):
    return [np.zeros((height, width, 3), np.uint8) for width, height in rig.image_sizes]


def returns_of(frame, config):
    """The nearest of a frame's points in its images."""
    return nearest_returns(
        frame.points, frame.objects, frame.intrinsics, frame.ego_from_camera, config
    )


def pixel_map(augmentation, camera, image_size, input_size):
    """From an image's pixels to the augmented input's, as the fields of Augmentation say."""
    matrix = augmentation.image_warps[camera] @ input_from_image(*map(int, image_size), input_size)
    if augmentation.image_flips[camera] != augmentation.bev_flip:
        matrix = np.array([[-1, 0, input_size[1] - 1], [0, 1, 0], [0, 0, 1]]) @ matrix
    return matrix


def world_map(augmentation):
    """The similarity (3, 3) of base_link, as the fields of Augmentation say."""
    turn = Rotation.from_euler("z", augmentation.bev_angle).as_matrix()
    return augmentation.bev_scale * turn @ np.diag([1, -1 if augmentation.bev_flip else 1, 1])


def within(size, pixels):
    """Which pixels (..., 2) lie in an image of (rows, columns)."""
    return np.all((pixels >= 0) & (pixels <= np.array(size[::-1]) - 1), axis=-1)


def affine(matrix, pixels):
    return pixels @ matrix[:2, :2].T + matrix[:2, 2]


def assert_boxes_on_their_pixels(augmentation, rig, objects, result, input_size):
    """Corners project through the augmented camera to where the image's map takes their pixels."""
    compared = 0
    for camera in range(len(rig)):
        matrix = pixel_map(augmentation, camera, rig.image_sizes[camera], input_size)
        before, depth = rig.project(box_corners(objects.boxes), camera)
        if augmentation.bev_flip:
            before, depth = before[:, SWAPPED], depth[:, SWAPPED]
        corners = transform_points(
            inverse(result.ego_from_camera[camera]), box_corners(result.objects.boxes)
        )
        after, depth_after = project(corners, result.intrinsics[camera])
        front = depth > 0.5
        np.testing.assert_allclose(after[front], affine(matrix, before[front]), atol=1e-6)
        np.testing.assert_allclose(depth_after, augmentation.bev_scale * depth, atol=1e-9)
        compared += int(front.sum())
    return compared


# Geometry


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_boxes_points_and_velocities_move_with_the_pixels(seed):
    rig, objects, augmentation = a_rig(), some_objects(seed), draw(STRONG, seed, 2)
    spots = box_corners(objects.boxes).reshape(-1, 3)
    result = apply(augmentation, black(rig), rig, objects, spots, INPUT, sees_lidar=True)
    assert assert_boxes_on_their_pixels(augmentation, rig, objects, result, INPUT) > 0
    # LiDAR points that lay on the corners lie on them now.
    moved = result.points.reshape(-1, 8, 3)
    moved = moved[:, SWAPPED] if augmentation.bev_flip else moved
    np.testing.assert_allclose(moved, box_corners(result.objects.boxes), atol=1e-9)
    # An object one second later is where its velocity says.
    later = objects.boxes[:, :3] + np.pad(objects.velocities, ((0, 0), (0, 1)))
    later_result = result.objects.boxes[:, :3] + np.pad(result.objects.velocities, ((0, 0), (0, 1)))
    np.testing.assert_allclose(later_result, later @ world_map(augmentation).T, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_the_network_lifts_augmented_pixels_to_the_places_that_they_show(seed):
    rig, augmentation = a_rig(), draw(STRONG, seed, 2)
    result = apply(augmentation, black(rig), rig, some_objects(0), np.zeros((0, 3)), INPUT)
    rays = camera_rays(
        torch.from_numpy(result.intrinsics)[None],
        torch.from_numpy(result.ego_from_camera)[None],
        (12, 32),
        8,
    )
    depth = 20.0
    places = (rays.origins + depth * rays.directions)[0].double().numpy()  # (2, 12, 32, 3)
    places = places @ np.linalg.inv(world_map(augmentation)).T
    centres = np.stack(np.meshgrid(np.arange(32), np.arange(12)), axis=-1) * 8 + 3.5
    for camera in range(2):
        pixels, depths = rig.project(places[camera], camera)
        matrix = pixel_map(augmentation, camera, rig.image_sizes[camera], INPUT)
        np.testing.assert_allclose(affine(matrix, pixels), centres, atol=2e-3)
        np.testing.assert_allclose(depths * augmentation.bev_scale, depth, rtol=1e-5)


@settings(deadline=None)
@given(seeds)
def test_any_affine_map_of_a_camera_is_a_pinhole_turned_about_its_axis(seed):
    random = np.random.default_rng(seed)
    maps = np.tile(np.eye(3), (3, 1, 1))
    maps[:, :2] = random.normal(0, 2, (3, 2, 3))
    assume(np.abs(np.linalg.det(maps)).min() > 1e-2)
    matrices = maps @ a_rig().intrinsics[0]
    intrinsics, turns = pinhole_and_turn(matrices)
    np.testing.assert_allclose(intrinsics @ turns[:, :3, :3], matrices, rtol=1e-9, atol=1e-9)
    unit = np.tile(np.eye(4), (3, 1, 1))
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), unit, atol=1e-12)
    assert np.all(intrinsics[:, 1, 0] == 0)
    assert np.all(intrinsics[:, [0, 1], [0, 1]] > 0)
    assert np.all(turns[:, 2] == [0, 0, 1, 0])  # depth stays depth


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_what_no_lens_sees_is_marked_after_any_augmentation(seed):
    """A point is marked as seen where the network's input shows it if the lens showed it."""
    rig = a_rig()
    trained = tuple(
        TrainedCamera(heading, 0, 0, 0.5, 0.5, 0.27) for heading in (0.0, 30.0)
    )  # of wider views than the rig's
    random = np.random.default_rng(seed)
    points = random.uniform([2, -30, -4], [60, 40, 6], (2000, 3))
    augmentation = draw(STRONG, seed, cameras=2)
    inputs = apply(augmentation, black(rig), rig, some_objects(seed), points, INPUT, False, trained)
    for camera in range(2):
        on_lens, depth = rig.project(points, camera)
        pixel, moved_depth = project(
            transform_points(inverse(inputs.ego_from_camera[camera]), inputs.points),
            inputs.intrinsics[camera],
        )
        u, v = pixel.round().astype(int).T
        there = (depth > 1) & (moved_depth > 0) & within(INPUT, pixel.round())
        unwarped = pixel.copy()
        if augmentation.image_flips[camera] != augmentation.bev_flip:
            unwarped[:, 0] = INPUT[1] - 1 - unwarped[:, 0]
        unwarped = affine(np.linalg.inv(augmentation.image_warps[camera]), unwarped)
        # Black from outside of the input counts as seen.
        there &= within(INPUT, unwarped - 2) & within(INPUT, unwarped + 2)
        beyond = np.maximum(-0.5 - on_lens, on_lens - (rig.image_sizes[camera] - 0.5)).max(axis=1)
        seen = inputs.seen[camera][v[there], u[there]]
        assert np.all(seen[beyond[there] < -4])  # px of the lens's image, 1.6 of the input's
        assert not np.any(seen[beyond[there] > 4])
    assert not inputs.seen.all()


def test_pixels_that_no_lens_sees_have_no_targets(synthetic_root):
    index = KeyframeIndex.open(synthetic_root)
    wide = tuple(
        dataclasses.replace(camera, focal=0.7 * camera.focal) for camera in NUSCENES_CAMERAS
    )
    config = StudentConfig(image_size=INPUT, trained_cameras=wide)
    sample = KeyframeDataset(index, config, SampleContents())[0]
    assert sample.seen.shape == (6, *config.feature_size)
    assert 0.3 < sample.seen.float().mean() < 0.8
    assert (sample.pixels.depth_bins[~sample.seen] == UNKNOWN).all()
    assert (sample.pixels.classes[~sample.seen] == UNKNOWN).all()
    assert (sample.pixels.depth_bins[sample.seen] != UNKNOWN).any()


def test_a_mirrored_world_has_proper_cameras_and_an_image_mirrored_alone_has_not():
    rig, still = a_rig(), Augmentation.none(2)
    for change, determinant in (
        ({"bev_flip": True}, 1),
        ({"image_flips": np.ones(2, bool)}, -1),
        ({"bev_flip": True, "image_flips": np.ones(2, bool)}, -1),
    ):
        augmentation = dataclasses.replace(still, **change)
        result = apply(augmentation, black(rig), rig, some_objects(0), np.zeros((0, 3)), INPUT)
        rotations = result.ego_from_camera[:, :3, :3]
        np.testing.assert_allclose(np.linalg.det(rotations), determinant)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_returns_move_with_the_images_as_if_found_anew(seed):
    """Where no image is warped, which leaves each return in its pixel, or in the mirrored one."""
    config, rig, objects = StudentConfig(image_size=INPUT), a_rig(), some_objects(seed, 20)
    changes = dataclasses.replace(STRONG, resize=(1.0, 1.0), rotation=0.0, camera_dropout=0.3)
    augmentation = draw(changes, seed, 2)
    random = np.random.default_rng(seed)
    points = random.uniform([4, -30, -2], [70, 40, 5], (4000, 3))
    plain, moved = (
        apply(change, black(rig), rig, objects, points, INPUT, sees_lidar=True)
        for change in (Augmentation.none(2), augmentation)
    )
    prepared = moved_returns(augmentation, returns_of(plain, config))
    anew = returns_of(moved, config)
    # All but those on the edge of a pixel or of a box
    same = np.isclose(prepared.depths, anew.depths)
    same &= np.isinf(anew.depths) | (prepared.classes == anew.classes)
    assert same.mean() > 0.998
    assert np.isfinite(anew.depths).mean() > 0.1


# Cameras turned about their own centres


def turned(degrees, seed):
    """An augmentation that turns two cameras, and changes nothing else."""
    return draw(dataclasses.replace(NOTHING, camera_rotation=degrees), seed, 2)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_a_turned_camera_keeps_every_box_on_what_it_showed(seed):
    """A dot is painted where a box's centre is seen, and found where the turned camera has it."""
    rig, objects, random = a_rig(), some_objects(seed), np.random.default_rng(seed)
    augmentation = draw(
        random.choice([TURNED, dataclasses.replace(NOTHING, camera_rotation=3)]), seed, 2
    )
    spots = objects.boxes[:1, :3]
    for camera in range(2):
        (centre,), (depth,) = rig.project(spots, camera)
        width, height = rig.image_sizes[camera]
        if depth < 1 or not within((height, width), centre):
            continue
        away = (np.arange(width) - centre[0]) ** 2 + (np.arange(height)[:, None] - centre[1]) ** 2
        blob = (255 * np.exp(-away / (2 * (width / 60) ** 2))).astype(np.uint8)
        images = [np.repeat(blob[..., None], 3, axis=2)] * 2
        result = apply(augmentation, images, rig, objects, spots, INPUT, sees_lidar=True)
        box = result.objects.boxes[:1, :3]
        in_camera = transform_points(inverse(result.ego_from_camera[camera]), box)
        (landed,), _ = project(in_camera, result.intrinsics[camera])
        if not within((INPUT[0] - 40, INPUT[1] - 40), landed - 20):
            continue
        seen = result.images[camera, ..., 0].astype(float)
        grid = np.stack(np.meshgrid(np.arange(INPUT[1]), np.arange(INPUT[0])), axis=-1)
        found = (grid * seen[..., None]).sum((0, 1)) / seen.sum()
        assert np.abs(found - landed).max() < 0.35  # a homography bends the dot a little


def test_turned_cameras_stay_where_they_are_and_are_rotations():
    rig = a_rig()
    augmentation = turned(5, 0)
    result = apply(augmentation, black(rig), rig, some_objects(0), np.zeros((0, 3)), INPUT)
    np.testing.assert_allclose(result.ego_from_camera[:, :3, 3], rig.ego_from_camera[:, :3, 3])
    np.testing.assert_allclose(np.linalg.det(result.ego_from_camera[:, :3, :3]), 1)
    expected = input_from_image(400, 225, INPUT) @ rig.intrinsics
    np.testing.assert_allclose(result.intrinsics, expected, atol=1e-9)
    angles = []
    for seed in range(50):
        turns = turned(5, seed).turns
        angles += [np.abs(Rotation.from_matrix(turn).as_rotvec(degrees=True)) for turn in turns]
    assert 4.5 < np.max(angles) <= 5 + 1e-9


@pytest.mark.parametrize("key", ["camera_rotation", "photometric"])
def test_the_draws_of_other_augmentations_stay_what_they_were(key):
    before, with_it = draw(STRONG, 3), draw(dataclasses.replace(STRONG, **{key: 0.5}), 3)
    for field in dataclasses.fields(Augmentation):
        if field.name not in ("turns", "photometric"):
            values = getattr(before, field.name), getattr(with_it, field.name)
            np.testing.assert_array_equal(*values)
    assert before.photometric is None
    np.testing.assert_array_equal(before.turns, np.tile(np.eye(3), (6, 1, 1)))


# Images


@settings(max_examples=40, deadline=None)
@given(
    size=st.sampled_from([(1600, 900), (800, 450), (400, 225), (300, 225)]),
    u=st.floats(0.1, 0.9),
    v=st.floats(0.3, 0.9),
    seed=seeds,
)
def test_a_blob_lands_where_the_matrix_says(size, u, v, seed):
    width, height = size
    rig, augmentation = a_rig(width, height), draw(STRONG, seed, 2)
    centre, sigma = np.array([u * width, v * height]), width / 60
    landed = affine(pixel_map(augmentation, 0, size, INPUT), centre)
    assume(np.all(landed > 24) and np.all(landed < np.array(INPUT[::-1]) - 25))
    away = (np.arange(width) - centre[0]) ** 2 + (np.arange(height)[:, None] - centre[1]) ** 2
    blob = (255 * np.exp(-away / (2 * sigma**2))).astype(np.uint8)
    image = np.repeat(blob[..., None], 3, axis=2)
    result = apply(augmentation, [image] * 2, rig, some_objects(0), np.zeros((0, 3)), INPUT)
    seen = result.images[0, ..., 0].astype(float)
    grid = np.stack(np.meshgrid(np.arange(INPUT[1]), np.arange(INPUT[0])), axis=-1)
    found = (grid * seen[..., None]).sum((0, 1)) / seen.sum()
    assert np.abs(found - landed).max() < 0.1


@pytest.mark.parametrize("size", [(1600, 900), (400, 225)])
def test_where_nothing_is_drawn_the_input_is_the_one_of_the_robot(size):
    rig, objects = a_rig(*size), some_objects(1)
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8) for _ in range(2)]
    points = random.normal(0, 20, (50, 3))
    for augmentation in (Augmentation.none(2), draw(NOTHING, 3, 2)):
        result = apply(augmentation, images, rig, objects, points, INPUT, sees_lidar=True)
        expected = np.stack([preprocess(image, INPUT) for image in images])
        np.testing.assert_array_equal(result.images, expected)
        np.testing.assert_array_equal(
            result.intrinsics, input_from_image(*size, INPUT) @ rig.intrinsics
        )
        np.testing.assert_array_equal(result.ego_from_camera, rig.ego_from_camera)
        np.testing.assert_array_equal(result.points, points)
        np.testing.assert_allclose(result.objects.boxes, objects.boxes, atol=1e-12)
        np.testing.assert_array_equal(result.objects.velocities, objects.velocities)

    mirrored = dataclasses.replace(Augmentation.none(2), bev_flip=True)
    result = apply(mirrored, images, rig, objects, points, INPUT)
    np.testing.assert_array_equal(result.images, expected[:, :, ::-1])


@pytest.mark.parametrize("size", [(1600, 900), (400, 225)])
def test_a_hardly_warped_image_is_as_sharp_as_the_one_of_the_robot(size):
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (90, 160, 3), dtype=np.uint8)
    image = np.kron(noise, np.ones((size[1] // 45, size[0] // 80, 1)))[: size[1], : size[0]]
    image = image.astype(np.uint8)
    warp = np.array([[1, 0, 1e-6], [0, 1, 0], [0, 0, 1]])
    augmentation = dataclasses.replace(Augmentation.none(2), image_warps=np.stack([warp] * 2))
    result = apply(augmentation, [image] * 2, a_rig(*size), some_objects(0), np.ones((1, 3)), INPUT)
    expected = preprocess(image, INPUT).astype(float)
    inner = (slice(2, -2), slice(2, -2))
    difference = result.images[0].astype(float)[inner] - expected[inner]
    assert difference.std() < 0.2 * expected.std()
    assert 0.9 < result.images[0][inner].std() / expected[inner].std() < 1.1


def test_an_image_of_another_size_than_its_calibration_is_named():
    rig = a_rig()
    images = [*black(rig)[:1], np.zeros((10, 20, 3), np.uint8)]
    with pytest.raises(UserError, match="B: image is 20x10, its calibration says 400x225"):
        apply(Augmentation.none(2), images, rig, some_objects(0), np.zeros((0, 3)), INPUT)


def test_colour_jitter_clips_instead_of_wrapping():
    images = np.array([0, 100, 250], np.uint8)[:, None, None, None].repeat(3, 3)
    result = jitter_colour(images, np.array([1.5, 1.0, 0.5]), 10.0)
    np.testing.assert_array_equal(result[:, 0, 0], [[10, 10, 10], [160, 110, 60], [255, 255, 135]])


# Cameras left out


def test_a_dropped_camera_sees_nothing_and_takes_what_only_it_saw_with_it():
    rig = a_rig()
    objects = some_objects(0, 3)
    objects.boxes[:, 3:6] = 1.0
    # Ahead on the right, ahead where both cameras look, and to the left.
    objects.boxes[:, :2] = [[15, -3], [20, 7], [9, 20]]
    points = objects.boxes[:, :3] + [0, 0, 0.2]
    dropped = dataclasses.replace(Augmentation.none(2), dropped=np.array([False, True]))
    result = apply(dropped, black(rig), rig, objects, points, INPUT)
    assert result.objects.tokens == ("0", "1")
    assert len(result.objects.boxes) == len(result.objects.velocities) == 2
    np.testing.assert_array_equal(result.ego_from_camera, [rig.ego_from_camera[0], ABSENT_CAMERA])
    by_lidar = apply(dropped, black(rig), rig, objects, points, INPUT, sees_lidar=True)
    assert by_lidar.objects.tokens == ("0", "1", "2")
    config = StudentConfig(image_size=INPUT)
    whole = apply(Augmentation.none(2), black(rig), rig, objects, points, INPUT)
    of_whole, of_rest = (returns_of(frame, config).depths for frame in (whole, result))
    assert np.isinf(of_rest[1]).all()
    assert np.isfinite(of_whole[1]).any()
    np.testing.assert_array_equal(of_rest[0], of_whole[0])


def test_a_rig_that_does_not_look_all_round_is_asked_for_what_it_sees():
    objects = some_objects(0, 3)
    objects.boxes[:, 3:6] = 1.0
    # Ahead, behind, and right below the cameras, which none of them sees.
    objects.boxes[:, :3] = [[15, -3, 0.8], [-20, 1, 0.8], [0.8, 0, 0.5]]

    def kept(rig, **how):
        nothing = Augmentation.none(len(rig))
        spots = np.zeros((0, 3))
        return apply(nothing, black(rig), rig, objects, spots, INPUT, **how).objects.tokens

    rig = example_rig()
    wide = rig.intrinsics * np.array([[0.7, 1, 1], [1, 0.7, 1], [1, 1, 1]])
    rig = dataclasses.replace(rig, intrinsics=wide)
    assert kept(rig) == ("0", "1", "2")
    assert kept(rig.part([0, 1, 2])) == ("0",)
    assert kept(rig.part([3, 4, 5])) == ("1",)
    assert kept(rig.part([0, 1, 2]), sees_lidar=True) == ("0", "1", "2")


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_how_a_camera_is_shown_does_not_depend_on_how_the_robot_moves(seed):
    """As on the robot, where an image is prepared before the motion after it is known."""
    random = np.random.default_rng(seed)
    rig = dataclasses.replace(
        example_rig(),
        intrinsics=example_rig().intrinsics / [[4], [4], [1]],
        image_sizes=np.array([[400, 300]] * 6),
    )
    images = list(random.integers(0, 256, (6, 300, 400, 3), np.uint8))
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(random.normal(0, 0.01, 3)).as_matrix()
    motion[:3, 3] = random.normal(0, 0.5, 3)
    moved = dataclasses.replace(
        rig, ego_from_camera=motion @ rig.ego_from_camera, mountings=rig.ego_from_camera
    )
    expected = camera_images(images, rig, INPUT, NUSCENES_CAMERAS)
    shown = camera_images(images, moved, INPUT, NUSCENES_CAMERAS)
    np.testing.assert_array_equal(shown.images, expected.images)
    np.testing.assert_array_equal(shown.seen, expected.seen)
    np.testing.assert_allclose(shown.ego_from_camera, motion @ expected.ego_from_camera)
    detector = Detector.from_pretrained()
    views = detector.views(moved.part([4, 1]))
    assert views == [detector.view(rig.calibration(i), rig.ego_from_camera[i]) for i in (4, 1)]


def test_one_camera_always_stays():
    for probability, share in ((0.0, 0.0), (0.3, 0.3), (1.0, 5 / 6)):
        config = dataclasses.replace(NOTHING, camera_dropout=probability)
        dropped = np.stack([draw(config, seed).dropped for seed in range(400)])
        assert not dropped.all(axis=1).any()
        assert abs(dropped.mean() - share) < 0.05


# Configuration


def test_the_configuration_is_read_from_yaml_values():
    config = from_dict(
        AugmentationConfig, {"resize": [0.9, 1.2], "rotation": 5, "camera_dropout": 0.1}
    )
    assert config.resize == (0.9, 1.2)
    assert config.rotation == 5.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"resize": [1.2, 0.9]}, "resize is .1.2, 0.9.; it needs"),
        ({"bev_scale": [0, 1]}, "bev_scale is .0.0, 1.0.; it needs"),
        ({"rotation": -1}, "rotation is -1; it must be at least 0"),
        ({"camera_dropout": 1.5}, "camera_dropout is 1.5"),
        ({"camera_rotation": 30}, "camera_rotation is 30"),
        ({"photometric": 1.1}, "photometric is 1.1"),
        ({"colour_gain": float("nan")}, "colour_gain is nan"),
    ],
)
def test_values_out_of_range_are_named(values, message):
    with pytest.raises(UserError, match=message):
        from_dict(AugmentationConfig, values)


def test_draws_are_repeatable_and_within_their_ranges():
    config = dataclasses.replace(STRONG, colour_gain=0.2, colour_offset=10)
    first, second = draw(config, 7), draw(config, 7)
    for field in dataclasses.fields(Augmentation):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))
    draws = [draw(config, seed) for seed in range(200)]
    scales = np.sqrt([np.linalg.det(one.image_warps) for one in draws])
    assert scales.min() >= 0.7 and scales.max() <= 1.5 and np.ptp(scales) > 0.7
    assert 0.4 < np.mean([one.bev_flip for one in draws]) < 0.6
    assert 0.4 < np.mean([one.image_flips for one in draws]) < 0.6
    assert np.ptp([one.bev_angle for one in draws]) > 1.8 * np.pi
    for one in draws[:20]:  # the robot's surroundings at the images' lower edge stay in view
        without_turn = dataclasses.replace(config, rotation=0)
        warp = draw(without_turn, 5).image_warps[0]
        np.testing.assert_allclose(affine(warp, np.array([0, 95.5]))[1], 95.5)
        assert 0.8 <= one.bev_scale <= 1.25


# The real keyframe


@pytest.fixture(scope="module")
def keyframe(keyframe_root):
    nusc = open_dataset(keyframe_root)
    sample = scene_samples(nusc, split_scenes(nusc, "keyframe")[0])[0]
    frame = camera_frame(nusc, sample)
    objects = annotated_objects(nusc, sample, frame.global_from_ego)
    points = lidar_points(nusc, sample, frame.global_from_ego)[:, :3]
    return read_images(frame), frame.rig, objects, points


@pytest.mark.parametrize("seed", range(3))
def test_the_real_keyframe_keeps_every_box_on_its_object(keyframe, seed):
    images, rig, objects, points = keyframe
    size = (256, 704)
    plain = apply(Augmentation.none(6), images, rig, objects, points, size)
    augmentation = draw(STRONG, seed, size=size)
    result = apply(augmentation, images, rig, objects, points, size)

    compared = assert_boxes_on_their_pixels(augmentation, rig, objects, result, size)
    assert compared > 500
    for before, after in zip(objects.boxes, result.objects.boxes, strict=True):
        np.testing.assert_array_equal(
            points_in_box(points, before), points_in_box(result.points, after)
        )

    # The pixels around each object's centre are those of the un-augmented input.
    correlations = []
    for camera in range(6):
        to_plain = pixel_map(Augmentation.none(6), camera, rig.image_sizes[camera], size)
        to_result = pixel_map(augmentation, camera, rig.image_sizes[camera], size)
        back = to_plain @ np.linalg.inv(to_result)
        centres, depths = rig.project(objects.boxes[:, :3], camera)
        for centre in affine(to_result, centres)[depths > 1].round():
            patch = centre + np.stack(np.meshgrid(np.arange(-8, 9), np.arange(-8, 9)), axis=-1)
            there = affine(back, patch)
            inside = [
                np.all(spots >= 1) and np.all(spots < np.array(size[::-1]) - 2)
                for spots in (patch, there)
            ]
            if not all(inside):
                continue
            grey = plain.images[camera].mean(axis=-1)
            expected = map_coordinates(grey, [there[..., 1], there[..., 0]], order=1)
            u, v = patch.astype(int)[0, :, 0], patch.astype(int)[:, 0, 1]
            found = result.images[camera].mean(axis=-1)[np.ix_(v, u)]
            if expected.std() > 5:
                correlations.append(np.corrcoef(expected.ravel(), found.ravel())[0, 1])
    assert len(correlations) > 20
    assert min(correlations) > 0.9
    assert np.mean(correlations) > 0.97


@pytest.mark.parametrize("seed", range(3))
def test_the_real_keyframe_keeps_its_depth(keyframe, seed):
    images, rig, objects, points = keyframe
    config = StudentConfig(image_size=INPUT)
    augmentation = draw(STRONG, seed)
    result = apply(augmentation, images, rig, objects, points, INPUT)
    targets = pixel_targets(returns_of(result, config), config.depth)
    shape = targets.depth_bins.shape  # (6, 12, 32)
    for camera in range(6):
        # By way of the original camera and the map of its pixels.
        pixels, depths = rig.project(points, camera)
        depths = depths * augmentation.bev_scale
        matrix = pixel_map(augmentation, camera, rig.image_sizes[camera], INPUT)
        column, row = np.floor((affine(matrix, pixels) + 0.5) / 8).T
        nearest = np.full(shape[1:], np.inf)
        seen = (depths >= 1) & (column >= 0) & (column < 32) & (row >= 0) & (row < 12)
        cells = (row[seen].astype(int), column[seen].astype(int))
        np.minimum.at(nearest, cells, depths[seen])
        bins, inside = depth_bin_index(torch.from_numpy(nearest), config.depth)
        expected = torch.where(inside, bins, UNKNOWN)
        assert (expected != UNKNOWN).sum() > 60
        assert (targets.depth_bins[camera] == expected).float().mean() > 0.997  # 1 of 384 on edges
