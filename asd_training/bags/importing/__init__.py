# SPDX-License-Identifier: Apache-2.0
"""A robot's bags as a data set in nuScenes' format, to train on, evaluate with and look at."""
