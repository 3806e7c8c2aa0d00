# SPDX-License-Identifier: Apache-2.0
"""The command line `detector`: the node, the check of its rig, and its warm-up."""
