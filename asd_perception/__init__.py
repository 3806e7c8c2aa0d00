# SPDX-License-Identifier: Apache-2.0
"""Camera-only 3D object detection for ROS 2: what runs on the robot."""

__version__ = "0.1.0"
