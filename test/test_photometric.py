# SPDX-License-Identifier: Apache-2.0
"""Promise: photometric changes alter how a scene looks, never where anything in it is."""

import dataclasses

import cv2
import numpy as np
import pytest

from asd_training.photometric.change import CUT_OUTS, Photometric


def a_scene(cameras=6, rows=96, columns=256):
    """Smooth images with edges."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (cameras, rows // 8, columns // 8, 3), np.uint8)
    return np.stack([cv2.resize(image, (columns, rows)) for image in noise])


def drawn(strength, seed, cameras=6):
    return Photometric.draw(strength, cameras, np.random.default_rng(seed))


def without_covers(change):
    return dataclasses.replace(change, covers=np.zeros_like(change.covers))


def test_the_same_draw_gives_the_same_images_and_another_one_others():
    images = a_scene()
    kept = images.copy()
    first, again, other = (drawn(1.0, seed).apply(images) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(images, kept)  # a store's images are not written to
    assert first.dtype == np.uint8 and first.shape == images.shape
    assert np.abs(first.astype(float) - other).mean() > 5


def test_the_change_grows_with_its_strength_from_nothing():
    images = a_scene()
    change = [
        np.mean(
            [
                np.abs(drawn(s, seed).apply(images).astype(float) - images).mean()
                for seed in range(20)
            ]
        )
        for s in (0.01, 0.3, 1.0)
    ]
    assert change[0] < 1.5 < change[1] < change[2]
    assert change[1] > 4 and change[2] > 20


def test_every_step_alone_changes_images_and_the_neutral_numbers_change_nothing():
    images = a_scene()
    all_of_it = [drawn(1.0, seed) for seed in range(30)]
    neutral = dataclasses.replace(
        all_of_it[0],
        gains=np.ones_like(all_of_it[0].gains),
        kernels=np.tile(np.array([[0, 0, 0], [0, 1.0, 0], [0, 0, 0]]), (6, 3, 1, 1)),
        noise=np.zeros(6),
        mixes=np.tile(np.eye(3), (6, 1, 1)),
        gamma=np.ones(6),
        contrast=np.ones(6),
        quality=np.zeros(6),
        covers=np.zeros((6, CUT_OUTS, 4)),
    )
    np.testing.assert_array_equal(neutral.apply(images), images)
    for step in ("gains", "kernels", "noise", "mixes", "gamma", "contrast", "quality", "covers"):
        changed = [
            dataclasses.replace(neutral, **{step: getattr(one, step)}).apply(images) != images
            for one in all_of_it
        ]
        assert np.mean(changed) > 0.001, step


def test_nothing_moves():
    """Edges stay where they were: a step in the image keeps its place within a pixel."""
    images = np.zeros((6, 96, 256, 3), np.uint8)
    images[:, :, :100], images[:, :, 100:] = 60, 180
    for seed in range(20):
        changed = without_covers(drawn(1.0, seed)).apply(images).astype(float).mean(axis=(1, 3))
        steps = np.abs(np.diff(changed, axis=1))
        assert (np.abs(steps.argmax(axis=1) - 99) <= 1).all()


def test_cameras_of_a_rig_share_most_of_it():
    images = np.full((6, 96, 256, 3), 120, np.uint8)
    means = np.stack(
        [without_covers(drawn(1.0, seed)).apply(images).mean(axis=(1, 2, 3)) for seed in range(40)]
    )
    assert means.std(axis=1).mean() < 0.6 * means.mean(axis=1).std()


@pytest.mark.parametrize("cameras", [0, 1, 5])
def test_any_number_of_cameras_and_any_size(cameras):
    images = a_scene(6, 64, 176)[:cameras]
    changed = drawn(1.0, 0, cameras).apply(images)
    assert changed.shape == images.shape and changed.dtype == np.uint8
