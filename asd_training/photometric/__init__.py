# SPDX-License-Identifier: Apache-2.0
"""Other light, other cameras and other styles for the same scene."""
