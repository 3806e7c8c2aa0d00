# SPDX-License-Identifier: Apache-2.0
"""The average of a network's weights over its training."""

from __future__ import annotations

import copy

import torch
from torch import nn


class MovingAverage(nn.Module):
    """`module`: the exponential moving average of a network's weights and buffers.

    Its memory is limited: after n steps it reaches back n / 10 steps at most. PyTorch's
    AveragedModel counts the steps in a tensor, for which a GPU must wait at every step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, steps: int) -> None:
        """Include the network's present state, after `steps` earlier ones."""
        share = 1 - min(self.decay, (1 + steps) / (10 + steps))
        values = network.state_dict()
        for name, average in self.module.state_dict().items():
            if average.is_floating_point():
                average.lerp_(values[name], share)
            else:
                average.copy_(values[name])  # BatchNorm counts its batches
