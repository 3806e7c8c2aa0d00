# SPDX-License-Identifier: Apache-2.0
"""Meshes of cars, trucks, trailers, buses and construction vehicles: x forward, y left, z up."""

from asd_training.synthetic.meshes.vehicles.parts import DARK, RIM, TIRE, pick

# What the two-wheelers of small_objects.py use.
WHITE_LAMP, RED_LAMP, AMBER_LAMP = (0.95, 0.95, 0.88), (0.78, 0.05, 0.05), (0.95, 0.55, 0.1)
CAR_COLORS = ((0.12, 0.12, 0.13), (0.6, 0.08, 0.08), (0.1, 0.2, 0.5), (0.92, 0.92, 0.92))

__all__ = ["AMBER_LAMP", "CAR_COLORS", "DARK", "RED_LAMP", "RIM", "TIRE", "WHITE_LAMP", "pick"]
