# SPDX-License-Identifier: Apache-2.0
"""The plan of a street: its kind, its road, its plots and what covers the ground."""
