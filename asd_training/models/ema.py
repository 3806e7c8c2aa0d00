# SPDX-License-Identifier: Apache-2.0
"""The average of a network's weights over its training."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class MovingAverage(nn.Module):
    """`module`: the exponential moving average of a network's weights and buffers.

    Its memory is limited: after n steps it reaches back n / 10 steps at most. PyTorch's
    AveragedModel counts the steps in a tensor, for which a GPU must wait at every step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    def share(self, steps: int) -> float:
        """The weight of the network's state after `steps` earlier ones."""
        return 1 - min(self.decay, (1 + steps) / (10 + steps))

    @torch.no_grad()
    def update(self, network: nn.Module, share: float | Tensor) -> None:
        """Include the network's present state with the weight `share`; a tensor of it is scalar."""
        averages, values = self.module.state_dict(), network.state_dict()
        names = [name for name, average in averages.items() if average.is_floating_point()]
        moved = [averages[name] for name in names]
        changes = torch._foreach_sub([values[name] for name in names], moved)
        torch._foreach_mul_(changes, share)
        torch._foreach_add_(moved, changes)
        for name in averages.keys() - set(names):
            averages[name].copy_(values[name])  # BatchNorm counts its batches
