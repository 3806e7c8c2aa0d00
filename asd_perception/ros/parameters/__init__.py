# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: one table, their declaration in ROS, and the settings read from them."""
