# SPDX-License-Identifier: Apache-2.0
"""From images to frames: prepared on arrival, grouped by stamps, the newest served; no ROS."""
