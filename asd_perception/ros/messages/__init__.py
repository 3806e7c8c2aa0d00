# SPDX-License-Identifier: Apache-2.0
"""Between ROS messages and arrays, both ways."""
