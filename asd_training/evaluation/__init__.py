# SPDX-License-Identifier: Apache-2.0
"""Official scores, error analysis and pictures of what a model detects."""
