# SPDX-License-Identifier: Apache-2.0
"""Bags and a running ROS graph: play into it, record from it, replay to a detector of its own."""
