# SPDX-License-Identifier: Apache-2.0
"""The files of a rosbag2: mcap and sqlite3, whole or not."""
