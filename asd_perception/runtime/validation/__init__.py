# SPDX-License-Identifier: Apache-2.0
"""What validation data said of a model: how sure its scores are, and how far off its boxes."""
