# SPDX-License-Identifier: Apache-2.0
"""The evaluation report as one HTML file."""
