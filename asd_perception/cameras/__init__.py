# SPDX-License-Identifier: Apache-2.0
"""From cameras to the network's input: calibration, rig, image decoding and resampling."""
