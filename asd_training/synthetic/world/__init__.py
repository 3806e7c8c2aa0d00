# SPDX-License-Identifier: Apache-2.0
"""The world of a scene: road, scenery, and who moves on it."""
