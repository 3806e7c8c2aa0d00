# SPDX-License-Identifier: Apache-2.0
"""A trained student as a model directory or as ONNX, compared with PyTorch."""
