# SPDX-License-Identifier: Apache-2.0
"""Promise: class-balanced sampling shows rare classes more often; absent ones do it no harm."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import WeightedRandomSampler

from asd_training.data.sampler import class_balanced_weights


def nuscenes_like(keyframes=2000):
    """Counts (K, 10) with cars everywhere, some classes rare, one absent, some frames empty."""
    random = np.random.default_rng(0)
    rates = np.array([8, 1, 0.3, 0.2, 0.05, 4, 0.2, 0.2, 0, 2])
    counts = random.poisson(rates, (keyframes, 10))
    counts[::20] = 0
    return counts


def test_each_class_takes_a_more_equal_share():
    counts = nuscenes_like()
    sampler = WeightedRandomSampler(
        class_balanced_weights(counts).tolist(),
        20000,
        generator=torch.Generator().manual_seed(0),
    )
    drawn = np.array(list(sampler))
    shows = (counts > 0).astype(float)[:, counts.any(axis=0)]

    def distance(presence):
        share = presence / presence.sum()
        return np.abs(share - 1 / len(share)).sum()

    before, after = shows.sum(axis=0), shows[drawn].sum(axis=0)
    # (Cars stand in nearly every keyframe, so that their share cannot fall much.)
    assert distance(after) < 0.85 * distance(before)
    rarest = before.argmin()
    assert after[rarest] / len(drawn) > 1 / 9.5 > 0.09 > before[rarest] / len(shows)
    again = WeightedRandomSampler(
        class_balanced_weights(counts).tolist(),
        20000,
        generator=torch.Generator().manual_seed(0),
    )
    assert list(again) == drawn.tolist()


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.floats(0, 1))
def test_a_class_that_occurs_is_shown_at_least_its_share(seed, keyframes, sparsity):
    random = np.random.default_rng(seed)
    counts = random.poisson(1, (keyframes, 10)) * (random.random((keyframes, 10)) > sparsity)
    weights = class_balanced_weights(counts)
    np.testing.assert_allclose(weights.sum(), 1)
    occurring = counts.any(axis=0)
    shown = weights @ (counts > 0)[:, occurring]
    assert np.all(shown >= 1 / max(1, occurring.sum()) - 1e-12)
    if occurring.any():
        assert np.all((weights > 0) == counts.any(axis=1))


def test_without_any_object_all_keyframes_are_drawn_alike():
    np.testing.assert_allclose(class_balanced_weights(np.zeros((4, 10), np.int64)), 0.25)
    assert class_balanced_weights(np.zeros((0, 10), np.int64)).shape == (0,)
