# SPDX-License-Identifier: Apache-2.0
"""A student that trains, loads and answers within moments, for the tests of what is around it."""

from asd_perception.bev_grid import BevGrid
from asd_perception.network.config import BackboneConfig, DepthConfig, StudentConfig

# Stages have 16 channels: with fewer a run on a CPU is refused (training/run.py).
SMALL = StudentConfig(
    image_size=(32, 96),
    backbone=BackboneConfig(
        options={
            "embedding_size": 8,
            "hidden_sizes": [16, 16, 16, 16],
            "depths": [1, 1, 1, 1],
            "layer_type": "basic",
        },
        channels=16,
    ),
    depth=DepthConfig(bins=12),
    bev=BevGrid(half_extent=25.6, cell=1.6),
    bev_channels=16,
    encoder_channels=(16, 16, 16),
    head_channels=8,
    max_objects=30,
)
