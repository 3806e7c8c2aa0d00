# SPDX-License-Identifier: Apache-2.0
"""rosbag2 files: nuScenes scenes to bags, replay, recording, and scoring of recorded detections."""
