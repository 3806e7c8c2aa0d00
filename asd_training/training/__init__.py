# SPDX-License-Identifier: Apache-2.0
"""The training run: the module in training, its loop, checkpoints and folder."""
