# SPDX-License-Identifier: Apache-2.0
"""Comparing configurations over several seeds: what is compared, the runs, the report."""
