# SPDX-License-Identifier: Apache-2.0
"""The order in which a run sees its keyframes; it depends only on the seed and a sample's position.

No state is kept between samples, so a resumed run, or one of several processes, can start at any
position.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

Sample = TypeVar("Sample", covariant=True)


class SampledKeyframes(Protocol[Sample]):
    """Gives a sample of a keyframe, augmented by random numbers."""

    def sample(self, keyframe: int, random: np.random.Generator) -> Sample: ...


class TrainingStream(Dataset[Sample], Generic[Sample]):
    """Pass after pass over some keyframes, each with its own order and augmentation.

    weights (K,): how often each keyframe is drawn, on average; None: each once per pass.
    """

    def __init__(
        self,
        dataset: SampledKeyframes[Sample],
        keyframes: NDArray[np.int64],
        seed: int,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        self.dataset = dataset
        self.keyframes = keyframes
        self.seed = seed
        self.probability = None if weights is None else weights / weights.sum()
        self._pass, self._order = -1, keyframes

    def __getitem__(self, place: int) -> Sample:
        number, position = divmod(place, len(self.keyframes))
        random = np.random.default_rng([self.seed, 1, place])
        return self.dataset.sample(int(self._order_of_pass(number)[position]), random)

    def _order_of_pass(self, number: int) -> NDArray[np.int64]:
        if number != self._pass:
            random = np.random.default_rng([self.seed, 0, number])
            count = len(self.keyframes)
            self._order = random.choice(
                self.keyframes, count, replace=self.probability is not None, p=self.probability
            )
            self._pass = number
        return self._order


class StepBatches(Sampler[list[int]]):
    """The positions of a TrainingStream that one of several processes takes, batch by batch.

    Batch b of all processes together covers consecutive positions. `first` batches are done
    already; the length still counts all `batches`, as Lightning expects of a loader in mid-run.
    """

    def __init__(
        self, batch_size: int, batches: int, first: int = 0, rank: int = 0, processes: int = 1
    ) -> None:
        self.batch_size = batch_size
        self.batches = batches
        self.first = first
        self.rank = rank
        self.processes = processes

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        for batch in range(self.first, self.batches):
            start = (batch * self.processes + self.rank) * self.batch_size
            yield list(range(start, start + self.batch_size))


def class_balanced_weights(counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """The probability with which TrainingStream draws each keyframe.

    counts: (K, C) objects of each class in each keyframe. Returns (K,), summing to 1.

    Each class that occurs takes an equal share of the draws, spread evenly over the keyframes that
    show it: the expectation of DS sampling in CBGS (Zhu et al. 2019,
    arXiv 1908.09492), which draws a fixed list. As there, a keyframe without objects is not drawn;
    if no keyframe has any, all are drawn equally.
    """
    shows = np.asarray(counts) > 0  # (K, C)
    keyframes = shows.sum(axis=0)
    shows, keyframes = shows[:, keyframes > 0], keyframes[keyframes > 0]
    if len(keyframes) == 0:
        return np.full(len(shows), 1 / max(1, len(shows)))
    return (shows / keyframes).sum(axis=1) / len(keyframes)
