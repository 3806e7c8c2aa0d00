# SPDX-License-Identifier: Apache-2.0
"""The commands of asd-bench, and the arguments and the output that they share."""
