# SPDX-License-Identifier: Apache-2.0
"""The teacher's networks and its prepared answers, and pretrained weights."""
