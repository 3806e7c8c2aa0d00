# SPDX-License-Identifier: Apache-2.0
"""The detector as a ROS 2 node: the only place that imports rclpy and message packages."""
