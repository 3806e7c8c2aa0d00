# SPDX-License-Identifier: Apache-2.0
"""Meshes of cars, trucks, trailers, buses and construction vehicles: x forward, y left, z up."""
