# SPDX-License-Identifier: Apache-2.0
"""What a rig's topics look like to the detector: messages of a bag, or of a running robot."""
