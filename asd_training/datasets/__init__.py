# SPDX-License-Identifier: Apache-2.0
"""nuScenes-format data: the one edge where its conventions are turned into ours."""
