# SPDX-License-Identifier: Apache-2.0
"""How a student runs on the robot: the detector, and its backends for CPU and GPU."""
