# SPDX-License-Identifier: Apache-2.0
"""Batch normalisations folded into the convolutions before them."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from asd_perception.network.student import Student


def folded(student: Student) -> Student:
    """A copy to run: normalisations folded into convolutions, weights channels last."""
    student = copy.deepcopy(student).eval().requires_grad_(False)
    fold_batch_norms(student)
    return student.to(memory_format=torch.channels_last)


def fold_batch_norms(network: nn.Module) -> None:
    """Fold each batch normalisation that follows a convolution into its weights, in place.

    It follows where they are neighbours in an `nn.Sequential`, or the `convolution` and
    `normalization` of a transformers layer. The network must be in evaluation mode.
    """
    for module in list(network.modules()):
        names = list(module._modules)
        if isinstance(module, nn.Sequential):
            pairs = list(pairwise(names))
        else:
            pairs = [("convolution", "normalization")]
        for first, second in pairs:
            convolution, norm = getattr(module, first, None), getattr(module, second, None)
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, first, fuse_conv_bn_eval(convolution, norm))
                setattr(module, second, nn.Identity())
