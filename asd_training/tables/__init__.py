# SPDX-License-Identifier: Apache-2.0
"""nuScenes' tables: read and checked, their rows, their splits."""
