# SPDX-License-Identifier: Apache-2.0
"""In which precision a run computes its networks, where the configuration leaves that to the
hardware.

Mixed bfloat16 is automatic mixed precision of the networks alone: weights, optimiser, averaged
weights, batch statistics, losses, validation and decoding are in float32.
"""

from __future__ import annotations

import torch
from torch import nn

from asd_training.config.run import Precision

FEWEST_CHANNELS = 16
"""oneDNN's bfloat16 gradient of a strided 1x1 convolution with fewer input channels writes past its
memory on some processors, for a batch of 1 and several threads."""


def resolve(
    precision: Precision, network: nn.Module, device: torch.device
) -> tuple[Precision, str]:
    """The precision that "auto" stands for, for this network on this device, and why.

    Any other stands for itself.
    """
    if precision != "auto":
        return precision, "as configured"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16-mixed", "this GPU computes in bfloat16"
        return "32-true", "this GPU does not compute in bfloat16"
    if device.type != "cpu":
        return "32-true", f"bfloat16 is not used on {device.type}"
    can = torch.cpu.get_capabilities()
    names = [name for key, name in _BFLOAT16.items() if can.get(key)]
    if not names:
        return "32-true", f"this processor has neither {' nor '.join(_BFLOAT16.values())}"
    for name, module in network.named_modules():
        if _is_unsafe(module):
            return "32-true", (
                f"{name} is a strided 1x1 convolution of fewer than {FEWEST_CHANNELS} channels, "
                "whose gradient in bfloat16 is not safe on a processor"
            )
    return "bf16-mixed", f"this processor has {' and '.join(names)}"


_BFLOAT16 = {"avx512_bf16": "AVX-512 BF16", "amx_bf16": "AMX"}


def _is_unsafe(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and max(module.kernel_size) == 1
        and max(module.stride) > 1
        and module.in_channels < FEWEST_CHANNELS
    )
