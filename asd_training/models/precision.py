# SPDX-License-Identifier: Apache-2.0
"""In which precision a run computes its networks, where the configuration leaves that to the
hardware.

Mixed bfloat16 is automatic mixed precision of the networks alone: weights, optimiser, averaged
weights, batch statistics, losses, validation and decoding are in float32.
"""

from __future__ import annotations

import torch

from asd_training.config.run import Precision


def resolve(precision: Precision, device: torch.device) -> tuple[Precision, str]:
    """The precision that "auto" stands for on this device, and why.

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
    return "bf16-mixed", f"this processor has {' and '.join(names)}"


_BFLOAT16 = {"avx512_bf16": "AVX-512 BF16", "amx_bf16": "AMX"}
