# SPDX-License-Identifier: Apache-2.0
"""What teacher and student are trained to minimise, one file per loss."""
