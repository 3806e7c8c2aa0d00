# SPDX-License-Identifier: Apache-2.0
"""Procedural street scenes, ray-traced for six cameras and a LiDAR, written as nuScenes."""
