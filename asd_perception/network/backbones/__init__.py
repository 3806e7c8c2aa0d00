# SPDX-License-Identifier: Apache-2.0
"""Image backbones that transformers does not have."""
