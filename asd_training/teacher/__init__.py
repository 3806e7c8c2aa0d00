# SPDX-License-Identifier: Apache-2.0
"""The teacher: a detector that sees LiDAR, alone or with the cameras, and is there for training."""
