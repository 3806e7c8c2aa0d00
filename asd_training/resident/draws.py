# SPDX-License-Identifier: Apache-2.0
"""All that the host decides of a training sample: which keyframe, and how it is augmented.

One row of float64 numbers per sample, so that a batch goes to the device in one copy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from asd_training.config.augmentation import AugmentationConfig
from asd_training.data.augmentation import Augmentation
from asd_training.data.index import KeyframeIndex


class Draws(NamedTuple):
    """The draws of a batch, on any device; N cameras.

    keyframes (B,) int64, their numbers in the index; the rest as in `Augmentation`, in float64 or
    bool: image_warps (B, N, 3, 3), image_flips (B, N), bev_flip, bev_angle, bev_scale (B,),
    colour_gain (B, 3), colour_offset (B,), dropped (B, N).
    """

    keyframes: Tensor
    image_warps: Tensor
    image_flips: Tensor
    bev_flip: Tensor
    bev_angle: Tensor
    bev_scale: Tensor
    colour_gain: Tensor
    colour_offset: Tensor
    dropped: Tensor


def packed(keyframe: int, augmentation: Augmentation, there: NDArray[np.bool_]) -> Tensor:
    """The draw of one sample as a row (8 + 11 N,) float64.

    there (N,) bool: which of the dataset's cameras the keyframe has; `augmentation` is of those.
    """
    warps = np.tile(np.eye(3), (len(there), 1, 1))
    flips, dropped = np.zeros(len(there)), np.zeros(len(there))
    warps[there], flips[there] = augmentation.image_warps, augmentation.image_flips
    dropped[there] = augmentation.dropped
    world = augmentation.bev_flip, augmentation.bev_angle, augmentation.bev_scale
    colour = *augmentation.colour_gain, augmentation.colour_offset
    row = [keyframe, *warps.ravel(), *flips, *world, *colour, *dropped]
    return torch.tensor(row, dtype=torch.float64)


def unpacked(rows: Tensor, cameras: int) -> Draws:
    """The draws of a batch (B, 8 + 11 N)."""
    n = cameras
    keyframes, warps, flips, flip, angle, scale, gain, offset, dropped = rows.split(
        [1, 9 * n, n, 1, 1, 1, 3, 1, n], dim=1
    )
    return Draws(
        keyframes=keyframes[:, 0].long(),
        image_warps=warps.unflatten(1, (n, 3, 3)),
        image_flips=flips.bool(),
        bev_flip=flip[:, 0].bool(),
        bev_angle=angle[:, 0],
        bev_scale=scale[:, 0],
        colour_gain=gain,
        colour_offset=offset[:, 0],
        dropped=dropped.bool(),
    )


class DrawnSamples(Dataset[Tensor]):
    """What a TrainingStream takes in a KeyframeDataset's place: the same draws, and no sample."""

    def __init__(
        self,
        index: KeyframeIndex,
        images: bool,
        augmentation: AugmentationConfig | None,
        input_size: tuple[int, int],
    ) -> None:
        """images: whether samples hold any. input_size: (rows, columns) of them."""
        self.there = index.has_camera if images else index.has_camera[:, :0]
        self.augmentation = augmentation
        self.input_size = input_size

    def sample(self, keyframe: int, random: np.random.Generator) -> Tensor:
        """The draw of `KeyframeDataset.sample` with the same arguments, `packed`."""
        there = self.there[keyframe]
        augmentation = Augmentation.none(there.sum())
        if self.augmentation is not None:
            augmentation = Augmentation.draw(
                self.augmentation, there.sum(), self.input_size, random
            )
        return packed(keyframe, augmentation, there)
