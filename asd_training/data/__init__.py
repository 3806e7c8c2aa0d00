# SPDX-License-Identifier: Apache-2.0
"""Datasets in nuScenes' format, from their tables to training samples."""
