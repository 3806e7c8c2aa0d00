# SPDX-License-Identifier: Apache-2.0
"""The sensors of the synthetic scenes: rigs, cameras, LiDAR, and what they see of an object."""
