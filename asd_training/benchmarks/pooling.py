# SPDX-License-Identifier: Apache-2.0
"""BEV pooling against its plain references, in turns, on the geometry of six real cameras.

"of bandwidth" is the least that pooling must move (weights, features and places in, cells out, as
counted in `asd_perception.ops.bev_pool`) over its time, as a share of what a plain copy reaches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asd_perception.cameras.preprocessing import input_from_image
from asd_perception.network.config import BACKBONES, DepthConfig, StudentConfig
from asd_perception.network.view_transform import camera_rays, cells_of, frustum_points
from asd_perception.ops.bev_pool import (
    SplatPlan,
    plan_bev_pool,
    splat,
    splat_cumulative,
    splat_reference,
)
from asd_training.benchmarks.measure import Stage, Timing, measure, measure_ceilings
from asd_training.data.example import HEIGHT, WIDTH, example_rig

Pool = Callable[[Tensor, Tensor, SplatPlan], Tensor]

POOLS: dict[str, Pool] = {
    "splat": splat,
    "index_add_": splat_reference,
    "cumulative sum": splat_cumulative,
}

TINY_CONFIG = StudentConfig(image_size=(96, 256))
RESNET50 = replace(
    TINY_CONFIG,
    image_size=(256, 704),
    backbone=BACKBONES["resnet50"],
    depth=DepthConfig(bins=118),
    bev_channels=80,
)
CASES = {
    "tiny student": (TINY_CONFIG, 1),
    "tiny student, a training step": (TINY_CONFIG, 4),
    "ResNet-50, 256x704": (RESNET50, 1),
}
"""Configuration and batch size."""


def benchmark(device: torch.device, repeats: int) -> dict[str, Any]:
    """The figures of all cases, and the copy bandwidth of the device."""
    bandwidth = measure_ceilings(device).bytes
    return {
        "copied_gb_s": round(bandwidth / 1e9, 1),
        "cases": {
            name: case(config, batch, device, repeats, bandwidth)
            for name, (config, batch) in CASES.items()
        },
    }


def table(figures: dict[str, Any]) -> str:
    """The figures for a terminal."""
    lines = []
    for name, row in figures["cases"].items():
        lines.append(f"{name}: {row['sizes']}, {row['least_mb']} MB, ms (median)")
        for pool, times in row["ms"].items():
            lines.append(
                f"  {pool:16s}" + "".join(f"{key} {ms:9.2f}   " for key, ms in times.items())
            )
        forward = {pool: times["forward"] for pool, times in row["ms"].items()}
        ours = forward.pop("splat")
        slower = ", ".join(f"{pool} {ms / ours:.1f}" for pool, ms in forward.items())
        lines.append(
            f"  splat forward: {row['of_bandwidth']:.0%} of the copy bandwidth; "
            f"times as long as splat: {slower}"
        )
    return "\n".join(lines)


def case(
    config: StudentConfig, batch: int, device: torch.device, repeats: int, bandwidth: float
) -> dict[str, Any]:
    """Sizes, and milliseconds of each way to pool: with the plan known, and with it made anew."""
    cells = example_cells(config, batch, device)
    size = (config.bev.size, config.bev.size)
    plan = plan_bev_pool(cells, size)
    _, cameras, bins, height, width = cells.shape
    sources, channels = cameras * height * width, config.bev_channels
    weights = torch.randn(batch, sources, bins, device=device).softmax(-1).requires_grad_()
    features = torch.randn(batch, sources, channels, device=device, requires_grad=True)
    gradient = torch.randn(batch, channels, *size, device=device)

    def forward(pool: Pool) -> Any:
        with torch.inference_mode():
            return pool(weights, features, plan)

    def training(pool: Pool) -> Any:  # augmentation moves the cameras: a plan for each step
        pooled = pool(weights, features, plan_bev_pool(cells, size))
        return torch.autograd.grad(pooled, (weights, features), gradient)

    ways = {
        name: {
            "forward": Stage(partial(forward, pool)),
            "with plan, forward and backward": Stage(partial(training, pool)),
        }
        for name, pool in POOLS.items()
    }
    times = measure(ways, repeats, device)
    planning = measure({"plan": {"plan": Stage(lambda: plan_bev_pool(cells, size))}}, 10, device)

    entries = int(plan.starts[-1])
    read = 12 * entries + 4 * features.numel() + 4 * plan.starts.numel()
    least = read + 4 * gradient.numel()
    return {
        "sizes": f"{sources} sources x {bins} bins, {channels} channels, batch {batch}, "
        f"{entries} entries inside the grid",
        "least_mb": round(least / 1e6, 2),
        "plan_ms": round(_ms(planning["plan"]["plan"], device), 3),
        "ms": {
            name: {key: round(_ms(timing, device), 3) for key, timing in stages.items()}
            for name, stages in times.items()
        },
        "of_bandwidth": round(
            least / bandwidth / (1e-3 * _ms(times["splat"]["forward"], device)), 3
        ),
    }


def example_cells(config: StudentConfig, batch: int, device: torch.device) -> Tensor:
    """The cells (B, N, D, h, w) into which six cameras' feature pixels and depth bins fall."""
    rig = example_rig()
    height, width = config.image_size
    to_input = input_from_image(WIDTH, HEIGHT, config.image_size)
    intrinsics, poses = (
        torch.from_numpy(np.stack(batch * [matrices])).float().to(device)
        for matrices in (to_input @ rig.intrinsics, rig.ego_from_camera)
    )
    stride = config.backbone.stride
    rays = camera_rays(intrinsics, poses, (height // stride, width // stride), stride)
    return cells_of(frustum_points(rays, config.depth), config.bev)


def _ms(timing: Timing, device: torch.device) -> float:
    """On a GPU the time on the clock; on a CPU the processor's, in which other programs are not."""
    return timing.median if device.type == "cuda" else timing.cpu
