# SPDX-License-Identifier: Apache-2.0
"""The command line `detector`: the node, and the check of its rig."""
