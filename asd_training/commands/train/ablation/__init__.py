# SPDX-License-Identifier: Apache-2.0
"""The commands of asd-train for an ablation."""
