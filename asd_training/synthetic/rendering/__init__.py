# SPDX-License-Identifier: Apache-2.0
"""What cameras and LiDAR see of a world."""
