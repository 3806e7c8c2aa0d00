# SPDX-License-Identifier: Apache-2.0
"""Meshes of bicycles and motorcycles, with and without their riders."""
