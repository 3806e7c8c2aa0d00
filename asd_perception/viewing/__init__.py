# SPDX-License-Identifier: Apache-2.0
"""What people look at, without ROS: boxes in camera images, and the layouts of their viewers."""
