# SPDX-License-Identifier: Apache-2.0
"""One keyframe as teacher and student see it, explained in one picture."""
