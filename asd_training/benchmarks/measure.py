# SPDX-License-Identifier: Apache-2.0
"""Stages of work, timed in turns, and what the machine could reach at best."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from asd_perception.ops.bev_pool import plain_ops
from asd_perception.runtime.cuda import HALF, half_precision


@dataclass(frozen=True)
class Stage:
    """A part of the work on one frame: run() does it. No operations and bytes: not counted."""

    run: Callable[[], Any]
    operations: float = 0.0
    bytes: float = 0.0


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a stage over the repeats: on the clock, and of processor time (median)."""

    median: float
    p95: float
    p99: float
    cpu: float


@dataclass(frozen=True)
class Ceilings:
    """What the machine reaches per second: operations in a matrix product, bytes copied."""

    operations: float
    bytes: float

    def floor_ms(self, stage: Stage) -> float:
        """The least milliseconds in which these operations and bytes can be done."""
        return 1e3 * max(stage.operations / self.operations, stage.bytes / self.bytes)


def counted(
    run: Callable[[], Any], arguments: Iterable[Any], weights: Iterable[Tensor] = ()
) -> Stage:
    """A stage of the network with its operations and the bytes of its arguments and results."""
    with FlopCounterMode(display=False) as counter:
        result = run()
    moved = sum(x.nbytes for x in (*_tensors(arguments), *weights, *_tensors(result)))
    return Stage(run, float(counter.get_total_flops()), float(moved))


def _tensors(value: Any) -> list[Tensor]:
    """The tensors of arguments or results: nested tuples, and other values, which do not count."""
    if isinstance(value, Tensor):
        return [value]
    return [x for item in value for x in _tensors(item)] if isinstance(value, tuple) else []


def measure(
    variants: dict[str, dict[str, Stage]], repeats: int, device: torch.device
) -> dict[str, dict[str, Timing]]:
    """Time each stage of each variant, after warming up, the variants in turns."""
    wait = _waiter(device)
    result: dict[str, dict[str, Timing]] = {variant: {} for variant in variants}
    names = list(next(iter(variants.values())))
    for name in tqdm(names, desc="measuring", unit="stage", leave=False):
        samples: dict[str, list[tuple[float, float]]] = {variant: [] for variant in variants}
        for repeat in range(-max(2, repeats // 10), repeats):  # the negative ones warm up
            for variant, parts in variants.items():
                with network_mode(variant, device):
                    wait()
                    start, cpu = time.perf_counter(), time.process_time()
                    parts[name].run()
                    wait()
                    took = time.perf_counter() - start, time.process_time() - cpu
                if repeat >= 0:
                    samples[variant].append(took)
        for variant, values in samples.items():
            clock, cpu_times = 1e3 * np.array(values).T
            median, p95, p99 = (float(x) for x in np.percentile(clock, [50, 95, 99]))
            result[variant][name] = Timing(median, p95, p99, float(np.median(cpu_times)))
    return result


def network_mode(variant: str, device: torch.device) -> contextlib.AbstractContextManager[None]:
    """The context in which a variant's network runs."""
    if variant == "reference":
        return plain_ops()
    return half_precision() if device.type == "cuda" else contextlib.nullcontext()


def current_device(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """The context in which a GPU is the present one."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def _waiter(device: torch.device) -> Callable[[], None]:
    """What waits until the device has done everything asked of it."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def measure_ceilings(device: torch.device) -> Ceilings:
    """The best of some large copies, and of matrix products in the precision of the network."""
    on_gpu = device.type == "cuda"
    source = torch.ones((256 if on_gpu else 64) << 20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    side = 8192 if on_gpu else 1024
    precision = HALF if on_gpu else torch.float32
    matrix = torch.randn(side, side, device=device, dtype=precision)
    product = torch.empty_like(matrix)

    wait = _waiter(device)

    def best(run: Callable[[], Any]) -> float:
        seconds = []
        for _ in range(8):
            wait()
            start = time.perf_counter()
            run()
            wait()
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    return Ceilings(
        operations=2 * side**3 / best(lambda: torch.mm(matrix, matrix, out=product)),
        bytes=2 * source.nbytes / best(lambda: target.copy_(source)),
    )
